"""The longest turn of a worker's loop, which the bench asks for: by the clock, and in processor time. Much that becomes
ready at once is spread over many turns."""

import time

import pytest
from turns import assert_short_turns

CROWD = 80
PIECE_MS = 0.25  # that each of the crowd computes in one go
BURST_MS = 6  # all of them in one turn would take 20; a turn's budget is 1 ms, with its last items and a slow machine
APP = """
local app = require("heart.v1")
local disk = require("heart.v1.kv.disk")
local core = require("heart.core")
local function piece()
  local stop = os.clock() + 0.00025
  while os.clock() < stop do end
end
app.get("/piece", function()
  piece()
  return "done"
end)
app.get("/yield", function()
  for _ = 1, 4 do
    coroutine.yield()
    piece()
  end
  return "done"
end)
app.get("/timer", function()
  core.sleep(0.2)
  piece()
  return "done"
end)
app.get("/post", function()
  disk.set("key", "value")
  piece()
  return "done"
end)
app.get("/turn", function()
  return ("%f %f"):format(require("heart.core").longest_turn())
end)
app.get("/compute", function()
  local stop = os.clock() + 0.05
  while os.clock() < stop do end
  return "done"
end)
app.get("/block", function()
  os.execute("sleep 0.05")
  return "done"
end)
"""


@pytest.fixture
def turns(serve):
    """A function: (ms, ms of work) of the longest turn since it was called last."""
    server = serve(APP)

    def ask():
        turn, work = server.get("/turn").text.split()
        return float(turn), float(work)

    ask.server = server
    ask()
    return ask


def test_turn_that_computes_is_long_and_worked(turns):
    turns.server.get("/compute")
    turn, work = turns()
    assert turn >= 49 and work >= 40


def test_turn_that_blocks_is_long_and_did_not_work(turns):
    turns.server.get("/block")
    turn, work = turns()
    assert turn >= 50 > work


def test_counters_begin_anew_when_asked(turns):
    turns.server.get("/compute")
    turns()
    turns.server.get("/turn")
    assert turns()[1] < 40


@pytest.mark.parametrize("target", ["/piece", "/yield", "/timer", "/post"])
def test_crowd_does_not_make_a_long_turn(turns, target):
    clients = [turns.server.connect() for _ in range(CROWD)]
    turns.server.get("/post")

    def measure():
        turns()
        for client in clients:
            client.request(target=target)
        assert [client.response().text for client in clients] == ["done"] * CROWD
        return turns()[1]

    assert_short_turns(measure, BURST_MS)


def test_pipelined_crowd_does_not_make_a_long_turn(turns):
    def measure():
        turns()
        with turns.server.connect() as client:
            client.send(b"GET /piece HTTP/1.1\r\nHost: test\r\n\r\n" * CROWD)
            assert [client.response().text for _ in range(CROWD)] == ["done"] * CROWD
        return turns()[1]

    assert_short_turns(measure, BURST_MS)


def test_pipeline_over_many_turns_is_answered_though_its_client_sends_no_more(turns):
    with turns.server.connect() as client:
        client.send(b"GET /piece HTTP/1.1\r\nHost: test\r\n\r\n" * CROWD).half_close()
        assert client.until_close().count(b"HTTP/1.1 200") == CROWD


def test_one_who_pipelines_does_not_hold_up_others(turns):
    with turns.server.connect() as greedy, turns.server.connect() as other:
        other.fetch(target="/turn")
        greedy.send(b"GET /piece HTTP/1.1\r\nHost: test\r\n\r\n" * 1600)
        time.sleep(0.02)
        other.fetch(target="/turn")
        greedy.sock.setblocking(False)
        answered = greedy.sock.recv(1 << 20).count(b"HTTP/1.1 200")
        assert answered < 1200
