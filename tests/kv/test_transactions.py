"""Transactions on every store: what they see, how they end, conflicts and retries, and how they are used wrongly."""

import pytest
from stores import Failed


def test_results_come_back_behind_true(store):
    assert store.run("return kv.transaction(function() return 1, nil, 'x' end)") == [True, 1, None, "x"]
    assert store.run("return kv.serialTransaction(function() end)") == [True]


@pytest.mark.parametrize("kind", ["transaction", "serialTransaction"])
def test_own_writes_are_seen_and_committed(store, kind):
    store.run("kv.set('old', 1) kv.set('gone', 1)")
    seen = store.one(
        f"""local _, seen = kv.{kind}(function(s)
          s.set('new', {{x = 1}})
          s.delete('gone')
          s.set('old', 2)
          s.set('old', 3)
          return {{s.fetch('new'), s.has('gone'), s.get('gone'), s.fetch('old'), s.listKeys(), s.count('n'),
                  s.getMany{{'new', 'gone'}}}}
        end)
        return seen"""
    )
    assert seen == [{"x": 1}, False, "", 3, ["new", "old"], 1, {"new": {"x": 1}}]
    assert store.one("return kv.listPairs()") == [{"key": "new", "value": {"x": 1}}, {"key": "old", "value": "3"}]


def test_all_writing_functions_work_inside(store):
    store.run("kv.set('there', 1, {ttl = 100}) kv.set('p1', 1) kv.set('p2', 1)")
    results = store.run(
        """return kv.transaction(function(s)
          local added, refused = s.add('k', 1), s.add('k', 2)
          local _, version = s.fetch('there')
          local swapped = s.cas('there', version, 5)
          local wrong = s.cas('there', version, 6)
          return added, refused, swapped, wrong, s.incr('n', 2, 5), s.incr('n'), s.expire('k', 50), s.expire('none', 1),
                 s.ttl('k') > 49, s.deletePrefix('p'), s.cas('there', 0, nil)
        end)"""
    )
    assert results == [True, True, False, True, False, 7, 8, True, False, True, 2, False, 0]
    assert store.run("return kv.list{keys_only = true}, kv.ttl('n')")[0] == ["k", "n", "there"]
    assert store.one("return kv.ttl('k') > 40")


@pytest.mark.parametrize("kind", ["transaction", "serialTransaction"])
@pytest.mark.parametrize("error", ["'text'", "{code = 7}", "nil"])
def test_error_of_fn_rolls_back_and_is_raised(store, kind, error):
    code = f"""
      local ok, err = pcall(kv.{kind}, function(s) s.set('k', 1) error({error}, 0) end)
      return ok, type(err) == 'table' and err.code or err"""
    assert store.run(code) == [False, {"'text'": "text", "{code = 7}": 7, "nil": None}[error]]
    assert store.run("return kv.has('k'), (kv.serialTransaction(function() end))") == [False, True]


def test_pages_of_a_list_contain_own_writes(store):
    store.run("for i = 0, 599 do kv.set(('k%03d'):format(i), i) end")
    results = store.run(
        """return kv.transaction(function(s)
          for i = 0, 599, 3 do s.delete(('k%03d'):format(i)) end
          s.set('k000a', 'new') s.set('k599a', 'new') s.set('a', 'new') s.set('k001', 'changed')
          local all = s.list{prefix = 'k'}
          local back = s.list{prefix = 'k', reverse = true}
          local page, cursor = s.list{prefix = 'k', limit = 3, keys_only = true}
          local same = #all == #back
          for i = 1, #all do same = same and all[i].key == back[#back + 1 - i].key end
          return #all, all[1].key, all[2].value, all[#all].key, same, page, cursor
        end)"""
    )
    assert results == [True, 402, "k000a", "changed", "k599a", True, ["k000a", "k001", "k002"], "k002"]


# ---- Conflicts -------------------------------------------------------------------------------------------------------

INTERFERE = "if tries <= {times} then kv.set('{key}', 'by another ' .. tries) end"


def transaction(body, times, key, options=""):
    return f"""
      local tries = 0
      local results = {{kv.transaction(function(s)
        tries = tries + 1
        {body}
        {INTERFERE.format(times=times, key=key)}
        s.set('mine', tries)
        return 'done'
      end{options})}}
      return results[1] or json.null, results[2], tries, kv.get('mine')"""


@pytest.mark.parametrize(
    "read",
    ["s.get('k')", "s.fetch('k')", "s.has('k')", "s.list{prefix = 'k'}", "s.count('k')", "s.listKeys()", "s.ttl('k')"],
)
def test_change_of_what_was_read_is_a_conflict_and_fn_runs_again(store, read):
    assert store.run(transaction(f"local _ = {read}", 1, "k")) == [True, "done", 2, "2"]


def test_change_of_what_was_not_read_is_none(store):
    assert store.run(transaction("local _ = s.list{prefix = 'a'}, s.get('b')", 1, "k")) == [True, "done", 1, "1"]
    assert store.run(transaction("s.delete('k')", 1, "k")) == [True, "done", 1, "1"]


def test_conflict_without_retries_is_reported(store):
    assert store.run(transaction("s.get('k')", 9, "k", ", {retries = 0}")) == [None, "conflict", 1, ""]


def test_retries_are_bounded(store):
    assert store.run(transaction("s.get('k')", 99, "k", ", {retries = 5}")) == [None, "conflict", 6, ""]
    tries = store.run(transaction("s.get('k')", 99, "k"))[2]
    assert tries == 17


def test_second_read_that_differs_ends_the_try(store):
    code = """
      local tries = 0
      local ok, a, b = kv.transaction(function(s)
        tries = tries + 1
        local a = s.fetch('k')
        if tries == 1 then kv.set('k', 'changed') end
        return a, s.fetch('k')
      end)
      return ok, a, b, tries"""
    assert store.run("kv.set('k', 'first')") == []
    # A store without a cache need not ask again: then all of fn was before the change.
    assert store.run(code) in ([True, "changed", "changed", 2], [True, "first", "first", 1])


def test_error_that_comes_from_a_half_seen_change_is_not_raised(store):
    """fn sees a from before and b from behind another commit, and stumbles: it gets another try."""
    store.run("kv.set('a', 1) kv.set('b', 1)")
    code = """
      local tries = 0
      return kv.transaction(function(s)
        tries = tries + 1
        local a = s.fetch('a')
        if tries == 1 then kv.batch{{'set', 'a', 2}, {'set', 'b', 2}} end
        assert(a == s.fetch('b'), 'torn')
        return tries
      end)"""
    assert store.run(code) == [True, 2]


# ---- Wrong use -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", ["transaction", "serialTransaction"])
@pytest.mark.parametrize("inner", ["transaction", "serialTransaction"])
def test_nested_transaction_is_an_error_that_says_so(store, outer, inner):
    with pytest.raises(Failed, match="transactions do not nest"):
        store.run(f"kv.{outer}(function(s) s.set('k', 1) kv.{inner}(function() end) end)")
    assert store.run("return kv.has('k'), (kv.serialTransaction(function() end))") == [False, True]


@pytest.mark.parametrize("wait", ["", "app.sleep(0.001)"])
def test_store_used_after_its_end_is_an_error(store, wait):
    with store.client() as client:
        with pytest.raises(Failed, match="after its transaction had ended"):
            client.run(f"kv.transaction(function(s) kept = s {wait} end) kept.get('k')")
        with pytest.raises(Failed, match="after its transaction had ended"):
            client.run("kept.set('k', 1)")


def test_store_of_another_request_is_an_error(store):
    with store.on_worker(0) as first, store.on_worker(0) as second:
        first.send("return kv.transaction(function(s) kept = s app.sleep(0.5) s.set('k', 1) end)")
        second.run("app.sleep(0.1)")
        with pytest.raises(Failed, match="transaction of another request"):
            second.run("return kept.get('k')")
        assert first.receive() == [True]


def test_sync_belongs_to_the_whole_transaction(store):
    with pytest.raises(Failed, match="option of the whole transaction"):
        store.run("kv.transaction(function(s) s.set('k', 1, {sync = false}) end)")
    assert store.run("return kv.transaction(function(s) s.set('k', 1) end, {sync = false})") == [True]


def test_transaction_that_conflicts_again_and_again_backs_off(store):
    """The first tries come at once; then it waits, the longer the more there were, and others go on meanwhile."""
    code = """
      local monotonic = require('heart.v1.time').monotonic
      local pauses, last, others = json.array(), nil, 0
      local ended = false
      require('heart.v1.task').spawn(function()
        while not ended do others = others + 1 app.sleep(0.001) end
      end)
      local ok, err = kv.transaction(function(s)
        if last then pauses[#pauses + 1] = monotonic() - last end
        s.set('copy', s.get('k'))
        kv.incr('k')
        last = monotonic()
      end, {retries = 24})
      ended = true
      return err, pauses, others"""
    err, pauses, others = store.run(code)
    assert err == "conflict" and len(pauses) == 24
    early, late = pauses[3:9], pauses[12:]
    assert sum(late) > 0.1, "12 pauses of up to 50 ms each, at random"
    assert sum(late) / len(late) > sum(early) / len(early)
    assert max(late) != min(late)
    assert others > 5


def test_error_swallowed_by_fn_does_not_commit_what_conflicts(store):
    code = """
      local tries = 0
      local results = {kv.transaction(function(s)
        tries = tries + 1
        s.get('k')
        if tries == 1 then kv.set('k', 'changed') end
        pcall(s.get, 'k')
        s.set('tries', tries)
      end)}
      return results[1], kv.fetch('tries')"""
    assert store.run(code)[:2] == [True, 2]


def test_transaction_left_in_a_coroutine_is_rolled_back(store):
    code = """
      local co = coroutine.wrap(function()
        kv.serialTransaction(function(s) s.set('k', 1) coroutine.yield() end)
      end)
      co()
      return 1"""
    assert store.run(code) == [1]
    assert store.run("return kv.has('k'), (kv.serialTransaction(function() end))") == [False, True]


def test_transaction_may_run_in_a_coroutine_of_the_application(store):
    code = """
      return coroutine.wrap(function()
        return kv.serialTransaction(function(s) app.sleep(0.01) s.set('k', 1) return 'ok' end)
      end)()"""
    assert store.run(code) == [True, "ok"]
    assert store.one("return kv.has('k')") is True
