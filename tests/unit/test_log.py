"""log.pxi, log_line.pxi, lua_log.pxi: rings, the log thread, and what a line looks like."""

import contextlib
import fcntl
import json
import os
import pty
import random
import re
import resource
import select
import signal
import socket
import threading
import time
from pathlib import Path

import log_native
import pytest
from heart_server import wait_until
from log_native import Log

STDLIB = Path(__file__).parents[2] / "lua_stdlib"
IPV4 = bytes(10) + b"\xff\xff\x7f\x00\x00\x01"
WALL = 1792532340123  # 2026-10-20T21:39:00.123Z


@pytest.fixture
def pipe():
    """(read, write) ends; both are closed afterwards."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


@pytest.fixture
def logfile(tmp_path):
    """(path, descriptor) of an empty file."""
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    yield path, descriptor
    os.close(descriptor)


def lines_of(path):
    """Every line of a file of JSON lines; the file must end with one."""
    data = path.read_bytes()
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def told_as_dropped(data):
    """The sum of what the log says that it has dropped."""
    return sum(int(n) for n in re.findall(rb'"dropped (\d+) log lines"', data))


def logged(logfile, **options):
    """A context: a logger that is stopped at its end."""

    @contextlib.contextmanager
    def manager():
        log = Log(logfile[1], **options)
        yield log
        assert log.stop()

    return manager()


def drain(descriptor, until, seconds=10):
    """Read until `until(data)`; gives the data."""
    data = b""
    end = time.monotonic() + seconds
    while not until(data):
        assert time.monotonic() < end, f"{len(data)} bytes, then nothing"
        if select.select([descriptor], [], [], 0.1)[0]:
            data += os.read(descriptor, 1 << 20)
    return data


def log_thread():
    """The folder in /proc of the one log thread that there is."""
    found = []

    def named():
        found[:] = [t for t in Path("/proc/self/task").iterdir() if (t / "comm").read_text() == "heart-log\n"]
        return len(found) == 1

    wait_until(named, "the thread has its name")
    return found[0]


# ---- Lines -------------------------------------------------------------------------------------------------


def test_request_is_one_json_object(logfile):
    with logged(logfile) as log:
        log.access(b"GET", b"/x?y=1", 200, WALL, 412345, 17, IPV4)
    (line,) = lines_of(logfile[0])
    assert line == {
        "time": "2026-10-20T21:39:00.123Z",
        "level": "info",
        "status": 200,
        "method": "GET",
        "path": "/x?y=1",
        "response_time": 0.412,
        "bytes": 17,
        "remote": "127.0.0.1",
    }
    assert list(line) == ["time", "level", "status", "method", "path", "response_time", "bytes", "remote"]


@pytest.mark.parametrize(
    ("took", "text"),
    [(0, "0.000"), (999, "0.000"), (1000, "0.001"), (1234567, "1.234"), (61_000_000_000, "61000.000")],
)
def test_response_time_is_in_milliseconds(logfile, took, text):
    with logged(logfile) as log:
        log.access(b"GET", b"/", 200, WALL, took)
    assert f'"response_time":{text},' in logfile[0].read_text()


def test_numbers_at_their_limits_are_whole(logfile):
    with logged(logfile) as log:
        log.access(b"GET", b"/", 999, WALL, 2**64 - 1, 2**64 - 1, IPV4)
    (line,) = lines_of(logfile[0])
    assert line["bytes"] == 2**64 - 1
    assert line["status"] == 999


def test_time_follows_the_second(logfile):
    with logged(logfile) as log:
        for step in (0, 1, 876, 877, 1877, 86400000):
            log.access(b"GET", b"/", 200, WALL + step)
    times = [line["time"][8:-1] for line in lines_of(logfile[0])]
    assert times == [
        "20T21:39:00.123",
        "20T21:39:00.124",
        "20T21:39:00.999",
        "20T21:39:01.000",
        "20T21:39:02.000",
        "21T21:39:00.123",
    ]


def test_message_has_the_present_time_and_its_fields(logfile):
    with logged(logfile) as log:
        before = time.time()
        log.message("warn", b"hello", [(b"a", b'"x"'), (b"b", b"[1,{}]"), (b"c", b"null")])
        after = time.time()
    (line,) = lines_of(logfile[0])
    stamp = line.pop("time")
    assert line == {"level": "warn", "message": "hello", "a": "x", "b": [1, {}], "c": None}
    seconds = time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone + float(stamp[19:23])
    assert before - 0.012 <= seconds <= after, "the kernel's clock tick is at most 10 ms"


def test_field_cannot_pass_for_a_member_of_the_line(logfile):
    names = (b"time", b"level", b"message", b"truncated")
    with logged(logfile) as log:
        log.message("info", b"m", [(name, b'"forged"') for name in names])
    (line,) = lines_of(logfile[0])
    assert line["level"] == "info"
    assert line["message"] == "m"
    assert all(line["_" + name.decode()] == "forged" for name in names)


@pytest.mark.parametrize("level", ["debug", "info", "warn", "error", "off"])
def test_only_messages_of_the_level_or_above_are_written(logfile, level):
    order = ["debug", "info", "warn", "error"]
    with logged(logfile, level=level) as log:
        for name in order:
            log.message(name, b"m")
        log.access(b"GET", b"/")
        shown = order[order.index(level) :] if level != "off" else []
        assert [name for name in order if log.enabled(name)] == shown
    lines = lines_of(logfile[0])
    assert [line["level"] for line in lines if "message" in line] == shown
    assert len([line for line in lines if "status" in line]) == ("info" in shown)


ODD = [bytes([byte]) for byte in range(256)]
ODD += [
    b"\x1b[31mred\x1b[0m",
    b"\x1b]0;title\x07",
    b'"},{"level":"error"}\n',
    b"\xc2\x9b31m",
    b"\xe2\x80\xae\xe2\x80\xa8\xe2\x81\xa6",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xe0\x80\x80",
    "\u00e9\u20ac\U0001f600".encode(),
    b"back\\slash \\u0000",
    b"\x7f\x00",
]


@pytest.mark.parametrize("text", ODD, ids=repr)
def test_any_text_survives_as_json_and_never_reaches_the_descriptor_raw(logfile, text):
    with logged(logfile) as log:
        log.access(text, b"/" + text, 200, WALL)
        log.message("info", b"<" + text + b">", [(text, b'"v"')])
    data = logfile[0].read_bytes()
    assert data.count(b"\n") == 2
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]", data)
    request, message = lines_of(logfile[0])
    expected = text.decode(errors="replace")
    if "\ufffd" in expected:
        assert "\ufffd" in request["path"]
    else:
        assert request["path"] == "/" + expected
        assert request["method"] == expected
        assert message["message"] == f"<{expected}>"
        assert message[expected] == "v"


@pytest.mark.parametrize("text", ODD, ids=repr)
def test_any_text_is_harmless_in_a_console(logfile, text):
    with logged(logfile, format="plain") as log:
        log.access(text, b"/" + text, 200, WALL)
        log.message("info", b"<" + text + b">", [(text, b'"' + text + b'"')])
    data = logfile[0].read_bytes()
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]", data)
    data.decode()
    lines = data.split(b"\n")
    assert re.match(rb"\d\d:\d\d:\d\d\.\d{3} 200   ", lines[0])
    assert all(line.startswith(b"    ") or re.match(rb"\d\d:", line) for line in lines[:-1])


def test_random_bytes_are_always_one_valid_line(logfile):
    pick = random.Random(1)
    sent = [pick.randbytes(pick.randrange(200)) for _ in range(3000)]
    with logged(logfile) as log:
        for text in sent:
            log.message("info", text)
            wait_until(lambda: log.waiting < log_native.RING_SIZE // 2, "there is room")
    assert len(lines_of(logfile[0])) == len(sent)


@pytest.mark.parametrize("size", [0, 1, 4096, 65000, 65100, 65200, 65280, 65300, 65536, 70000, 200000, 1000000])
@pytest.mark.parametrize("byte", [b"x", b"\x01", "\u20ac".encode(), b"\xff"])
def test_long_message_is_cut_and_says_so(logfile, size, byte):
    text = (byte * size)[:size]
    with logged(logfile) as log:
        log.message("info", text, [(b"after", b"1")])
        assert log.dropped == 0
    data = logfile[0].read_bytes()
    (line,) = lines_of(logfile[0])
    assert len(data) <= log_native.LINE_MAX + 1
    if size > log_native.LINE_MAX:
        assert line["truncated"] is True
        assert len(data) > log_native.LINE_MAX - 600
    if "truncated" not in line:
        assert line["after"] == 1
    assert text.decode(errors="replace").startswith(line["message"].rstrip("\ufffd"))


@pytest.mark.parametrize("size", range(65000, 65330, 7))
def test_line_about_the_limit_is_whole_or_marked(logfile, size):
    for style in ("json", "plain"):
        with logged(logfile, format=style) as log:
            log.message("info", b"Q" * size, [(b"f", b'"' + b"Y" * 40 + b'"')])
            log.access(b"GET", b"Q" * size)
    message, request, *rest = logfile[0].read_bytes().split(b"\n")[:-1]
    json.loads(message)
    json.loads(request)
    for line in (message, rest[0]):
        assert (b"truncated" in line) == (line.count(b"Q") < size or line.count(b"Y") < 40)
    for line in (request, rest[1]):
        assert (b"truncated" in line) == (line.count(b"Q") < size)


def test_field_that_does_not_fit_is_left_out_whole(logfile):
    with logged(logfile) as log:
        log.message("info", b"m", [(b"a", b"1"), (b"b", b'"' + b"y" * 70000 + b'"'), (b"c", b"2")])
    (line,) = lines_of(logfile[0])
    line.pop("time")
    assert line == {"level": "info", "message": "m", "a": 1, "truncated": True}


def test_traceback_is_one_line_of_json_and_indented_in_a_console(logfile):
    text = b"main.lua:3: boom\nstack traceback:\n\tmain.lua:3: in function <main.lua:1>\n"
    with logged(logfile) as log:
        log.message("error", text)
    assert lines_of(logfile[0])[0]["message"] == text.decode().rstrip()
    os.truncate(logfile[0], 0)
    with logged(logfile, format="plain") as log:
        log.message("error", text, [(b"request", b"7")])
    first, second, third, rest = logfile[0].read_text().split("\n")
    assert first.endswith(" ERROR main.lua:3: boom")
    assert second == "    stack traceback:"
    assert third == "    \tmain.lua:3: in function <main.lua:1> request=7"
    assert rest == ""


def test_console_shows_the_local_time(logfile, monkeypatch):
    monkeypatch.setenv("TZ", "XYZ-05:30")
    time.tzset()
    try:
        with logged(logfile, format="plain") as log:
            log.access(b"GET", b"/x", 404, WALL, 412345, 17, IPV4)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert logfile[0].read_text() == "03:09:00.123 404   GET /x 0.412 ms 17 B 127.0.0.1\n"


@pytest.mark.parametrize(
    ("format_", "colored"), [("console", True), ("color", True), ("plain", False), ("json", False)]
)
def test_terminal_gets_colors_unless_told_otherwise(format_, colored):
    main, terminal = pty.openpty()
    try:
        log = Log(terminal, format=format_)
        for status in (200, 301, 404, 500):
            log.access(b"GET", b"/", status)
        log.message("error", b"m", [(b"k", b"1")])
        assert log.stop()
        data = drain(main, lambda data: data.count(b"\n") == 5)
    finally:
        os.close(main)
        os.close(terminal)
    assert (b"\x1b[" in data) == colored
    if colored:
        for code in (b"\x1b[32m200\x1b[0m", b"\x1b[36m301\x1b[0m", b"\x1b[33m404\x1b[0m", b"\x1b[31m500\x1b[0m"):
            assert code in data
        for line in data.splitlines():
            last = re.findall(rb"\x1b\[(\d+)m", line)[-1]
            assert last == b"0"


def test_file_gets_no_colors(logfile):
    with logged(logfile, format="console") as log:
        log.access(b"GET", b"/")
    assert b"\x1b" not in logfile[0].read_bytes()


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (IPV4, "127.0.0.1"),
        (bytes(10) + b"\xff\xff\xff\xff\xff\xff", "255.255.255.255"),
        (bytes(15) + b"\x01", "::1"),
        (bytes(16), "unix"),
        (bytes.fromhex("20010db8000000000000000000000001"), "2001:db8::1"),
        (bytes.fromhex("20010db8111122223333444455556666"), "2001:db8:1111:2222:3333:4444:5555:6666"),
    ],
)
def test_address_is_written_in_its_usual_form(address, text):
    """RFC 5952 section 4."""
    assert log_native.address_text(address) == text


# ---- Rings and the thread -----------------------------------------------------------------------------------


def test_lines_of_many_producers_are_whole_and_in_order(logfile):
    log = Log(logfile[1], rings=4)

    def produce(ring):
        for start in range(0, 20000, 100):
            log.flood(b"/ring/%d" % ring, start, 100, ring)
            while log.waiting > log_native.RING_SIZE // 2:
                time.sleep(0.001)

    threads = [threading.Thread(target=produce, args=(ring,)) for ring in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.stop()
    assert log.dropped == 0
    lines = lines_of(logfile[0])
    assert len(lines) == 80000
    for ring in range(4):
        assert [line["response_time"] for line in lines if line["path"] == f"/ring/{ring}"] == list(range(20000))


def test_overrun_drops_whole_lines_and_every_line_is_accounted_for(logfile):
    log = Log(logfile[1], rings=2)
    threads = [threading.Thread(target=log.flood, args=(b"/%d" % ring, 0, 300000, ring)) for ring in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.stop()
    lines = lines_of(logfile[0])
    assert told_as_dropped(logfile[0].read_bytes()) == log.dropped
    requests = [line for line in lines if "path" in line]
    assert len(requests) + log.dropped == 600000
    for ring in range(2):
        taken = [line["response_time"] for line in requests if line["path"] == f"/{ring}"]
        assert taken == sorted(set(taken))


def test_stuck_pipe_holds_up_no_producer_and_drops_are_told_when_it_moves(pipe):
    log = Log(pipe[1])
    took = log.flood(b"/x", 0, 50000)
    assert took < 2_000_000_000
    assert log.dropped > 0
    wait_until(lambda: log.waiting > 0, "something waits")
    # Losses are told between two batches: more than once, if the log thread was slow before the pipe was full.
    data = drain(pipe[0], lambda data: data.endswith(b"\n") and data.count(b'"path"') + told_as_dropped(data) == 50000)
    assert told_as_dropped(data) == log.dropped
    lines = [json.loads(line) for line in data.splitlines()]
    assert {line["level"] for line in lines if "message" in line} == {"warn"}
    log.message("info", b"after")
    assert b'"after"' in drain(pipe[0], lambda data: data.endswith(b"\n"))
    assert log.stop()


def test_stop_gives_up_on_a_stuck_pipe_in_time(pipe):
    log = Log(pipe[1])
    log.flood(b"/x", 0, 1200)
    for limit in (0, 50, 200):
        began = time.monotonic()
        assert log.stop(limit) is False
        assert limit / 1000 <= time.monotonic() - began < limit / 1000 + 0.5
    data = drain(pipe[0], lambda data: data.count(b"\n") == 1200)
    assert [json.loads(line)["response_time"] for line in data.splitlines()] == list(range(1200))
    assert log.stop()


def test_stop_writes_what_is_left(pipe):
    log = Log(pipe[1])
    log.access(b"GET", b"/last")
    assert log.stop()
    assert b"/last" in os.read(pipe[0], 4096)


def test_nonblocking_descriptor_is_waited_for(pipe):
    fcntl.fcntl(pipe[1], fcntl.F_SETFL, os.O_NONBLOCK)
    log = Log(pipe[1])
    log.flood(b"/x", 0, 1500)
    time.sleep(0.1)
    data = drain(pipe[0], lambda data: data.count(b"\n") == 1500)
    assert all(json.loads(line) for line in data.splitlines())
    assert log.stop()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_others_write_comes_between_lines(kind):
    """Up to the longest line that is taken in one piece; a longer one arrives whole when nobody else writes. The socket
    is a journal's."""
    if kind == "pipe":
        source, target = os.pipe()
    else:
        source, target = (end.detach() for end in socket.socketpair())
    log = Log(target)

    def write():
        for _ in range(3000):
            os.write(target, b"other\n")

    others = threading.Thread(target=write)
    others.start()
    for size in (1, 30, 300, 1000, 3900):
        log.flood(b"/" + b"x" * size, 0, 20)
    data = drain(source, lambda data: data.count(b"\n") == 3100)
    others.join()
    lines = data.splitlines()
    assert lines.count(b"other") == 3000
    assert all(json.loads(line)["path"] for line in lines if line != b"other")
    log.access(b"GET", b"/" + b"x" * 30000)
    data = drain(source, lambda data: data.endswith(b"\n"))
    assert len(json.loads(data)["path"]) == 30001
    assert log.stop()
    os.close(source)
    os.close(target)


def test_closed_reader_ends_neither_the_process_nor_the_log(pipe):
    log = Log(pipe[1])
    os.close(pipe[0])
    for _ in range(3):
        log.flood(b"/x", 0, 100)
        wait_until(lambda: log.waiting == 0, "all is written")
    assert log.stop()


def test_full_disk_loses_lines_and_goes_on():
    descriptor = os.open("/dev/full", os.O_WRONLY)
    log = Log(descriptor)
    log.flood(b"/x", 0, 100)
    wait_until(lambda: log.waiting == 0, "all is written")
    assert log.stop()
    os.close(descriptor)


def test_lines_lost_by_the_descriptor_are_told_and_half_a_line_is_ended(tmp_path):
    """A file size limit stands for a disk that is full for a while: a write may take part of a line."""
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    log = Log(descriptor)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        log.flood(b"/x", 0, 100)
        wait_until(lambda: log.waiting == 0, "all is written")
        time.sleep(0.05)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    log.message("info", b"room again")
    assert log.stop()
    os.close(descriptor)
    lines = path.read_bytes().split(b"\n")
    whole = [line for line in lines if line.startswith(b"{") and line.endswith(b"}")]
    torn = [line for line in lines if line not in whole and line]
    assert len(torn) == 1
    assert json.loads(whole[-2])["message"] == "room again"
    assert json.loads(whole[-1])["message"] == f"dropped {100 - (len(whole) - 2)} log lines"


def test_log_thread_takes_no_signal(pipe):
    log = Log(pipe[1])
    task = log_thread()
    blocked = int(re.search(r"SigBlk:\t(\w+)", (task / "status").read_text())[1], 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1):
        assert blocked >> (number - 1) & 1
    assert log.stop()


def test_idle_log_thread_sleeps_and_wakes_at_once(pipe):
    log = Log(pipe[1])
    task = log_thread()

    def switches():
        return int(re.search(r"voluntary_ctxt_switches:\t(\d+)", (task / "status").read_text())[1])

    for _ in range(8):
        wait_until(lambda: log.asleep, "it sleeps")
        before = switches()
        time.sleep(0.1)
        assert switches() - before <= 1  # it says so before it sleeps; naps would be five
        began = time.monotonic()
        log.access(b"GET", b"/")
        os.read(pipe[0], 4096)
        assert time.monotonic() - began < 0.5
    assert log.stop()


def test_no_line_waits_for_the_next_one(pipe):
    """A wake-up that is missed when the thread falls asleep would leave a line in the ring."""
    log = Log(pipe[1])
    pick = random.Random(3)
    for number in range(150):
        log.access(b"GET", b"/%d" % number)
        time.sleep(pick.choice((0, 0.0001, 0.018, 0.02, 0.0205, 0.021)))
    drain(pipe[0], lambda data: data.count(b"\n") == 150, seconds=2)
    assert log.stop()


# ---- From Lua -----------------------------------------------------------------------------------------------


def run(logfile, code, **options):
    """Run Lua code with `log`; gives (its result, the lines without their time)."""
    with logged(logfile, **options) as log:
        code = f'local log = require("heart.v1.log")\n{code}'
        result = log_native.run_lua(log, code.encode(), f"{STDLIB}/?.lua".encode())
    lines = lines_of(logfile[0])
    for line in lines:
        del line["time"]
    return result, lines


def test_lua_message_has_its_level_and_fields(logfile):
    _, lines = run(
        logfile,
        """
        log.debug("a")
        log.info("b", {user = "x", n = 1.5, ok = true, list = {1, 2}, nested = {a = {b = "c"}}})
        log.warn("c", {})
        log.error("d", nil)
        """,
    )
    assert lines == [
        {"level": "debug", "message": "a"},
        {
            "level": "info",
            "message": "b",
            "user": "x",
            "n": 1.5,
            "ok": True,
            "list": [1, 2],
            "nested": {"a": {"b": "c"}},
        },
        {"level": "warn", "message": "c"},
        {"level": "error", "message": "d"},
    ]


def test_lua_message_is_made_a_string_as_print_would(logfile):
    _, lines = run(
        logfile,
        """
        log.info()
        log.info(1.5)
        log.info(true)
        log.info(setmetatable({}, {__tostring = function() return "mine" end}))
        log.info(setmetatable({}, {__tostring = function() error("no text", 0) end}))
        log.info(setmetatable({}, {__tostring = function() error({}) end}))
        log.info({})
        """,
    )
    messages = [line["message"] for line in lines]
    assert messages[:6] == ["nil", "1.5", "true", "mine", "no text", "(a message without text)"]
    assert messages[6].startswith("table: 0x")


def test_lua_value_that_cannot_be_logged_is_marked_and_the_rest_is_logged(logfile):
    _, (line,) = run(
        logfile,
        r"""
        local cycle = {}
        cycle.self = cycle
        log.info("m", {
          good = 1, f = print, inf = 1/0, cycle = cycle, deep = {a = {b = io.stdout}}, bytes = "\255\27[31m",
          [7] = "seven", [2.5] = "x", [true] = "boolean key", sparse = {[1] = 1, [9] = 9},
        })
        """,
    )
    assert line["good"] == 1
    assert line["7"] == "seven"
    assert line["2.5"] == "x"
    assert line["boolean"] == "boolean key"
    assert line["bytes"] == "\ufffd\x1b[31m"
    for key in ("f", "inf", "cycle", "deep", "sparse"):
        assert re.fullmatch(r"<.*(encode|cycle|sparse).*>", line[key]), line[key]


@pytest.mark.parametrize(("value", "shown"), [('"text"', "text"), ("42", 42), ("false", False)])
def test_lua_fields_that_are_no_table_are_one_field(logfile, value, shown):
    _, (line,) = run(logfile, f'log.info("m", {value})')
    assert line == {"level": "info", "message": "m", "fields": shown}


def test_lua_fields_beyond_the_limit_are_told_of(logfile):
    _, (line,) = run(logfile, 'local t = {} for i = 1, 100 do t["k" .. i] = i end log.info("m", t)')
    assert line.pop("more") is True
    assert len([key for key in line if key.startswith("k")]) == 32


def test_lua_long_strings_are_cut(logfile):
    _, (line,) = run(logfile, 'log.info("m", {s = ("x"):rep(100000), t = "after"})')
    assert line["s"] == "x" * 8192 + " [truncated]"
    assert line["t"] == "after"


def test_lua_finalizer_may_log_in_the_middle_of_a_log_call(logfile):
    _, lines = run(
        logfile,
        """
        collectgarbage("setpause", 1) collectgarbage("setstepmul", 100000)
        for i = 1, 300 do
          getmetatable(newproxy(true)).__gc = function() log.debug("gc", {inner = ("y"):rep(i * 20), n = i}) end
          local t = {}
          for k = 1, 20 do t[k + 0.5] = {bad = print} end
          log.info(i, t)
        end
        """,
    )
    outer = [line for line in lines if line["level"] == "info"]
    inner = [line for line in lines if line["level"] == "debug"]
    assert [line["message"] for line in outer] == [str(i) for i in range(1, 301)]
    for line in outer:
        assert sorted(key for key in line if key not in ("level", "message")) == sorted(f"{k}.5" for k in range(1, 21))
        assert all(value.startswith("<") for key, value in line.items() if key not in ("level", "message"))
    assert len(inner) > 100
    assert all(line["inner"] == "y" * int(line["n"] * 20) for line in inner)


def test_lua_asks_which_levels_are_written(logfile):
    result, lines = run(
        logfile,
        """
        log.info("hidden", {f = setmetatable({}, {__tostring = error})})
        local shown = {}
        for _, level in ipairs({"debug", "info", "warn", "error"}) do
          shown[#shown + 1] = tostring(log.enabled(level))
        end
        return table.concat(shown, " ") .. " " .. tostring(pcall(log.enabled, "loud"))
        """,
        level="warn",
    )
    assert result == "false false true true false"
    assert lines == []
