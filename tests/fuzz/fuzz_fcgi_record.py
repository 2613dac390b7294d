"""fcgi_record and cgi_head: pairs can be written back, and whatever the variables are, the head made of them has the
fields that they stand for and no others."""

import fcgi_native as fcgi

MAX_LEN = 1024
LEFT_OUT = {
    b"TE",
    b"EXPECT",
    b"UPGRADE",
    b"TRAILER",
    b"CONNECTION",
    b"KEEP_ALIVE",
    b"CONTENT_TYPE",
    b"CONTENT_LENGTH",
    b"PROXY_CONNECTION",
    b"TRANSFER_ENCODING",
}


def expected(pairs):
    """How many field lines these variables stand for."""
    last = dict(pairs)
    n = sum(bool(last.get(name)) for name in (b"CONTENT_LENGTH", b"CONTENT_TYPE"))
    n += b"HTTP_HOST" not in last and bool(last.get(b"SERVER_NAME"))
    return n + sum(name[:5] == b"HTTP_" and len(name) > 5 and name[5:] not in LEFT_OUT for name, _ in pairs)


def fuzz_one(data):
    record = fcgi.parse(data)
    if isinstance(record, fcgi.Record):
        assert fcgi.parse(data[:8]) == record
        assert fcgi.parse(data[:7]) is None
    pairs = fcgi.pairs(data)
    fcgi.put_values(data, 1)
    head = fcgi.head(data)
    if pairs and pairs[-1] is None:
        assert isinstance(head, str)
        return
    assert fcgi.pairs(b"".join(fcgi.put_pair(*pair) for pair in pairs)) == pairs
    for name, _ in pairs:
        assert fcgi.find(data, name) == dict(pairs)[name]
    if isinstance(head, str):
        return
    assert head.endswith(b"\r\n\r\n") and head.count(b"\r\n") == head.count(b"\n") == expected(pairs) + 2
    parsed = fcgi.fields(head)
    assert parsed is not None
    if len(parsed) == 4:
        assert parsed[0] == dict(pairs)[b"REQUEST_METHOD"]
        assert len(parsed[3]) == expected(pairs)
