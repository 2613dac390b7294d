"""http_condition.pxi: conditional requests (RFC 9110 section 13), with the order of section 13.2.2."""

import itertools

import files_native as files
import pytest

TAG = 0xC0FFEE
OURS = '"c0ffee"'
TIME = 784111777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"


def ask(fields, recent=False):
    """(status, Range that is heeded, codings) for (name, value) fields."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return files.ask(f"GET / HTTP/1.1\r\nHost: t\r\n{lines}\r\n".encode("latin-1"), TAG, TIME, recent)


def status(*fields, recent=False):
    return ask(fields, recent)[0]


# ---- Entity tags -------------------------------------------------------------------------------------------


def test_tag_is_quoted_and_weak_while_the_file_is_recent():
    assert files.etag(TAG) == OURS.encode()
    assert files.etag(TAG, True) == b'W/"c0ffee"'
    assert files.etag(0) == b'"0"'
    assert files.etag(2**64 - 1, True) == b'W/"ffffffffffffffff"'


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ('"a"', [('"a"', False)]),
        ('W/"a"', [('"a"', True)]),
        ('"a", W/"b" ,\t"c"', [('"a"', False), ('"b"', True), ('"c"', False)]),
        (',, "a",, "b",', [('"a"', False), ('"b"', False)]),
        ('"a,b"', [('"a,b"', False)]),
        ('""', [('""', False)]),
        ('"\\"', [('"\\"', False)]),
        ('"\xe9"', [('"\xe9"', False)]),
        ("", []),
        ("a", []),
        ('"a', []),
        ('"', []),
        ("W/", []),
        ('w/"a"', []),
        ('W / "a"', []),
        ('"a" "b"', []),
        ('"a", b, "c"', [('"a"', False)]),
    ],
)
def test_tags_of_a_list(value, wanted):
    assert files.tags(value.encode("latin-1")) == [(tag.encode("latin-1"), weak) for tag, weak in wanted]


# ---- Single conditions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "matches", "matches_weakly"),
    [
        (OURS, True, True),
        ("W/" + OURS, False, True),
        (f'"x", {OURS}', True, True),
        (f'"x", W/{OURS}, "y"', False, True),
        ("*", True, True),
        ('"C0FFEE"', False, False),
        ('"x"', False, False),
        ('"c0ffee" x', False, False),
        ("c0ffee", False, False),
        ("", False, False),
    ],
)
def test_tags_are_compared_strongly_and_weakly(value, matches, matches_weakly):
    """Sections 8.8.3.2, 13.1.1 and 13.1.2."""
    assert status(("If-Match", value)) == (200 if matches else 412)
    assert status(("If-None-Match", value)) == (304 if matches_weakly else 200)
    assert status(("If-None-Match", value), recent=True) == (304 if matches_weakly else 200)
    assert status(("If-Match", value), recent=True) == (200 if value == "*" else 412)


def test_lines_of_a_field_are_one_list():
    assert status(("If-None-Match", '"x"'), ("Accept", "*/*"), ("if-none-match", OURS)) == 304
    assert status(("IF-MATCH", '"x"'), ("If-Match", OURS)) == 200


@pytest.mark.parametrize(("value", "late"), [(DATE, True), (LATER, True), (EARLIER, False)])
def test_dates_are_compared_with_the_time_of_the_file(value, late):
    assert status(("If-Modified-Since", value)) == (304 if late else 200)
    assert status(("If-Unmodified-Since", value)) == (200 if late else 412)


@pytest.mark.parametrize("name", ["If-Modified-Since", "If-Unmodified-Since"])
@pytest.mark.parametrize("values", [["yesterday"], [""], [DATE, DATE], [EARLIER, DATE]])
def test_what_is_no_date_is_ignored(name, values):
    """Sections 13.1.3 and 13.1.4; two dates are none."""
    assert status(*((name, value) for value in values)) == 200


# ---- Their order (section 13.2.2) --------------------------------------------------------------------------

MATCH = [None, OURS, '"x"', "*"]
NONE_MATCH = [None, OURS, '"x"', "*"]
UNMODIFIED = [None, DATE, EARLIER, "garbage"]
MODIFIED = [None, DATE, EARLIER, "garbage"]


def reference(match, unmodified, none_match, modified):
    """The steps as the section numbers them."""
    if match is not None:
        if match not in (OURS, "*"):
            return 412
    elif unmodified == EARLIER:
        return 412
    if none_match is not None:
        if none_match in (OURS, "*"):
            return 304
    elif modified == DATE:
        return 304
    return 200


@pytest.mark.parametrize("values", [*itertools.product(MATCH, UNMODIFIED, NONE_MATCH, MODIFIED)])
def test_conditions_are_evaluated_in_their_order(values):
    names = ["If-Match", "If-Unmodified-Since", "If-None-Match", "If-Modified-Since"]
    fields = [(name, value) for name, value in zip(names, values, strict=True) if value is not None]
    assert status(*fields) == status(*reversed(fields)) == reference(*values)


# ---- If-Range (section 13.1.5) -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "heeded"),
    [
        (OURS, True),
        ("W/" + OURS, False),
        ('"x"', False),
        (f'{OURS}, "x"', False),
        ("*", False),
        (DATE, True),
        ("Sunday, 06-Nov-94 08:49:37 GMT", True),
        (EARLIER, False),
        (LATER, False),
        ("Wed, 09 Nov 1994 08:49:37 GMT", False),
        ("garbage", False),
        ("", False),
    ],
)
def test_range_is_heeded_for_the_same_version_only(value, heeded):
    fields = [("Range", "bytes=0-0"), ("If-Range", value)]
    assert ask(fields)[:2] == (200, b"bytes=0-0" if heeded else None)
    assert ask(fields, recent=True)[1] is None, "no validator is strong then"


def test_range_without_condition_is_heeded():
    assert ask([("range", "bytes=0-0")])[1] == b"bytes=0-0"
    assert ask([])[1] is None
    assert ask([("If-Range", OURS)])[1] is None


@pytest.mark.parametrize(
    "fields",
    [
        [("Range", "bytes=0-0"), ("Range", "bytes=1-1")],
        [("Range", "bytes=0-0"), ("If-Range", OURS), ("If-Range", OURS)],
    ],
)
def test_repeated_field_that_is_no_list_says_nothing(fields):
    assert ask(fields)[1] is None


def test_codings_of_a_head():
    assert ask([("Accept-Encoding", "gzip;q=0.5"), ("X", "y"), ("accept-encoding", "br")])[2] == ["br", "gzip"]
    assert ask([("Accept", "gzip")])[2] == []
