"""The table of smuggling attempts, sent to the real server: nothing may be read as a second request."""

from contextlib import suppress

import pytest
from heart_server import Server
from smuggling import ATTACKS, ONE

APP = """
local app = require("heart.v1")
local function seen(ctx) return "handled " .. ctx.path() end
app.get("/*", seen)
app.post("/*", seen)
app.put("/*", seen)
app.delete("/*", seen)
"""
MARKER = b"GET /marker HTTP/1.1\r\nHost: marker\r\n\r\n"
each_attack = pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])


@pytest.fixture(scope="module")
def server():
    with Server(APP, "--no-access-log") as server:
        yield server


def answers(server, *pieces):
    """All responses to what is sent piece by piece, up to the close."""
    found = []
    with server.connect() as client:
        with suppress(ConnectionError):
            for piece in pieces:
                client.send(piece)
                client.quiet(0.005)
            client.half_close()
        while client.rest or client.fill():
            found.append(client.response())
    return found


def outcome(attack, responses):
    """What happened, after checking that it is one of the outcomes of the table."""
    bodies = [response.text for response in responses]
    assert not [body for body in bodies if "/smuggled" in body], bodies
    first = responses[0].status
    if first >= 400:
        assert first in attack.outcomes
        assert len(responses) == 1, "something was answered after a refusal"
        assert responses[0]["connection"] == "close"
    else:
        assert ONE in attack.outcomes, bodies
        assert len(responses) == 2, "what follows is the marker, or is refused"
        assert bodies[1] == "handled /marker" or responses[1].status >= 400
    return first


@each_attack
def test_attempt_is_refused_or_is_one_request(server, attack):
    """RFC 9112 section 11.2: after a refusal nothing is answered, else exactly the request that follows."""
    whole = outcome(attack, answers(server, attack.raw + MARKER))
    middle = len(attack.raw) // 2
    assert outcome(attack, answers(server, attack.raw[:middle], attack.raw[middle:] + MARKER)) == whole
