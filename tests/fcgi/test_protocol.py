"""FastCGI 1.0, record by record: what web servers send, and what none would."""

import struct
import time

import pytest
from fcgi_client import (
    ABORT,
    BEGIN,
    COMPLETE,
    DATA,
    GET_VALUES,
    KEEP,
    OVERLOADED,
    PARAMS,
    STDIN,
    STDOUT,
    UNKNOWN,
    UNKNOWN_ROLE,
    VALUES,
    Client,
    begin,
    pairs,
    record,
    request,
    stream,
    variables,
)
from heart_server import SANITIZED, wait_until

LARGE = bytes(range(256)) * 1200


# ---- Replies


def test_reply_has_a_status_a_type_and_a_length(client):
    answer = client.fetch()
    assert answer.out == (
        b"Status: 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nhello"
    )
    assert (answer.application, answer.protocol, answer.errors) == (0, COMPLETE, b"")


def test_reply_to_head_has_no_body(client):
    answer = client.fetch(method="HEAD")
    assert answer.out.endswith(b"Content-Length: 5\r\n\r\n")


@pytest.mark.parametrize("bytes_", [0, 1, 7, 8, 32767, 32768, 65527, 65528, 65529, 1 << 20, 10_000_000])
def test_body_of_any_size_comes_whole(client, bytes_):
    assert len(client.fetch(target=f"/large?bytes={bytes_}").body) == bytes_


def test_fields_longer_than_a_record_come_whole(client):
    answer = client.fetch(target="/headers")
    assert answer.status == 201
    assert [answer.header(f"x-{i}") for i in range(1, 101)] == ["y" * 1000] * 100
    assert answer.header("status") == "201 Created"


def test_streamed_reply_has_no_length_and_no_chunks(client):
    answer = client.fetch(target="/stream?parts=30")
    assert answer.header("content-length") is None and answer.header("transfer-encoding") is None
    assert answer.text == "".join(f"{i}," for i in range(1, 31))


@pytest.mark.parametrize("name", ["small.txt", "large.bin"])
def test_file_is_served(client, files, name):
    answer = client.fetch(target=f"/files/{name}")
    assert answer.body == files[name]
    modified = answer.header("last-modified")
    assert client.fetch(target=f"/files/{name}", HTTP_IF_MODIFIED_SINCE=modified).status == 304
    head = client.fetch(method="HEAD", target=f"/files/{name}")
    assert head.out.endswith(b"\r\n\r\n") and head.header("content-length") == str(len(files[name]))


def test_several_parts_of_a_file_are_served(client, files):
    """The head of the next part follows when the one before is sent."""
    data = files["large.bin"]
    answer = client.fetch(target="/files/large.bin", HTTP_RANGE="bytes=0-99999,200000-2000000")
    assert (answer.status, answer.header("content-length")) == (206, str(len(answer.body)))
    heads = [line for line in answer.body.split(b"\r\n") if line.startswith(b"Content-Range")]
    assert heads == [b"Content-Range: bytes %d-%d/%d" % (a, b, len(data)) for a, b in ((0, 99999), (200000, 2000000))]
    assert data[:100000] in answer.body and data[200000:2000001] in answer.body
    tag = client.fetch(target="/files/large.bin", method="HEAD").header("etag")
    assert client.fetch(target="/files/large.bin", HTTP_IF_NONE_MATCH=tag).status == 304


def test_failed_handler_is_answered_with_500(client):
    assert client.fetch(target="/fail").status == 500
    assert client.fetch().text == "hello"


def test_stream_that_fails_ends_the_connection(client):
    """Its length was not announced: nothing else would tell that the answer is not whole."""
    client.send(request(target="/stream?parts=3&fail=1"))
    with pytest.raises((AssertionError, ConnectionResetError)):
        client.answer()


def test_stream_that_fails_late_in_a_long_turn_harms_no_other_connection(shared):
    """The fourth request of a read: after so many of them a turn that has lasted long is interrupted."""
    with Client(shared.address()) as client:
        client.send(b"".join(request(i, target="/late" if i == 4 else "/") for i in range(1, 6)))
        with pytest.raises((AssertionError, ConnectionResetError)):
            client.answer(4)
    with Client(shared.address()) as client:
        assert client.fetch().text == "hello"


def test_text_for_the_error_log_is_a_stream_of_its_own(client):
    answer = client.fetch(target="/error")
    assert (answer.errors, answer.text) == (b"for the log", "true GET")
    assert answer.ended[7]


# ---- Requests


def test_requests_may_follow_each_other_without_waiting(client):
    client.send(b"".join(request(i % 1000 + 1, HTTP_X=i) for i in range(900)))
    assert {client.answer(i + 1).text for i in range(900)} == {"hello"}


def test_client_is_the_one_of_the_web_server(client):
    assert client.fetch(target="/client", HTTP_USER_AGENT="me").text == "http 192.0.2.7 test me"
    assert client.fetch(target="/client", HTTPS="on", REMOTE_ADDR="2001:db8::1").text == "https 2001:db8::1 test -"
    assert client.fetch(target="/client", REMOTE_ADDR="unix:").text == "http 127.0.0.1 test -"


def test_ends_of_the_client_s_connection_are_those_of_the_web_server(client):
    more = {"SERVER_ADDR": "192.0.2.1", "SERVER_PORT": "443", "REQUEST_SCHEME": "https"}
    assert client.fetch(target="/ends", **more).text == "192.0.2.1 443 192.0.2.7 4711 https"


def test_variables_are_known_to_lua(client):
    assert client.fetch(target="/params", ODD="value").text == "GET value nil"


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pairs_cross_records(client, size):
    assert client.fetch(target="/client", size=size, HTTP_USER_AGENT="u" * 300).text.endswith("u" * 300)


def test_every_byte_may_arrive_alone(client):
    for byte in request(method="POST", target="/echo", body=b"body", size=3):
        client.send(bytes([byte]))
    assert client.answer().body == b"body"


@pytest.mark.parametrize("size", [7, 1000, 65535])
@pytest.mark.parametrize("n", [0, 1, 7, 1000, 65535, 65536, len(LARGE)])
def test_body_comes_back(client, n, size):
    size = max(size, n // 300)
    assert client.fetch(method="POST", target="/echo", body=LARGE[:n], size=size).body == LARGE[:n]


def test_body_without_a_length_comes_back(client):
    answer = client.fetch(method="POST", target="/echo", body=LARGE, CONTENT_LENGTH=None)
    assert answer.body == LARGE
    assert client.fetch(method="POST", target="/echo", body=b"", CONTENT_LENGTH="").body == b""


def test_padding_is_passed_over(client):
    data = begin(1)[:6] + bytes([5, 0]) + begin(1)[8:] + b"abcde"
    data += stream(PARAMS, 1, pairs(variables("POST", "/echo", b"body")), padding=255)
    data += stream(STDIN, 1, b"body", 1, padding=3)
    assert client.send(data).answer().body == b"body"


@pytest.mark.parametrize("announced", [3, 5])
def test_body_that_is_not_as_long_as_announced_is_refused(client, announced):
    """Section 6.2"""
    answer = client.fetch(method="POST", target="/echo", body=b"body", CONTENT_LENGTH=announced)
    assert answer.status == 400
    assert client.fetch().text == "hello"


def test_body_above_the_limit_is_refused(client):
    assert client.fetch(method="POST", target="/small", body=b"x" * 11).status == 413
    assert client.fetch(method="POST", target="/small", body=b"x" * 11, CONTENT_LENGTH=None).status == 413
    assert client.fetch(method="POST", target="/small", body=b"x" * 10, CONTENT_LENGTH=None).status == 200
    assert client.fetch(method="POST", target="/echo", body=LARGE * 20).status == 413
    assert client.fetch().text == "hello"


def test_web_socket_is_refused(client):
    """As for HTTP/1.0: a web server that speaks FastCGI can not pass one on."""
    answer = client.fetch(
        target="/ws",
        HTTP_UPGRADE="websocket",
        HTTP_CONNECTION="upgrade",
        HTTP_SEC_WEBSOCKET_VERSION="13",
        HTTP_SEC_WEBSOCKET_KEY="dGhlIHNhbXBsZSBub25jZQ==",
    )
    assert answer.status == 426


@pytest.mark.parametrize(
    "given, status",
    [
        ({"REQUEST_METHOD": ""}, 400),
        ({"REQUEST_URI": "/a b"}, 400),
        ({"HTTP_X": "a\r\nB: c"}, 400),
        ({"CONTENT_LENGTH": "x"}, 400),
        ({"REQUEST_URI": "/" + "x" * 9000}, 414),
        ({"HTTP_X": "x" * 17000}, 431),
        ({f"HTTP_X{i}": "" for i in range(101)}, 431),
        ({"OTHER": "x" * 70000}, 431),
        ({"REQUEST_METHOD": "BREW"}, 501),
    ],
)
def test_request_that_http_would_refuse_is_refused(client, given, status):
    answer = client.fetch(**given)
    assert answer.status == status
    assert client.fetch().text == "hello"


def test_cut_off_variables_are_refused(client):
    data = begin(1) + stream(PARAMS, 1, pairs(variables())[:-1]) + record(STDIN, 1)
    assert client.send(data).answer().status == 400


# ---- Streamed bodies


@pytest.mark.parametrize("slow", ["", "?slow=0.001"])
@pytest.mark.parametrize("announced", [True, False])
def test_streamed_body_is_read(client, slow, announced):
    more = {} if announced else {"CONTENT_LENGTH": None}
    answer = client.fetch(method="POST", target=f"/count{slow}", body=LARGE * 10, size=5000, **more)
    assert answer.text == f"{len(LARGE) * 10} bytes, whole"


def half_a_body(number, target):
    """So much of a body of 100,000 bytes that no more is taken until its handler reads, and the rest of it."""
    sent = begin(number) + stream(PARAMS, number, pairs(variables("POST", target, None, CONTENT_LENGTH=100_000)))
    return sent + stream(STDIN, number, b"b" * 60_000, end=False), stream(STDIN, number, b"b" * 40_000)


def test_file_goes_on_when_another_request_begins_to_read(shared, files):
    with Client(shared.address()) as client:
        first, rest = half_a_body(1, "/count?wait=0.5")
        client.send(first)
        client.send(request(2, target="/files/large.bin") + rest[:20_000])
        time.sleep(1)  # the file waits for the client
        client.send(rest[20_000:])
        assert client.answer(2).body == files["large.bin"]
        assert client.answer(1).text == "100000 bytes, whole"


def test_connection_that_waits_for_a_handler_costs_no_time(shared, files):
    with Client(shared.address()) as client:
        first, rest = half_a_body(1, "/count?wait=1")
        client.send(first)
        client.send(request(2, target="/files/large.bin") + rest[:20_000])
        assert client.answer(2).body == files["large.bin"]
        before = shared.cpu()
        time.sleep(0.5)
        assert shared.cpu() - before < 0.2
        client.send(rest[20_000:])
        assert client.answer(1).text == "100000 bytes, whole"


def test_streamed_body_above_the_limit_of_its_route_fails(client):
    answer = client.fetch(method="POST", target="/bounded", body=b"x" * 11, CONTENT_LENGTH=None)
    assert answer.text == "too large"
    assert client.fetch(method="POST", target="/bounded", body=b"x" * 10, CONTENT_LENGTH=None).text == "whole"
    assert client.fetch(method="POST", target="/bounded", body=b"x" * 11).status == 413


def test_streamed_body_that_ends_early_fails(client):
    answer = client.fetch(method="POST", target="/count", body=b"body", CONTENT_LENGTH=5)
    assert answer.text == "4 bytes, closed"


def test_streamed_body_that_is_not_read_is_passed_over(client):
    assert client.fetch(method="POST", target="/unread", body=LARGE * 10).text == "not read"
    assert client.fetch().text == "hello"


def test_connection_is_not_read_while_a_body_is_not_consumed(respond):
    """Back-pressure: a handler that reads slowly makes the web server wait, and memory does not grow."""
    server = respond("--body-timeout", 0.5)
    with Client(server.address()) as client:
        client.send(begin(2) + stream(PARAMS, 2, pairs(variables("POST", "/echo", b"body"))))
        client.send(begin(1) + stream(PARAMS, 1, pairs(variables("POST", "/count?slow=0.005", None))))
        before = server.rss()
        for _ in range(24):
            client.send(stream(STDIN, 1, b"x" * (1 << 20), end=False))
        assert server.rss() - before < (20 if SANITIZED else 12) << 20  # a sanitizer keeps some of what is freed
        assert client.send(record(STDIN, 1)).answer().text == f"{24 << 20} bytes, whole"
        assert client.send(stream(STDIN, 2, b"body")).answer(2).text == "body"  # its time did not run meanwhile


# ---- Many requests on a connection


def test_requests_are_answered_as_they_are_ready(client):
    client.send(request(1, target="/sleep?seconds=0.2", HTTP_X_NAME=1))
    client.send(request(2, target="/sleep?seconds=0.1", HTTP_X_NAME=2) + request(300))
    answers = {i: client.answer(i) for i in (1, 2, 300)}
    assert client.order == [300, 2, 1]
    assert answers[1].text == "slept 0.2 1" and answers[2].text == "slept 0.1 2"


def test_records_of_requests_may_alternate(client):
    bodies = {i: bytes([i]) * 5000 for i in range(1, 40)}
    parts = {}
    for i, body in bodies.items():
        data = request(i, "POST", "/echo", body, size=300)
        parts[i] = []
        while data:
            n = 8 + struct.unpack(">H", data[4:6])[0]
            parts[i].append(data[:n])
            data = data[n:]
    while any(parts.values()):
        client.send(b"".join(of.pop(0) for of in parts.values() if of))
    for i, body in bodies.items():
        assert client.answer(i).body == body


def test_large_replies_of_many_requests_do_not_mix(client, files):
    numbers = range(1, 12)
    client.send(b"".join(request(i, target="/files/large.bin" if i % 2 else "/stream?parts=500") for i in numbers))
    answers = [client.answer(i) for i in numbers]
    assert len({bytes(answer.body) for answer in answers}) == 2
    assert answers[0].body == files["large.bin"]


def test_hundreds_of_requests_at_once(client):
    client.send(b"".join(request(i, target="/sleep?seconds=0.2", HTTP_X_NAME=i) for i in range(1, 501)))
    for i in range(1, 501):
        assert client.answer(i).text == f"slept 0.2 {i}"


def test_body_that_waits_for_its_handler_is_bounded_for_each_request(client):
    """A small one that is not read yet holds up nobody."""
    client.send(begin(1) + stream(PARAMS, 1, pairs(variables("POST", "/count?slow=0.3"))))
    client.send(stream(STDIN, 1, b"x" * 1000, 100, end=False))
    assert client.fetch(2).text == "hello"
    assert client.send(record(STDIN, 1)).answer(1).text == "1000 bytes, whole"


# ---- The end of a request, and of the connection


def test_connection_is_closed_unless_it_is_to_be_kept(shared):
    for flags in (0, KEEP):
        with Client(shared.address()) as client:
            client.send(request(flags=flags))
            assert client.answer().text == "hello"
            assert client.quiet(0.1) if flags else client.closed()


def test_connection_that_is_not_kept_ends_with_its_last_request(client):
    client.send(request(1, target="/sleep?seconds=0.2", flags=0) + request(2, flags=0))
    assert client.answer(2).text == "hello"
    assert client.answer(1).text.startswith("slept")
    assert client.closed()


def test_number_may_be_used_again(client):
    for i in range(20):
        client.send(request(1, target="/sleep?seconds=0", HTTP_X_NAME=i))
        assert client.answer(1).text == f"slept 0 {i}"


def test_aborted_request_is_ended_at_once(client):
    """Section 5.4"""
    before = int(client.fetch(3, target="/aborted").text)
    client.send(request(1, target="/told?seconds=1") + request(2, target="/sleep?seconds=0.1") + record(ABORT, 1))
    answer = client.answer(1)
    assert (answer.out, answer.protocol) == (b"", COMPLETE)
    assert client.answer(2).text == "slept 0.1 "
    assert int(client.fetch(3, target="/aborted").text) == before + 1


def test_aborted_request_without_its_variables_is_ended(client):
    client.send(begin(1) + record(PARAMS, 1, b"xyz") + record(ABORT, 1))
    assert client.answer(1).out == b""
    assert client.fetch().text == "hello"


def test_abort_of_an_unknown_request_is_passed_over(client):
    client.send(record(ABORT, 7) + record(STDIN, 7, b"x") + record(PARAMS, 7, b"y") + record(DATA, 7))
    assert client.fetch().text == "hello"


def test_closed_connection_aborts_all_its_requests(shared):
    with Client(shared.address()) as client:
        before = int(client.fetch(target="/aborted").text)
        client.send(b"".join(request(i, target="/told?seconds=1") for i in range(1, 4)) + request(4))
        assert client.answer(4).text == "hello"
    with Client(shared.address()) as client:
        wait_until(lambda: int(client.fetch(target="/aborted").text) == before + 3, "the handlers are told")


# ---- The connection itself


def test_values_are_told_and_hold(respond):
    """Section 4.1"""
    server = respond("--max-connections", 3)
    asked = pairs([("FCGI_MPXS_CONNS", ""), ("FCGI_MAX_REQS", ""), ("OTHER", "")])
    with Client(server.address()) as client:
        client.send(record(GET_VALUES, 0, asked)).take()
        told = pairs([("FCGI_MPXS_CONNS", "1"), ("FCGI_MAX_REQS", "3")])
        assert client.management == [(VALUES, told)]
        client.send(b"".join(request(i, target="/sleep?seconds=0.2") for i in range(1, 6)))
        assert [client.answer(i).protocol for i in range(1, 6)] == [COMPLETE] * 3 + [OVERLOADED] * 2
        assert client.fetch().text == "hello"


def test_unknown_record_about_the_connection_is_answered(client):
    """Section 4.2"""
    client.send(record(99, 0, b"content", padding=3)).take()
    assert client.management == [(UNKNOWN, bytes([99, 0, 0, 0, 0, 0, 0, 0]))]
    assert client.fetch().text == "hello"


@pytest.mark.parametrize("role", [0, 2, 3, 65535])
def test_other_roles_are_refused(client, role):
    answer = client.send(begin(1, role=role) + request(1)[16:]).answer()
    assert (answer.out, answer.protocol) == (b"", UNKNOWN_ROLE)
    assert client.fetch().text == "hello"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        record(STDIN, 1, version=2),
        record(STDOUT, 1),
        record(BEGIN, 1, b"short"),
        record(PARAMS, 0),
        record(12, 1),
        begin(1) + begin(1),
        begin(1) + record(STDIN, 1, b"too early"),
        begin(1) + stream(PARAMS, 1, pairs(variables("POST", "/echo"))) + record(PARAMS, 1, b"late"),
        request(1, target="/sleep?seconds=0.2") + record(STDIN, 1, b"late"),
        record(GET_VALUES, 0, b"\xff"),
    ],
)
def test_connection_that_is_no_fastcgi_is_closed(shared, data):
    with Client(shared.address()) as client:
        assert client.send(data).closed()
    shared.wait_log('"status":400')
    with Client(shared.address()) as client:
        assert client.fetch().text == "hello"


# ---- Times


@pytest.fixture(scope="module")
def hasty(start_shared):
    """The address of a server that waits for nobody."""
    times = ("--header-timeout", 0.2, "--body-timeout", 0.2, "--idle-timeout", 0.3)
    return start_shared("--listen", "fcgi:127.0.0.1:0", *times).address()


def test_variables_that_do_not_come_are_given_up(hasty):
    with Client(hasty) as client:
        client.send(begin(1) + record(PARAMS, 1, b"x") + request(2))
        assert client.answer(2).text == "hello"
        assert client.answer(1).status == 408
        assert client.fetch().text == "hello"


@pytest.mark.parametrize("sent", [b"", begin(1)[:5], request(1), request(1) + b"\1"])
def test_connection_on_which_nothing_comes_is_closed(hasty, sent):
    with Client(hasty) as client:
        client.send(sent)
        if len(sent) > 5:
            assert client.answer().text == "hello"
        assert client.closed()


@pytest.mark.parametrize("target, told", [("/echo", "408 - Request Timeout"), ("/count", "2 bytes, timeout")])
def test_body_that_does_not_come_is_given_up(hasty, target, told):
    with Client(hasty) as client:
        client.send(begin(1) + stream(PARAMS, 1, pairs(variables("POST", target, b"1234"))))
        assert client.send(record(STDIN, 1, b"12")).answer().text == told
        assert client.fetch(target="/sleep?seconds=0.4").text == "slept 0.4 "


def test_web_server_that_takes_nothing_is_given_up(respond):
    server = respond("--write-timeout", 0.3)
    before = server.fds()
    with Client(server.address()) as client:
        client.send(b"".join(request(i, target="/large?bytes=10000000") for i in range(1, 4)))
        wait_until(lambda: server.fds() > before, "the connection is accepted")
        wait_until(lambda: server.fds() <= before, "the connection is closed")
