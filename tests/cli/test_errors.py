"""Errors name what is wrong and suggest the fix."""

import os
import re
import socket
import subprocess

import pytest
from heart_server import free_port, heart, heart_command, heart_environment, need

APP = 'require("heart.v1").get("/", function() return "hello" end)'


@pytest.fixture
def folder(tmp_path):
    """A folder with main.lua."""
    (tmp_path / "main.lua").write_text(APP)
    return tmp_path


def refused(*args, status=2, **more):
    """The one line that a refused command line prints."""
    result = heart(*args, **more)
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("heart: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr.removeprefix("heart: ").rstrip("\n")


def without(*capabilities):
    """The words that run Heart without these capabilities, which root alone has."""
    if os.getuid() != 0:
        return heart_command()
    dropped = ",".join(f"-{name}" for name in capabilities)
    return [need("setpriv", "util-linux"), f"--bounding-set={dropped}", f"--inh-caps={dropped}", *heart_command()]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("serve", "main.luaa"), "main.luaa: no such file; did you mean main.lua?"),
        (("main.luaa",), "main.luaa: no such file; did you mean main.lua?"),
        (("serve", "main"), "main: no such file; did you mean main.lua?"),
        (("serve", "index.lua"), "index.lua: no such file; did you mean main.lua?"),
        (("serve", "./mian.lua"), "./mian.lua: no such file; did you mean ./main.lua?"),
        (("serve", "app/main.lua"), "app/main.lua: no such file; there is no folder app"),
        (("check", "."), ".: is a folder; did you mean ./main.lua?"),
        (("serve",), "SCRIPT is missing; did you mean heart serve main.lua?"),
        (("serve", "--dev"), "SCRIPT is missing; did you mean heart serve main.lua?"),
        (("serve", "main.lua", "x.lua"), "x.lua: one SCRIPT only, main.lua was given before"),
        (("serve", "main.lua", "-p", "80"), "-p: no such option; did you mean --port?"),
        (("serve", "main.lua", "--prt=80"), "--prt: no such option; did you mean --port?"),
        (("serve", "main.lua", "--dev=yes"), "--dev: takes no value; expected --dev alone"),
        (("serve", "main.lua", "--port"), "--port: a value is missing; expected a number from 0 to 65535"),
        (("serve", "main.lua", "--prot", "80"), "--prot: no such option; did you mean --port?"),
        (("serve", ""), "SCRIPT: '': expected a Lua file"),
        (("",), "'': no such command (see heart --help)"),
        (("new", ""), "DIR: '': expected a folder"),
        (("check", ""), "SCRIPT: '': expected a Lua file"),
        (("check",), "SCRIPT is missing: heart check SCRIPT (a Lua file)"),
        (("check", "main.luaa"), "main.luaa: no such file; did you mean main.lua?"),
        (("check", "main.lua", "--jsn"), "--jsn: no such option; did you mean --json?"),
        (("check", "main.lua", "-j"), "-j: no such option; did you mean --json?"),
        (("check", "main.lua", "--json=1"), "--json: takes no value; expected --json alone"),
        (("new", "a", "b"), "b: one argument too many; expected heart new DIR"),
        (("chekc", "main.lua"), "chekc: no such command; did you mean check?"),
    ],
)
def test_wrong_command_line_suggests_the_fix(folder, args, message):
    assert refused(*args, cwd=folder) == message


def test_folder_as_command_suggests_its_script(folder):
    assert refused(folder.name, cwd=folder.parent) == (
        f"{folder.name}: no such command; did you mean heart serve {folder.name}/main.lua?"
    )


def test_missing_script_where_there_is_none(tmp_path):
    assert refused("serve", cwd=tmp_path) == (
        "SCRIPT is missing: heart serve SCRIPT, for example heart serve main.lua; heart new DIR makes an application"
    )


def test_folder_without_a_script_is_told(tmp_path):
    assert refused("check", tmp_path) == f"{tmp_path}: is a folder; expected a Lua file"


def test_folder_without_files_is_told(tmp_path):
    (tmp_path / ".hidden").touch()
    expected = f"{tmp_path}: is an empty folder; expected a Lua file, or a folder with files to serve"
    assert refused("serve", tmp_path) == expected


def test_folder_with_the_source_of_an_application_is_not_served(tmp_path):
    """Whoever names it so means the application."""
    for name in ("index.html", "shop.lua", "x.lua"):
        (tmp_path / name).touch()
    expected = f"{tmp_path}: holds shop.lua, which anybody could read; did you mean {tmp_path}/shop.lua?"
    assert refused("serve", tmp_path) == expected


def test_folder_as_command_is_served_by_its_name(tmp_path):
    (tmp_path / "public").mkdir()
    assert refused("public", cwd=tmp_path) == "public: no such command; did you mean heart serve public?"


def test_folder_that_may_not_be_read_is_told(tmp_path):
    (tmp_path / "x").mkdir(mode=0)
    expected = "can not be read: permission denied; expected a folder that this user may read"
    program = without("dac_override", "dac_read_search")
    assert refused("serve", tmp_path / "x", program=program) == f"{tmp_path / 'x'}: {expected}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("localhost", "expected PORT, HOST:PORT, [IPV6]:PORT or unix:PATH; did you mean localhost:3333?"),
        ("/run/x.sock", "expected PORT, HOST:PORT, [IPV6]:PORT or unix:PATH; did you mean unix:/run/x.sock?"),
        ("http://a:80/", "expected PORT, HOST:PORT, [IPV6]:PORT or unix:PATH; did you mean a:80?"),
        ("70000", "expected PORT, HOST:PORT, [IPV6]:PORT or unix:PATH"),
        ("::1:80", "an IPv6 address needs brackets: [::1]:80"),
        ("fgci:a:80", "expected PORT, HOST:PORT, [IPV6]:PORT or unix:PATH; did you mean fcgi:a:80?"),
        ("unx:/x", "expected PORT, HOST:PORT, [IPV6]:PORT or unix:PATH; did you mean unix:/x?"),
        ("x:y:80", "expected PORT, HOST:PORT, [IPV6]:PORT or unix:PATH"),
        ("unix:", "expected unix:PATH"),
    ],
)
def test_wrong_address_suggests_the_right_form(folder, value, message):
    assert refused("serve", "main.lua", "--listen", value, cwd=folder) == f"--listen: {value!r}: {message}"


def test_taken_port_names_who_has_it_and_a_free_one(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused("serve", "main.lua", "--listen", f"127.0.0.1:{port}", cwd=folder, status=1)
    match = re.fullmatch(
        rf"cannot listen on 127\.0\.0\.1:{port}: the address is taken: .+ \(process {os.getpid()}\) listens there; "
        r"stop it, or take another port: --port (\d+) \(0: any that is free\)",
        line,
    )
    assert match, line
    assert port < int(match[1]) <= port + 50


def test_taken_port_of_another_address_is_told(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused("serve", "main.lua", "--port", port, cwd=folder, status=1)
    assert f"cannot listen on 0.0.0.0:{port}: " in line and f"(process {os.getpid()})" in line


def test_taken_ipv6_port_names_who_has_it(folder):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        line = refused("serve", "main.lua", "--listen", f"[::1]:{taken.getsockname()[1]}", cwd=folder, status=1)
    assert f"(process {os.getpid()})" in line


def test_address_that_the_machine_has_not_is_told(folder):
    line = refused("serve", "main.lua", "--host", "192.0.2.1", "--port", "0", cwd=folder, status=1)
    assert (
        line
        == "cannot listen on 192.0.2.1:0: this machine has no address 192.0.2.1; 0.0.0.0 stands for all that it has"
    )


def test_unknown_host_is_told(folder):
    line = refused("serve", "main.lua", "--host", "no such host", cwd=folder, status=1)
    assert line.startswith("cannot listen on no such host:3333: unknown host (")
    assert line.endswith("); expected a name or an address such as 127.0.0.1")
    line = refused("serve", "main.lua", "--listen", "fgci:9000", cwd=folder, status=1)
    assert line.endswith("such as 127.0.0.1, or did you mean fcgi:9000?")


def first_open_port():
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        return int(file.read())


@pytest.mark.skipif(first_open_port() <= 1, reason="every port is open to every user here")
def test_low_port_without_the_right_is_told(folder):
    program = without("net_bind_service")
    line = refused("serve", "main.lua", "--listen", "127.0.0.1:1", cwd=folder, status=1, program=program)
    assert line == (
        f"cannot listen on 127.0.0.1:1: permission denied: ports below {first_open_port()} are not for every "
        "user; take a higher one such as --port 8080, let a service manager open the socket, or run: sudo sysctl "
        "net.ipv4.ip_unprivileged_port_start=1"
    )


def listen_on(path, folder):
    return refused("serve", "main.lua", "--listen", f"unix:{path}", cwd=folder, status=1).partition(": ")[2]


def test_taken_unix_socket_names_who_has_it(folder):
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        line = listen_on(path, folder)
    assert re.fullmatch(
        rf"the address is taken: .+ \(process {os.getpid()}\) listens there; stop it, or take another path", line
    )


def test_file_in_the_way_of_a_unix_socket_is_told(folder):
    line = listen_on(folder / "main.lua", folder)
    assert line == "a file that is no socket is there; remove it, or take another path"


def test_missing_folder_of_a_unix_socket_is_told(folder):
    assert listen_on("gone/s", folder) == "the folder gone does not exist; make it, or take another path"


def test_long_path_of_a_unix_socket_is_told(folder):
    assert listen_on("x" * 108, folder) == "the path is too long: 108 bytes, expected at most 107"


def test_wrong_environment_names_the_variable(folder):
    line = refused("serve", "main.lua", cwd=folder, env={"PORT": str(free_port()) + "x"})
    assert re.fullmatch(r"PORT: '\d+x': expected a number from 0 to 65535", line)


def printed_to(stdout, words, folder):
    """The status and the errors of a command whose output goes to `stdout`."""
    result = subprocess.run(
        [*heart_command(), *words],
        cwd=folder,
        env=heart_environment(),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    return result.returncode, result.stderr


FULL = "heart: stdout: No space left on device\n"


@pytest.mark.parametrize(
    "words", [["version"], ["--help"], ["serve", "--help"], ["completion", "bash"], ["check", "main.lua"]], ids=" ".join
)
def test_output_that_cannot_be_written_is_told(folder, words):
    with open("/dev/full", "w") as full:
        assert printed_to(full, words, folder) == (1, FULL)


def test_output_that_nobody_reads_is_no_matter(folder):
    reader, writer = os.pipe()
    os.close(reader)
    told = printed_to(writer, ["completion", "bash"], folder)
    os.close(writer)
    assert told == (1, "")


def test_working_directory_that_is_gone_is_told(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'rmdir "$PWD"; exec "$@"'
    result = heart("new", "app", program=["sh", "-c", script, "sh", *heart_command()], cwd=gone)
    assert (result.returncode, result.stderr) == (1, "heart: app: can not be written: No such file or directory\n")
