"""Handlers that yield to the engine free the worker; generators and user coroutines keep working."""

import time

import pytest
from heart_server import SANITIZED, Server, wait_until

APP = """
local app = require("heart.v1")
local function ms(ctx) return tonumber(ctx.pathParam("ms")) / 1000 end

app.get("/", function(ctx) return "hello" end)
app.get("/sleep/:ms", function(ctx) app.sleep(ms(ctx)) return "slept " .. ctx.pathParam("ms") end)
app.get("/twice/:ms", function(ctx) app.sleep(ms(ctx)) app.sleep(ms(ctx)) return "twice" end)

app.get("/pcall/:ms", function(ctx)
  local ok, value = pcall(function() app.sleep(ms(ctx)) error("after") end)
  return tostring(ok) .. " " .. tostring(value):match("after")
end)
app.get("/xpcall/:ms", function(ctx)
  local function handler(e) return "handled " .. e:match("after") end
  local ok, value = xpcall(function() app.sleep(ms(ctx)) error("after") end, handler)
  return tostring(ok) .. " " .. value
end)
app.get("/coroutine/:ms", function(ctx)
  local co = coroutine.create(function(a)
    app.sleep(ms(ctx))
    local b = coroutine.yield(a + 1)
    app.sleep(ms(ctx))
    return b * 2
  end)
  local _, first = coroutine.resume(co, 1)
  local _, second = coroutine.resume(co, 10)
  return first .. " " .. second .. " " .. coroutine.status(co)
end)
app.get("/nested/:ms", function(ctx)
  local outer = coroutine.wrap(function()
    local inner = coroutine.wrap(function()
      for i = 1, 3 do
        app.sleep(ms(ctx))
        coroutine.yield(i)
      end
    end)
    for _ = 1, 3 do coroutine.yield(inner() * 10) end
  end)
  return outer() .. " " .. outer() .. " " .. outer()
end)
app.get("/generator", function(ctx)
  local function numbers(n)
    return coroutine.wrap(function() for i = 1, n do coroutine.yield(i, i * i) end end)
  end
  local out = {}
  for i, square in numbers(5) do out[#out + 1] = i .. ":" .. square end
  return table.concat(out, " ")
end)
app.get("/iterator/:ms", function(ctx)
  local out = {}
  for k in pairs { a = 1, b = 2 } do app.sleep(ms(ctx)) out[#out + 1] = k end
  table.sort(out)
  return table.concat(out)
end)
app.get("/error/:ms", function(ctx)
  local co = coroutine.create(function() app.sleep(ms(ctx)) error("inside") end)
  local ok, message = coroutine.resume(co)
  return tostring(ok) .. " " .. message:match("inside") .. " " .. coroutine.status(co)
end)
app.get("/running", function(ctx)
  local co = coroutine.create(function() return coroutine.running() end)
  local _, inside = coroutine.resume(co)
  return tostring(inside == co) .. " " .. tostring(coroutine.isyieldable == nil or coroutine.isyieldable())
end)
app.get("/status", function(ctx)
  local outer
  outer = coroutine.create(function()
    return coroutine.status(outer)
  end)
  local _, running = coroutine.resume(outer)
  return running .. " " .. coroutine.status(outer) .. " " .. tostring(coroutine.resume(outer))
end)
app.get("/stray", function(ctx) coroutine.yield("nobody") return "went on" end)
app.get("/own/:id/:ms", function(ctx)
  local before = ctx.pathParam("id")
  app.sleep(ms(ctx))
  return before .. ctx.pathParam("id") .. ctx.queryParam("q") .. require("heart.v1.context").pathParam("id")
end)
app.get("/sort/:ms", function(ctx)
  local list = { 3, 1, 2 }
  table.sort(list, function(a, b) app.sleep(ms(ctx)) return a < b end)
  return table.concat(list)
end)
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


def test_sleeping_handlers_share_one_worker(server):
    """100 handlers of 300 ms at once take little more than one."""
    clients = [server.connect() for _ in range(100)]
    begin = time.monotonic()
    for client in clients:
        client.request(target="/sleep/300")
    for client in clients:
        assert client.response().text == "slept 300"
    assert 0.3 <= time.monotonic() - begin < 1.2
    for client in clients:
        client.close()


def test_others_are_served_while_one_sleeps(server):
    with server.connect() as sleeper, server.connect() as other:
        sleeper.request(target="/sleep/400")
        begin = time.monotonic()
        for _ in range(20):
            assert other.fetch().text == "hello"
        assert time.monotonic() - begin < 0.3
        assert sleeper.response().text == "slept 400"


@pytest.mark.parametrize("ms", [0, 1, 20, 150])
def test_sleep_lasts_as_long_as_it_says(server, ms):
    with server.connect() as client:
        begin = time.monotonic()
        assert client.fetch(target=f"/sleep/{ms}").status == 200
        assert ms / 1000 - 0.002 <= time.monotonic() - begin < ms / 1000 + 0.15


def test_sleepers_wake_in_the_order_of_their_times(server):
    clients = {}
    for ms in (300, 100, 200):
        clients[ms] = server.connect()
        clients[ms].request(target=f"/sleep/{ms}")
    ends = {}
    for ms in (100, 200, 300):
        clients[ms].response()
        ends[ms] = time.monotonic()
        clients[ms].close()
    assert ends[100] < ends[200] < ends[300]


@pytest.mark.skipif(SANITIZED, reason="measures CPU time")
def test_suspended_request_with_unread_input_costs_no_cpu(server):
    """Level-triggered epoll would report the unread input again and again."""
    with server.connect() as client:
        client.request(target="/sleep/1000")
        client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" * 100)
        time.sleep(0.1)
        before = server.cpu()
        time.sleep(0.7)
        assert server.cpu() - before < 0.03
        assert client.response().text == "slept 1000"
        assert [client.response().text for _ in range(100)] == ["hello"] * 100


@pytest.mark.skipif(SANITIZED, reason="measures CPU time")
def test_half_closed_suspended_request_costs_no_cpu(server):
    """EPOLLRDHUP stays signalled too."""
    with server.connect() as client:
        client.request(target="/sleep/800").half_close()
        time.sleep(0.1)
        before = server.cpu()
        time.sleep(0.5)
        assert server.cpu() - before < 0.03
        assert client.response().text == "slept 800"


@pytest.mark.skipif(SANITIZED, reason="measures CPU time")
def test_idle_server_costs_no_cpu(server):
    with server.connect() as client:
        client.fetch()
        time.sleep(0.3)
        before = server.cpu()
        time.sleep(1)
        assert server.cpu() - before < 0.02


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("/twice/20", "twice"),
        ("/pcall/20", "false after"),
        ("/xpcall/20", "false handled after"),
        ("/coroutine/20", "2 20 dead"),
        ("/nested/20", "10 20 30"),
        ("/generator", "1:1 2:4 3:9 4:16 5:25"),
        ("/iterator/20", "ab"),
        ("/error/20", "false inside dead"),
        ("/running", "true true"),
        ("/status", "running dead false"),
    ],
)
def test_yield_crosses_lua_constructs(server, target, text):
    assert server.get(target).text == text


def test_yield_across_a_c_boundary_is_an_error_of_that_request(server):
    """table.sort's callback cannot yield: 500, and the worker goes on."""
    assert server.get("/sort/10").status == 500
    assert server.get().text == "hello"


def test_stray_yield_does_not_hang_the_client(server):
    """A handler that yields to nobody gets an answer, whatever it is."""
    assert server.get("/stray").status in (200, 500)
    assert server.get().text == "hello"


def test_each_suspended_handler_keeps_its_own_request(server):
    """ctx and heart.v1.context belong to the coroutine, also after it slept."""
    clients = [server.connect() for _ in range(50)]
    for i, client in enumerate(clients):
        client.request(target=f"/own/{i}/{100 - i}?q=q{i}")
    for i, client in enumerate(clients):
        assert client.response().text == f"{i}{i}q{i}{i}"
        client.close()


def test_context_kept_after_its_request_raises(serve):
    """A ctx that outlived its request must never show another user's one."""
    server = serve("""
        local app = require("heart.v1")
        local kept
        app.get("/keep/:id", function(ctx) kept = ctx app.sleep(0.01) return "kept" end)
        app.get("/use", function(ctx)
          app.sleep(0.01)
          local ok, value = pcall(function() return kept.pathParam("id") end)
          return ok and "leaked " .. value or "refused"
        end)
    """)
    server.get("/keep/secret")
    assert server.get("/use").text == "refused"


def test_context_kept_by_a_request_that_ended_sees_no_other(serve):
    """Its coroutine, and with it the ctx, serves a third request that is suspended when the kept one is used."""
    server = serve("""
        local app = require("heart.v1")
        local kept
        app.get("/keep", function(ctx) kept = ctx return "kept" end)
        app.get("/secret", function(ctx) app.sleep(0.2) return "mine " .. ctx.queryParam("q") end)
        app.get("/use", function(ctx)
          local ok, value = pcall(kept.queryParam, "q")
          pcall(kept.status, 418)
          return ok and "leaked " .. value or "refused"
        end)
    """)
    with server.connect() as victim, server.connect() as other:
        assert victim.fetch(target="/keep").text == "kept"
        victim.request(target="/secret?q=secret")
        time.sleep(0.05)
        assert other.fetch(target="/use").text == "refused"
        response = victim.response()
        assert (response.status, response.text) == (200, "mine secret")


def test_client_that_leaves_frees_a_sleeping_handler(server):
    before = server.fds()
    clients = [server.connect() for _ in range(20)]
    for client in clients:
        client.request(target="/sleep/5000")
    time.sleep(0.05)
    for client in clients:
        client.reset()
    wait_until(lambda: server.fds() <= before, "descriptors are closed", 2)


def test_sleep_refuses_nonsense(serve):
    server = serve("""
        local app = require("heart.v1")
        app.get("/string", function(ctx) app.sleep("soon") end)
        app.get("/negative", function(ctx) app.sleep(-1) return "on" end)
        app.get("/nan", function(ctx) app.sleep(0 / 0) return "on" end)
    """)
    assert server.get("/string").status == 500
    for target in ("/negative", "/nan"):
        begin = time.monotonic()
        assert server.get(target).status in (200, 500)
        assert time.monotonic() - begin < 0.5
