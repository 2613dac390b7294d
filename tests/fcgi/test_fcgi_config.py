"""`heart fcgi`: its command line and the configuration files of luafcgid and luafcgid2."""

import subprocess

import pytest
from fcgi_scripts import Scripts
from heart_server import PATIENCE, heart, heart_command, heart_environment, need, run

from heartc import _core, config, fcgi, lualib
from heartc.errors import ConfigError, HeartError

SAMPLE_1 = """
listen = "/var/tmp/luafcgid.sock"
workers = 4
states = workers * 2
clones = states
sweep = 5000
retries = 1
showerrors = true
buffering = true
headersize = 64
bodysize = 1024
headers = "X-Powered-By: Lua\\r\\n"
handler = "main"
httpstatus = "200 OK"
contenttype = "text/html"
maxpost = 1024 * 1024
"""
SAMPLE_2 = """
WorkerThreads = 4
LuaStates = 1
LuaMaxStates = 6
LuaMaxSearchRetries = 3
HeadersSize = 128
BodySize = 2048
BodySectors = 4
MinFileInfoTime = 5000
UseFileChecksum = true
DefaultHeaders = "X-Powered-By: luafcgid2\\r\\n"
DefaultHttpStatus = "200 OK"
DefaultContentType = "text/html"
MaxPostSize = 1048576
listen = "/var/tmp/luafcgid2.sock"
StartupScript = ""
entrypoint = "main"
Config = { entrypoint = entrypoint, table_example = { "abc", "def", number = 42 } }
"""


@pytest.fixture(autouse=True, scope="module")
def luajit():
    _core.bind_lua(lualib.luajit_path(), "test")


@pytest.fixture
def read(tmp_path, capsys, monkeypatch):
    """A function that reads a configuration file: (settings, warnings)."""
    for option in config.OPTIONS:
        if option.env:
            monkeypatch.delenv(option.env, raising=False)

    def read_file(text, *flags):
        path = tmp_path / "config.lua"
        path.write_text(text)
        settings = fcgi.read_options(["fcgi", str(path), *flags])
        assert settings.argument == f"config {path}"
        return settings, [line.removeprefix(f"heart: {path}: ") for line in capsys.readouterr().err.splitlines()]

    return read_file


def test_file_of_luafcgid_is_read(read):
    settings, warnings = read(SAMPLE_1)
    assert settings.listen == ["fcgi:unix:/var/tmp/luafcgid.sock"]
    assert (settings.workers, settings.max_body_size) == (4, 1 << 20)
    assert [warning.split(":")[0] for warning in warnings] == ["bodysize", "headersize"]
    assert all("has no effect: buffers grow" in warning for warning in warnings)


def test_file_of_luafcgid2_is_read(read):
    settings, warnings = read(SAMPLE_2)
    assert settings.listen == ["fcgi:unix:/var/tmp/luafcgid2.sock"]
    assert (settings.workers, settings.max_body_size) == (4, 1 << 20)
    assert [warning.split(":")[0] for warning in warnings] == ["BodySectors", "BodySize", "HeadersSize"]


def test_defaults_are_those_of_the_daemon(read):
    assert read("workers = 1")[0].max_body_size == 1 << 20
    assert read("WorkerThreads = 1")[0].max_body_size == 4 << 20
    assert read("")[0].listen == ["fcgi:127.0.0.1:9000"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":9000", "0.0.0.0:9000"),
        ("127.0.0.1:9001", "127.0.0.1:9001"),
        ("localhost:9000", "localhost:9000"),
        ("[::1]:9000", "[::1]:9000"),
        ("/run/x.sock", "unix:/run/x.sock"),
        ("/run/a:b", "unix:/run/a:b"),
        ("x.sock", "unix:x.sock"),
    ],
)
def test_addresses_of_the_daemons_are_understood(read, text, expected):
    for name in ("listen", "Listen"):
        assert read(f'{name} = "{text}"')[0].listen == [f"fcgi:{expected}"]


def test_flags_win_over_the_environment_over_the_file(read, monkeypatch):
    text = 'Listen = ":9000" WorkerThreads = 3 MaxPostSize = 5000'
    monkeypatch.setenv("HEART_WORKERS", "2")
    assert read(text)[0].workers == 2
    settings, _ = read(text, "--workers", "1", "--listen", "unix:/run/a", "--listen", "fcgi:9001")
    assert (settings.workers, settings.max_body_size) == (1, 5000)
    assert settings.listen == ["fcgi:unix:/run/a", "fcgi:9001"]
    assert read(text, "--port", "9005")[0].listen == ["fcgi:127.0.0.1:9005"]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("LuaStats = 3", "LuaStats: no such variable; did you mean LuaStates?"),
        ("Xyzzyplugh = 3", "Xyzzyplugh: no such variable"),
        ("daemonize = true", "daemonize: has no effect: Heart stays in the foreground; let systemd start it"),
        ("watchdog = 60", "watchdog: has no effect: luafcgid does not use it either"),
        ('workers = "many"', "workers: expected a number, got a string; the default holds"),
        ("workers = 0", "workers: expected 1 or more, got 0; the default holds"),
        ("LuaStates = 0/0", "LuaStates: expected a number, got nan; the default holds"),
        ("LuaStates = 4 LuaMaxStates = 2", "LuaMaxStates: is less than LuaStates: 4 hold"),
        (
            "LuaStates = 1 Config = {} clones = 3",
            "clones: is a variable of luafcgid, and this is a file of luafcgid2",
        ),
        (
            'SessionCookieSameSite = "lax"',
            'SessionCookieSameSite: expected "Strict", "Lax", "None" or ""; nothing is sent',
        ),
        ("SessionKeyLen = 9", "SessionKeyLen: keys of less than 16 characters can be guessed"),
        ("SessionKeyLen = 4", "SessionKeyLen: expected 8 or more, got 4; the default holds"),
    ],
)
def test_what_a_variable_can_not_mean_is_told(read, text, warning):
    assert read(text)[1][:1] == [warning]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers = = 1", "config.lua:1: unexpected symbol near '='"),
        ("\nworkers = nothing.here", "config.lua:2: attempt to index global 'nothing'"),
        ("os.execute('true')", "attempt to call field 'execute'"),
        ("io.open('/etc/passwd')", "attempt to index global 'io'"),
        ("require('ffi')", "attempt to call global 'require'"),
        ("while true do end", "takes too long"),
        ("while true do pcall(function() while true do end end) end", "takes too long"),
        ("error({})", "table"),
    ],
)
def test_wrong_file_is_refused(read, text, message):
    with pytest.raises(HeartError, match=r"(?s)" + message.replace("(", r"\(").replace(".", r"\.")):
        read(text)


def test_file_may_compute_and_configure_functions(read):
    settings, warnings = read("function helper() end workers = #('ab'):rep(2) / 2")
    assert settings.workers == 2 and warnings == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "PATH is missing"),
        (["a", "b"], "b: one PATH only, a was given before"),
        (["none.lua"], "none.lua: no such file or folder"),
        (["."] + ["--workres", "2"], "--workres: no such option; did you mean --workers?"),
    ],
)
def test_wrong_command_line_is_told(arguments, message):
    with pytest.raises(ConfigError) as error:
        fcgi.read_options(["fcgi", *arguments])
    assert str(error.value).startswith(message)


def test_folder_is_served_where_it_is(tmp_path):
    settings = fcgi.read_options(["fcgi", str(tmp_path)])
    assert settings.argument == f"scripts {tmp_path}"
    assert settings.listen == ["fcgi:127.0.0.1:9000"]


def test_command_is_told_in_one_line():
    result = heart("fcgi", "none.lua")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("heart: none.lua: no such file or folder") and result.stderr.count("\n") == 1


def test_file_says_where_to_listen(tmp_path):
    path = tmp_path / "fcgi.sock"
    (tmp_path / "a.lua").write_text("function main() Send('by a socket') end")
    (tmp_path / "config.lua").write_text(f'listen = "{path}" WorkerThreads = 1')
    process = subprocess.Popen(
        [*heart_command(), "fcgi", tmp_path / "config.lua"],
        env=heart_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr.readline() == f"listening on fcgi:unix:{path}\n"
        asked = run(
            need("cgi-fcgi", "libfcgi-bin"),
            "-bind",
            "-connect",
            path,
            env={"SCRIPT_FILENAME": str(tmp_path / "a.lua"), "REQUEST_METHOD": "GET", "REQUEST_URI": "/"},
        )
        assert asked.stdout.startswith("Status: 200 OK\n") and asked.stdout.endswith("by a socket")
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert not path.exists()


def test_missing_config_table_is_an_empty_one():
    code = "function main() Send(type(Config) .. tostring(next(Config)) .. tostring(LocalConfig)) end"
    with Scripts({"a.lua": code}, config="LuaStates = 1") as server:
        assert server.ask("a.lua").text == "tablenilnil"


def test_config_keeps_what_states_can_hold():
    config_text = """
LuaStates = 1
local loop = { n = 1 }
loop.loop = loop
Config = { deep = { { { "x" } } }, n = 1.5, no = false, fn = function() end, loop = loop, [3] = "three" }
"""
    code = """
function main()
  Send(Config.deep[1][1][1] .. Config.n .. tostring(Config.no) .. tostring(Config.fn) .. tostring(Config.loop.loop))
  Send(Config.loop.n .. Config[3])
  Config.n = (Config.n or 0) + 1
end
"""
    with Scripts({"a.lua": code}, config=config_text) as server:
        assert server.ask("a.lua").text == "x1.5falsenilnil1three"
        assert server.ask("a.lua").text.startswith("x2.5")


def test_log_file_gets_the_log(tmp_path):
    path = tmp_path / "log"
    with Scripts({"a.lua": "function main() Log('a line') end"}, config=f'logfile = "{path}" workers = 1') as server:
        assert server.ask("a.lua").status == 200
    assert '"message":"a line"' in path.read_text()
    with pytest.raises(AssertionError, match=r"cannot open the log file /none/log: No such file"):
        Scripts({}, config='logfile = "/none/log" workers = 1').__enter__()
