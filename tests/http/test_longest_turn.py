"""The longest turn of a worker's loop, which the bench asks for: by the clock, and in processor time."""

import pytest

APP = """
local app = require("heart.v1")
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
