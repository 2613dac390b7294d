"""heart.v1.process: running programs to their end, talking to them, and what is left of them: nothing."""

import os
import signal
import time
from pathlib import Path

import pytest
from heart_server import SANITIZED, heart_command, need, wait_until
from snippets import Failed

ROOT_USER = os.geteuid() == 0


def children(lua):
    """(pid, state, name) of the server's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        name, fields = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
        if int(fields[1]) == lua.server.pid:
            found.append((int(text.split()[0]), fields[0], name))
    return found


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    """No zombie, no child and no descriptor stays."""
    if "lua" not in request.fixturenames:
        yield
        return
    lua = request.getfixturevalue("lua")
    lua.run("fs.exists(dir)")
    before = lua.server.fds()
    yield
    lua.run("collectgarbage() collectgarbage()")
    wait_until(lambda: not children(lua), lambda: f"children: {children(lua)}")
    wait_until(lambda: lua.server.fds() <= before, lambda: f"{lua.server.fds()} descriptors, {before} before")


# ---- Running to the end ------------------------------------------------------------------------------------


def test_result(lua):
    code = "return process.run{cmd = 'sh', args = {'-c', 'echo out; echo err >&2; exit 3'}}"
    assert lua.run(code) == [{"status": 3, "stdout": "out\n", "stderr": "err\n"}]


def test_stdin_is_given_and_ends(lua):
    assert lua.one("return process.run{cmd = 'cat', stdin = v.text}", text=bytes(range(256)))["stdout"].encode(
        "latin-1"
    ) == bytes(range(256))
    assert lua.one("return process.run{cmd = 'cat', stdin = ''}")["stdout"] == ""
    assert lua.one("return process.run{cmd = 'cat'}")["stdout"] == ""


def test_large_input_and_output_at_once(lua):
    size = 5_000_000
    code = "local r = assert(process.run{cmd = 'cat', stdin = ('x'):rep(v.n)}) return #r.stdout, r.status"
    assert lua.run(code, n=size) == [size, 0]


def test_program_that_does_not_read_its_input(lua):
    assert lua.one("return process.run{cmd = 'true', stdin = ('x'):rep(1e6)}")["status"] == 0


def test_arguments_are_passed_as_they_are(lua):
    args = ["a b", "", "*", "$HOME", "'\"", "-n"]
    found = lua.one("return process.run{cmd = 'printf', args = {'%s|', unpack(v.args)}}", args=args)
    assert found["stdout"] == "".join(f"{a}|" for a in args)
    assert lua.one("return process.run{cmd = 'echo', args = {1, 2.5}}")["stdout"] == "1 2.5\n"


def test_environment(lua):
    run = "return process.run{cmd = '/usr/bin/env', %s}"
    found = lua.one(run % "env = {HEART_TEST = 'x=y', PATH = false}")["stdout"].splitlines()
    assert "HEART_TEST=x=y" in found and not [line for line in found if line.startswith("PATH=")]
    assert "NO_COLOR=1" in found
    assert lua.one(run % "clean_env = true, env = {A = 1}")["stdout"] == "A=1\n"
    assert lua.one(run % "clean_env = true")["stdout"] == ""


def test_program_is_found_in_the_path_that_it_gets(lua):
    program = lua.dir / "hello"
    program.write_text("#!/bin/sh\necho hello\n")
    assert lua.run("return process.run{cmd = 'hello', env = {PATH = dir}}") == [
        None,
        "hello: Permission denied",
        "EACCES",
    ]
    program.chmod(0o755)
    assert lua.one("return process.run{cmd = 'hello', env = {PATH = '/none:' .. dir}}")["stdout"] == "hello\n"
    assert lua.one("return process.run{cmd = './hello', cwd = dir}")["stdout"] == "hello\n"


def test_working_directory(lua):
    assert lua.one("return process.run{cmd = 'pwd', cwd = dir}")["stdout"] == f"{lua.dir}\n"
    assert lua.run("return process.run{cmd = 'pwd', cwd = dir .. '/none'}") == [
        *(None, f"{lua.dir}/none: No such file or directory", "ENOENT")
    ]


@pytest.mark.parametrize(
    ("options", "reason", "code"),
    [
        ("cmd = 'heart-no-such'", "heart-no-such: No such file or directory", "ENOENT"),
        ("cmd = '/heart/none'", "/heart/none: No such file or directory", "ENOENT"),
        ("cmd = '/etc/passwd'", "/etc/passwd: Permission denied", "EACCES"),
        ("cmd = ''", ": No such file or directory", "ENOENT"),
        ("cmd = 'a\\0b'", "process: Invalid argument", "EINVAL"),
        ("cmd = 'true', args = {'a\\0b'}", "true: Invalid argument", "EINVAL"),
        ("cmd = 'true', user = 'heart-nobody'", "heart-nobody: No such file or directory", "ENOENT"),
    ],
)
def test_program_that_does_not_start(lua, options, reason, code):
    assert lua.run(f"return process.run{{{options}}}") == [None, reason, code]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "cmd: expected a string, got nil"),
        ("cmd = 'true', arg = {}", "unknown option arg"),
        ("cmd = 'true', args = {{}}", "number 1 is a table"),
        ("cmd = 'true', env = {a = true}", "env: a: expected a string or false"),
        ("cmd = 'true', env = {['a=b'] = 'x'}", "is no name"),
        ("cmd = 'true', timeout = 0", "expected a positive number"),
        ("cmd = 'true', max_output = -1", "expected a number of bytes"),
    ],
)
def test_wrong_option_raises(lua, options, message):
    with pytest.raises(Failed, match=message):
        lua.run(f"return process.run{{{options}}}")


def test_signal_ends_it(lua):
    assert lua.run("return process.run{cmd = 'sh', args = {'-c', 'kill -9 $$'}}") == [
        {"signal": "SIGKILL", "stdout": "", "stderr": ""}
    ]


def test_timeout_kills_it_and_its_children(lua):
    """Also those that outlive the program itself, and hold its output open."""
    seconds = f"6{os.getpid()}"  # that no other run has
    for script in ("sleep N & sleep N; echo never", "sleep N & echo started"):
        script = script.replace("N", seconds)
        begun = time.monotonic()
        result = lua.run("return process.run{cmd = 'sh', args = {'-c', v.script}, timeout = 0.3}", script=script)
        assert result[:2] == [None, "timeout"] and 0.25 < time.monotonic() - begun < 5
        assert result[2]["stdout"] in ("", "started\n")
        wait_until(lambda: not running(f"sleep\0{seconds}"), "its children are killed")


def running(words):
    """Processes with these words (separated by NUL) as their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().rstrip(b"\0") == words.encode() and "Z" not in state_of(path.parent):
                found.append(path.parent.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def state_of(folder):
    text = (folder / "stat").read_text()
    return text[text.rindex(")") + 2 :].split()[0]


def test_huge_output_is_bounded(lua):
    rss = lua.server.rss()
    result = lua.run("local _, e, r = process.run{cmd = 'yes', max_output = 100000} return e, #r.stdout")
    assert result == ["output too large", 100000]
    assert lua.run("return select(2, process.run{cmd = 'sh', args = {'-c', 'yes >&2'}, max_output = 1000})")[0] == (
        "output too large"
    )
    assert lua.server.rss() < rss + 30e6


def test_hundred_at_once(lua):
    clients = [lua.server.connect() for _ in range(100)]
    lua.longest_work()
    for n, client in enumerate(clients):
        lua.send(client, "return process.run{cmd = 'sh', args = {'-c', 'sleep 0.2; echo $0', v.n}}.stdout", n=n)
    assert [lua.receive(client) for client in clients] == [[f"{n}\n"] for n in range(100)]
    for client in clients:
        client.close()


def test_nothing_of_the_server_is_inherited(lua):
    """Three descriptors, none of a module of another's, no ignored or blocked signal, a group of its own."""
    lua.run("leak = io.open('/dev/null')")  # LuaJIT's has no O_CLOEXEC
    found = lua.one("return process.run{cmd = 'ls', args = {'-l', '/proc/self/fd'}}")["stdout"]
    assert sorted(line.split()[8] for line in found.splitlines()[1:]) == ["0", "1", "2", "3"]  # 3 is that of ls
    status = lua.one("return process.run{cmd = 'cat', args = {'/proc/self/status'}}")["stdout"]
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    caught = () if SANITIZED else ("SigCgt",)  # the sanitizer is loaded into programs, too, and catches some
    ours = (1 << 31) - 1  # signals 32 and 33 are the C library's own
    assert {int(fields[name], 16) & ours for name in ("SigBlk", "SigIgn", *caught)} == {0}
    group = lua.one("return process.run{cmd = 'sh', args = {'-c', 'cut -d\" \" -f1,5 /proc/$$/stat'}}")[
        "stdout"
    ].split()
    assert group[0] == group[1]
    lua.run("leak:close() leak = nil")


@pytest.mark.skipif(not ROOT_USER, reason="only root may become another user")
def test_other_user(lua):
    for user in ("'nobody'", "65534"):
        code = f"return process.run{{cmd = 'id', args = {{'-un'}}, user = {user}}}.stdout"
        assert lua.run(code) == ["nobody\n"]
    groups = lua.one("return process.run{cmd = 'id', args = {'-G'}, user = 'nobody'}.stdout").split()
    assert "0" not in groups
    assert lua.run("return process.run{cmd = 'id', args = {'-u'}, user = 4242}.stdout") == ["4242\n"]


# ---- Talking to it -----------------------------------------------------------------------------------------


def test_conversation(lua):
    code = """
      local p = assert(process.spawn{cmd = 'cat'})
      assert(p.stdin:send('one\\n'))
      local first = p.stdout:receive('*l')
      assert(p.stdin:send('two\\n'))
      local second = p.stdout:receive('*l')
      p.stdin:close()
      local rest, err = p.stdout:receive('*l')
      local exit = p:wait()
      return first, second, rest, err, exit, p.pid > 1
    """
    assert lua.run(code) == ["one", "two", None, "closed", {"status": 0}, True]


def test_streams_may_go_elsewhere(lua):
    code = """
      local options = {cmd = 'sh', args = {'-c', 'echo out; echo err >&2'}, stdin = 'null', stderr = 'stdout'}
      local p = assert(process.spawn(options))
      return p.stdin, p.stderr, p.stdout:receive('*a'), p:wait()
    """
    assert lua.run(code) == [None, None, "out\nerr\n", {"status": 0}]
    lua.run(
        "process.spawn{cmd = 'echo', args = {'to the log'}, stdin = 'null', stdout = 'inherit', stderr = 'null'}:wait()"
    )
    lua.server.wait_log("to the log")
    with pytest.raises(Failed, match='stdout: expected "pipe", "null" or "inherit", got file'):
        lua.run("process.spawn{cmd = 'true', stdout = 'file'}")


def test_wait_and_kill(lua):
    code = """
      local p = assert(process.spawn{cmd = 'sleep', args = {'1000'}})
      local none, err = p:wait(0.05)
      local killed = p:kill()
      local exit, again = p:wait(), p:wait()
      return none, err, killed, exit, again, p:kill('SIGKILL')
    """
    exit = {"signal": "SIGTERM"}
    assert lua.run(code) == [None, "timeout", True, exit, exit, None, "kill: No such process", "ESRCH"]
    with pytest.raises(Failed, match="BOO is no signal"):
        lua.run("local p = process.spawn{cmd = 'true'} p:kill('BOO')")


def test_several_wait_for_one(lua):
    lua.run("proc = assert(process.spawn{cmd = 'sleep', args = {'0.3'}})")
    clients = [lua.send(lua.server.connect(), "return proc:wait()") for _ in range(5)]
    assert [lua.receive(c) for c in clients] == [[{"status": 0}]] * 5
    lua.run("proc = nil")
    for client in clients:
        client.close()


def test_forgotten_program_is_reaped(lua):
    lua.run("process.spawn{cmd = 'true'} collectgarbage() collectgarbage()")
    wait_until(lambda: not children(lua), "it is reaped")


def test_start_up_and_reload(open_lua):
    """Programs may be run while the script loads; those of old code are killed."""
    long, other = f"4{os.getpid()}", f"5{os.getpid()}"  # seconds that no other run has
    app = f"""
      started = process.run({{cmd = "echo", args = {{"at start"}}}}).stdout
      process.spawn({{cmd = "sleep", args = {{"{long}"}}}})
    """
    lua = open_lua("--reload-grace", 0.3, app=app)
    assert lua.run("return started") == ["at start\n"]
    first = running(f"sleep\0{long}")
    assert len(first) == 1
    with lua.server.connect() as waiting:
        lua.send(waiting, f"return process.run{{cmd = 'sleep', args = {{'{other}'}}}}")
        wait_until(lambda: running(f"sleep\0{other}"), "it runs")
        lua.server.signal(signal.SIGHUP)
        wait_until(lambda: running(f"sleep\0{long}") not in ([], first), "new code has started another one")
        wait_until(lambda: not running(f"sleep\0{other}"), "what a dropped request ran is killed")
        wait_until(lambda: len(running(f"sleep\0{long}")) == 1, "what old code had started is killed")
    wait_until(lambda: not [c for c in children(lua) if c[1] == "Z"], "no zombie is left")
    lua.server.signal(signal.SIGTERM)
    lua.server.wait()
    wait_until(lambda: not running(f"sleep\0{long}"), "it ends with the server")


def test_without_pidfd(open_lua):
    """Linux before 5.3: a thread waits for each program. strace makes the system call fail."""
    strace = need("strace", "strace")
    words = [
        strace,
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=pidfd_open",
        "-e",
        "inject=pidfd_open:error=ENOSYS",
    ]
    lua = open_lua(program=[*words, *heart_command()])
    assert lua.run("return process.run{cmd = 'sh', args = {'-c', 'echo x; exit 4'}}") == [
        {"status": 4, "stdout": "x\n", "stderr": ""}
    ]
    code = "local p = process.spawn{cmd = 'sleep', args = {'1000'}} p:kill('KILL') return p:wait()"
    assert lua.run(code) == [{"signal": "SIGKILL"}]
    assert lua.run("return select(2, process.run{cmd = 'sleep', args = {'1000'}, timeout = 0.1})")[0] == "timeout"
    wait_until(lambda: not children(lua), lambda: f"children: {children(lua)}")
