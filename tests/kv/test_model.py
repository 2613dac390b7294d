"""Serializability: four clients run random transactions and single operations against one small set of keys. What each
has read must be what the store held just before its version, when all are put in the order of their versions.

The version of a transaction is known by a marker key that it writes, from the event of a watcher.
"""

import random
import threading
import time

import pytest
from heart_server import SANITIZED, wait_until

KEYS = ["a", "a1", "a2", "b", "b1", "b2"]
CLIENTS = 4
ROUNDS = 60 if SANITIZED else 200
APP = """
local markers = {}
kv.watch("id:", function(e) markers[#markers + 1] = e.lost and { "LOST", 0 } or { e.key:sub(4), e.version } end)
app.get("/markers", function(ctx) return ctx.json(json.array(markers)) end)
"""


class Step:
    """One operation of a client: Lua code that returns the reads, the writes it does, and what came of it."""

    def __init__(self, rng, number):
        self.id = f"t{number}"
        self.reads, self.writes, self.seen = [], {}, None
        self.version = self.began = self.ended = None
        kind = rng.choice(["transaction", "transaction", "serialTransaction", "batch", "read"])
        self.code = self.batch(rng) if kind == "batch" else self.transaction(rng, kind)

    def write(self, rng):
        """Lua of one write inside a transaction."""
        key = rng.choice(KEYS)
        self.writes[key] = None if rng.random() < 0.3 else self.id
        return f"s.delete('{key}')" if self.writes[key] is None else f"s.set('{key}', '{self.id}')"

    def transaction(self, rng, kind):
        lines = []
        for _ in range(rng.choice([1, 2, 3])):
            if rng.random() < 0.3:
                prefix = rng.choice(["", "a", "b"])
                reverse = rng.choice(["true", "false"])
                own = "~= ''" if prefix == "" else "~= nil"
                lines.append(
                    f"do local found = {{}} for _, i in ipairs(s.list{{prefix = '{prefix}', stop = 'c', "
                    f"reverse = {reverse}}}) do if i.key {own} then found[i.key] = i.value end end "
                    f"for _, k in ipairs{{'a', 'a1', 'a2', 'b', 'b1', 'b2'}} do "
                    f"if k:sub(1, {len(prefix)}) == '{prefix}' then note(k, found[k]) end end end"
                )
            else:
                key = rng.choice(KEYS)
                lines.append(f"note('{key}', (s.fetch('{key}')))")
            if rng.random() < 0.2:
                lines.append("app.sleep(0.001)")
        if kind != "read":
            lines += [self.write(rng) for _ in range(rng.choice([1, 1, 2]))] + [f"s.set('id:{self.id}', 1)"]
        name = "transaction" if kind == "read" else kind
        return (
            "local reads "
            "local function note(k, v) reads[#reads + 1] = {k, v or ''} end "
            f"local ok, err = kv.{name}(function(s) reads = json.array() {' '.join(lines)} end) return ok, reads, err"
        )

    def batch(self, rng):
        for key in rng.sample(KEYS, 2):
            self.writes[key] = None if rng.random() < 0.3 else self.id
        texts = [f"{{'delete', '{k}'}}" if v is None else f"{{'set', '{k}', '{v}'}}" for k, v in self.writes.items()]
        return f"return kv.batch{{{', '.join(texts)}, {{'set', 'id:{self.id}', 1}}}}, json.array()"

    def run(self, client):
        self.began = time.monotonic()
        ok, seen, *_ = client.run(self.code)
        self.ended = time.monotonic()
        self.seen = [(key, value or None) for key, value in seen] if ok else None
        return ok


def work(store, seed, steps):
    rng = random.Random(seed)
    with store.on_worker(seed % 2) as client:
        for i in range(ROUNDS):
            steps.append(Step(rng, seed * 10000 + i))
            steps[-1].run(client)


def check_history(steps, versions):
    """Replay all that committed in the order of the versions."""
    states = [(0, {})]  # after each version
    for step in sorted((s for s in steps if s.id in versions), key=lambda s: versions[s.id]):
        before = states[-1][1]
        assert step.seen is not None, "a transaction that was reported as failed was committed"
        for key, value in step.seen:
            assert before.get(key) == value, f"{step.id} {step.code}: {key} was {before.get(key)}, it saw {value}"
        after = dict(before)
        for key, value in step.writes.items():
            after[key] = value
        states.append((versions[step.id], after))
    return states


def check_reader(step, states):
    """What a transaction without writes saw was all there at one moment."""
    assert any(all(state.get(k) == v for k, v in step.seen) for _, state in states), step.code


@pytest.mark.parametrize("seed", range(2))
def test_random_transactions_of_four_clients_are_serializable(open_store, seed):
    store = open_store(app=APP)
    steps = [[] for _ in range(CLIENTS)]
    threads = [threading.Thread(target=work, args=(store, 4 * seed + i, steps[i])) for i in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = sum(steps, [])
    assert len(everything) == CLIENTS * ROUNDS
    written = {s.id for s in everything if s.writes and s.seen is not None}

    def markers():
        return store.server.get("/markers").json

    wait_until(lambda: len(markers()) >= len(written), "all events have come")
    versions = dict(markers())
    assert "LOST" not in versions and set(versions) == written
    states = check_history(everything, versions)
    assert sum(len(s.seen) for s in everything if s.seen is not None) > CLIENTS * ROUNDS
    assert len(written) > CLIENTS * ROUNDS / 3
    for step in everything:
        if not step.writes and step.seen is not None:
            check_reader(step, states)
    final = {key: value for key, value in states[-1][1].items() if value is not None}
    assert {i["key"]: i["value"] for i in store.one("return kv.list{stop = 'c'}")} == final
