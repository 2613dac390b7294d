"""What a handler may return: body; status, body; status, body, headers."""

import pytest
from heart_server import Server

APP = """
local app = require("heart.v1")
app.get("/status-body", function(ctx) return 201, "made" end)
app.get("/status-body-headers", function(ctx)
  return 418, "tea", { ["X-Pot"] = "yes", ["Content-Type"] = "text/tea", ["X-Number"] = 7 }
end)
app.get("/gsub", function(ctx) return ("a-b-c"):gsub("-", "+") end)
app.get("/number-body", function(ctx) return 200 end)
app.get("/status-nil", function(ctx) return 404, nil end)
app.get("/not-a-status", function(ctx) return 1000, "x" end)
app.get("/fraction", function(ctx) return 200.5, "x" end)
app.get("/low", function(ctx) return 99, "x" end)
app.get("/string-status", function(ctx) return "404", "x" end)
app.get("/number-number", function(ctx) return 202, 42 end)
app.get("/json", function(ctx) return 201, ctx.json { made = true } end)
app.get("/empty", function(ctx) return 400, "" end)
app.get("/no-content", function(ctx) return 204, "" end)
app.get("/nothing", function(ctx) end)
app.get("/own-status", function(ctx) ctx.status(202) return 203, "explicit" end)
app.get("/stream", function(ctx) ctx.status(201) return ctx.stream(function(write) write("streamed") end) end)
app.get("/not-modified", function(ctx) return 304, "" end)
app.get("/list", function(ctx) return 200, "x", { ["Set-Cookie"] = { "a=1", "b=2" } } end)
app.get("/big", function(ctx) return 200, string.rep("x", 300000), { ["X-Big"] = "1" } end)
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/status-body", 201, b"made"),
        ("/status-body-headers", 418, b"tea"),
        ("/gsub", 200, b"a+b+c"),
        ("/number-body", 200, b"200"),
        ("/status-nil", 200, b"404"),
        ("/not-a-status", 200, b"1000"),
        ("/fraction", 200, b"200.5"),
        ("/low", 200, b"99"),
        ("/string-status", 200, b"404"),
        ("/number-number", 202, b"42"),
        ("/json", 201, b'{"made":true}'),
        ("/empty", 400, b""),
        ("/no-content", 204, b""),
        ("/nothing", 200, b""),
        ("/own-status", 203, b"explicit"),
        ("/stream", 201, b"streamed"),
        ("/not-modified", 304, b""),
        ("/big", 200, b"x" * 300000),
    ],
)
def test_return_values_become_the_answer(server, target, status, body):
    """A status only if it is an integer from 100 to 599 and a second non-nil value follows."""
    with server.connect() as client:
        response = client.fetch(target=target)
        assert (response.status, response.body) == (status, body)
        assert client.fetch(target="/nothing").status == 200


def test_headers_table_reaches_the_client(server):
    response = server.get("/status-body-headers")
    assert (response["x-pot"], response["content-type"], response["x-number"]) == ("yes", "text/tea", "7")
    assert server.get("/json")["content-type"].startswith("application/json")
    assert server.get("/big")["x-big"] == "1"
    assert server.get("/list").all("set-cookie") == ["a=1", "b=2"]


def test_status_does_not_leak_into_the_next_request(server):
    with server.connect() as client:
        assert client.fetch(target="/status-body-headers").status == 418
        response = client.fetch(target="/gsub")
        assert (response.status, response["x-pot"]) == (200, None)
        assert response["content-type"] == "text/plain; charset=utf-8"
