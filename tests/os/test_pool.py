"""The thread pool: what blocks a thread blocks nobody else, and nothing leaks when nobody waits any more."""

import os
import signal
import time

import pytest
from heart_server import SANITIZED, wait_until
from turns import assert_short_turns

TURN = 200 if SANITIZED else 50  # ms, on a machine that does other things, too
WORK = 50 if SANITIZED else 5  # ms of processor time


@pytest.fixture
def fifo(lua):
    path = lua.dir / "fifo"
    os.mkfifo(path)
    return path


def pool(lua):
    return lua.threads().count("heart-pool")


def test_blocked_thread_holds_up_neither_the_loop_nor_other_files(lua, fifo):
    lua.run("return require('heart.core').longest_turn()")
    with lua.server.connect() as waiting:
        lua.send(waiting, "return fs.read(dir .. '/fifo')")
        time.sleep(0.05)
        lua.longest_turn()
        code = "for i = 1, 50 do fs.write(dir .. '/a', ('x'):rep(1000)) fs.read(dir .. '/a') end return fs.list(dir)"
        assert lua.run(code)[0] == ["a", "fifo"]
        assert lua.longest_turn() < TURN
        assert waiting.quiet(0.05)
        fifo.write_text("released")
        assert lua.receive(waiting) == ["released"]


def test_large_files_are_written_in_short_turns(lua):
    lua.run("text = ('x'):rep(50e6)")

    def measure():
        lua.longest_turn()
        lua.run("assert(fs.write(dir .. '/a', text))")
        return lua.longest_work()

    assert_short_turns(measure, WORK)
    lua.run("text = nil")


def test_stuck_threads_are_at_most_those_of_the_option(open_lua):
    """Further calls wait in order, and all come to their end."""
    lua = open_lua("--threads", 2)
    os.mkfifo(lua.folder / "fifo")
    clients = [lua.send(lua.server.connect(), "return fs.read('fifo')") for _ in range(2)]
    wait_until(lambda: pool(lua) == 2, "both threads are there")
    time.sleep(0.1)
    others = [lua.send(lua.server.connect(), "return fs.exists('main.lua')") for _ in range(20)]
    assert others[-1].quiet(0.2) and pool(lua) == 2
    (lua.folder / "fifo").write_text("x")
    assert [lua.receive(c) for c in others] == [[True]] * 20
    for client in clients:
        client.close()


def test_idle_threads_end(open_lua):
    lua = open_lua()
    assert pool(lua) == 0
    lua.run("return fs.read('main.lua')")
    assert pool(lua) == 1
    wait_until(lambda: pool(lua) == 0, "the thread ends", 20)
    assert lua.run("return fs.exists('main.lua')") == [True]


def test_server_ends_with_a_stuck_thread(open_lua):
    lua = open_lua("--drain-timeout", 0.2)
    os.mkfifo(lua.folder / "fifo")
    lua.send(lua.server.connect(), "return fs.read('fifo')")
    wait_until(lambda: pool(lua) == 1, "the thread is there")
    lua.server.signal(signal.SIGTERM)
    assert lua.server.wait() == 1  # it says that a request was not done


def test_abandoned_calls_leak_neither_descriptors_nor_memory(open_lua):
    """A reload drops the coroutines that wait: what they have opened meanwhile is closed."""
    lua = open_lua("--reload-grace", 0.2, "--threads", 2)
    os.mkfifo(lua.folder / "fifo")
    (lua.folder / "file").write_text("x" * 100_000)
    lua.run("return fs.read('file')")
    before = lua.server.fds()
    clients = [lua.server.connect() for _ in range(30)]
    for i, client in enumerate(clients):
        lua.send(client, "return fs.open('fifo')" if i < 2 else "return fs.open('file'), fs.read('file')")
    time.sleep(0.2)
    lua.server.signal(signal.SIGHUP)
    for client in clients:
        assert client.closed()
        client.close()
    for _ in range(2):
        fd = os.open(lua.folder / "fifo", os.O_RDWR)
        time.sleep(0.1)
        os.close(fd)
    wait_until(lambda: lua.server.fds() <= before, lambda: f"{lua.server.fds()} descriptors, {before} before")


def test_collected_files_are_closed(lua):
    lua.run("fs.write(dir .. '/a', 'x') collectgarbage() collectgarbage()")
    time.sleep(0.1)
    before = lua.server.fds()
    lua.run("for i = 1, 200 do assert(fs.open(dir .. '/a')) end collectgarbage() collectgarbage()")
    wait_until(lambda: lua.server.fds() <= before, "the descriptors are closed")


def test_second_coroutine_finds_the_file_busy_and_may_close_it(lua, fifo):
    lua.run("file = fs.open(dir .. '/fifo', 'r+')")
    with lua.server.connect() as waiting:
        lua.send(waiting, "return file:read()")
        time.sleep(0.05)
        assert lua.run("return file:read()")[2] == "EBUSY"
        assert lua.run("return file:close()") == [True]
        assert lua.run("return file:read()")[2] == "EBADF"
        fifo.write_text("line\n")
        assert lua.receive(waiting) == ["line"]
    wait_until(lambda: not has_open(lua, fifo), "it is closed")
    lua.run("file = nil")


def has_open(lua, path):
    folder = f"/proc/{lua.server.pid}/fd"
    for name in os.listdir(folder):
        try:
            if os.readlink(f"{folder}/{name}") == str(path):
                return True
        except FileNotFoundError:
            continue
    return False


def test_many_calls_at_once(lua):
    """Far more than there are threads, from many requests."""
    clients = [lua.server.connect() for _ in range(50)]
    code = """
      for i = 1, 20 do
        local path = ('%s/%d-%d'):format(dir, v.n, i)
        assert(fs.write(path, path, {atomic = i % 2 == 0}))
        assert(fs.read(path) == path)
        assert(fs.remove(path))
      end
      return v.n
    """
    for n, client in enumerate(clients):
        lua.send(client, code, n=n)
    assert [lua.receive(client)[0] for client in clients] == list(range(50))
    assert os.listdir(lua.dir) == []
    for client in clients:
        client.close()
