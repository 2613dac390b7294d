"""A server that runs the Lua it is sent, with heart.v1.task as `task`."""

from pathlib import Path

import pytest
from heart_server import Server

APP = Path(__file__).with_name("app.lua").read_text()


class Lab:
    """One server; `run(code)` gives what the chunk returns, as text."""

    def __init__(self, server):
        self.server = server

    def run(self, code):
        with self.server.connect() as client:
            response = client.fetch("POST", "/run", body=code.encode())
        assert response.status == 200, response.text
        return response.text

    def stats(self):
        """Tasks and suspended coroutines of the worker."""
        return tuple(map(int, self.server.get("/stats").text.split()))


@pytest.fixture(scope="module")
def lab():
    with Server(APP) as server:
        yield Lab(server)
