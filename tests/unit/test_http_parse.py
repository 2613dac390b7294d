"""http_parse: the parser of request heads."""

import pytest
from codecs_native import Head, Refusal, dechunk, parse, prefixes
from smuggling import ATTACKS, HIDDEN, ONE

OK, PARTIAL = 0, -1
HEAD_MAX, TARGET_MAX, FIELDS_MAX = 16384, 8192, 100
TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def request(*lines, line=b"GET / HTTP/1.1", host=b"Host: a"):
    """A head of the request line, Host and other field lines."""
    return b"\r\n".join([line, *([host] if host else []), *lines, b"", b""])


def target(text, method=b"GET"):
    return request(line=method + b" " + text + b" HTTP/1.1")


def status(data, **limits):
    """What the whole says; all prefixes must agree: PARTIAL until it is decided, and never otherwise after."""
    codes = prefixes(data, **limits)
    result = parse(data, **limits)
    final = result.status if isinstance(result, Refusal) else PARTIAL if result is None else OK
    at = result.size if isinstance(result, Head) else next((i for i, code in enumerate(codes) if code > OK), len(codes))
    assert set(codes[:at]) <= {PARTIAL}
    assert set(codes[at:]) <= {final}
    return final


def accepted(data):
    assert status(data) == OK
    return parse(data)


# ---- Request line ----------------------------------------------------------------------------------------


def test_request_is_taken_apart():
    data = request(b"Accept: */*", b"X-Empty:", line=b"GET /a/b?c=d&e HTTP/1.1", host=b"Host: example.com:80")
    head = accepted(data + b"rest")
    assert head.size == len(data)
    assert head[1:6] == (b"GET", b"/a/b?c=d&e", b"/a/b", b"c=d&e", b"example.com:80")
    assert [field[:2] for field in head.headers] == [
        (b"Host", b"example.com:80"),
        (b"Accept", b"*/*"),
        (b"X-Empty", b""),
    ]
    assert (head.minor, head.keep_alive, head.content_length) == (1, True, -1)
    assert not (head.chunked or head.expect or head.upgrade or head.asterisk or head.encoded or head.close)


@pytest.mark.parametrize("method", "GET HEAD POST PUT DELETE OPTIONS TRACE PATCH PROPFIND get G GETS PO XYZZY".split())
def test_method_is_any_token(method):
    """RFC 9110 section 9.1. The test module compares the method's number with its name."""
    assert accepted(target(b"/", method.encode())).method == method.encode()


@pytest.mark.parametrize("byte", range(256))
def test_byte_in_method(byte):
    """RFC 9110 section 5.6.2."""
    assert status(target(b"/", b"G%cT" % byte)) == (OK if byte in TOKEN else 400)


@pytest.mark.parametrize("byte", range(256))
def test_byte_in_path_and_query(byte):
    allowed = 0x20 < byte < 0x7F and byte != ord("#")
    for text in (b"/a%cb" % byte, b"/?a%cb" % byte):
        assert status(target(text)) == (OK if allowed else 400)


@pytest.mark.parametrize(
    "line",
    [
        b" GET / HTTP/1.1",
        b" / HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET\t/ HTTP/1.1",
        b"GET /\tHTTP/1.1",
        b"GET / a HTTP/1.1",
        b"GET HTTP/1.1",
        b"GET / ",
        b"GET /",
        b"GET ",
        b"GET",
        b"GET / HTTP/1",
        b"GET / HTTP/1.",
        b"GET / HTTP/.1",
        b"GET / HTTP/11",
        b"GET / HTTP/1.10",
        b"GET / HTTP/10.1",
        b"GET / HTTP/1.x",
        b"GET / HTTP/d.d",
        b"GET / HTTP/-1.1",
        b"GET / HTTP1.1",
        b"GET / HTTP/1,1",
        b"GET / http/1.1",
        b"GET / HTTPS/1.1",
        b"GET / ICE/1.0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_malformed_request_line_is_refused(line):
    """RFC 9112 section 3."""
    assert status(request(line=line)) == 400


@pytest.mark.parametrize("version", [b"HTTP/0.9", b"HTTP/0.0", b"HTTP/2.0", b"HTTP/2.1", b"HTTP/3.0", b"HTTP/9.9"])
def test_other_major_version_is_refused(version):
    """RFC 9110 section 15.6.6."""
    assert status(request(line=b"GET / " + version)) == 505
    assert status(b"GET / " + version) == 505


@pytest.mark.parametrize(("minor", "treated"), [(b"0", 0), (b"1", 1), (b"2", 1), (b"9", 1)])
def test_higher_minor_version_is_1_1(minor, treated):
    """RFC 9110 section 2.5."""
    assert accepted(request(line=b"GET / HTTP/1." + minor)).minor == treated


def test_simple_request_is_refused():
    assert status(b"GET /\r\n") == 400


def test_preface_of_http_2_is_refused_by_its_version():
    assert status(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == 505


@pytest.mark.parametrize("lines", range(6))
def test_few_empty_lines_before_the_request_are_skipped(lines):
    """RFC 9112 section 2.2."""
    data = b"\r\n" * lines + request()
    assert status(data) == (OK if lines <= 4 else 400)
    if lines <= 4:
        assert parse(data).size == len(data)
        assert parse(data).method == b"GET"


@pytest.mark.parametrize("start", [b"\n", b"\r", b"\r\r\n", b"\r\n\n", b" \r\n", b"\0"])
def test_other_bytes_before_the_request_are_refused(start):
    assert status(start + request()) == 400


# ---- Target ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "query", "encoded"),
    [
        (b"/", b"/", b"", False),
        (b"//", b"//", b"", False),
        (b"/?", b"/", b"", False),
        (b"/?a?b", b"/", b"a?b", False),
        (b"/a%20b?c", b"/a%20b", b"c", True),
        (b"/a?b%20c", b"/a", b"b%20c", False),
        (b"/%", b"/%", b"", True),
        (b'/a|b"<>\\^`{}', b'/a|b"<>\\^`{}', b"", False),
        (b"/*", b"/*", b"", False),
    ],
)
def test_origin_form(text, path, query, encoded):
    """RFC 9112 section 3.2.1."""
    head = accepted(target(text))
    assert (head.target, head.path, head.query, head.encoded, head.host) == (text, path, query, encoded, b"a")


@pytest.mark.parametrize(
    ("text", "host", "path", "query", "encoded"),
    [
        (b"http://b", b"b", b"", b"", False),
        (b"http://b/", b"b", b"/", b"", False),
        (b"HTTP://b:80/c?d", b"b:80", b"/c", b"d", False),
        (b"hTTps://[::1]:443/c/%20?/d", b"[::1]:443", b"/c/%20", b"/d", True),
        (b"http://b?c/d", b"b", b"", b"c/d", False),
        (b"http://%41b/?%41", b"%41b", b"/", b"%41", False),
        (b"http://b//c", b"b", b"//c", b"", False),
    ],
)
def test_absolute_form_overrides_host(text, host, path, query, encoded):
    """RFC 9112 section 3.2.2."""
    head = accepted(target(text))
    assert head[2:6] == (text, path, query, host)
    assert head.encoded == encoded


def test_absolute_form_needs_host_in_1_1_only():
    assert status(request(line=b"GET http://b/ HTTP/1.1", host=None)) == 400
    assert accepted(request(line=b"GET http://b/ HTTP/1.0", host=None)).host == b"b"


@pytest.mark.parametrize(
    "text",
    [
        b"http://",
        b"http:///",
        b"http://?a",
        b"http://:80/",
        b"http://b:x/",
        b"http://a@b/",
        b"http://a:c@b/",
        b"http:/b/",
        b"http:b",
        b"ftp://b/",
        b"httpss://b/",
        b"ws://b/",
        b"b/c",
        b"b",
        b"b:80",
        b"?a",
        b"*",
        b"**",
        b"\\",
        b".",
    ],
)
def test_other_form_is_refused(text):
    assert status(target(text)) == 400


def test_asterisk_form_belongs_to_options():
    """RFC 9112 section 3.2.4."""
    head = accepted(target(b"*", b"OPTIONS"))
    assert (head.asterisk, head.target, head.path) == (True, b"*", b"")
    assert not accepted(target(b"/", b"OPTIONS")).asterisk
    assert status(target(b"*?a", b"OPTIONS")) == 400


@pytest.mark.parametrize("text", [b"b:443", b"[::1]:443", b"1.2.3.4:80", b"%41:80"])
def test_authority_form_belongs_to_connect(text):
    """RFC 9112 section 3.2.3."""
    head = accepted(target(text, b"CONNECT"))
    assert (head.host, head.path, head.query, head.encoded) == (text, b"", b"", False)


@pytest.mark.parametrize(
    "text", [b"b", b"b1", b"b:", b":443", b"[::1]", b"[::1]:", b"/", b"*", b"http://b:80/", b"a@b:80", b"b:80?a"],
)  # fmt: skip
def test_other_target_of_connect_is_refused(text):
    assert status(target(text, b"CONNECT")) == 400


# ---- Fields ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("byte", range(256))
def test_byte_in_field_name(byte):
    """RFC 9110 section 5.1. A colon ends the name."""
    assert status(request(b"X%cY: z" % byte)) == (OK if byte in TOKEN + b":" else 400)


@pytest.mark.parametrize("length", range(20))
@pytest.mark.parametrize("byte", [*range(33), 127, 128, 255])
def test_byte_in_field_value(byte, length):
    """RFC 9110 section 5.5; at each place of the words that the scan reads."""
    allowed = byte in b"\t " or byte >= 128
    data = request(b"X: %b%cz" % (b"y" * length, byte))
    assert status(data) == (OK if allowed else 400)
    if allowed:
        assert parse(data).headers[1][1] == (b"y" * length + b"%cz" % byte).lstrip(b" \t")


@pytest.mark.parametrize("length", range(40))
def test_value_of_any_length_ends_at_the_guard_page(length):
    value = b"v" * length
    assert accepted(request(b"X: " + value)).headers[1][1] == value


@pytest.mark.parametrize("before", [b"", b" ", b"\t", b" \t  \t"])
@pytest.mark.parametrize("after", [b"", b" ", b"\t", b" \t  \t", b" " * 40])
@pytest.mark.parametrize("value", [b"", b"a", b"a b", b"a\t\tb, c"])
def test_white_space_around_value_is_dropped(before, value, after):
    """RFC 9112 section 5.1."""
    assert accepted(request(b"X:" + before + value + after)).headers[1][1] == value


@pytest.mark.parametrize(
    "line",
    [
        b"X : y",
        b"X\t: y",
        b" X: y",
        b"\tX: y",
        b": y",
        b"X",
        b"X y",
        b"(X): y",
        b'"X": y',
        b"X\xc3\xa9: y",
        b"X: y\r\n z",
        b"X: y\r\n\tz",
        b"X: y\r\n ",
        b"X: y\nZ: z",
        b"X: y\rZ: z",
        b"X: y\r",
        b"X: y\n",
        b"X: \0",
        b"\0: y",
    ],
)
def test_malformed_field_line_is_refused(line):
    """RFC 9112 sections 2.2, 5.1 and 5.2."""
    assert status(request(line)) == 400
    assert status(request(b"Host: a", host=line)) == 400


def test_known_fields_are_found_in_any_case():
    names = "Host Connection Content-Length Content-Type Transfer-Encoding Expect Cookie Upgrade".split()
    values = {"Content-Length": "1", "Transfer-Encoding": "chunked", "Expect": "100-continue"}
    for number, name in enumerate(names, 1):
        for spelled in (name, name.upper(), name.lower(), name.swapcase()):
            line = f"{spelled}: {values.get(name, 'x')}".encode()
            head = accepted(request(line, host=None if name == "Host" else b"Host: a"))
            assert head.headers[-1][2] == number
            assert head.seen == 1 << number | 1 << 1


@pytest.mark.parametrize("name", [b"Hos", b"Hosts", b"Hose", b"H0st", b"Content_Length", b"Content-Lengths"])
def test_similar_name_is_another_field(name):
    assert accepted(request(name + b": 5")).headers[1] == (name, b"5", 0)


# ---- Host ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [b"", b"a", b"a.b", b"a_b", b"a:", b"a:80", b"1.2.3.4:80", b"[::1]", b"[::1]:80", b"[1:2::ff.1]", b"%41",
     b"a%41b:1", b"0.0.0.0=5000", b"!$&'()*+;=", b"xn--a.b."],
)  # fmt: skip
def test_valid_host(host):
    """RFC 9110 section 7.2, RFC 3986 section 3.2.2."""
    assert accepted(request(host=b"Host: " + host)).host == host


@pytest.mark.parametrize(
    "host",
    [b"a b", b"a/b", b"a@b", b"a?b", b"a#b", b"a\\b", b"a:b", b"a:80:80", b"a:-1", b":80", b":", b"[", b"[]", b"[]:80",
     b"[::1", b"::1", b"[::1]a", b"[::g]", b"[::1]:a", b"[[::1]]", b"%", b"%4", b"%4g", b"a%", b'"a"', b"<a>", b"a\tb",
     b"\xc3\xa9", b"a{b}", b"a|b", b"a^b", b"a`b"],
)  # fmt: skip
def test_invalid_host_is_refused(host):
    """RFC 9112 section 3.2."""
    assert status(request(host=b"Host: " + host)) == 400


def test_missing_host_is_refused_in_1_1_only():
    assert status(request(host=None)) == 400
    assert accepted(request(line=b"GET / HTTP/1.0", host=None)).host == b""


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("second", [b"Host: a", b"host: b", b"HOST:"])
def test_repeated_host_is_refused(version, second):
    assert status(request(second, line=b"GET / HTTP/" + version)) == 400


def test_empty_host_beside_absolute_form_is_refused():
    assert status(request(line=b"GET http://a/ HTTP/1.1", host=b"Host:")) == 400


# ---- Framing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "length"),
    [(b"0", 0), (b"5", 5), (b"007", 7), (b"4294967296", 1 << 32), (b"9223372036854775807", (1 << 63) - 1),
     (b"0" * 30 + b"1", 1)],
)  # fmt: skip
def test_content_length_is_read(text, length):
    """RFC 9110 section 8.6."""
    assert accepted(request(b"Content-Length: " + text)).content_length == length


@pytest.mark.parametrize(
    "text",
    [b"", b"+5", b"-5", b"5,5", b"5, 5", b"5 5", b"0x5", b"5a", b"a", b"5.0", b"1e1", b"9223372036854775808",
     b"9223372036854775810", b"18446744073709551615", b"18446744073709551616", b"9" * 40, b"5;", b"'5'", b"\xb2"],
)  # fmt: skip
def test_malformed_content_length_is_refused(text):
    assert status(request(b"Content-Length: " + text)) == 400


@pytest.mark.parametrize("second", [b"5", b"6"])
def test_repeated_content_length_is_refused(second):
    """RFC 9112 section 6.3."""
    assert status(request(b"Content-Length: 5", b"X: y", b"content-length: " + second)) == 400


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b"CHUNKED", b"\t chunked \t"])
def test_chunked_is_accepted(value):
    """RFC 9112 section 6.1."""
    head = accepted(request(b"Transfer-Encoding:" + value))
    assert head.chunked
    assert head.content_length == -1


@pytest.mark.parametrize(
    "value", [b"identity", b"gzip", b"gzip, chunked", b"gzip,deflate\t,  chunked", b"xchunked", b"chunkedx", b"chunke"]
)
def test_unknown_transfer_coding_is_not_implemented(value):
    assert status(request(b"Transfer-Encoding: " + value)) == 501


@pytest.mark.parametrize(
    "value",
    [b"", b",", b"chunked,", b", chunked", b"gzip,, chunked", b"chunked, chunked", b"chunked, gzip",
     b"gzip, chunked, gzip", b"chunked;a=b", b"chunked ; a", b"gzip;q=1, chunked", b'"chunked"', b"chunked chunked",
     b"gzip chunked", b"chunked\xff"],
)  # fmt: skip
def test_ambiguous_transfer_encoding_is_refused(value):
    assert status(request(b"Transfer-Encoding: " + value)) == 400


@pytest.mark.parametrize("first", [b"chunked", b"gzip", b"identity"])
@pytest.mark.parametrize("second", [b"chunked", b"gzip", b""])
def test_repeated_transfer_encoding_is_refused(first, second):
    assert status(request(b"Transfer-Encoding: " + first, b"Transfer-Encoding: " + second)) == 400


@pytest.mark.parametrize("coding", [b"chunked", b"gzip, chunked", b"identity"])
def test_both_framings_are_refused(coding):
    """RFC 9112 section 6.3."""
    lines = b"Content-Length: 5", b"Transfer-Encoding: " + coding
    assert status(request(*lines)) == 400
    assert status(request(*reversed(lines))) == 400


def test_transfer_encoding_in_1_0_is_refused():
    """RFC 9112 section 6.1."""
    assert status(request(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0")) == 400


# ---- Persistence, expectations, upgrade ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "lines", "keep_alive"),
    [
        (b"1.1", [], True),
        (b"1.1", [b""], True),
        (b"1.1", [b"keep-alive"], True),
        (b"1.1", [b"close"], False),
        (b"1.1", [b"Close"], False),
        (b"1.1", [b"x,y, close ,z"], False),
        (b"1.1", [b",,close,,"], False),
        (b"1.1", [b"x\t,\tclose"], False),
        (b"1.1", [b"close, keep-alive"], False),
        (b"1.1", [b"keep-alive, close"], False),
        (b"1.1", [b"close", b"keep-alive"], False),
        (b"1.1", [b"keep-alive", b"close"], False),
        (b"1.1", [b"closed", b"clos", b"x-close", b"close x"], True),
        (b"1.0", [], False),
        (b"1.0", [b"close"], False),
        (b"1.0", [b"Keep-Alive"], True),
        (b"1.0", [b"x", b"keep-alive"], True),
        (b"1.0", [b"keep-alive, close"], False),
        (b"1.2", [], True),
    ],
)
def test_persistence(version, lines, keep_alive):
    """RFC 9112 section 9.3."""
    head = accepted(request(*(b"Connection: " + line for line in lines), line=b"GET / HTTP/" + version))
    assert head.keep_alive == keep_alive
    assert head.close == any(
        b"close" in line.lower().replace(b" ", b"").replace(b"\t", b"").split(b",") for line in lines
    )


def test_expectation_is_seen_in_1_1_only():
    """RFC 9110 section 10.1.1."""
    assert accepted(request(b"Expect: 100-Continue")).expect
    assert not accepted(request(b"Expect: 100-continue", line=b"POST / HTTP/1.0")).expect
    assert not accepted(request(b"Expect: x", line=b"POST / HTTP/1.0")).expect


@pytest.mark.parametrize("value", [b"", b"x", b"100-continue, x", b"100-continued", b"200-ok"])
def test_unknown_expectation_fails(value):
    """RFC 9110 section 15.5.18."""
    assert status(request(b"Expect: " + value)) == 417


@pytest.mark.parametrize(
    ("version", "lines", "upgrade"),
    [
        (b"1.1", [b"Connection: upgrade", b"Upgrade: websocket"], True),
        (b"1.1", [b"Upgrade: websocket", b"Connection: keep-alive, Upgrade"], True),
        (b"1.1", [b"Connection: upgrade"], False),
        (b"1.1", [b"Upgrade: websocket"], False),
        (b"1.0", [b"Connection: upgrade", b"Upgrade: websocket"], False),
    ],
)
def test_upgrade(version, lines, upgrade):
    """RFC 9110 section 7.8."""
    assert accepted(request(*lines, line=b"GET / HTTP/" + version)).upgrade == upgrade


# ---- Limits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"/", b"/?", b"http://b/", b"x"])
def test_target_of_the_limit_passes_and_a_longer_one_does_not(text):
    limit = 64
    longest = text + b"a" * (limit - len(text))
    assert status(target(longest), target_max=limit) == (400 if text == b"x" else OK)
    assert status(target(longest + b"a"), target_max=limit) == 414


def test_long_target_is_refused_before_its_end():
    """RFC 9110 section 15.5.15."""
    assert parse(b"GET /" + b"a" * (TARGET_MAX - 1)) is None
    assert parse(b"GET /" + b"a" * TARGET_MAX).status == 414
    assert parse(b"GET /" + b"a" * 9 * 1024).status == 414


def test_head_of_the_limit_passes_and_a_longer_one_does_not():
    """RFC 6585 section 5."""
    spare = HEAD_MAX - len(request(b"X: "))
    assert parse(request(b"X: " + b"a" * spare)).size == HEAD_MAX
    assert parse(request(b"X: " + b"a" * (spare + 1))).status == 431


def test_long_head_is_refused_before_its_end():
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    assert parse(data + b"a" * (HEAD_MAX - len(data))) is None
    assert parse(data + b"a" * (HEAD_MAX - len(data) + 1)).status == 431


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nX:"])
def test_endless_head_is_refused(start):
    """An endless method, name or value."""
    assert status(start + b"a" * 100, head_max=99) == 431


def test_pipelined_requests_do_not_count_into_the_head():
    data = request()
    assert parse(data * 1000, head_max=len(data)).size == len(data)
    assert parse(data * 1000, head_max=len(data) - 1).status == 431


def test_too_many_fields_are_refused_at_once():
    lines = [b"X: y"] * (FIELDS_MAX - 1)
    assert len(accepted(request(*lines)).headers) == FIELDS_MAX
    assert parse(request(*lines)[:-2] + b"X").status == 431
    assert status(request(*lines, b"X: y")) == 431


def test_name_beyond_16_bits_is_refused():
    limits = {"head_max": 1 << 20}
    assert parse(request(b"X" * 65535 + b": y"), **limits).headers[1][0] == b"X" * 65535
    assert parse(request(b"X" * 65536 + b": y"), **limits).status == 431


def test_refusal_names_what_is_known():
    assert parse(b"GET /a HTTP/1.1\r\nX : y\r\n") == Refusal(400, "malformed field name", b"GET", b"/a")
    assert parse(b"G\0T") == Refusal(400, "malformed method", b"", b"")


# ---- Smuggling -------------------------------------------------------------------------------------------


def messages(data):
    """Read `data` as a connection would: the target of each complete request, then the status of a refusal."""
    result = []
    while data:
        head = parse(data)
        if head is None:
            break
        if isinstance(head, Refusal):
            return [*result, head.status]
        body = data[head.size :]
        if head.chunked:
            event, _, used = dechunk([body])
            if event == 400:
                return [*result, 400]
            if event == "more":
                break
        else:
            used = max(head.content_length, 0)
            if used > len(body):
                break
        result.append(head.target)
        data = body[used:]
    return result


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_hidden_request_stays_hidden(attack):
    """RFC 9112 section 11.2."""
    seen = messages(attack.raw)
    assert b"/smuggled" not in seen
    assert (seen[0] if isinstance(seen[0], int) else ONE) in attack.outcomes


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_attack_in_pieces_is_the_same(attack):
    if len(attack.raw) < 4096:
        status(attack.raw)


def test_attacks_have_names_of_their_own():
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 60


def test_honest_pipelining_is_two_requests():
    assert messages(request() + HIDDEN) == [b"/", b"/smuggled"]
