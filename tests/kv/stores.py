"""Servers for the tests of the K/V stores: an app that runs Lua snippets with `kv` being the store, and its client.

STORES are the stores that every test of the shared API runs on: name → (module, what starts its server, or None).
Another store is tested by adding it here.
"""

import json
from contextlib import ExitStack

from heart_server import Server
from redis_server import RedisServer

STORES = {
    "memory": ("heart.v1.kv.memory", None),
    "disk": ("heart.v1.kv.disk", None),
    "redis": ("heart.v1.kv.disk", RedisServer),
}

APP = """
local app = require("heart.v1")
local json = require("heart.v1.json")
local kv = require("%s")
local log = require("heart.v1.log")

-- What a snippet returns, as JSON: a list, with null for nil and {"bytes": [...]} for what is not UTF-8.
local function plain(v)
  if v == nil then
    return json.null
  elseif type(v) == "string" and not pcall(json.encode, v) then
    return { bytes = { v:byte(1, -1) } }
  elseif type(v) == "number" and v - v ~= 0 then
    return tostring(v)
  elseif type(v) == "table" then
    local copy = {}
    for k, item in pairs(v) do
      copy[k] = plain(item)
    end
    return copy
  end
  return v
end
shared = {}

local function run(ctx)
  local f = assert(loadstring(ctx.bytes(), "=snippet"))
  local globals = { kv = kv, app = app, ctx = ctx, log = log, json = json }
  setfenv(f, setmetatable(globals, { __index = _G, __newindex = _G }))
  local function pack(...)
    local out = json.array()
    for i = 1, select("#", ...) do
      out[i] = plain((select(i, ...)))
    end
    return out
  end
  return json.encode(pack(f()))
end
app.post("/run", run)
app.onerror(function(_, err) return tostring(err) end)
app.get("/worker", function() return require("heart.core").worker end)
"""


class Failed(Exception):
    """A snippet raised this error."""


class Store:
    """A server with a store. `run(code)` runs a snippet and returns the list of its results."""

    def __init__(self, name, *args, app="", **more):
        module, start = STORES[name]
        self.place = start and start()
        more.setdefault("workers", 2)
        needed = ("--kv", self.place.url) if self.place else ()
        self.server = Server(APP % module + app, *needed, *args, dev=False, **more)

    def __enter__(self):
        with ExitStack() as stack:
            if self.place:
                stack.enter_context(self.place)
            stack.enter_context(self.server)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *what):
        return self.stack.__exit__(*what)

    def client(self):
        return Client(self.server.connect())

    def run(self, code, *values):
        with self.client() as client:
            return client.run(code, *values)

    def one(self, code, *values):
        """The first result."""
        return self.run(code, *values)[0]

    def on_worker(self, number):
        """A client of that worker."""
        while True:
            client = self.client()
            if int(client.connection.fetch("GET", "/worker").text) == number:
                return client
            client.close()


class Client:
    """One connection to a Store."""

    def __init__(self, connection):
        self.connection = connection

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.connection.close()

    def send(self, code, *values):
        self.connection.request("POST", "/run", body=fill(code, values))
        return self

    def receive(self):
        response = self.connection.response()
        if response.status != 200:
            raise Failed(response.text)
        return response.json

    def run(self, code, *values):
        return self.send(code, *values).receive()


def fill(code, values):
    """Put Lua texts of `values` in the places of `?`."""
    parts = code.split("?")
    assert len(parts) == len(values) + 1, code
    return "".join(a + b for a, b in zip(parts, [*map(lua, values), ""], strict=True)).encode("latin-1")


def lua(value):
    """A Python value as Lua text."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return '"' + "".join(f"\\{b:03d}" for b in value) + '"'
    if isinstance(value, str):
        return lua(value.encode())
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{lua(k)}] = {lua(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "{" + ", ".join(map(lua, value)) + "}"
    return json.dumps(value)
