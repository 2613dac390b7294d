"""require in a server: files that wait, loops, several at once; everything else as LuaJIT's own."""

import time

import lupa.luajit21
import pytest

FILES = {
    "slow.lua": "require('heart.v1').sleep(0.1) LOADED = (LOADED or 0) + 1 return { n = LOADED }",
    "a.lua": "require('heart.v1').sleep(0.05) return require('b')",
    "b.lua": "require('heart.v1').sleep(0.05) return require('a')",
    "fails.lua": "require('heart.v1').sleep(0.01) error('this file fails')",
    "self.lua": "return require('self')",
    "nothing.lua": "",
    "false_.lua": "return false",
    "sets.lua": "package.loaded[...] = 'set'",
    "broken.lua": "return ?",
    "name.lua": "return (...)",
}
APP = """
local app = require("heart.v1")
local task = require("heart.v1.task")
local early = require("slow").n
app.get("/early", function() return early end)
app.get("/both", function()
  package.loaded.slow = nil
  local a, b, c = task.gather(
    function() return require("slow") end, function() return require("slow") end, function() return require("slow") end)
  return tostring(a == b and b == c) .. LOADED
end)
app.get("/loop", function()
  local x = task.spawn(function() return pcall(require, "a") end)
  local y = task.spawn(function() return pcall(require, "b") end)
  local _, e1 = x:join(5)
  local _, e2 = y:join(5)
  return tostring(e1) .. "|" .. tostring(e2)
end)
app.get("/fails", function()
  local function try() return select(2, pcall(require, "fails")) end
  local a, b = task.gather(try, try)
  return a .. "|" .. b .. "|" .. try()
end)
app.get("/cancel", function()
  package.loaded.slow = nil
  local t = task.spawn(function() return require("slow") end)
  task.sleep(0.01)
  local other = task.spawn(function() return require("slow") end)
  task.sleep(0.01)
  t:cancel()
  return tostring(select(2, pcall(other.join, other, 5)))
end)
app.post("/same", function(ctx) return assert(loadstring(ctx.bytes()))() end)
"""


@pytest.fixture(scope="module")
def server():
    from heart_server import Server

    with Server(APP, files=FILES) as server:
        yield server


def test_file_that_waits_loads_at_start(server):
    assert server.get("/early").text == "1"


def test_several_who_require_at_once_get_one_load(server):
    start = time.monotonic()
    assert server.get("/both").text == "true2"
    assert time.monotonic() - start < 5


def test_loop_between_two_tasks_is_an_error(server):
    assert "loop or previous error loading module" in server.get("/loop").text


def test_failed_file_is_an_error_for_all_who_wait(server):
    first, second, third = server.get("/fails").text.split("|")
    assert first.endswith("this file fails")
    assert "loop or previous error loading module 'fails'" in second
    assert "loop or previous error loading module 'fails'" in third


def test_cancelled_load_is_a_failed_one(server):
    assert "loop or previous error loading module 'slow'" in server.get("/cancel").text


@pytest.mark.parametrize(
    "code",
    [
        "return tostring(require('nothing'))",
        "return tostring(require('false_')) .. tostring(require('false_'))",
        "return tostring(require('sets'))",
        "return require('name')",
        "return select(2, pcall(require, 'self')):gsub('^[^:]*/', '')",
        "return select(2, pcall(require, 'broken')):match('error loading module .broken. from file') or 'other'",
        "return select(2, pcall(require, 'no.such.module')):match('^[^\\n]*\\n[^\\n]*')",
        "return select(2, pcall(function() require() end)):gsub('^[^:]*:%d*: ', '')",
        "return select(2, pcall(function() require({}) end)):gsub('^[^:]*:%d*: ', '')",
        "package.preload[5] = function(n) return type(n) .. n end return tostring(pcall(require, 5))",
        "package.preload.p = function(n) return n .. '!' end return require('p') .. require('p')",
        "package.loaded.q = 1 return require('q')",
        "local l, _, e = package.loaders package.loaders = nil _, e = pcall(require, 'x') package.loaders = l return e",
        "package.preload.m = function(...) module(..., package.seeall) y = 7 end return require('m').y .. m.y",
    ],
)
def test_results_are_those_of_luajit(server, code):
    runtime = lupa.luajit21.LuaRuntime()
    runtime.execute(f"package.path = '{server.folder}/?.lua'")
    expected = runtime.execute(code)
    expected = expected[0] if isinstance(expected, tuple) else expected
    with server.connect() as client:
        response = client.fetch("POST", "/same", body=code.encode())
    assert response.status == 200, server.tail()
    shown = response.text.replace("/tmp/", "")
    assert shown.split("\n")[0] == str(expected).replace("/tmp/", "").split("\n")[0]
