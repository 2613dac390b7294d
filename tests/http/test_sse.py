"""ctx.sse: server-sent events as the HTML standard has them, on a stream."""

import re

import pytest

APP = """
local app = require("heart.v1")
local task = require("heart.v1.task")
app.get("/events", function(ctx)
  return ctx.sse(function(events)
    events:send("plain")
    events:send("two\\nlines\\r\\nand\\rthree", { event = "note", id = 7, retry = 1.5 })
    events:send({ n = 1 })
    events:send("")
    events:comment("so far")
    events:send(tostring(events.last_id))
  end)
end)
app.get("/fail", function(ctx)
  return ctx.sse(function(events) events:send("first") error("as asked") end)
end)
app.get("/wrong", function(ctx)
  return ctx.sse(function(events)
    events:send(select(2, pcall(events.send, events, "x", { id = "a\\nb" })))
    events:send(select(2, pcall(events.send, events, "x", { event = "a\\rb" })))
  end)
end)
app.get("/endless", function(ctx)
  return ctx.sse(function(events)
    local n = 0
    while events:send(n) do
      n = n + 1
      app.sleep(0.005)
    end
    print("left", n, events:send("x"), events:is_open())
  end)
end)
app.get("/given-up", function(ctx)
  return ctx.sse(function(events)
    local _, err = task.timeout(0.2, function() while events:send(("x"):rep(100000)) do end end)
    print("given up", err)
    events:send("the last one")
    print("sent")
  end)
end)
"""


@pytest.fixture
def server(serve):
    return serve(APP)


def test_events_have_the_form_of_the_standard(server):
    answer = server.get("/events", [("Last-Event-ID", "6")])
    assert answer["content-type"] == "text/event-stream" and answer["cache-control"] == "no-cache"
    expected = ": \n\ndata: plain\n\n"
    expected += "event: note\nid: 7\nretry: 1500\ndata: two\ndata: lines\ndata: and\ndata: three\n\n"
    expected += 'data: {"n":1}\n\ndata: \n\n: so far\n\ndata: 6\n\n'
    assert answer.text == expected


def test_line_end_in_a_field_is_an_error(server):
    answer = server.get("/wrong").text
    assert re.findall(r"sse: (\w+): a line end", answer) == ["id", "event"]


def test_error_is_logged_and_cuts_the_stream(server):
    with server.connect() as client:
        client.request(target="/fail")
        client.head()
        with pytest.raises(ConnectionResetError):
            client.until_close()
    server.wait_log("as asked")


def test_client_that_leaves_ends_the_events(server):
    with server.connect() as client:
        client.request(target="/endless")
        client.head()
        assert next(client.chunks())
        client.reset()
    server.wait_log(r"left\s+\d+\s+nil\s+false")


def test_send_that_was_given_up_holds_up_no_other(server):
    with server.connect() as client:
        client.request(target="/given-up")
        client.head()
        server.wait_log("given up\\s+timeout")
        assert b"the last one" in b"".join(client.chunks())
    server.wait_log("sent")
