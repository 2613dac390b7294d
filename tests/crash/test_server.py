"""The whole server under load, killed or without power: an answered write is there after the next start.

Clients count up keys of their own and remember what was answered; each also moves an amount between two keys in a
transaction, so that half a commit would show.
"""

import random
import threading
import time

import power_loss
import pytest
from heart_server import SANITIZED, Server

pytestmark = pytest.mark.skipif(SANITIZED, reason="the power loss layer and a sanitizer exclude each other")

APP = """
    local app = require("heart.v1")
    local disk = require("heart.v1.kv.disk")
    app.post("/count/:key/:n", function(ctx)
      local key = ctx.pathParam("key")
      local ok, err = disk.transaction(function(store)
        store.set(key, tonumber(ctx.pathParam("n")))
        local amount = math.random(10)
        store.set(key .. "-from", (store.fetch(key .. "-from") or 0) - amount)
        store.set(key .. "-to", (store.fetch(key .. "-to") or 0) + amount)
      end)
      return ok and 200 or 503, err or "ok"
    end)
    app.get("/check/:key", function(ctx)
      local key = ctx.pathParam("key")
      local balance = (disk.fetch(key .. "-from") or 0) + (disk.fetch(key .. "-to") or 0)
      return ("%d %d"):format(disk.fetch(key) or 0, balance)
    end)
"""
CLIENTS = 8


def count(server, name, last):
    """Count up until the server is gone."""
    try:
        with server.connect() as client:
            while True:
                n = last[name] + 1
                response = client.fetch("POST", f"/count/c{name}/{n}", body=b"")
                assert response.status == 200, response
                last[name] = n
    except (OSError, AssertionError) as error:
        if isinstance(error, AssertionError) and "503" in str(error):
            raise


def load_and_kill(folder, last, seconds, env=None):
    """Check what is there, then load the server and kill it."""
    with Server(APP, "--db", folder / "db", workers=2, env=env) as server:
        for name, n in enumerate(last):
            found, balance = map(int, server.get(f"/check/c{name}").text.split())
            assert found >= n, f"client {name}: {n} was acknowledged, {found} is there"
            assert balance == 0, f"client {name}: half a commit"
            last[name] = found
        threads = [threading.Thread(target=count, args=(server, n, last)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        server.process.kill()
        server.process.wait()
        for thread in threads:
            thread.join()
        server.temporary.cleanup()
        server.process.returncode = 0


def rounds_kill(folder, rounds, seed):
    chance, last = random.Random(seed), [0] * CLIENTS
    for _ in range(rounds):
        load_and_kill(folder, last, chance.uniform(0, 0.3))
    load_and_kill(folder, last, 0)
    assert sum(last) > rounds


def rounds_power(folder, rounds, seed):
    chance, last = random.Random(seed), [0] * CLIENTS
    library = power_loss.layer(folder)
    for _ in range(rounds):
        (folder / "db").mkdir(mode=0o700, exist_ok=True)
        env = power_loss.environment(library, folder / "db", folder / "kept")
        power_loss.begin(folder / "db", folder / "kept")
        load_and_kill(folder, last, chance.uniform(0, 0.3), env)
        power_loss.lose(folder / "db", folder / "kept", chance if chance.random() < 0.7 else None)
    load_and_kill(folder, last, 0)
    assert sum(last) > rounds


def test_killed_server_has_every_answered_write(tmp_path):
    rounds_kill(tmp_path, 20, 11)


def test_server_without_power_has_every_answered_write(tmp_path):
    rounds_power(tmp_path, 10, 12)


@pytest.mark.nightly
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("rounds", [rounds_kill, rounds_power])
def test_two_hundred_rounds(tmp_path, rounds):
    rounds(tmp_path, 200, 13)
