"""The pages of examples/chat and examples/live-counter in a real browser, two windows each: what one does is seen in
the other, also after the server was started anew."""

import contextlib
import re
import signal
import time

import pytest
from heart_server import ROOT, Server, free_port, wait_until

pytestmark = pytest.mark.nightly  # Chromium is large

LOST = re.compile(r"ERR_CONNECTION|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|WebSocket connection to")


@contextlib.contextmanager
def example(name, port):
    with Server(ROOT / "examples" / name / "main.lua", "--host", "127.0.0.1", "--port", port, workers=2) as server:
        yield server


def say(page, text):
    page.type("#text", text)
    page.press("#text", "Enter")


def test_chat_reaches_the_other_window(browser):
    port = free_port()
    with example("chat", port) as server:
        ann, bob = (browser.open(f"{server.url}/?room=lobby&name={name}") for name in ("Ann", "Bob"))
        for page, name in ((ann, "Ann"), (bob, "Bob")):
            page.shows("#state", f"here as {name}")
        say(ann, "hello <b>Bob</b>")
        bob.shows("#messages", "hello <b>Bob</b>")
        say(bob, "grüße")
        ann.shows("#messages", "grüße")
        other = browser.open(f"{server.url}/?room=other&name=Cid")
        other.shows("#state", "here as Cid")
        late = browser.open(f"{server.url}/?room=lobby&name=Dan")
        late.shows("#messages", "grüße")
        assert "grüße" not in other.text("#messages")
        late.close()
        ann.shows("#messages", "Dan has left")
        assert [page.errors() for page in (ann, bob, other)] == [[], [], []]
        other.close()
    for page in (ann, bob):
        page.shows("#state", "connection lost")
    with example("chat", port):
        for page in (ann, bob):
            page.shows("#state", "here as")
        say(bob, "back again")
        ann.shows("#messages", "back again")
        for page in (ann, bob):
            assert [error for error in page.errors() if not LOST.search(error)] == []
            page.close()


def test_counter_moves_in_both_windows(browser):
    port = free_port()
    with example("live-counter", port) as server:
        one, two = (browser.open(server.url) for _ in range(2))
        for page in (one, two):
            page.shows("#count", "0")
        one.click("#more")
        two.shows("#count", "1")
        two.click("#more")
        one.shows("#count", "2")
        assert [page.errors() for page in (one, two)] == [[], []]
    with example("live-counter", port):
        for page in (one, two):
            page.wait("document.querySelector('#count').innerText === '0'")
        two.click("#more")
        one.shows("#count", "1")
        for page in (one, two):
            assert [error for error in page.errors() if not LOST.search(error)] == []
            page.close()


RESUMED = """
local app, channel = require("heart.v1"), require("heart.v1.channel")
channel.history("news", 100)
app.get("/", function(ctx) return ctx.html([[<link rel=icon href="data:,"><ol></ol><script>
  const events = new EventSource("/events");
  events.onmessage = (event) => {
    document.querySelector("ol").append(event.lastEventId + "=" + event.data + " ");
  };
</script>]]) end)
app.get("/events", function(ctx)
  return ctx.sse(function(events)
    events:comment("hello")
    events:subscribe("news")
  end)
end)
app.post("/publish", function(ctx) return tostring(channel.publish("news", ctx.bytes())) end)
"""


def test_event_source_comes_back_with_the_id_that_it_has_seen(browser, serve):
    """A reload cuts its stream off; what is published until the browser is back is not lost."""
    server = serve(RESUMED, "--reload-grace", 0.5, workers=2)
    page = browser.open(server.url)
    server.post("/publish", b"before it came")
    page.wait("events.readyState === 1")
    for n in range(3):
        server.post("/publish", b"m%d" % n)
    page.shows("ol", "=m2")
    server.signal(signal.SIGHUP)
    server.wait_log("reloaded")
    for n in range(3, 40):
        server.post("/publish", b"m%d" % n)
        time.sleep(0.05)
    page.shows("ol", "=m39")
    seen = page.text("ol").split()
    assert [word for word in seen if "=m" in word] == [f"{n + 2}=m{n}" for n in range(40)]
    assert [error for error in page.errors() if not LOST.search(error)] == []
    page.close()


def test_broken_page_is_told(browser, serve):
    """The tests above would see an error of a script."""
    server = serve("""
      require("heart.v1").get("/", function(ctx)
        return ctx.html('<link rel="icon" href="data:,"><p>x</p><script>nothing.here</script>')
      end)
    """)
    page = browser.open(server.url)
    assert wait_until(page.errors, "an error") == ["ReferenceError: nothing is not defined"]
    page.close()
