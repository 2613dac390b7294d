"""app.ws behind nginx and HAProxy, with PyPI's websockets and node's ws as clients."""

import json
import time

import pytest
import web_servers
from heart_server import PATIENCE, need, run
from node import modules
from websocket_servers import TOOLS
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

APP = """
local app = require("heart.v1")
local websocket = require("heart.v1.websocket")
app.get("/ask", function(ctx)
  local ws = assert(websocket.connect("ws://127.0.0.1:" .. ctx.query("port") .. "/echo"))
  ws:send(("x"):rep(1048576))
  local data = ws:receive(10)
  ws:close(4000, "bye")
  local _, why, code = ws:receive(10)
  return #data .. " " .. why .. " " .. code
end)
app.ws("/echo", { deflate_min = 0 }, {
  message = function(ws, data, kind)
    if data == "leave" then return ws:close(3001, "as asked") end
    ws:send(data, kind)
  end,
  close = function(_, code, reason) print("closed", code, reason) end,
})
app.ws("/context", { deflate_min = 0, deflate = "context" }, function(ws)
  local data, kind = ws:receive()
  while data do
    ws:send(data, kind)
    data, kind = ws:receive()
  end
end)
"""
IDLE = 1  # seconds until the front end hangs up
NGINX = f"""
server {{
  listen PORT;
  location / {{
    proxy_pass http://HEART; proxy_http_version 1.1; proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
    proxy_read_timeout {IDLE}s; proxy_send_timeout {IDLE}s;
  }}
}}
"""
HAPROXY = f"""
backend heart
  timeout server {IDLE}s
  timeout tunnel {IDLE}s
  server heart HEART
"""
FRONT_ENDS = {"nginx": (web_servers.nginx, NGINX), "haproxy": (web_servers.haproxy, HAPROXY)}


@pytest.fixture(scope="module")
def heart():
    from heart_server import Server

    with Server(APP, "--ws-ping-interval", "0.3") as server:
        yield server


@pytest.fixture(scope="module", params=FRONT_ENDS)
def front(request, heart):
    start, site = FRONT_ENDS[request.param]
    with start(("127.0.0.1", heart.port), site) as server:
        yield server.port


def opened(port, path="/echo", **more):
    more = {"open_timeout": PATIENCE, "close_timeout": PATIENCE, "max_size": None} | more
    return connect(f"ws://127.0.0.1:{port}{path}", **more)


def test_messages_of_any_size_come_back(front):
    for compression in ("deflate", None):
        with opened(front, compression=compression) as ws:
            for message in ("", "grüße", b"\x00\xff" * 300, "x" * (1 << 20), bytes(1 << 20)):
                ws.send(message)
                assert ws.recv(PATIENCE) == message


def test_client_of_heart_gets_through(front, heart):
    assert heart.get(f"/ask?port={front}").text == "1048576 closed 4000"
    heart.wait_log(r"closed\s+4000\s+bye")


def test_pings_are_answered(front):
    with opened(front) as ws:
        assert ws.ping("?").wait(PATIENCE)


def test_codes_and_reasons_pass_in_both_directions(front, heart):
    with opened(front) as ws:
        ws.send("leave")
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(PATIENCE)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (3001, "as asked")
    with opened(front) as ws:
        ws.close(4321, "enough")
    heart.wait_log(r"closed\s+4321\s+enough")


def test_idle_socket_is_kept_alive_by_pings(front):
    """For longer than the front end waits."""
    with opened(front, ping_interval=None) as ws:
        time.sleep(1.7 * IDLE)
        ws.send("still here")
        assert ws.recv(PATIENCE) == "still here"


@pytest.mark.parametrize("path", ["/echo", "/context"])
@pytest.mark.parametrize("options", [{}, {"perMessageDeflate": False}])
def test_client_of_node_gets_what_it_sends(heart, path, options):
    url = f"ws://127.0.0.1:{heart.port}{path}"
    words = [need("node", "nodejs"), TOOLS / "ws_client.cjs", url, json.dumps(options)]
    assert json.loads(run(*words, env={"NODE_PATH": str(modules())}).stdout) == {
        "messages": 14,
        "wrong": 0,
        "pong": "?",
        "extensions": "" if options else "permessage-deflate",
        "code": 1000,
    }
