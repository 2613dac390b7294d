"""heart.v1.channel: publishing across workers to sockets, streams and functions; history, presence, patterns."""

import json
import re
import signal
import threading
import time

import pytest
from heart_server import wait_until
from websocket_client import Socket

APP = """
local app = require("heart.v1")
local channel = require("heart.v1.channel")
local kv = require("heart.v1.kv.memory")
local log = require("heart.v1.log")
local worker = require("heart.v1.worker")
channel.history("kept", 3)
channel.history("kept:more", 3)
channel.history("long", 1000)

app.ws("/ws/:name", {
  open = function(ws, ctx)
    ws:subscribe(ctx.pathParam("name"), { after = ctx.query("after") ~= "" and ctx.query("after") or nil,
      as = ctx.query("as") ~= "" and ctx.query("as") or nil })
    ws:send("worker " .. worker.id)
  end,
  message = function(ws, text)
    if text == "leave" then ws:unsubscribe("room") ws:send("left") return end
    local name, data = text:match("^(%S+) (.*)$")
    channel.publish(name, data)
  end,
})
app.post("/publish/:name", function(ctx)
  return tostring(channel.publish(ctx.pathParam("name"), ctx.bytes()))
end)
app.post("/table", function()
  return tostring(channel.publish("room", { n = 1, list = { "a" } }))
end)
app.get("/past/:name", function(ctx)
  return ctx.json(require("heart.v1.json").array(channel.past(ctx.pathParam("name"), ctx.query("after"))))
end)
app.get("/members", function(ctx)
  local name = ctx.query("name") ~= "" and ctx.query("name") or "room"
  return ctx.json({ count = channel.count(name), members = channel.members(name) })
end)
app.post("/fill/:n", function(ctx)
  for i = 1, tonumber(ctx.pathParam("n")) do
    assert(channel.publish("long", i))
    if i % 100 == 0 then app.sleep(0.01) end
  end
  return "filled"
end)
app.post("/huge", function()
  return tostring(pcall(channel.publish, "kept", ("x"):rep(2^24 + 1)))
end)
app.get("/events/:name", function(ctx)
  return ctx.sse(function(events) events:subscribe(ctx.pathParam("name")) log.info("events ended") end)
end)
app.get("/ticks", function(ctx)
  return ctx.sse(function(events)
    while events:is_open() do events:send("tick") app.sleep(0.05) end
  end)
end)
app.ws("/again", {
  open = function(ws)
    local earlier = ws:subscribe("room")
    earlier:stop()
    ws:subscribe("room")
    earlier:stop()
    ws:send("subscribed again")
  end,
  message = function(ws) ws:unsubscribe("room") ws:send("left") end,
})
app.post("/nan/:name", function(ctx) return tostring(channel.publish(ctx.pathParam("name"), { 0 / 0 })) end)
app.get("/as/:name", function(ctx)
  return ctx.sse(function(events) events:subscribe(ctx.pathParam("name"), { as = "one" }) end)
end)
app.get("/worker", function() return worker.id end)
app.on("start", function()
  local got = {}
  channel.subscribe("faulty", function(data)
    if data == "fail" then error("as asked") end
    log.info(("function of %d got %s"):format(worker.id, tostring(data)))
  end)
  channel.subscribe("long", function(data)
    if data == 600 then log.info("function was last given 600") end
  end, { after = 0 })
  channel.subscribe("told", function(data, message)
    app.sleep(0.001)
    got[#got + 1] = data
    if data == "stop" then
      log.info(("worker %d got %s on %s"):format(worker.id, table.concat(got, ","), message.channel))
    end
  end)
  kv.watch("user:", channel.feed("users"))
end)
app.post("/user", function(ctx) kv.set("user:1", ctx.bytes()) return "set" end)
"""


@pytest.fixture
def server(serve):
    return serve(APP, workers=2)


def sockets_of_both_workers(server, path):
    """A WebSocket on each worker; what they say first was read."""
    found = {}
    for _ in range(200):
        ws = Socket(server, path)
        if found.setdefault(ws.message(), ws) is not ws:
            ws.client.close()
        if len(found) == 2:
            return list(found.values())
    raise AssertionError("one worker took all of 200 connections")


def test_message_reaches_the_sockets_of_all_workers(server):
    one, two = sockets_of_both_workers(server, "/ws/room")
    server.post("/publish/room", "grüße".encode())
    assert one.message() == two.message() == "grüße"
    server.post("/table", b"")
    assert json.loads(one.message()) == json.loads(two.message()) == {"n": 1, "list": ["a"]}
    server.post("/publish/other", b"not for them")
    one.text("room from a socket")
    assert one.message() == two.message() == "from a socket"


def test_messages_of_one_publisher_come_in_order(server):
    one, two = sockets_of_both_workers(server, "/ws/room")
    for i in range(300):
        one.text(f"room {i}")
    for ws in (one, two):
        assert [ws.message() for _ in range(300)] == [str(i) for i in range(300)]


def test_socket_that_has_unsubscribed_or_closed_gets_nothing(server):
    one, two = sockets_of_both_workers(server, "/ws/room")
    one.text("leave")
    assert one.message() == "left"
    server.post("/publish/room", b"x")
    assert two.message() == "x"
    assert one.client.quiet(0.1)
    two.client.close()
    assert server.post("/publish/room", b"y").text == "true"


def test_subscription_that_is_stopped_twice_leaves_a_later_one_alone(serve):
    server = serve(APP, workers=1)
    with Socket(server, "/ws/room") as other, Socket(server, "/again") as again:
        assert (other.message(), again.message()) == ("worker 0", "subscribed again")
        server.post("/publish/room", b"x")
        assert again.message() == other.message() == "x"
        again.text("leave")
        assert again.message() == "left"
        server.post("/publish/room", b"y")
        assert other.message() == "y" and again.client.quiet(0.1)


def test_pattern_gets_all_that_match(server):
    with Socket(server, "/ws/room:*") as ws:
        ws.message()
        for name, text in (
            ("room:1", b"one"),
            ("rooms", b"no"),
            ("room:", b"two"),
            ("xroom:1", b"no"),
            ("room:*", b"three"),
        ):
            server.post(f"/publish/{name}", text)
        assert [ws.message() for _ in range(3)] == ["one", "two", "three"]


def test_function_gets_messages_of_all_workers_one_at_a_time(server):
    for i in range(20):
        server.post("/publish/told", str(i).encode())
    server.post("/publish/told", b"stop")
    for worker in (0, 1):
        got = server.wait_log(rf"worker {worker} got (\S+) on told")[1].split(",")
        assert sorted(got[:-1], key=int) == [str(i) for i in range(20)]


def test_history_is_kept_numbered_and_given_to_those_who_come_back(server):
    for i in range(1, 6):
        server.post("/publish/kept", f"m{i}".encode())
    assert [(m["id"], m["data"]) for m in server.get("/past/kept").json] == [(3, "m3"), (4, "m4"), (5, "m5")]
    assert [m["data"] for m in server.get("/past/kept?after=4").json] == ["m5"]
    assert server.get("/past/room").json == []
    with Socket(server, "/ws/kept?after=3") as ws:
        assert [ws.message() for _ in range(2)] == ["m4", "m5"]
        ws.message()
        server.post("/publish/kept", b"live")
        assert ws.message() == "live"


def test_message_that_can_not_be_kept_takes_no_number(server):
    server.post("/publish/kept", b"one")
    assert server.post("/huge", b"").text == "false"
    server.post("/publish/kept", b"two")
    assert [(m["id"], m["data"]) for m in server.get("/past/kept").json] == [(1, "one"), (2, "two")]


def test_publishers_of_both_workers_leave_no_hole_in_a_history(server):
    threads = [threading.Thread(target=server.post, args=("/fill/100", b"")) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [m["id"] for m in server.get("/past/long").json] == list(range(1, 601))


def test_members_are_known_to_all_workers(server):
    one, two = sockets_of_both_workers(server, "/ws/room?as=ann")
    wait_until(lambda: server.get("/members").json["count"] >= 2, "both are members")
    assert set(server.get("/members").json["members"]) == {"ann"}
    one.client.close(), two.client.close()
    wait_until(lambda: server.get("/members").json["count"] == 0, "nobody is left")


def test_event_stream_is_resumed_by_its_last_id(server):
    for text in (b"one", b"two", b"three"):
        server.post("/publish/kept", text)
    with server.connect() as client:
        client.request(target="/events/kept", headers=[("Last-Event-ID", "1")])
        client.head()
        chunks = client.chunks()
        seen = "".join(next(chunks).decode() for _ in range(3))
        assert re.findall(r"id: (\d+)\ndata: (\w+)", seen) == [("2", "two"), ("3", "three")]
        server.post("/publish/kept", b"live")
        assert next(chunks).decode() == "id: 4\ndata: live\n\n"
    server.wait_log("events ended")


def test_stream_that_fails_has_left_its_channel(server):
    with server.connect() as client:
        client.request(target="/as/numbers")
        client.head()
        wait_until(lambda: server.get("/members?name=numbers").json["count"] == 1, "the member")
        assert server.post("/nan/numbers", b"").text == "true"
        server.wait_log("cannot encode a number")
        wait_until(lambda: server.get("/members?name=numbers").json["count"] == 0, "its end")


def test_value_that_no_socket_can_get_reaches_the_functions(serve):
    server = serve(APP, workers=1)
    with Socket(server, "/ws/faulty") as ws:
        ws.message()
        assert server.post("/nan/faulty", b"").text == "true"
        server.wait_log("cannot encode a number")
        server.wait_log("function of 0 got table")
        server.post("/publish/faulty", b"next")
        assert ws.message() == "next"


def test_streams_end_when_the_server_stops(server):
    with server.connect() as client, server.connect() as other:
        streams = []
        for one, path in ((client, "/events/room"), (other, "/ticks")):
            one.request(target=path)
            one.head()
            streams.append(one.chunks())
            next(streams[-1])
        server.signal(signal.SIGTERM)
        for chunks in streams:
            list(chunks)  # in order, to the last one
    assert server.wait(5) == 0


def test_slow_stream_is_ended_and_holds_up_nobody(server):
    with server.connect(receive_buffer=4096) as slow, Socket(server, "/ws/big") as ws:
        ws.message()
        slow.request(target="/events/big")
        slow.head()
        for i in range(600):
            server.post("/publish/big", b"%03d" % i + b"x" * 20000)
            assert ws.message()[:3] == f"{i:03}"
        seen = b"".join(slow.chunks())
    got = [int(n) for n in re.findall(rb"data: (\d{3})x", seen)]
    assert got == list(range(len(got))) and len(got) < 600, "what it got came in order, and then an end"


def test_socket_subscribes_though_nothing_was_required(serve):
    app = """
    local app = require("heart.v1")
    app.ws("/", { open = function(ws) ws:subscribe("room") ws:unsubscribe("other") end, message = function() end })
    app.get("/publish", function() return tostring(require("heart.v1.channel").publish("room", "hello")) end)
    """
    server = serve(app, workers=2)
    with Socket(server, "/") as ws:
        wait_until(lambda: server.get("/publish").text == "true" and not ws.client.quiet(0.05), "it is subscribed")
        assert ws.message() == "hello"


def test_watcher_of_a_store_feeds_a_channel(server):
    with Socket(server, "/ws/users") as ws:
        ws.message()
        time.sleep(0.1)
        server.post("/user", b"Ann")
        event = json.loads(ws.message())
        assert (event["key"], event["value"]) == ("user:1", "Ann")


def test_many_subscribers_get_a_message(server):
    sockets = [Socket(server, "/ws/room") for _ in range(200)]
    for ws in sockets:
        ws.message()
    server.post("/publish/room", b"all")
    assert [ws.message() for ws in sockets] == ["all"] * 200
    for ws in sockets:
        ws.client.close()


def test_names_that_begin_alike_are_kept_apart(server):
    server.post("/publish/kept:more", b"more")
    server.post("/publish/kept", b"kept")
    assert [m["data"] for m in server.get("/past/kept").json] == ["kept"]
    with Socket(server, "/ws/room:1?as=ann") as ws:
        ws.message()
        assert server.get("/members").json == {"count": 0, "members": []}
        assert server.get("/members?name=room:1").json == {"count": 1, "members": ["ann"]}


def test_long_history_is_given_whole(server):
    """It is longer than the queue of a stream."""
    server.post("/fill/600", b"")
    with server.connect() as client:
        client.request(target="/events/long", headers=[("Last-Event-ID", "1")])
        client.head()
        chunks, seen = client.chunks(), ""
        while "data: 600\n" not in seen:
            seen += next(chunks).decode()
        assert re.findall(r"data: (\d+)", seen) == [str(i) for i in range(2, 601)]
    with Socket(server, "/ws/long?after=0") as ws:
        assert [ws.message() for _ in range(600)] == [str(i) for i in range(1, 601)]
    server.wait_log("function was last given 600")


def test_history_and_what_is_published_meanwhile_overlap_nowhere(server):
    """Subscribers come while both workers publish: each gets every later message once."""
    stop, last = threading.Event(), []

    def publish():
        with server.connect() as one, server.connect() as two:
            n = 0
            while not stop.is_set():
                n += 1
                (one, two)[n % 2].fetch("POST", "/publish/long", body=b"%d" % n)
            last.append(n)

    thread = threading.Thread(target=publish)
    thread.start()
    sockets = []
    for _ in range(60):
        sockets.append(Socket(server, "/ws/long?after=0"))
    stop.set()
    thread.join()
    for ws in sockets:
        got = [ws.message() for _ in range(last[0] + 1)]
        assert sorted(int(m) for m in got if m[0] != "w") == list(range(1, last[0] + 1))
        ws.client.close()


def test_id_of_before_a_restart_gets_all(server):
    server.post("/publish/kept", b"new")
    assert [m["data"] for m in server.get("/past/kept?after=17").json] == ["new"]
    assert server.get("/past/kept?after=1").json == []
    for odd in ("nan", "inf", "x", "-3"):
        assert len(server.get(f"/past/kept?after={odd}").json) == 1


def test_bytes_that_are_no_text_are_sent_as_such(server):
    one, two = sockets_of_both_workers(server, "/ws/room")
    server.post("/publish/room", b"\xff\x00")
    assert one.message() == two.message() == b"\xff\x00"


def test_failing_function_gets_the_next_message(server):
    server.post("/publish/faulty", b"fail")
    server.post("/publish/faulty", b"next")
    for worker in (0, 1):
        server.wait_log(f"function of {worker} got next")
    server.wait_log("as asked")


def test_socket_of_the_old_code_hears_the_new_one(server):
    old = sockets_of_both_workers(server, "/ws/room")
    server.signal(signal.SIGHUP)
    server.wait_log("reloaded")
    new = sockets_of_both_workers(server, "/ws/room")
    old[0].text("room from the old")
    server.post("/publish/room", b"from the new")
    for ws in (*old, *new):
        assert sorted(ws.message() for _ in range(2)) == ["from the new", "from the old"]
        assert ws.client.quiet(0.02)
    server.post("/publish/faulty", b"once")
    for worker in (0, 1):
        server.wait_log(f"function of {worker} got once")
    assert server.logs().count("got once") == 2, "functions of the old code hear no more"


@pytest.mark.parametrize(
    "code, part",
    [
        ('channel.publish("", 1)', "name of 1 to 255"),
        ("channel.publish(nil, 1)", "name of 1 to 255"),
        ('channel.publish("x")', "got nil"),
        ('channel.subscribe("x")', "expected a function"),
        ('channel.history("x", 0)', "length from 1"),
    ],
)
def test_wrong_use_is_told(serve, code, part):
    app = f"""
    local app, channel = require("heart.v1"), require("heart.v1.channel")
    app.get("/", function() return select(2, pcall(function() return {code} end)) end)
    """
    assert part in serve(app).get("/").text


def test_value_that_can_not_be_sent_is_refused(serve):
    app = """
    local app, channel = require("heart.v1"), require("heart.v1.channel")
    app.get("/", function() return tostring(select(2, channel.publish("x", { print }))) end)
    """
    assert serve(app, workers=2).get("/").text != "nil"
