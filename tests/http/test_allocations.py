"""The core asks the C library for no memory while it answers requests that it has answered before."""

import sys
from pathlib import Path

import pytest
from heart_server import SANITIZED, Server, need

BENCH = Path(__file__).parents[1] / "bench"
sys.path.append(str(BENCH))

import allocations  # noqa: E402 (it lives with the bench, which shares it)

pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer brings an allocator of its own")


@pytest.fixture(params=[["--no-access-log"], []], ids=["silent", "logged"])
def counted(request, tmp_path):
    """A server of the bench's application whose calls are counted: (server, file of the counter)."""
    need("h2load", "nghttp2-client")
    counter = tmp_path / "calls"
    with Server(BENCH / "app.lua", *request.param, env=allocations.environment(counter)) as server:
        yield server, counter


@pytest.mark.parametrize("path", ["/hello", "/echo?name=X"])
def test_twice_the_requests_cause_equal_malloc_calls(counted, path):
    server, counter = counted
    few, many = allocations.windows(server.url + path, counter)
    assert few == many
    assert allocations.calls(counter) > 0, "nothing was counted: the library was not preloaded"
