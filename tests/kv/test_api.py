"""Every function of the API outside of transactions, on every store."""

import re
import time

import pytest
from stores import Failed

VALUES = [
    ("''", ""),
    ("'text'", "text"),
    (r"'\0\255'", {"bytes": [0, 255]}),
    ("('x'):rep(100000)", "x" * 100000),
    ("true", True),
    ("false", False),
    ("42", 42),
    ("-1.5", -1.5),
    ("2^53", 2**53),
    ("{1, 'a', {b = false}}", [1, "a", {"b": False}]),
]


@pytest.mark.parametrize(("code", "value"), VALUES, ids=[code for code, _ in VALUES])
def test_value_comes_back_as_it_was(store, code, value):
    assert store.run(f"return kv.set('k', {code})")[0] is True
    assert store.one("return kv.fetch('k')") == value
    assert store.one("local _, v = kv.transaction(function(s) return (s.fetch('k')) end) return v") == value


def test_missing_key(store):
    assert store.run("return kv.get('k'), kv.fetch('k'), kv.has('k'), kv.ttl('k'), kv.delete('k')") == [
        "", None, False, None, False,
    ]  # fmt: skip


def test_get_gives_numbers_as_text_like_heart_v1(store):
    assert store.run("kv.set('n', 7) kv.set('f', 0.5) return kv.get('n'), kv.get('f')") == ["7", "0.5"]
    assert store.run("kv.set('t', {1}) kv.set('b', true) return kv.get('t'), kv.get('b')") == [[1], True]


def test_versions_grow_with_every_commit(store):
    _, first, _, second = store.run("local a, b = kv.set('a', 1) local c, d = kv.set('b', 1) return a, b, c, d")
    assert 0 < first < second
    assert store.run("return select(2, kv.fetch('a')), select(2, kv.fetch('b'))") == [first, second]


def test_delete_tells_whether_the_key_was_there(store):
    assert store.run("kv.set('k', 1) return kv.delete('k'), kv.delete('k'), kv.has('k')") == [True, False, False]


def test_add_only_once(store):
    added, version = store.run("return kv.add('k', 1)")
    assert added and store.run("return kv.add('k', 2)") == [False, version]
    assert store.one("return kv.fetch('k')") == 1


def test_cas_needs_the_version(store):
    version = store.run("return kv.set('k', 1)")[1]
    assert store.run("return kv.cas('k', ?, 2)", version + 1) == [False, version]
    done, newer = store.run("return kv.cas('k', ?, 2)", version)
    assert done and newer > version
    assert store.run("return kv.cas('k', ?, nil)", version) == [False, newer]
    assert store.one("return kv.cas('k', ?, nil)", newer) is True
    assert store.run("return kv.has('k'), kv.cas('k', nil, 'new'), kv.cas('k', nil, 'newer')")[:2] == [False, True]


def test_incr(store):
    assert store.one("return kv.incr('n')") == 1
    assert store.one("return kv.incr('n', 2.5)") == 3.5
    assert store.one("return kv.incr('m', 5, 10)") == 15
    assert store.one("kv.set('text', '41') return kv.incr('text')") == 42
    value, reason = store.run("kv.set('word', 'x') return kv.incr('word')")
    assert value is None and "not a number" in reason
    assert store.one("return kv.fetch('word')") == "x"


def test_get_many(store):
    assert store.one("kv.set('a', 1) kv.set('b', 'x') return kv.getMany({'a', 'missing', 'b'})") == {"a": 1, "b": "x"}
    assert store.one("return next(kv.getMany({}))") is None


# ---- Lists -----------------------------------------------------------------------------------------------------------

KEYS = ["a", "a\x00", "a\xff", "b1", "b2", "b3", "c", "\xff", "\xff\xff"]


@pytest.fixture
def listed(store):
    for key in KEYS:
        store.run("kv.set(?, #?)", key.encode("latin-1"), key.encode("latin-1"))
    return store


def as_key(value):
    return bytes(value["bytes"]).decode("latin-1") if isinstance(value, dict) else value


def keys(store, options):
    return [as_key(key) for key in store.one(f"return kv.list({{keys_only = true, {options}}})")]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", KEYS),
        ("reverse = true", KEYS[::-1]),
        ("prefix = 'a'", ["a", "a\x00", "a\xff"]),
        ("prefix = 'b'", ["b1", "b2", "b3"]),
        ("prefix = '\\255'", ["\xff", "\xff\xff"]),
        ("prefix = 'x'", []),
        ("start = 'b2'", ["b2", "b3", "c", "\xff", "\xff\xff"]),
        ("stop = 'b2'", ["a", "a\x00", "a\xff", "b1"]),
        ("start = 'b1', stop = 'c'", ["b1", "b2", "b3"]),
        ("start = 'c', stop = 'b'", []),
        ("prefix = 'b', start = 'b2', stop = 'z'", ["b2", "b3"]),
        ("prefix = 'b', stop = 'b3', reverse = true", ["b2", "b1"]),
        ("prefix = 'b', limit = 2", ["b1", "b2"]),
        ("prefix = 'b', limit = 2, reverse = true", ["b3", "b2"]),
        ("limit = 0", []),
        ("stop = ''", []),
    ],
)
def test_list_is_bytewise_within_its_bounds(listed, options, expected):
    assert keys(listed, options) == expected


@pytest.mark.parametrize("reverse", ["false", "true"])
@pytest.mark.parametrize("limit", [1, 2, 4, 9, 10])
def test_cursor_goes_through_all_once(listed, reverse, limit):
    seen = listed.one(
        f"""local all, cursor = {{}}
        repeat
          local page
          page, cursor = kv.list({{limit = {limit}, reverse = {reverse}, cursor = cursor, keys_only = true}})
          for _, key in ipairs(page) do all[#all + 1] = key end
        until not cursor
        return all"""
    )
    assert [as_key(key) for key in seen] == (KEYS if reverse == "false" else KEYS[::-1])


def test_list_gives_key_value_and_version(store):
    version = store.run("return kv.set('k', {x = 1})")[1]
    assert store.one("return kv.list{prefix = 'k'}") == [{"key": "k", "value": {"x": 1}, "version": version}]


def test_long_list_spans_pages(store):
    store.run("for i = 1, 700 do kv.set(('p%04d'):format(i), i) end")
    assert store.one("return #kv.list{prefix = 'p'}") == 700
    found = store.run("local l, c = kv.list{prefix = 'p', limit = 650} return #l, l[650].value, c")
    assert found == [650, 650, "p0650"]
    assert store.run("return kv.count('p'), kv.count(), kv.count('p00'), kv.count('x')") == [700, 700, 99, 0]
    assert store.run("return kv.deletePrefix('p06'), kv.deletePrefix('p'), kv.count()") == [100, 600, 0]


def test_lists_of_heart_v1_count_their_limit(store):
    store.run("for i = 1, 5 do kv.set('u:' .. i, i) end kv.set('v', 1)")
    assert store.one("return kv.listKeys('u:', 3)") == ["u:1", "u:2", "u:3"]
    assert store.one("return #kv.listKeys('u:')") == 5
    assert store.one("return kv.listPairs('u:', 2)") == [{"key": "u:1", "value": "1"}, {"key": "u:2", "value": "2"}]
    assert store.run("local p = kv.listPairs('v', 9)[1] return p[1], p[2], p[3]") == ["v", "1", None]
    assert store.one("return #kv.listPairs('u:', 0)") == 0


# ---- Expiry ----------------------------------------------------------------------------------------------------------


def test_key_expires_exactly_and_is_in_no_list(store):
    store.run("kv.set('short', 'x', {ttl = 0.25}) kv.set('long', 'x', {ttl = 100}) kv.set('ever', 'x')")
    short, long, ever = store.run("return kv.ttl('short'), kv.ttl('long'), kv.ttl('ever')")
    assert 0 < short <= 0.25 and 99 < long <= 100 and ever is False
    assert store.one("return kv.has('short')")
    time.sleep(0.26)
    assert store.run("return kv.has('short'), kv.count(), #kv.list{}, kv.add('short', 'y')")[:4] == [False, 2, 2, True]


def test_expire_changes_the_time_and_keeps_the_value(store):
    store.run("kv.set('k', 'v')")
    assert store.run("return kv.expire('k', 50), kv.expire('none', 50)") == [True, False]
    value, ttl = store.run("return (kv.fetch('k')), kv.ttl('k')")
    assert value == "v" and 49 < ttl <= 50
    assert store.run("return kv.expire('k', nil), kv.ttl('k')") == [True, False]
    store.run("kv.expire('k', 0.05)")
    time.sleep(0.06)
    assert store.one("return kv.has('k')") is False


def test_incr_keeps_the_expiry_and_set_ends_it(store):
    store.run("kv.incr('n', 1, 0, {ttl = 100}) kv.incr('n', 1, 0, {ttl = 500})")
    assert 99 < store.one("return kv.ttl('n')") <= 100
    assert store.run("kv.set('n', 1) return kv.ttl('n')") == [False]


# ---- Batches ---------------------------------------------------------------------------------------------------------


def test_batch_does_all(store):
    version = store.run("return kv.set('c', 1)")[1]
    ok, results = store.run(
        """return kv.batch{{'set', 'a', 1, {ttl = 10}}, {'add', 'b', 2}, {'cas', 'c', ?, 3}, {'incr', 'd', 4},
        {'delete', 'e'}, {'expire', 'f', 5}}""",
        version,
    )
    assert ok and results[0] == results[1] == results[2] > version and results[3:] == [4, False, False]
    assert store.one("return kv.getMany{'a', 'b', 'c', 'd'}") == {"a": 1, "b": 2, "c": 3, "d": 4}


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        ("{'add', 'there', 1}", "exists"),
        ("{'cas', 'there', 999999999, 1}", "conflict"),
        ("{'incr', 'there'}", "number"),
    ],
)
def test_batch_does_nothing_when_one_fails(store, write, reason):
    store.run("kv.set('there', 'x') kv.set('other', 'x')")
    result = store.run(f"return kv.batch{{{{'set', 'a', 1}}, {write}, {{'delete', 'other'}}}}")
    assert result[0] is None and reason in result[1] and result[2] == 2
    assert store.run("return kv.has('a'), kv.has('other')") == [False, True]


# ---- Wrong use -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("kv.get('')", "a key has 1 to 4096 bytes"),
        ("kv.get(('x'):rep(4097))", "a key has 1 to 4096 bytes"),
        ("kv.get()", "string expected"),
        ("kv.set('k')", "nil cannot be stored"),
        ("kv.set('k', print)", "a function cannot be stored"),
        ("kv.set('k', {a = {print}})", "at value.a[1]"),
        ("kv.set('k', ('x'):rep(16 * 1024 * 1024 + 1))", "larger than 16 MiB"),
        ("kv.set('k', 1, {tll = 1})", "unknown option tll"),
        ("kv.set('k', 1, {ttl = 0})", "ttl: expected a positive number"),
        ("kv.set('k', 1, {ttl = 'x'})", "ttl: expected a positive number"),
        ("kv.incr('k', 1/0)", "finite"),
        ("kv.cas('k', -1, 1)", "expected a version"),
        ("kv.list{limit = -1}", "limit: expected a whole number"),
        ("kv.list{prefx = 'a'}", "unknown option prefx"),
        ("kv.list('a')", "expected a table"),
        ("kv.getMany({1, {}})", "key 2 is not a string"),
        ("kv.batch{{'set', 'a', 1}, {'set', 'a', 2}}", "write 2: the key a is written twice"),
        ("kv.batch{{'put', 'a', 1}}", "write 1: unknown name put"),
        ("kv.batch{'x'}", "write 1 is not a table"),
        ("kv.transaction(1)", "expected a function"),
        ("kv.transaction(print, {retry = 1})", "unknown option retry"),
        ("kv.watch(1, print)", "expected a table, got number"),
    ],
)
def test_wrong_argument_is_an_error_that_says_so(store, code, message):
    ok, error = store.run(f"local ok, err = pcall(function() return {code} end) return ok, err")
    assert not ok and message in error


def test_longest_key_and_value(store):
    key = b"k" * 4096
    size = 16 * 1024 * 1024
    assert store.run("return kv.set(?, ('v'):rep(?))", key, size)[0] is True
    assert store.run("return #kv.get(?), #kv.list{}[1].value, kv.delete(?)", key, key) == [size, size, True]


def test_error_of_a_snippet_is_seen(store):
    with pytest.raises(Failed):
        store.run("error('x')")


# ---- ULIDs -----------------------------------------------------------------------------------------------------------


def test_ulids_of_all_workers_sort_by_time_and_never_repeat(store):
    code = "local t = {} for i = 1, 500 do t[i] = kv.ulid() end return t"
    with store.on_worker(0) as first, store.on_worker(1) as second:
        batches = [client.run(code)[0] for _ in range(4) for client in (first, second)]
    assert all(re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", ulid) for ulid in batches[0])
    everything = sum(batches, [])
    assert everything == sorted(set(everything))
