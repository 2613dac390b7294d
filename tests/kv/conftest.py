"""Fixtures of the K/V tests. `store` runs a test on every store."""

from contextlib import ExitStack

import pytest
from stores import STORES, Store


@pytest.fixture(scope="module", params=STORES)
def shared_store(request):
    with Store(request.param) as store:
        yield store


@pytest.fixture
def store(shared_store):
    """An empty store, whose server it shares with the other tests of its module."""
    shared_store.run("kv.deletePrefix('')")
    return shared_store


@pytest.fixture(params=STORES)
def open_store(request):
    """A function that starts a server of its own: `open_store("--flag", app=…)`."""
    with ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(Store(request.param, *args, **more))


@pytest.fixture
def open_memory():
    """The same for what only the memory store has."""
    with ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(Store("memory", *args, **more))
