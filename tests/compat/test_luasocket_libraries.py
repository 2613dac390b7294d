"""Libraries that were written for LuaSocket, as Debian has them, on Heart's: redis-lua against a real Redis, copas."""

import socket
import threading

import pytest
from debian_files import unpack
from lua_shell import Shell
from peers import Peer, echo
from redis_server import RedisServer

PRELUDE = 'package.path = "%s/usr/share/lua/5.1/?.lua;" .. package.path socket = require("socket") '


@pytest.fixture(scope="module")
def server():
    with RedisServer() as redis:
        yield redis


@pytest.fixture(scope="module")
def lua():
    with Shell(prelude=PRELUDE % unpack("lua-redis") + 'redis = require("redis")') as shell:
        yield shell


def with_client(server, code):
    return f'local c = redis.connect("127.0.0.1", {server.port}) {code}'


def test_redis_commands(lua, server):
    code = """
        assert(c:ping())
        c:set("text", "a value\\r\\nof two lines")
        c:rpush("list", "a", "b", "c")
        c:hmset("hash", { x = 1, y = "two" })
        local hash, list = c:hgetall("hash"), c:lrange("list", 0, -1)
        local none = c:get("missing") == nil
        return c:get("text") .. table.concat(list) .. hash.x .. hash.y .. tostring(none) .. tostring(c:exists("hash"))
          .. tostring(c:incrby("counter", 5)) .. tostring(select(2, pcall(c.lpop, c, "text")) ~= nil)
    """
    assert lua.text(with_client(server, code)) == "a value\r\nof two linesabc1twotruetrue5true"


def test_redis_large_values_and_pipelines(lua, server):
    code = """
        local data = ...
        c:set("large", data)
        local replies = c:pipeline(function(p)
          for i = 1, 500 do p:set("key:" .. i, i) p:get("key:" .. i) end
        end)
        local sum = 0
        for i = 2, #replies, 2 do sum = sum + replies[i] end
        return tostring(c:get("large") == data) .. " " .. sum
    """
    assert lua.run(with_client(server, code), bytes(range(256)) * 20000) == b"true 125250"


def test_redis_transactions_and_messages(lua, server):
    code = f"""
        local replies = c:transaction(function(t) t:set("t", 1) t:incr("t") end)
        local other = redis.connect("127.0.0.1", {server.port})
        local got = {{}}
        for message, abort in other:pubsub({{ subscribe = {{ "news" }} }}) do
          if message.kind == "subscribe" then
            c:publish("news", "first")
            c:publish("news", "second")
          else
            got[#got + 1] = message.payload
            if #got == 2 then abort() end
          end
        end
        return tostring(replies[2]) .. table.concat(got, ",")
    """
    assert lua.text(with_client(server, code)) == "2first,second"


def test_redis_waits_hold_up_nobody(lua, server):
    """BLPOP of one request ends by a push of another."""
    told = []
    code = with_client(server, 'local r = c:blpop("queue", 10) return r[2] or r')
    waiter = threading.Thread(target=lambda: told.append(lua.text(code)))
    waiter.start()
    for _ in range(10):
        assert lua.text(with_client(server, "return tostring(c:ping())")) == "true"
    lua.text(with_client(server, 'return c:rpush("queue", "work")'))
    waiter.join(10)
    assert told == ["work"]


def test_redis_that_goes_away(lua):
    with RedisServer() as server:
        lua.text(f'kept = redis.connect("127.0.0.1", {server.port}) return ""')
        server.kill()
        assert "closed" in lua.text('return tostring(select(2, pcall(kept.get, kept, "x")))')
        refused = f'return tostring(select(2, pcall(redis.connect, "127.0.0.1", {server.port})))'
        assert "connection refused" in lua.text(refused) or "could not connect" in lua.text(refused)


def test_redis_over_a_unix_socket(lua, tmp_path):
    with RedisServer(unixsocket=tmp_path / "redis") as _:
        assert lua.text(f'return tostring(redis.connect("unix://{tmp_path}/redis"):ping())') == "true"


# ---- copas ------------------------------------------------------------------------------------------------------


@pytest.fixture
def copas():
    """It replaces functions of `socket`, so each test has a server of its own."""
    with Shell(prelude=PRELUDE % unpack("lua-copas", "lua-coxpcall") + 'copas = require("copas")') as shell:
        yield shell


def test_copas_clients_run_side_by_side(copas):
    with Peer(echo) as peer:
        code = f"""
            local got = {{}}
            for i = 1, 50 do
              copas.addthread(function()
                local c = socket.tcp()
                assert(copas.connect(c, "127.0.0.1", {peer.port}))
                c = copas.wrap(c)
                for round = 1, 5 do
                  assert(c:send("thread " .. i .. " round " .. round .. "\\n"))
                  assert(c:receive("*l") == "thread " .. i .. " round " .. round)
                end
                c:send(("x"):rep(100000))
                local back = assert(c:receive(100000))
                got[#got + 1] = #back
                c.socket:close()
              end)
            end
            local last = socket.gettime() + 20
            while #got < 50 do
              copas.step(1)
              assert(socket.gettime() < last)
            end
            return #got
        """
        assert copas.text(code) == "50"


def test_copas_server_in_a_task(copas):
    """Its loop waits in select, and the worker serves other requests meanwhile."""
    port = int(
        copas.text("""
        local server = assert(socket.bind("127.0.0.1", 0))
        copas.addserver(server, function(c)
          c = copas.wrap(c)
          for line in function() return c:receive() end do
            if line == "large" then c:send(("y"):rep(3000000)) else c:send(line:upper() .. "\\n") end
          end
        end)
        require("heart.v1.task").spawn(copas.loop)
        return (select(2, server:getsockname()))
    """)
    )
    clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(30)]
    for n, client in enumerate(clients):
        client.sendall(b"line %d\n" % n)
        assert copas.text('return "meanwhile"') == "meanwhile"
    for n, client in enumerate(clients):
        assert client.makefile("rb").readline() == b"LINE %d\n" % n
    clients[0].sendall(b"large\n")
    clients[1].sendall(b"small\n")
    assert clients[1].recv(100) == b"SMALL\n"
    size = 0
    while size < 3000000:
        size += len(clients[0].recv(65536))
    for client in clients:
        client.close()
