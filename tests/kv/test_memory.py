"""The memory store's own: its size, eviction, giving memory back, sweeping, and its options."""

import pytest
from heart_server import SANITIZED, heart, wait_until
from stores import Failed

MIB = 1 << 20


def test_full_store_says_so_and_goes_on(open_memory):
    store = open_memory("--kv-memory", "1M")
    stored, reason = store.run(
        """for i = 1, 10000 do
          local ok, err = kv.set('k' .. i, ('x'):rep(1000))
          if not ok then return i - 1, err end
        end"""
    )
    assert 800 < stored < 1050 and reason == "the memory store is full (--kv-memory)"
    assert store.server.wait_log("kv: the memory store is full")
    assert store.run("return kv.set('k1', 'small')")[0] is True
    assert store.run("return kv.transaction(function(s) s.set('big', ('x'):rep(100000)) end)") == [None, reason]
    assert store.one("return kv.count()") == stored
    assert store.run("return kv.deletePrefix('k'), kv.set('big', ('x'):rep(100000))")[:2] == [stored, True]


def test_eviction_keeps_what_is_used(open_memory):
    store = open_memory("--kv-memory", "1M", "--kv-eviction", "lru", workers=1)
    with store.client() as client:
        for batch in range(10):
            client.run(
                """for i = 1, 500 do
                  assert(kv.set(('k%d:%d'):format(?, i), ('x'):rep(1000)))
                  kv.set('used', 'kept')
                end
                app.sleep(0.03)""",
                batch,
            )
    assert store.one("return kv.get('used')") == "kept"
    newest, oldest, all_ = store.run("return kv.count('k9:'), kv.count('k0:'), kv.count()")
    assert newest > 450 and oldest < 50 and all_ < 1050
    assert store.run("return kv.set('huge', ('x'):rep(2000000))")[0] is None


@pytest.mark.skipif(SANITIZED, reason="AddressSanitizer keeps freed memory for a while")
def test_freed_memory_goes_back_to_the_system(open_memory):
    store = open_memory("--kv-memory", "256M")
    before = store.server.rss()
    store.run("for i = 1, 100000 do kv.set('k' .. i, ('x'):rep(500)) end")
    full = store.server.rss()
    assert full > before + 50 * MIB
    store.run("kv.deletePrefix('') collectgarbage()")
    wanted = before + (full - before) / 4
    wait_until(lambda: store.server.rss() < wanted, lambda: f"{before} {full} {store.server.rss()}")


@pytest.mark.skipif(SANITIZED, reason="sanitized code is slow in its own way")
def test_new_key_costs_about_the_same_in_a_large_store(open_memory):
    store = open_memory("--kv-memory", "256M", workers=1)
    small, large = store.run(
        """local function insert(from, to)
          local start = os.clock()
          for i = from, to do kv.set('key:' .. i, 'x') end
          return (os.clock() - start) / (to - from)
        end
        local small = insert(1, 20000)
        insert(20001, 180000)
        return small * 1e9, insert(180001, 200000) * 1e9"""
    )
    assert large < small * 5


def test_expired_keys_are_swept_without_being_read(open_memory):
    store = open_memory("--kv-memory", "2M", workers=2)
    for _ in range(5):
        assert store.one(
            """for i = 1, 1200 do
              if not kv.set('k' .. i .. ?, ('x'):rep(1000), {ttl = 0.1}) then return false end
            end
            return true""",
            kv_suffix(),
        ), "expired keys still take their room"
        wait_until(lambda: store.one("app.sleep(0.2) return kv.count()") == 0, "all expired")


def kv_suffix(state=[0]):  # noqa: B006  a counter
    state[0] += 1
    return f":{state[0]}"


def test_server_that_has_no_expiring_keys_sleeps(open_memory):
    store = open_memory()
    store.run("kv.set('k', 1, {ttl = 0.1}) app.sleep(0.5)")
    before = store.server.cpu()
    store.run("app.sleep(1)")
    assert store.server.cpu() - before < 0.05


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--kv-memory", "0", "a size"),
        ("--kv-eviction", "lfu", "none or lru"),
        ("--kv-lock-timeout", "0", "seconds"),
    ],
)
def test_wrong_option_is_named(tmp_path, flag, value, expected):
    script = tmp_path / "main.lua"
    script.write_text("")
    result = heart("serve", script, flag, value)
    assert result.returncode != 0 and flag in result.stderr and expected in result.stderr


def test_lua_that_runs_out_of_memory_in_a_store_function_loses_no_lock(open_memory):
    """A large value does not fit the Lua state: the read fails, and everything goes on."""
    store = open_memory("--lua-memory", "12M", workers=1)
    store.run("kv.set('big', ('x'):rep(2000000))")
    for _ in range(5):
        with pytest.raises(Failed, match="not enough memory"):
            store.run("local t = {} for i = 1, 20 do t[i] = kv.get('big') .. i end")
        with pytest.raises(Failed, match="not enough memory"):
            store.run(
                "local t = {} kv.serialTransaction(function(s) for i = 1, 20 do t[i] = s.get('big') .. i end end)"
            )
    assert store.run("return kv.serialTransaction(function(s) s.set('k', 1) return s.has('big') end)") == [True, True]
