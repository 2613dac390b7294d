"""The Autobahn cases, as PyPI's kosoku has them: an independent verdict on the protocol, server's side and client's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from heart_server import free_port

APP = """
local app = require("heart.v1")
app.ws("/called", { message = function(ws, data, kind) ws:send(data, kind) end })
app.ws("/asked", function(ws)
  local data, kind = ws:receive()
  while data do
    ws:send(data, kind)
    data, kind = ws:receive()
  end
end)
"""
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"}
# Those that the package itself ends after 100 ms, with messages of 16 MB in small fragments.
CUT_OFF = {"9.3.1", "9.3.2", "9.4.1", "9.4.2"}


CLIENT = """
local app = require("heart.v1")
local task = require("heart.v1.task")
local websocket = require("heart.v1.websocket")

local function run(case)
  local ws = websocket.connect("URL/runCase?agent=heart&case=" .. case, { OPTIONS })
  while ws do
    local data, kind = ws:receive()
    if not data or not ws:send(data, kind) then return end
  end
end

task.spawn(function()
  local ws = assert(websocket.connect("URL/getCaseCount"))
  local count = ws:receive()
  for case = 1, tonumber(count) do run(case) end
  ws = assert(websocket.connect("URL/updateReports?agent=heart"))
  ws:receive()
  print("all cases were run")
end)
app.get("/", function() return "" end)
"""
KOSOKU = Path(sys.executable).with_name("kosoku")
ALL = 517


def verdicts(server, path, folder, *select):
    """The behaviour of the server that was seen, by case."""
    words = [KOSOKU, "-m", "fuzzingclient", "-p", "2", "-o", folder, *select]
    subprocess.run([*words, f"127.0.0.1:{server.port}{path}"], check=False, capture_output=True, timeout=3000)
    return behaviour(folder)


def client_verdicts(serve, options, folder, *select):
    """The same of the client."""
    port = free_port()
    words = [KOSOKU, "-m", "fuzzingserver", "-o", folder, *select, f"127.0.0.1:{port}"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as suite:
        try:
            assert "listening" in suite.stderr.readline()
            code = CLIENT.replace("URL", f"ws://127.0.0.1:{port}").replace("OPTIONS", options)
            serve(code, "--ws-deflate-min", "0").wait_log("all cases were run", 3000)
            suite.communicate(timeout=30)
        finally:
            suite.kill()
    return behaviour(folder)


def behaviour(folder):
    index = next(folder.rglob("index.json"))
    found = {}
    for cases in json.loads(index.read_text()).values():
        found |= {case: (result["behavior"], result.get("behaviorClose")) for case, result in cases.items()}
    return found


def judge(found, expected):
    wrong = {case: seen for case, seen in found.items() if not set(seen) - {None} <= GOOD and case not in CUT_OFF}
    assert len(found) == expected
    assert not wrong


def test_cases_of_the_protocol_pass(serve, tmp_path):
    select = [word for case in ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*") for word in ("-i", case)]
    found = verdicts(serve(APP), "/called", tmp_path, *select)
    judge(found, len(found))
    assert len(found) > 200


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("path", ["/called", "/asked"])
def test_all_cases_pass(serve, tmp_path, path):
    judge(verdicts(serve(APP, "--ws-deflate-min", "0"), path, tmp_path), ALL)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("options", ["", 'deflate = "context"'])
def test_client_passes_all_cases(serve, tmp_path, options):
    judge(client_verdicts(serve, options, tmp_path), ALL)
