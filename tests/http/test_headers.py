"""Response headers that the engine writes, and those that a handler may and may not write."""

import time
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from heart_server import Server

APP = """
local app = require("heart.v1")
app.get("/", function(ctx) return "hello" end)
app.get("/empty", function(ctx) end)
app.get("/no-content", function(ctx) ctx.status(204) end)
app.get("/set", function(ctx)
  ctx.set("X-One", "1")
  ctx.set("X-One", "2")
  ctx.headers("X-Two", "two")
  ctx.set("Content-Type", "text/x-own")
  return "set"
end)
app.get("/own", function(ctx) ctx.set("Server", "mine") ctx.set("Date", "never") return "own" end)
app.get("/framing", function(ctx)
  ctx.set("Content-Length", "3")
  ctx.set("Transfer-Encoding", "chunked")
  return "0123456789"
end)
local hostile = {
  value = function(ctx) ctx.set("X-A", "x\\r\\nX-Evil: 1") end,
  lf = function(ctx) ctx.set("X-A", "x\\nX-Evil: 1") end,
  cr = function(ctx) ctx.set("X-A", "x\\rX-Evil: 1") end,
  nul = function(ctx) ctx.set("X-A", "x\\0y") end,
  name = function(ctx) ctx.set("X-Evil: 1\\r\\nX-A", "x") end,
  space = function(ctx) ctx.set("X Evil", "x") end,
  colon = function(ctx) ctx.set("X-Evil:", "x") end,
  blank = function(ctx) ctx.set("", "x") end,
  headers = function(ctx) ctx.headers("X-A", "x\\r\\nX-Evil: 1") end,
  cookie = function(ctx) ctx.cookies("a", "x\\r\\nX-Evil: 1") end,
  cookie_name = function(ctx) ctx.cookies("a\\r\\nX-Evil: 1", "x") end,
  cookie_path = function(ctx) ctx.cookies("a", "b", { path = "/\\r\\nX-Evil: 1" }) end,
  redirect = function(ctx) return ctx.redirect("/x\\r\\nX-Evil: 1") end,
  table = function(ctx) return 200, "body", { ["X-A"] = "x\\r\\nX-Evil: 1" } end,
  table_name = function(ctx) return 200, "body", { ["X-A\\r\\nX-Evil"] = "x" } end,
}
app.get("/hostile/:how", function(ctx)
  local handler = hostile[ctx.pathParam("how")]
  return handler(ctx)
end)
"""
HOSTILE = "value lf cr nul name space colon blank headers cookie cookie_name cookie_path redirect table table_name"


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


def test_date_is_an_imf_fixdate_of_now(server):
    """RFC 9110 sections 5.6.7 and 6.6.1."""
    value = server.get()["date"]
    date = parsedate_to_datetime(value)
    assert format_datetime(date, usegmt=True) == value
    assert abs(date.timestamp() - time.time()) < 2.5


def test_date_moves_on(server):
    with server.connect() as client:
        first = client.fetch()["date"]
        time.sleep(1.1)
        assert client.fetch()["date"] != first


def test_server_is_heart(server):
    assert server.get()["server"].lower() == "heart"


def test_default_type_is_plain_text(server):
    response = server.get()
    assert response["content-type"] == "text/plain; charset=utf-8"
    assert response["content-length"] == "5"


def test_empty_answer_has_a_length(server):
    response = server.get("/empty")
    assert (response.status, response["content-length"], response.body) == (200, "0", b"")


def test_204_has_no_framing(server):
    """RFC 9110 section 8.6: no Content-Length in a 204."""
    with server.connect() as client:
        response = client.fetch(target="/no-content")
        assert (response.status, response["content-length"], response["transfer-encoding"]) == (204, None, None)
        assert client.fetch().text == "hello"


def test_set_replaces_and_reaches_the_client(server):
    response = server.get("/set")
    assert (response["x-one"], response["x-two"]) == ("2", "two")
    assert response["content-type"] == "text/x-own"


def test_handler_cannot_break_the_framing(server):
    """Content-Length and Transfer-Encoding are the engine's: set from Lua they change nothing or are an error."""
    with server.connect() as client:
        response = client.fetch(target="/framing")
        assert response.status == 500 or response.body == b"0123456789"
        assert client.fetch().text == "hello"


def test_engine_fields_are_never_repeated(server):
    response = server.get("/own")
    assert response.status in (200, 500)
    assert response["server"] is not None
    assert len(response.all("date")) == 1


@pytest.mark.parametrize("how", HOSTILE.split())
def test_control_characters_in_a_header_are_an_error(server, how):
    """CR, LF and NUL never reach the wire: the handler fails instead (no header injection)."""
    with server.connect() as client:
        response = client.fetch(target=f"/hostile/{how}")
        assert response.status == 500
        assert response["x-evil"] is None
        assert client.fetch().text == "hello"


def test_content_type_may_be_left_out(serve):
    server = serve("""
        require("heart.v1").get("/", function(ctx) ctx.set("Content-Type", nil) return "bytes" end)
    """)
    assert server.get()["content-type"] is None
