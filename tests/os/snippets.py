"""An app that runs Lua snippets, for the tests of this folder.

Lua.run(code, **values) gives the list of what the snippet returned; `v` is a table of the values. Binary strings go
both ways as latin-1 text.
"""

import json

from heart_server import Server

APP = """
local app = require("heart.v1")
local json = require("heart.v1.json")

-- Strings of any bytes, as UTF-8 text with one character for each byte, and back.
local function wide(s)
  return (s:gsub("[\\128-\\255]", function(c)
    local n = c:byte()
    return string.char(192 + math.floor(n / 64), 128 + n % 64)
  end))
end
local function narrow(s)
  return (s:gsub("[\\194\\195][\\128-\\191]", function(c)
    return string.char((c:byte(1) - 192) * 64 + c:byte(2) - 128)
  end))
end
local function plain(v)
  if v == nil then
    return json.null
  elseif type(v) == "string" then
    return wide(v)
  elseif type(v) == "table" and v ~= json.null then
    local copy = {}
    for key, item in pairs(v) do
      copy[key] = plain(item)
    end
    return copy
  elseif type(v) == "function" or type(v) == "userdata" or type(v) == "thread" then
    return tostring(v)
  end
  return v
end

local function pack(...)
  local out = json.array()
  for i = 1, select("#", ...) do
    out[i] = plain((select(i, ...)))
  end
  return out
end
shared = {}

app.post("/run", { max_body = 2 ^ 30 }, function(ctx)
  local given = json.decode(ctx.bytes())
  for name, value in pairs(given.values) do
    given.values[name] = type(value) == "string" and narrow(value) or value
  end
  local f = assert(loadstring(given.code, "=snippet"))
  setfenv(f, setmetatable({ ctx = ctx, v = given.values }, { __index = _G, __newindex = _G }))
  return json.encode(pack(f()))
end)
app.onerror(function(_, err) return tostring(err) end)
app.get("/turn", function() return ("%f %f"):format(require("heart.core").longest_turn()) end)
for _, name in ipairs({ "fs", "process", "time", "random" }) do
  local found, module = pcall(require, "heart.v1." .. name)
  _G[name] = found and module or nil
end
"""


class Failed(Exception):
    """A snippet raised this error."""


class Lua:
    """A server with one worker that runs snippets."""

    def __init__(self, *args, app="", **more):
        self.server = Server(APP + app, *args, dev=False, **more)

    def __enter__(self):
        self.server.__enter__()
        return self

    def __exit__(self, *what):
        return self.server.__exit__(*what)

    @property
    def folder(self):
        return self.server.folder

    def send(self, client, code, **values):
        """Send a snippet without waiting for its results."""
        plain = {k: x.decode("latin-1") if isinstance(x, bytes) else x for k, x in values.items()}
        return client.request("POST", "/run", body=json.dumps({"code": code, "values": plain}).encode())

    def run(self, code, **values):
        """The results of a snippet, whose strings are latin-1 text; `v.name` are its values."""
        with self.server.connect() as client:
            return self.receive(self.send(client, code, **values))

    def receive(self, client):
        response = client.response()
        if response.status != 200:
            raise Failed(response.text)
        return response.json

    def one(self, code, **values):
        """The first result."""
        return self.run(code, **values)[0]

    def longest_turn(self):
        """ms of the longest turn since this or longest_work was called last, by the clock."""
        return float(self.server.get("/turn").text.split()[0])

    def longest_work(self):
        """The same in processor time."""
        return float(self.server.get("/turn").text.split()[1])

    def threads(self):
        """Names of the process's threads."""
        found = []
        for task in (self.server.folder.__class__(f"/proc/{self.server.pid}/task")).iterdir():
            try:
                found.append((task / "comm").read_text().strip())
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found
