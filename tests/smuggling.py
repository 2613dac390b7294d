"""Attempts to hide a request inside of another, as data for the codec tests and for tests of a running server.

Each message, if it is read as its author hopes, makes some parser see a request for /smuggled. A server passes
when nobody ever handles /smuggled and its first answer is one of `outcomes`: a status of refusal, after which
the connection closes, or ONE: the message is legal, and one request is read from it and answered.

The sources are RFC 9112 section 11.2, published attacks (CL.TE, TE.CL, TE.TE, CL.0, 0.CL, chunk extensions and
line terminators, obsolete folding, header names that other parsers normalise) and differences between parsers.
"""

from typing import NamedTuple

ONE = "one"
HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED_END = b"0\r\n\r\n"


class Attack(NamedTuple):
    name: str
    raw: bytes
    outcomes: frozenset


def post(*lines, body=b"", version=b"1.1", target=b"/"):
    """A POST with one Host and the field lines `lines`."""
    head = [b"POST " + target + b" HTTP/" + version, b"Host: a", *lines, b"", b""]
    return b"\r\n".join(head) + body


def attack(name, raw, *outcomes):
    return Attack(name, raw, frozenset(outcomes))


LENGTH = b"Content-Length: %d" % len(CHUNKED_END + HIDDEN)
CHUNKED = b"Transfer-Encoding: chunked"
BODY = CHUNKED_END + HIDDEN


def coding(name, line, alone=400, beside=400):
    """A Transfer-Encoding that some parsers take for "chunked" and others overlook: first without, then with a
    Content-Length that covers what is hidden. `alone` is None where it is truly chunked: then nothing hides."""
    attacks = [attack(name + "_beside_length", post(LENGTH, line, body=BODY), beside)]
    if alone is not None:
        attacks.append(attack(name, post(line, body=BODY), alone))
    return attacks


BOTH = [
    attack("cl_te", post(LENGTH, CHUNKED, body=BODY), 400),
    attack("te_cl", post(CHUNKED, b"Content-Length: 4", body=b"5c\r\n" + HIDDEN + b"\r\n0\r\n\r\n"), 400),
    attack("cl_zero_te", post(b"Content-Length: 0", CHUNKED, body=BODY), 400),
    attack("cl_te_in_1_0", post(LENGTH, CHUNKED, body=BODY, version=b"1.0"), 400),
    attack("te_in_1_0", post(CHUNKED, body=BODY, version=b"1.0"), 400),
    attack("te_in_1_0_keep_alive", post(CHUNKED, b"Connection: keep-alive", body=BODY, version=b"1.0"), 400),
    attack("te_hop_by_hop", post(CHUNKED, b"Connection: Transfer-Encoding", LENGTH, body=BODY), 400),
    attack("cl_hop_by_hop", post(b"Connection: Content-Length", LENGTH, body=BODY), ONE),
]

CODINGS = [
    *coding("te_space_before_colon", b"Transfer-Encoding : chunked"),
    *coding("te_tab_before_colon", b"Transfer-Encoding\t: chunked"),
    *coding("te_leading_space", b" Transfer-Encoding: chunked"),
    *coding("te_leading_tab", b"\tTransfer-Encoding: chunked"),
    *coding("te_tab_after_colon", b"Transfer-Encoding:\tchunked", None),
    *coding("te_vertical_tab", b"Transfer-Encoding:\x0bchunked"),
    *coding("te_form_feed", b"Transfer-Encoding:\x0cchunked"),
    *coding("te_trailing_vertical_tab", b"Transfer-Encoding: chunked\x0b"),
    *coding("te_nul", b"Transfer-Encoding: chunked\x00"),
    *coding("te_nul_in_name", b"Transfer-Encoding\x00: chunked"),
    *coding("te_delete", b"Transfer-Encoding: chunked\x7f"),
    *coding("te_bare_cr_before", b"X: y\rTransfer-Encoding: chunked"),
    *coding("te_bare_lf_before", b"X: y\nTransfer-Encoding: chunked"),
    *coding("te_bare_cr_in_value", b"Transfer-Encoding: \rchunked"),
    *coding("te_folded", b"Transfer-Encoding:\r\n chunked"),
    *coding("te_folded_by_tab", b"Transfer-Encoding:\r\n\tchunked"),
    *coding("te_folded_into_other", b"X: y\r\n Transfer-Encoding: chunked"),
    *coding("te_repeated", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    *coding("te_repeated_identity_last", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
    *coding("te_repeated_unknown_first", b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked"),
    *coding("te_twice_in_list", b"Transfer-Encoding: chunked, chunked"),
    *coding("te_identity_after_chunked", b"Transfer-Encoding: chunked, identity"),
    *coding("te_identity_before_chunked", b"Transfer-Encoding: identity, chunked", 501),
    *coding("te_empty_element", b"Transfer-Encoding: , chunked"),
    *coding("te_trailing_comma", b"Transfer-Encoding: chunked,"),
    *coding("te_parameter", b"Transfer-Encoding: chunked;q=1"),
    *coding("te_quoted", b'Transfer-Encoding: "chunked"'),
    *coding("te_single_quotes", b"Transfer-Encoding: 'chunked'", 501),
    *coding("te_prefixed", b"Transfer-Encoding: xchunked", 501),
    *coding("te_upper_case", b"TRANSFER-ENCODING: CHUNKED", None),
    *coding("te_mixed_case", b"tRANSFER-eNCODING: cHuNkEd", None),
    *coding("te_empty", b"Transfer-Encoding:"),
    *coding("te_high_byte", b"Transfer-Encoding: chunked\xff"),
    *coding("te_kelvin_sign", "Transfer-Encoding: chun\u212aed".encode()),
    *coding("te_underscore", b"Transfer_Encoding: chunked", ONE, ONE),
    *coding("te_other_name", b"X-Transfer-Encoding: chunked", ONE, ONE),
    *coding("te_double_colon", b"Transfer-Encoding:: chunked"),
    attack("te_identity", post(b"Transfer-Encoding: identity", body=HIDDEN), 501),
    attack("te_gzip_chunked", post(b"Transfer-Encoding: gzip, chunked", body=BODY), 501),
    attack("te_unknown", post(b"Transfer-Encoding: cow", body=BODY), 501),
    attack("te_chunked_word", post(b"Transfer-Encoding: chunked foo", body=BODY), 400),
]

LENGTHS = [
    attack("cl_repeated", post(b"Content-Length: 0", LENGTH, body=BODY), 400),
    attack("cl_repeated_equal", post(LENGTH, LENGTH, body=BODY), 400),
    attack("cl_list", post(b"Content-Length: 5, 5", body=BODY), 400),
    attack("cl_list_different", post(b"Content-Length: 0, 41", body=BODY), 400),
    attack("cl_plus", post(b"Content-Length: +41", body=BODY), 400),
    attack("cl_minus", post(b"Content-Length: -1", body=BODY), 400),
    attack("cl_minus_zero", post(b"Content-Length: -0", body=HIDDEN), 400),
    attack("cl_hex", post(b"Content-Length: 0x29", body=BODY), 400),
    attack("cl_exponent", post(b"Content-Length: 1e2", body=BODY), 400),
    attack("cl_fraction", post(b"Content-Length: 5.0", body=BODY), 400),
    attack("cl_underscores", post(b"Content-Length: 4_1", body=BODY), 400),
    attack("cl_empty", post(b"Content-Length:", body=HIDDEN), 400),
    attack("cl_space_inside", post(b"Content-Length: 4 1", body=BODY), 400),
    attack("cl_nul_inside", post(b"Content-Length: 41\x00", body=BODY), 400),
    attack("cl_wraps_32_bits", post(b"Content-Length: 18446744073709551616", body=HIDDEN), 400),
    attack("cl_wraps_64_bits", post(b"Content-Length: 9223372036854775808", body=HIDDEN), 400),
    attack("cl_other_digits", post("Content-Length: \u0664\u0661".encode(), body=BODY), 400),
    attack("cl_space_before_colon", post(b"Content-Length : 41", body=BODY), 400),
    attack("cl_folded", post(b"Content-Length:\r\n 41", body=BODY), 400),
    attack("cl_bare_lf_before", post(b"X: y\nContent-Length: 0", LENGTH, body=BODY), 400),
    attack("cl_bare_cr_after", post(b"Content-Length: 41\rX: y", body=BODY), 400),
    attack("cl_in_get", b"GET / HTTP/1.1\r\nHost: a\r\n" + LENGTH + b"\r\n\r\n" + BODY, ONE),
    attack("cl_underscore", post(LENGTH, b"Content_Length: 0", body=BODY), ONE),
]

LINES = [
    attack("empty_line_bare_lf", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 41\n\n" + HIDDEN, 400),
    attack("empty_line_lf_cr", b"GET / HTTP/1.1\r\nHost: a\r\n\n\r" + HIDDEN, 400),
    attack("empty_line_cr_only", b"GET / HTTP/1.1\r\nHost: a\r\n\r" + HIDDEN, 400),
    attack("request_line_bare_lf", b"GET / HTTP/1.1\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("request_line_bare_cr", b"GET / HTTP/1.1\rHost: a\r\n\r\n" + HIDDEN, 400),
    attack("crlf_in_target", b"GET /\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("space_in_target", b"GET / /x HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("request_in_target", b"GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("tab_between_parts", b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("vertical_tab_between_parts", b"GET\x0b/ HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("trailing_space_after_version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("nul_in_target", b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("fragment_in_target", b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("line_before_first_field", b"GET / HTTP/1.1\r\n Host: a\r\nX: y\r\n\r\n" + HIDDEN, 400),
    attack("field_without_colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n" + HIDDEN, 400),
    attack("field_without_name", b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n" + HIDDEN, 400),
    attack("nul_in_value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n" + HIDDEN, 400),
    attack("next_line_in_value", post(b"X: y\x85Content-Length: 0", LENGTH, body=BODY), ONE),
    attack("simple_request", b"GET /\r\n" + HIDDEN, 400),
    attack("version_0_9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n" + HIDDEN, 505),
    attack("version_2", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n" + HIDDEN, 505),
    attack("version_long", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("version_lower_case", b"GET / http/1.1\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("expect_unknown", post(b"Expect: 100-continue, x", LENGTH, body=BODY), 417),
]

HOSTS = [
    attack("host_missing", b"GET / HTTP/1.1\r\n\r\n" + HIDDEN, 400),
    attack("host_repeated", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + HIDDEN, 400),
    attack("host_repeated_equal", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("host_repeated_in_1_0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n" + HIDDEN, 400),
    attack("host_list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n" + HIDDEN, 400),
    attack("host_two_words", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n" + HIDDEN, 400),
    attack("host_with_user", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n" + HIDDEN, 400),
    attack("host_with_path", b"GET / HTTP/1.1\r\nHost: a/x\r\n\r\n" + HIDDEN, 400),
    attack("host_with_port_word", b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n" + HIDDEN, 400),
    attack("host_with_two_ports", b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n" + HIDDEN, 400),
    attack("host_folded", b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n" + HIDDEN, 400),
    attack("host_space_before_colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n" + HIDDEN, 400),
    attack("host_indented", b"GET / HTTP/1.1\r\nX: y\r\n Host: b\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("absolute_with_user", b"GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n" + HIDDEN, 400),
    attack("absolute_without_host", b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("absolute_other_scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("absolute_empty_host_field", b"GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n" + HIDDEN, 400),
    attack("absolute_backslash", b"GET http://a\\@b/ HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("absolute_two_hosts", b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + HIDDEN, 400),
    attack("target_without_slash", b"GET @b/ HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN, 400),
    attack("asterisk_in_get", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN, 400),
]


def chunked(name, body, *outcomes):
    return attack("chunk_" + name, post(CHUNKED, body=body), *outcomes)


CHUNKS = [
    chunked("size_0x", b"0x0\r\n\r\n" + HIDDEN, 400),
    chunked("size_plus", b"+0\r\n\r\n" + HIDDEN, 400),
    chunked("size_minus", b"-0\r\n\r\n" + HIDDEN, 400),
    chunked("size_space_before", b" 0\r\n\r\n" + HIDDEN, 400),
    chunked("size_space_after", b"0 \r\n\r\n" + HIDDEN, 400),
    chunked("size_tab_after", b"0\t\r\n\r\n" + HIDDEN, 400),
    chunked("size_underscore", b"0_0\r\n\r\n" + HIDDEN, 400),
    chunked("size_empty", b"\r\n\r\n" + HIDDEN, 400),
    chunked("size_only_extension", b";x\r\n\r\n" + HIDDEN, 400),
    chunked("size_not_hex", b"g\r\n\r\n" + HIDDEN, 400),
    chunked("size_nul", b"0\x00\r\n\r\n" + HIDDEN, 400),
    chunked("size_wraps_64_bits", b"10000000000000000\r\n\r\n" + HIDDEN, 400),
    chunked("size_wraps_sign", b"ffffffffffffffff\r\n\r\n" + HIDDEN, 400),
    chunked("size_bare_lf", b"0\n\r\n" + HIDDEN, 400),
    chunked("size_bare_cr", b"0\r\r\n" + HIDDEN, 400),
    chunked("size_two_lines", b"0\r\n\n" + HIDDEN, 400),
    chunked("extension_bare_lf", b"2;\nxx\r\n0\r\n\r\n" + HIDDEN, 400),
    chunked("extension_bare_cr", b"2;a\rxx\r\n0\r\n\r\n" + HIDDEN, 400),
    chunked("extension_nul", b"0;a\x00\r\n\r\n" + HIDDEN, 400),
    chunked("extension_quoted_lines", b'5;a="\r\n0\r\n\r\n' + HIDDEN, 400),
    chunked("extension_too_long", b"0;" + b"x" * 100_000 + b"\r\n\r\n" + HIDDEN, 400),
    chunked("data_without_end", b"1\r\nx0\r\n\r\n" + HIDDEN, 400),
    chunked("data_end_bare_lf", b"1\r\nx\n0\r\n\r\n" + HIDDEN, 400),
    chunked("data_end_bare_cr", b"1\r\nx\r0\r\n\r\n" + HIDDEN, 400),
    chunked("data_end_two_bytes", b"1\r\nxyy0\r\n\r\n" + HIDDEN, 400),
    chunked("data_too_long", b"1\r\nxx\r\n0\r\n\r\n" + HIDDEN, 400),
    chunked("trailer_bare_lf", b"0\r\nX: y\n\r\n" + HIDDEN, 400),
    chunked("trailer_folded", b"0\r\nX: y\r\n z\r\n\r\n" + HIDDEN, 400),
    chunked("trailer_without_colon", b"0\r\nX\r\n\r\n" + HIDDEN, 400),
    chunked("trailer_space_before_colon", b"0\r\nX : y\r\n\r\n" + HIDDEN, 400),
    chunked("trailer_is_request", b"0\r\n" + HIDDEN, 400),
    chunked("trailer_end_bare_lf", b"0\r\n\n" + HIDDEN, 400),
    chunked("trailer_end_bare_cr", b"0\r\nX: y\r\n\r" + HIDDEN, 400),
    chunked("trailer_framing", b"%x\r\n%b\r\n0\r\nContent-Length: 0\r\n\r\n" % (len(HIDDEN), HIDDEN), ONE),
    chunked("data_is_request", b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN), ONE),
]

ATTACKS = BOTH + CODINGS + LENGTHS + LINES + HOSTS + CHUNKS
