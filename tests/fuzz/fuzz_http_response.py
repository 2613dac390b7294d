"""http_response: one answer however the input is cut, and no head larger than its limit."""

from codecs_native import Reply, parse_reply

MAX_LEN = 512
LIMIT = 400
PARTIAL, ERR_LIMIT = -1, -6


def fuzz_one(data):
    whole = parse_reply(data, LIMIT)
    results = [parse_reply(data[:n], LIMIT) for n in range(len(data) + 1)]
    decided = next((n for n, result in enumerate(results) if result != PARTIAL), len(results))
    assert all(result == whole for result in results[decided:])
    if isinstance(whole, Reply):
        assert decided == whole.size <= LIMIT
        assert 100 <= whole.status <= 999
