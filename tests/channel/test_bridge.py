"""`--channels`: the channels of several servers, joined by a real Redis; what holds when it is slow, away or back."""

import contextlib
import json
import re
import signal
import threading
import time

import pytest
from heart_server import Server, free_port, heart, wait_until
from redis_server import Proxy, RedisServer
from websocket_client import Socket

from heartc import config
from heartc.errors import ConfigError

APP = """
local app = require("heart.v1")
local channel = require("heart.v1.channel")
local json = require("heart.v1.json")
channel.history("kept", 5)
channel.history("more", 5)
channel.history("long", 1000)

app.ws("/ws/:name", {
  open = function(ws, ctx)
    local as, after = ctx.query("as"), ctx.query("after")
    ws:subscribe(ctx.pathParam("name"), { as = as ~= "" and as or nil, after = after ~= "" and after or nil })
    ws:send("ready")
  end,
  message = function(ws, text)
    local name, data = text:match("^(%S+) (.*)$")
    channel.publish(name, data)
  end,
})
app.post("/publish/:name", function(ctx) return tostring(channel.publish(ctx.pathParam("name"), ctx.bytes())) end)
app.post("/table", function() return tostring(channel.publish("room", { n = 1, list = { "a" } })) end)
app.post("/many/:name/:n", function(ctx)
  for i = 1, tonumber(ctx.pathParam("n")) do
    assert(channel.publish(ctx.pathParam("name"), i))
    if i % 50 == 0 then app.sleep(0.002) end
  end
  return "sent"
end)
app.get("/past/:name", function(ctx) return ctx.json(json.array(channel.past(ctx.pathParam("name")))) end)
app.get("/members", function(ctx) return ctx.json(json.array(channel.members("room"))) end)
app.get("/events/:name", function(ctx)
  return ctx.sse(function(events) events:subscribe(ctx.pathParam("name")) end)
end)
"""


@pytest.fixture
def place():
    with RedisServer() as place:
        yield place


@pytest.fixture(scope="module")
def joined():
    """Two such servers for the tests that leave Redis alone."""
    with RedisServer() as place, contextlib.ExitStack() as stack:
        pair = [stack.enter_context(Server(APP, "--channels", place.url, workers=2)) for _ in range(2)]
        for server in pair:
            server.place = place
        yield pair


@pytest.fixture
def pair(serve, place):
    """Two servers with two workers each, joined."""
    return [serve(APP, "--channels", place.url, workers=2) for _ in range(2)]


@contextlib.contextmanager
def listening(server, name, count=1, query=""):
    """Sockets that have subscribed."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(Socket(server, f"/ws/{name}{query}")) for _ in range(count)]
        for ws in sockets:
            assert ws.message() == "ready"
        yield sockets


def past(server, name="kept"):
    return [(message["id"], message["data"]) for message in server.get(f"/past/{name}").json]


def lose(place, *servers):
    """Kill Redis and wait until the servers know."""
    place.kill()
    for server in servers:
        server.wait_log("channels: the connection is lost")


def come_back(place, *servers):
    place.start()
    for server in servers:
        server.wait_log("channels: connected again")


def test_message_reaches_the_subscribers_of_all_servers_once(joined):
    one, two = joined
    with listening(one, "room", 3) as here, listening(two, "room", 3) as there, listening(two, "r*m") as pattern:
        sockets = [*here, *there, *pattern]
        one.post("/publish/room", "grüße".encode())
        two.post("/publish/other", b"for nobody")
        two.post("/table", b"")
        one.post("/publish/room", b"\xff\0binary")
        here[0].text("room last")
        for ws in sockets:
            got = [ws.message() for _ in range(4)]
            assert got.index("grüße") < got.index(b"\xff\0binary"), "the order of one publisher"
            got.remove("grüße"), got.remove(b"\xff\0binary"), got.remove("last")
            assert json.loads(got[0]) == {"n": 1, "list": ["a"]}
        assert all(ws.client.quiet(0.05) for ws in sockets[::3])


@pytest.mark.parametrize("name", ["room", pytest.param("long", marks=pytest.mark.nightly)])
def test_messages_of_one_publisher_come_in_order_everywhere(joined, name):
    one, two = joined
    with listening(one, name, 2) as here, listening(two, name, 2) as there:
        for i in range(300):
            here[0].text(f"{name} {i}")
        for ws in [*here, *there]:
            assert [ws.message() for _ in range(300)] == [str(i) for i in range(300)]


@pytest.mark.nightly
def test_burst_is_not_too_much_for_a_worker(joined):
    one, two = joined
    with listening(two, "room", 4) as there:
        assert one.post("/many/room/1000", b"").text == "sent"
        for ws in there:
            assert [int(ws.message()) for _ in range(1000)] == list(range(1, 1001))


def test_history_is_numbered_by_all_servers_together(joined, serve):
    one, two = joined
    with listening(one, "kept") as (here,), listening(two, "kept") as (there,):
        for i in range(8):
            (one, two)[i % 2].post("/publish/kept", b"m%d" % i)
            assert (here.message(), there.message()) == (f"m{i}", f"m{i}")
    expected = [(i + 1, f"m{i}") for i in range(3, 8)]
    assert past(one) == past(two) == expected
    three = serve(APP, "--channels", one.place.url, workers=2)
    assert past(three) == expected, "a server that comes later has it"
    with Socket(three, "/ws/kept?after=6") as ws:
        assert [ws.message() for _ in range(3)] == ["m6", "m7", "ready"]


@pytest.mark.nightly
def test_event_stream_is_resumed_on_another_server(joined):
    one, two = joined
    for text in (b"one", b"two", b"three"):
        one.post("/publish/more", text)
    wait_until(lambda: len(past(two, "more")) == 3, lambda: past(two, "more"))
    with two.connect() as client:
        client.request(target="/events/more", headers=[("Last-Event-ID", "1")])
        client.head()
        chunks = client.chunks()
        seen = "".join(next(chunks).decode() for _ in range(3))
        assert re.findall(r"id: (\d+)\ndata: (\w+)", seen) == [("2", "two"), ("3", "three")]
        one.post("/publish/more", b"live")
        assert next(chunks).decode() == "id: 4\ndata: live\n\n"


def test_members_of_all_servers_are_known(joined, serve):
    one, two = joined
    with listening(one, "room", query="?as=ann"), listening(two, "room", query="?as=bob"):
        for server in joined:
            wait_until(lambda s=server: sorted(s.get("/members").json) == ["ann", "bob"], "both are there")
        three = serve(APP, "--channels", one.place.url)
        wait_until(lambda: sorted(three.get("/members").json) == ["ann", "bob"], "one that comes later asks")
    for server in (one, two, three):
        wait_until(lambda s=server: s.get("/members").json == [], "both have left")


def test_stuck_worker_holds_up_the_others_for_a_second(serve, place):
    stuck = """
    local worker = require("heart.v1.worker")
    worker.on_message("stick", function() os.execute("sleep 3") end)
    app.post("/stick", function() return tostring(worker.send(1, true, "stick")) end)
    app.ws("/worker", {
      open = function(ws) ws:subscribe("room") ws:send(tostring(worker.id)) end,
      message = function() end,
    })
    """
    server = serve(APP + stuck, "--channels", place.url, workers=2)
    with contextlib.ExitStack() as stack:

        def socket_of_the_first():
            ws = stack.enter_context(Socket(server, "/worker"))
            return ws.message() == "0" and ws

        ws = wait_until(socket_of_the_first, "a socket of the first worker")
        client = place.client()
        assert wait_until(lambda: server.post("/stick", b"").text == "true", "the message is sent")
        began = time.monotonic()
        for i in range(600):
            client.publish("heart:channel:room", str(i))
        assert [int(ws.message()) for _ in range(600)] == list(range(600))
        assert time.monotonic() - began < 2.5


@pytest.mark.nightly
def test_another_program_publishes_and_subscribes(joined):
    client = joined[0].place.client()
    pubsub = client.pubsub()
    pubsub.psubscribe("heart:channel:*")
    with listening(joined[1], "room") as (ws,):
        client.publish("heart:channel:room", "plain text")
        assert ws.message() == "plain text"
        client.publish("heart:channel:", "nobody's")
        client.publish("heart:channel:room", b"\0H1m0123456789abcdef\xc1")
        client.publish("heart:channel:kept", b"\0H1hx")
        client.publish("heart:channel:room", "after what is malformed")
        assert ws.message() == "after what is malformed"
    joined[0].post("/publish/told", b"hello")
    wait_until(
        lambda: (m := pubsub.get_message(timeout=0.1)) and m["channel"] == b"heart:channel:told" and m["data"][-5:],
        "the message",
    )


@pytest.mark.nightly
def test_other_prefix_is_another_world(serve, place):
    one, two = (serve(APP, "--channels", f"{place.url}/1?prefix={name}%3A*") for name in ("a", "b"))
    three = serve(APP, env={"HEART_CHANNELS": f"{place.url}/1?prefix=a:*"})
    with listening(two, "room") as (other,), listening(three, "room") as (same,):
        one.post("/publish/room", b"x")
        assert same.message() == "x"
        assert other.client.quiet(0.1)


def test_lost_redis_leaves_the_server_alone_and_comes_back(pair, place):
    one, two = pair
    with listening(one, "room", 2) as here, listening(two, "room") as (there,), listening(two, "kept") as (kept,):
        one.post("/publish/kept", b"before")
        assert kept.message() == "before"
        lose(place, one, two)
        assert one.post("/publish/room", b"alone").text == "true"
        assert [ws.message() for ws in here] == ["alone", "alone"]
        come_back(place, one, two)
        one.post("/publish/room", b"together")
        assert [ws.message() for ws in (*here, there)] == ["together"] * 3
        one.post("/publish/kept", b"after")
        assert kept.message() == "after", "though the numbers have begun again"
    assert one.logs().count("channels: the connection is lost") == 1


@pytest.mark.nightly
def test_history_closes_the_gap(serve):
    """The messages that were published while Redis was away, by the server that could reach it and the one that could
    not; nobody gets one twice."""
    with RedisServer(appendonly="yes", appendfsync="always") as place:
        one, two = [serve(APP, "--channels", place.url, workers=2) for _ in range(2)]
        with listening(one, "long", 2) as here, listening(two, "long", 2) as there:
            one.post("/publish/long", b"first")
            assert [ws.message() for ws in (*here, *there)] == ["first"] * 4
            lose(place, one, two)
            for text in (b"a", b"b"):
                one.post("/publish/long", text)
            two.post("/publish/long", b"c")
            assert [[ws.message() for _ in range(2)] for ws in here] == [["a", "b"]] * 2, "at once, here"
            come_back(place, one, two)
            assert [ws.message() for ws in here] == ["c"] * 2
            assert [sorted(ws.message() for _ in range(3)) for ws in there] == [["a", "b", "c"]] * 2
            two.post("/publish/long", b"last")
            assert [ws.message() for ws in (*here, *there)] == ["last"] * 4
        assert past(one, "long") == past(two, "long")
        assert sorted(data for _, data in past(one, "long")) == ["a", "b", "c", "first", "last"]


@pytest.mark.nightly
@pytest.mark.parametrize("forgets", [False, True])
def test_message_whose_answer_is_lost_comes_once(serve, place, forgets):
    """It is sent again, for nobody knows whether Redis has it; with `forgets` it has not, any more."""
    with Proxy(place.port) as proxy:
        one, two = serve(APP, "--channels", proxy.url, workers=2), serve(APP, "--channels", place.url, workers=2)
        with listening(one, "kept") as (here,), listening(two, "kept") as (there,):
            proxy.swallow = 1
            one.post("/publish/kept", b"once")
            assert here.message() == there.message() == "once"
            if forgets:
                place.client().flushall()
            one.wait_log("connected again")
            one.post("/publish/kept", b"next")
            assert here.message() == there.message() == "next"
        assert [data for _, data in past(two)] == ["once", "next"]


@pytest.mark.nightly
def test_slow_redis_is_not_waited_for(pair, place):
    one, two = pair
    with listening(one, "room") as (here,), listening(two, "room") as (there,):
        place.pause()
        assert one.post("/many/room/1500", b"").text == "sent"
        assert [int(here.message()) for _ in range(1500)] == list(range(1, 1501))
        one.wait_log("the server is too slow")
        place.resume()
        one.wait_log("reach other servers again")
        one.post("/publish/room", b"end")
        got = list(iter(there.message, "end"))
        assert got == [str(i) for i in range(1, len(got) + 1)] and 1000 < len(got) < 1500


@pytest.mark.parametrize("name", ["room", pytest.param("long", marks=pytest.mark.nightly)])
def test_reload_loses_and_repeats_nothing(joined, name):
    """Of what comes from the other server, on a socket of the old code; nor of what this server sends."""
    one, two = joined
    count = 400
    with listening(one, name) as (here,), listening(two, name) as (there,):

        def talk(ws, word):
            for i in range(count):
                ws.text(f"{name} {word}{i}")
                time.sleep(0.002)

        talkers = [threading.Thread(target=talk, args=(ws, word)) for ws, word in ((here, "h"), (there, "t"))]
        for thread in talkers:
            thread.start()
        time.sleep(0.1)
        one.signal(signal.SIGHUP)
        for thread in talkers:
            thread.join()
        for ws in (here, there):
            got = [ws.message() for _ in range(2 * count)]
            for word in "ht":
                assert [m for m in got if m[0] == word] == [f"{word}{i}" for i in range(count)]
    assert "reloaded" in one.logs()


def start(tmp_path, url):
    (tmp_path / "main.lua").write_text(APP)
    return heart("serve", tmp_path / "main.lua", "--port", "0", "--channels", url)


def test_server_does_not_start_without_its_redis(tmp_path):
    port = free_port()
    result = start(tmp_path, f"redis://:secret@127.0.0.1:{port}")
    assert result.returncode == 1
    assert result.stderr == f"heart: --channels redis://127.0.0.1:{port}: connection refused\n"


@pytest.mark.nightly
def test_wrong_password_is_told(tmp_path, serve):
    with RedisServer(requirepass="right") as place:
        for login, reason in (("", "NOAUTH"), (":wrong@", "WRONGPASS"), ("me:right@", "WRONGPASS")):
            result = start(tmp_path, f"redis://{login}127.0.0.1:{place.port}")
            assert result.returncode == 1
            assert re.match(rf"heart: --channels redis://127.0.0.1:{place.port}: {reason}", result.stderr)
        server = serve(APP, "--channels", f"redis://:right@127.0.0.1:{place.port}")
        assert server.post("/publish/room", b"x").text == "true"


@pytest.mark.parametrize(
    "url", ["http://h", "redis://", "redis-cluster://a,b", "redis://h?x=1", "redis://h?prefix=", "redis://h?prefix=%00"]
)
def test_wrong_url_is_told(url):
    with pytest.raises(ConfigError, match="--channels: .*expected redis://"):
        config.read_options(["serve", __file__, "--channels", url])


def test_url_is_understood():
    found = config.read_options(["serve", __file__, "--channels", "redis://me:p%40ss@[::1]:7/2?prefix=a%3A"]).channels
    assert len(found.pop("origin")) == 16
    assert found == {
        "url": "redis://[::1]:7/2",
        "host": "::1",
        "port": "7",
        "tls": "",
        "user": "me",
        "password": "p@ss",
        "db": "2",
        "prefix": "a:",
    }


@pytest.mark.nightly
def test_something_else_on_the_port_is_told(tmp_path, serve):
    other = serve('require("heart.v1").get("/", function() return "x" end)')
    result = start(tmp_path, f"redis://127.0.0.1:{other.port}")
    assert result.returncode == 1
    assert "this is not RESP3" in result.stderr


@pytest.mark.nightly
def test_connection_is_encrypted(serve, certificates):
    leaf, trust = certificates.root.issue("redis", "DNS:localhost"), {"SSL_CERT_FILE": str(certificates.root.path)}
    port, root = free_port(), certificates.root.path
    tls = {"tls_cert_file": leaf.path, "tls_key_file": leaf.key, "tls_ca_cert_file": root, "tls_auth_clients": "no"}
    with RedisServer(tls_port=port, **tls):
        one, two = (serve(APP, "--channels", f"rediss://localhost:{port}", env=trust) for _ in range(2))
        with listening(two, "room") as (ws,):
            one.post("/publish/room", b"secret")
            assert ws.message() == "secret"


@pytest.mark.nightly
def test_application_that_uses_no_channel_starts_connected(serve, place):
    server = serve('require("heart.v1").get("/", function() return "x" end)', "--channels", place.url, workers=2)
    assert server.get("/").text == "x"
    assert len([c for c in place.client().client_list() if c["name"] == "heart-channels"]) == 1


@pytest.mark.nightly
def test_value_that_can_not_be_sent_is_refused(serve, place):
    app = """
    local app, channel = require("heart.v1"), require("heart.v1.channel")
    channel.history("kept", 5)
    app.get("/:name", function(ctx) return tostring(select(2, channel.publish(ctx.pathParam("name"), { print }))) end)
    """
    server = serve(app, "--channels", place.url)
    assert "function" in server.get("/room").text
    assert "function" in server.get("/kept").text


@pytest.mark.nightly
def test_check_needs_no_redis(tmp_path):
    (tmp_path / "main.lua").write_text(APP)
    result = heart("check", tmp_path / "main.lua", env={"HEART_CHANNELS": f"redis://127.0.0.1:{free_port()}"})
    assert result.returncode == 0, result.stderr


@pytest.mark.nightly
def test_reload_without_redis_is_a_reload(pair, place):
    one, _ = pair
    with listening(one, "room") as (old,):
        lose(place, one)
        one.signal(signal.SIGHUP)
        one.wait_log("reloaded")
        with listening(one, "room") as (new,):
            one.post("/publish/room", b"x")
            assert old.message() == new.message() == "x"
        come_back(place, one)
