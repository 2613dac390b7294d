"""--lua-memory: exhaustion is a 500 for that request, never a dead process."""

import pytest
from heart_server import SANITIZED, Server, heart

APP = """
local app = require("heart.v1")
app.get("/", function(ctx) return "hello" end)
app.get("/string", function(ctx) return #string.rep("x", 64 * 1024 * 1024) end)
app.get("/table", function(ctx)
  local t = {}
  for i = 1, 1e8 do t[i] = { i } end
  return #t
end)
app.get("/pcall", function(ctx)
  local ok, message = pcall(string.rep, "x", 64 * 1024 * 1024)
  return tostring(ok) .. " " .. message
end)
local kept = {}
app.get("/keep", function(ctx)
  kept[#kept + 1] = string.rep("k", 1024 * 1024) .. #kept
  return #kept
end)
app.get("/garbage", function(ctx)
  for i = 1, 200 do local s = string.rep(tostring(i), 100000) end
  return "collected"
end)
app.get("/collect", function(ctx)
  collectgarbage()
  collectgarbage("collect")
  local before = collectgarbage("count")
  local t = {}
  for i = 1, 20000 do t[i] = { i } end
  t = nil
  collectgarbage()
  local stopped = collectgarbage("stop")
  collectgarbage("restart")
  collectgarbage("setpause", 200)
  collectgarbage("setstepmul", 200)
  collectgarbage("step", 10)
  return tostring(collectgarbage("count") - before < 200) .. " " .. tostring(stopped)
end)
"""


@pytest.fixture
def server():
    with Server(APP, "--lua-memory", "16M") as server:
        yield server


@pytest.mark.parametrize("target", ["/string", "/table"])
def test_exhaustion_is_a_500_and_the_server_goes_on(server, target):
    for _ in range(3):
        assert server.get(target).status == 500
        assert server.get().text == "hello"
    server.wait_log("(?i)memory")


def test_exhaustion_can_be_caught(server):
    assert server.get("/pcall").text == "false not enough memory"


def test_garbage_is_no_exhaustion(server):
    for _ in range(10):
        assert server.get("/garbage").text == "collected"


def test_full_state_is_reloaded(server):
    """When a full collection does not help, the worker gets a new state; its globals begin anew."""
    statuses = [server.get("/keep").status for _ in range(40)]
    assert statuses.count(200) > 20
    assert 500 in statuses
    assert server.get().text == "hello"
    assert server.get("/keep").status == 200


@pytest.mark.skipif(SANITIZED, reason="measures memory")
def test_process_stays_near_its_limit(server):
    for _ in range(5):
        server.get("/table")
    assert server.rss() < 64 << 20


@pytest.mark.parametrize("more", [[], ["--lua-memory", "32M"]])
def test_collectgarbage_behaves(serve, more):
    server = serve(APP, *more)
    assert server.get("/collect").text == "true 0"


def test_limit_too_small_to_start_is_an_error_at_start(tmp_path):
    (tmp_path / "main.lua").write_text(APP)
    result = heart("serve", tmp_path / "main.lua", "--port", "0", "--lua-memory", "64K")
    assert result.returncode in (1, 2)
    assert "memory" in result.stderr
