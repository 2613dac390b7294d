"""http_parse: one answer however the input is split, and the same as a second implementation's."""

from codecs_native import Head, Refusal, parse, prefixes
from http_reference import read_head

MAX_LEN = 512
LIMITS = {"head_max": 400, "target_max": 100, "fields_max": 12}  # small enough to be reached
OK, PARTIAL = 0, -1


def check_prefixes(data, final):
    """Prefixes are PARTIAL up to a byte that decides; from there on all have the final answer."""
    codes = prefixes(data, **LIMITS)
    decided = next((i for i, code in enumerate(codes) if code != PARTIAL), len(codes))
    assert set(codes[decided:]) <= {final}, codes
    return decided


def fuzz_one(data):
    head = parse(data, **LIMITS)
    expected = read_head(data, **LIMITS)
    if isinstance(head, Head):
        assert check_prefixes(data, OK) == head.size <= len(data)
        found = head._asdict() | {"headers": [field[:2] for field in head.headers]}
        assert expected is not None, found
        assert {name: found[name] for name in expected} == expected
    else:
        final = head.status if isinstance(head, Refusal) else PARTIAL
        assert final in (PARTIAL, 400, 414, 417, 431, 501, 505)
        check_prefixes(data, final)
        assert expected is None, (final, expected)
