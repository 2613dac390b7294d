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


@pytest.fixture
def site(tmp_path):
    """The same for files, one of them with a compressed one beside it."""
    need("h2load", "nghttp2-client")
    files = {"large.bin": "x" * 100000, "app.js": "original", "app.js.gz": "compressed"}
    counter = tmp_path / "calls"
    code = 'require("heart.v1").static("/", "site", { max_age = 60 })'
    with Server(
        code,
        "--no-access-log",
        files={f"site/{name}": text for name, text in files.items()},
        env=allocations.environment(counter),
    ) as server:
        yield server, counter


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/app.js", ["Accept-Encoding: br;q=0.9, gzip", 'If-None-Match: "x"', "Range: bytes=1-9"]),
        pytest.param("/large.bin", ["Range: bytes=-20000"], marks=pytest.mark.nightly),
    ],
)
def test_files_cause_no_malloc_calls(site, path, fields):
    """With conditions, a range, and a choice between codings."""
    server, counter = site
    few, many = allocations.windows(server.url + path, counter, fields)
    assert few == many


@pytest.mark.parametrize("path", ["/hello", "/echo?name=X"])
def test_twice_the_requests_cause_equal_malloc_calls(counted, path):
    server, counter = counted
    few, many = allocations.windows(server.url + path, counter)
    assert few == many
    assert allocations.calls(counter) > 0, "nothing was counted: the library was not preloaded"
