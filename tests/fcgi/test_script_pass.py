"""How a request is passed on to a script state: what of the front's handler stays behind, and what if it fails."""

import fcgi_client
import pytest
from fcgi_client import Client
from heart_server import wait_until

FRONT = """
local app = require("heart.v1")
local core = require("heart.core")
local task = require("heart.v1.task")
local native = core.script

local box
local told = {}

local function pass(ctx, once)
  box = box or assert(native.new("script", "script.lua", ""))
  native.pass(ctx, box, once)
end

app.onerror(function(ctx, err)
  return "failed: " .. tostring(err):match("[^:]*$")
end)

app.get("/", pass)

app.get("/idle", function()
  return tostring(box and native.idle(box))
end)

app.get("/told", function()
  return table.concat(told, " ")
end)

app.get("/raise", function(ctx)
  pass(ctx)
  error("after pass", 0)
end)

app.get("/raise-once", function(ctx)
  pass(ctx, true)
  error("after pass", 0)
end)

app.get("/end", function(ctx)
  pass(ctx)
  core.request.finish(ctx)
  core.request.end_handler(ctx)
end)

app.get("/await", function(ctx)
  pass(ctx)
  task.spawn(function()
    native.await()
    told[#told + 1] = "free"
  end)
  task.sleep(0.01)
  error("after pass", 0)
end)

app.get("/cancelled", function(ctx)
  ctx.on_abort()
  pass(ctx)
  task.sleep(60)
end)

app.get("/on-abort", function(ctx)
  ctx.on_abort(function()
    told[#told + 1] = "aborted"
  end)
  pass(ctx)
end)

app.post("/reading", { body = "stream" }, function(ctx)
  local read = ctx.reader()
  task.spawn(function()
    local part, why = read()
    told[#told + 1] = part or why
  end)
  task.sleep(0.01)
  pass(ctx)
end)
"""
SCRIPT = """
local core = require("heart.core")
local task = require("heart.v1.task")
local served = 0
core.script.serve(function(ctx)
  if ctx.query("sleep") then
    task.sleep(tonumber(ctx.query("sleep")))
  end
  if ctx.query("read") then
    return ctx.reader()()
  end
  served = served + 1
  return "script " .. served
end)
"""


@pytest.fixture
def server(serve):
    return serve(FRONT, "--listen", "fcgi:127.0.0.1:0", files={"script.lua": SCRIPT})


@pytest.fixture
def client(server):
    with Client(server.address()) as found:
        yield found


def ask(client, target):
    return client.fetch(target=target).text


def test_request_is_passed_on(client):
    assert [ask(client, "/") for _ in range(2)] == ["script 1", "script 2"]


@pytest.mark.parametrize("target", ["/raise", "/await"])
def test_handler_that_fails_after_pass_leaves_its_script_free(client, target):
    """Its error is answered, and the script does not go on with what failed."""
    assert ask(client, target) == "failed: after pass"
    assert ask(client, "/idle") == "true"
    assert ask(client, "/") == "script 1"


def test_handler_that_fails_after_pass_wakes_who_waits_for_a_script(client):
    ask(client, "/await")
    wait_until(lambda: ask(client, "/told") == "free", "a free script is told")


def test_script_for_one_request_goes_with_the_handler_that_fails(client):
    assert ask(client, "/raise-once") == "failed: after pass"
    assert ask(client, "/idle") == "nil"


def test_handler_that_is_ended_after_pass_leaves_its_script_free(client):
    assert client.fetch(target="/end").status == 200
    assert ask(client, "/idle") == "true"


def test_handler_that_is_cancelled_after_pass_leaves_its_script_free(server, client):
    with Client(server.address()) as other:
        other.send(fcgi_client.request(target="/cancelled"))
        wait_until(lambda: ask(client, "/idle") == "false", "it is passed")
    wait_until(lambda: ask(client, "/idle") == "true", "it is free")


def test_on_abort_of_the_front_ends_with_its_handler(server, client):
    """The function is the front's: in the script's state the reference means something else."""
    with Client(server.address()) as other:
        other.send(fcgi_client.request(target="/on-abort?sleep=0.3"))
        wait_until(lambda: ask(client, "/idle") == "false", "it is passed")
    wait_until(lambda: ask(client, "/idle") == "true", "the script is done")
    assert ask(client, "/told") == ""
    assert ask(client, "/on-abort") == "script 2"
    assert ask(client, "/") == "script 3"
    assert "error" not in server.logs()


def test_task_that_reads_the_body_ends_with_the_front_handler(client):
    """The script reads it then."""
    client.send(fcgi_client.begin(1))
    sent = fcgi_client.variables("POST", "/reading?read=1", CONTENT_LENGTH=4)
    client.send(fcgi_client.stream(fcgi_client.PARAMS, 1, fcgi_client.pairs(sent)))
    wait_until(lambda: client.fetch(2, target="/idle").text == "false", "it is passed")
    client.send(fcgi_client.stream(fcgi_client.STDIN, 1, b"body"))
    assert client.answer(1).text == "body"
    wait_until(lambda: client.fetch(2, target="/told").text == "closed", "the task is told")
