"""app.ws and a page in Chromium: what the browser says of messages, subprotocols, closing and compression."""

import pytest

PAGE = """<!doctype html><script>
const url = (path) => location.origin.replace("http", "ws") + path;
const seen = { messages: [], closes: [] };

const one = new WebSocket(url("/echo"), ["v1", "v2"]);
one.binaryType = "arraybuffer";
const sent = ["", "grüße", "x".repeat(100000), new Uint8Array([0, 255]).buffer];
one.onopen = () => sent.forEach((message) => one.send(message));
one.onmessage = ({ data }) => {
  seen.messages.push(typeof data === "string" ? data.length : [...new Uint8Array(data)]);
  if (seen.messages.length === sent.length) {
    seen.protocol = one.protocol;
    seen.extensions = one.extensions;
    one.close(4000, "bye");
  }
};
one.onclose = ({ code, reason, wasClean }) => {
  seen.closes.push([code, reason, wasClean]);
  const two = new WebSocket(url("/leave"));
  two.onclose = ({ code, reason, wasClean }) => {
    seen.closes.push([code, reason, wasClean]);
    const three = new WebSocket(url("/others"));
    three.onclose = ({ code, reason, wasClean }) => {
      seen.closes.push([code, reason, wasClean]);
    };
  };
};
</script>"""
APP = """
local app = require("heart.v1")
app.ws("/echo", { protocols = { "v2" }, deflate_min = 0 }, {
  message = function(ws, ...) ws:send(...) end,
  close = function(_, code, reason) print("closed", code, reason) end,
})
app.ws("/leave", function(ws) ws:close(3001, "as asked") end)
app.ws("/others", { origins = { "https://other.example" } }, function() end)
app.get("/", function(ctx) return ctx.html([==[%s]==]) end)
"""


@pytest.mark.nightly
def test_page_and_server_understand_each_other(serve, browser):
    server = serve(APP % PAGE)
    page = browser.open(server.url)
    page.wait("seen.closes.length === 3")
    seen = page.evaluate("seen")
    assert seen["messages"] == [0, 5, 100000, [0, 255]]
    assert seen["protocol"] == "v2" and seen["extensions"].startswith("permessage-deflate")
    assert seen["closes"] == [[4000, "bye", True], [3001, "as asked", True], [1006, "", False]]
    server.wait_log(r"closed\s+4000\s+bye")
    page.close()
