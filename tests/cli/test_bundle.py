"""heart bundle: making one executable, looking into it, taking it apart; and the command line of what it makes."""

import os
import re
import stat
import subprocess

import pytest
from archives import STAND_IN, pack
from bundles import Bundle, one_file, write_files
from heart_server import free_port, heart, heart_command, heart_environment

APP = """
local app = require("heart.v1")
app.static("/", "public")
app.get("/", function(ctx) return "hello" end)
app.get("/fail", function(ctx) error("told to developers") end)
app.get("/env", function(ctx) return tostring(os.getenv("HEART_FILE")) end)
"""
FILES = {"main.lua": APP, "public/a.txt": "a" * 1500, "public/line\nbreak.txt": "", ".env": "secret", "empty/": ""}


@pytest.fixture
def folder(tmp_path):
    return write_files(tmp_path / "app", FILES)


@pytest.fixture
def runtime(tmp_path):
    path = tmp_path / "runtime"
    path.write_bytes(STAND_IN)
    return path


def bundle(folder, *args, **more):
    return heart("bundle", folder / "main.lua", *args, **more)


def refused(result, *parts):
    """It failed with one line, which has these parts, and no traceback."""
    assert result.returncode in (1, 2), result
    assert result.stderr.startswith("heart: ") and result.stderr.count("\n") == 1, result.stderr
    for part in parts:
        assert str(part) in result.stderr


# ---- Making ----------------------------------------------------------------------------------------------------


def test_bundle_is_an_executable_and_says_what_is_in_it(folder, runtime, tmp_path):
    result = bundle(folder, "-o", tmp_path / "myapp", "--runtime", runtime)
    assert result.returncode == 0 and result.stdout == ""
    assert "4 files" in result.stderr and f"from {folder}" in result.stderr
    assert "left out: .env" in result.stderr
    assert stat.S_IMODE(os.stat(tmp_path / "myapp").st_mode) == 0o755
    assert (tmp_path / "myapp").read_bytes().startswith(STAND_IN)
    assert sorted(os.listdir(tmp_path)) == ["app", "myapp", "runtime"]


def test_output_in_the_folder_is_not_bundled(folder, runtime):
    for _ in range(2):
        assert heart("bundle", "main.lua", "-o", "myapp", "--runtime", runtime, cwd=folder).returncode == 0
        listing = heart("bundle", "--list", "myapp", cwd=folder).stdout
        assert "myapp" not in listing and "main.lua" in listing


def test_dry_run_writes_nothing(folder, tmp_path):
    result = bundle(folder, "--dry-run", "-o", tmp_path / "myapp", "--include", ".env")
    assert result.returncode == 0
    assert result.stdout.splitlines() == [".env", "empty/", "main.lua", "public/a.txt", r"public/line\nbreak.txt"]
    assert not (tmp_path / "myapp").exists()


def test_same_files_give_the_same_bytes(folder, runtime, tmp_path):
    """Times are cut off at SOURCE_DATE_EPOCH."""
    for name, when in (("1", 1_700_000_000), ("2", 1_800_000_000)):
        for path in folder.rglob("*"):
            os.utime(path, (when, when))
        env = {"SOURCE_DATE_EPOCH": "1600000000"}
        assert bundle(folder, "-o", tmp_path / name, "--runtime", runtime, env=env).returncode == 0
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert "2020-09-13 12:26:40" in heart("bundle", "--list", tmp_path / "1").stdout
    refused(bundle(folder, "-o", tmp_path / "3", "--runtime", runtime, env={"SOURCE_DATE_EPOCH": "x"}), "SOURCE_DATE")


def test_bundle_as_runtime_gives_its_executable_alone(folder, runtime, tmp_path):
    other = write_files(tmp_path / "other", {"main.lua": "", "other.txt": "other"})
    assert bundle(folder, "-o", tmp_path / "1", "--runtime", runtime).returncode == 0
    assert bundle(other, "-o", tmp_path / "2", "--runtime", tmp_path / "1").returncode == 0
    assert bundle(other, "-o", tmp_path / "3", "--runtime", runtime).returncode == 0
    assert (tmp_path / "2").read_bytes() == (tmp_path / "3").read_bytes()


@pytest.mark.skipif(one_file() is not None, reason="the one-file executable is its own runtime")
def test_source_tree_needs_a_runtime(folder, tmp_path):
    refused(bundle(folder, "-o", tmp_path / "myapp"), "make binary", "--runtime")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "expected a heart executable"), (b"#!/bin/sh\n", "expected a heart"), (b"\x7fELF" * 50, "expected a heart")],
)
def test_runtime_that_is_no_heart_is_refused(folder, runtime, tmp_path, content, message):
    runtime.write_bytes(content)
    refused(bundle(folder, "-o", tmp_path / "myapp", "--runtime", runtime), runtime, message)
    assert not (tmp_path / "myapp").exists()


def test_runtime_that_is_missing_or_damaged_is_told(folder, runtime, tmp_path):
    refused(bundle(folder, "-o", tmp_path / "myapp", "--runtime", tmp_path / "none"), "none: can not be read")
    assert bundle(folder, "-o", tmp_path / "1", "--runtime", runtime).returncode == 0
    data = bytearray((tmp_path / "1").read_bytes())
    data[-80] ^= 1
    (tmp_path / "1").write_bytes(data)
    refused(bundle(folder, "-o", tmp_path / "2", "--runtime", tmp_path / "1"), "is damaged")


def test_output_that_can_not_be_written_is_told(folder, runtime, tmp_path):
    refused(bundle(folder, "--runtime", runtime), "-o FILE is missing")
    refused(bundle(folder, "-o", folder, "--runtime", runtime), f"{folder}: is a folder")
    refused(bundle(folder, "-o", tmp_path / "no/such", "--runtime", runtime), "no/such: can not be written")
    refused(bundle(folder, "-o", folder / "main.lua", "--runtime", runtime), "main.lua: exists, and is no executable")
    assert (folder / "main.lua").read_text() == APP


def test_disk_that_is_full_leaves_nothing_behind(folder, runtime, tmp_path):
    (folder / "big").write_bytes(bytes(1 << 20))
    out = tmp_path / "out"
    out.mkdir()
    (out / "myapp").write_bytes(b"\x7fELF the one before")
    command = ["bash", "-c", 'ulimit -f 512; trap "" XFSZ; exec "$0" "$@"']
    result = heart(
        *heart_command()[1:], "bundle", folder / "main.lua", "-o", out / "myapp", "--runtime", runtime,
        program=[*command, heart_command()[0]],
    )  # fmt: skip
    refused(result, "myapp: can not be written: File too large")
    assert os.listdir(out) == ["myapp"]
    assert (out / "myapp").read_bytes() == b"\x7fELF the one before"


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--prot", "80"], ["--prot: no such option; did you mean --port?"]),
        (["--port", "eighty"], ["--port", "eighty", "65535"]),
        (["--port"], ["--port: a value is missing"]),
        (["--watch"], ["--watch", "does not change"]),
        (["--dev", "--prod"], ["exclude each other"]),
        (["80"], ["80: expected only flags"]),
    ],
)
def test_wrong_default_flag_is_told(folder, runtime, tmp_path, flags, parts):
    refused(bundle(folder, "-o", tmp_path / "myapp", "--runtime", runtime, "--", *flags), *parts)
    assert not (tmp_path / "myapp").exists()


def test_script_that_is_missing_is_told(folder, runtime, tmp_path):
    refused(
        heart("bundle", folder / "mian.lua", "-o", tmp_path / "x", "--runtime", runtime), "did you mean", "main.lua"
    )
    refused(heart("bundle", "-o", tmp_path / "x"), "is missing")


def test_executable_in_place_of_the_script_is_told(runtime, tmp_path):
    result = heart("bundle", runtime, "-o", tmp_path / "x", "--runtime", runtime)
    refused(result, f"{runtime}: is an executable", "--list")


def test_link_out_of_the_folder_is_told(folder, runtime, tmp_path):
    (folder / "public/passwd").symlink_to("/etc/passwd")
    refused(bundle(folder, "-o", tmp_path / "x", "--runtime", runtime), "public/passwd: a symbolic link out of")
    result = bundle(folder, "-o", tmp_path / "x", "--runtime", runtime, "--exclude", "passwd")
    assert result.returncode == 0


# ---- Looking and taking out ------------------------------------------------------------------------------------


def test_list_shows_sizes_times_and_flags(folder, runtime, tmp_path):
    os.utime(folder / "public/a.txt", (784111777, 784111777))
    assert bundle(folder, "-o", tmp_path / "x", "--runtime", runtime, "--", "--port", "80").returncode == 0
    result = heart("bundle", "--list", tmp_path / "x")
    assert result.returncode == 0
    assert "        1500  1994-11-06 08:49:37  public/a.txt\n" in result.stdout
    assert r"public/line\nbreak.txt" in result.stdout
    assert re.fullmatch(r"4 files, 1\.\d KB, bundled with Heart 2\.\S+\nserve main\.lua --port 80\n", result.stderr)


def test_extract_gives_the_files_back(folder, runtime, tmp_path):
    os.utime(folder / "public/a.txt", (784111777, 784111777))
    assert bundle(folder, "-o", tmp_path / "x", "--runtime", runtime).returncode == 0
    result = heart("bundle", "--extract", tmp_path / "x", "-o", tmp_path / "out")
    assert result.returncode == 0 and "4 files" in result.stderr
    (folder / ".env").unlink()
    subprocess.run(["diff", "-r", folder, tmp_path / "out"], check=True)
    assert os.stat(tmp_path / "out/public/a.txt").st_mtime == 784111777
    refused(heart("bundle", "--extract", tmp_path / "x", "-o", tmp_path / "out"), "out: is not empty")
    refused(heart("bundle", "--extract", tmp_path / "x"), "-o DIR is missing")
    refused(heart("bundle", "--extract", tmp_path / "x", "-o", tmp_path / "x"), "x: can not be written")


@pytest.mark.parametrize("option", ["--list", "--extract"])
def test_file_without_an_application_is_told(runtime, tmp_path, option):
    refused(heart("bundle", option, runtime, "-o", tmp_path / "out"), "there is no application in this file")
    refused(heart("bundle", option, tmp_path / "none", "-o", tmp_path / "out"), "none: can not be read")


def test_damaged_content_is_found(folder, runtime, tmp_path):
    assert bundle(folder, "-o", tmp_path / "x", "--runtime", runtime).returncode == 0
    data = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(data.replace(b"a" * 1500, b"a" * 1499 + b"b"))
    for args in (["--list"], ["--extract", "-o", tmp_path / "out"]):
        refused(heart("bundle", *args, tmp_path / "x"), "is damaged (public/a.txt is not what was bundled)")


@pytest.mark.parametrize(
    "args",
    [
        ["--list", "--extract"],
        ["--list", "--dry-run"],
        ["--list", "--include", "x"],
        ["--extract", "--exclude", "x"],
        ["--list", "--runtime", "x"],
        ["--list", "--", "--port", "80"],
    ],
)
def test_options_that_do_not_fit_are_told(runtime, args):
    assert "heart: " in heart("bundle", runtime, *args).stderr
    assert heart("bundle", runtime, *args).returncode == 2


# ---- The command line of a bundle ------------------------------------------------------------------------------


@pytest.fixture
def myapp(folder, tmp_path):
    return lambda *flags: Bundle(folder, tmp_path / "myapp", *flags)


def test_bundled_flags_are_used(myapp):
    port = free_port()
    with myapp("--port", port, "--host", "127.0.0.1", "--dev").server("--listen", "127.0.0.1:0") as server:
        assert server.port != port
        assert "told to developers" in server.get("/fail").text


def start(bundle, *args, env=None):
    """Start a bundle with exactly these flags; its first address."""
    process = subprocess.Popen(
        [*bundle.words(), *args],
        env=os.environ | bundle.env(env),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        return process.stderr.readline()
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_flags_win_over_the_environment_and_that_over_bundled_flags(myapp):
    bundled, environment, flag = free_port(), free_port(), free_port()
    bundle = myapp("--host", "127.0.0.1", "--port", str(bundled))
    assert start(bundle) == f"listening on http://127.0.0.1:{bundled}\n"
    assert start(bundle, env={"PORT": str(environment)}) == f"listening on http://127.0.0.1:{environment}\n"
    assert start(bundle, "--port", str(flag), env={"PORT": str(environment)}) == (
        f"listening on http://127.0.0.1:{flag}\n"
    )
    assert start(bundle, "--listen", f"127.0.0.1:{flag}") == f"listening on http://127.0.0.1:{flag}\n"
    assert start(bundle, env={"HEART_LISTEN": f"127.0.0.1:{flag}"}) == f"listening on http://127.0.0.1:{flag}\n"


def test_port_of_the_environment_replaces_a_bundled_address(myapp):
    bundled, environment = free_port(), free_port()
    bundle = myapp("--listen", f"127.0.0.1:{bundled}")
    assert start(bundle, env={"PORT": str(environment)}) == f"listening on http://0.0.0.0:{environment}\n"
    assert start(bundle, "--port", str(environment)) == f"listening on http://0.0.0.0:{environment}\n"


def test_bundled_switch_is_undone_by_its_opposite(myapp):
    bundle = myapp("--dev", "--no-access-log")
    with bundle.server() as server:
        assert "told to developers" in server.get("/fail").text
    with bundle.server("--prod", env={"ACCESS_LOG": "true"}) as server:
        assert server.get("/fail").text == "500 - Internal Server Error"
        server.wait_log('"path":"/fail"')
    with bundle.server(env={"PROD": "true"}) as server:
        assert server.get("/fail").text == "500 - Internal Server Error"
        server.wait_log("told to developers")
    assert '"path":"/fail"' not in server.logs()


def test_help_says_what_the_file_is_and_shows_every_option(myapp):
    bundle = myapp("--port", "80")
    for word in ("--help", "-h"):
        result = bundle.run(word)
        assert result.returncode == 0
        assert result.stdout.startswith(
            "Usage: myapp [OPTIONS]\n\nServes main.lua, the application in this file (4 files"
        )
        for part in ("--port 80", "--workers auto|N", "--max-body-size", "HEART_WORKERS", "myapp --heart"):
            assert part in result.stdout


def test_help_that_cannot_be_written_is_told(myapp):
    bundle = myapp()
    with open("/dev/full", "w") as full:
        words = [*bundle.words(), "--help"]
        env = heart_environment(bundle.env())
        result = subprocess.run(words, env=env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (result.returncode, result.stderr) == (1, "heart: stdout: No space left on device\n")


def test_wrong_flags_are_told(myapp):
    bundle = myapp()
    refused(bundle.run("--prot", "80"), "--prot: no such option; did you mean --port?")
    refused(bundle.run("--zzzzzz"), "--zzzzzz: no such option (see myapp --help)")
    refused(bundle.run("other.lua"), "myapp takes flags only", "myapp --heart serve other.lua")
    refused(bundle.run("serve", "other.lua"), "myapp takes flags only")
    refused(bundle.run("--watch"), "--watch", "does not change")
    refused(bundle.run(env={"HEART_WATCH": "true"}), "--watch", "does not change")


def test_heart_inside_is_reached(myapp, tmp_path):
    bundle = myapp()
    assert "serve" in bundle.run("--heart", "--help").stdout
    assert "LuaJIT" in bundle.run("--heart", "version").stdout
    assert "public/a.txt" in bundle.run("--heart", "bundle", "--list", bundle.path).stdout
    other = write_files(tmp_path / "other", {"main.lua": "error('the other one')"})
    assert "the other one" in bundle.run("--heart", "serve", other / "main.lua", "--port", "0").stderr
    assert "the other one" in bundle.run("--heart", other / "main.lua", "--port", "0").stderr


def test_bundle_bundles_another_application(myapp, tmp_path):
    """With itself as the runtime; an application in it is replaced."""
    bundle = myapp()
    write_files(tmp_path / "other", {"main.lua": 'require("heart.v1").get("/", function() return "other" end)'})
    result = bundle.run("--heart", "bundle", tmp_path / "other/main.lua", "-o", tmp_path / "next")
    assert result.returncode == 0, result.stderr
    listing = heart("bundle", "--list", tmp_path / "next")
    assert listing.stdout.count("\n") == 1 and "1 file," in listing.stderr
    bundle.path = tmp_path / "next"
    with bundle.server() as server:
        assert server.get().text == "other"


def test_child_processes_do_not_know_the_file(myapp):
    with myapp().server() as server:
        assert server.get("/env").text == "nil"


def test_flags_of_another_heart_are_told(myapp):
    """Bundled by a newer one, whose options this one does not have."""
    bundle = myapp()
    data = bundle.path.read_bytes()
    before = data[: int.from_bytes(data[-48:-40], "little")]
    bundle.path.unlink()
    pack(bundle.path, [(b"main.lua", b"", 0)], ["--newer", "1"], before=before).chmod(0o755)
    refused(bundle.run("--port", "0"), "myapp: the flags in this file are not for this heart: --newer: no such option")


def test_damaged_bundle_is_told(myapp):
    bundle = myapp()
    data = bytearray(bundle.path.read_bytes())
    data[-70] ^= 0x20
    bundle.path.write_bytes(data)
    refused(bundle.run("--port", "0"), "myapp", "is damaged", "bundle or copy it again")
