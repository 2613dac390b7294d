"""The command line: help, version, and errors that say what was expected."""

import re

import pytest
from heart_server import Server, heart

APP = 'require("heart.v1").get("/", function(ctx) return "hello" end)'
OPTIONS = """
    --listen --host --port --workers --dev --prod --watch --log-level --no-access-log --drain-timeout --reload-grace
    --lua-memory --max-header-size --max-target-size --max-headers --max-body-size --header-timeout --body-timeout
    --idle-timeout --write-timeout --max-connections --max-requests-per-connection --backlog
""".split()


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "main.lua"
    path.write_text(APP)
    return path


def test_help_names_the_commands():
    result = heart("--help")
    assert result.returncode == 0
    assert "serve" in result.stdout and "version" in result.stdout


def test_serve_help_explains_every_option():
    result = heart("serve", "--help", env={"COLUMNS": "200"})
    assert result.returncode == 0
    for option in OPTIONS:
        assert re.search(rf"{option}\b.*\S", result.stdout), option


def test_no_arguments_help():
    result = heart()
    assert "serve" in result.stdout + result.stderr


def test_version_is_the_packages():
    result = heart("version")
    assert result.returncode == 0
    assert re.search(r"\b2\.\d+\.\d+", result.stdout)
    assert "LuaJIT" in result.stdout


def test_script_alone_is_served(script):
    """`heart main.lua` is `heart serve main.lua`."""
    with Server(script, command=()) as server:
        assert server.get().text == "hello"


def test_missing_file_suggests_a_near_name(script):
    result = heart("serve", script.with_name("mian.lua"))
    assert result.returncode in (1, 2)
    assert "mian.lua" in result.stderr
    assert "main.lua" in result.stderr
    assert "Traceback" not in result.stderr


def test_missing_file_alone_is_told(tmp_path):
    result = heart("serve", tmp_path / "nothing.lua")
    assert result.returncode in (1, 2)
    assert "nothing.lua" in result.stderr


def test_unknown_command_is_told():
    result = heart("sevre", "main.lua")
    assert result.returncode in (1, 2)
    assert "sevre" in result.stderr


def test_missing_script_argument_is_told():
    result = heart("serve")
    assert result.returncode == 2
    assert "SCRIPT" in result.stderr.upper()


def test_unknown_option_suggests_a_near_one(script):
    result = heart("serve", script, "--wrokers", "2")
    assert result.returncode == 2
    assert "--wrokers" in result.stderr and "--workers" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--port", "eighty", "number|integer"),
        ("--port", "70000", "65535"),
        ("--port", "-1", "65535|0"),
        ("--workers", "many", "auto"),
        ("--workers", "0", "auto|1|positive"),
        ("--log-level", "loud", "debug"),
        ("--max-body-size", "big", "4M|K|size"),
        ("--max-header-size", "-5", "size|K|positive"),
        ("--lua-memory", "16Q", "16M|M|size"),
        ("--idle-timeout", "soon", "second|number"),
        ("--header-timeout", "-1", "second|number|positive"),
        ("--header-timeout", "nan", "second|number"),
        ("--max-connections", "few", "number|integer"),
        ("--max-headers", "x", "number|integer"),
        ("--backlog", "x", "number|integer"),
        ("--drain-timeout", "x", "second|number"),
    ],
)
def test_bad_value_names_the_option_and_what_was_expected(script, option, value, expected):
    result = heart("serve", script, option, value)
    assert result.returncode == 2
    assert option in result.stderr
    assert value in result.stderr
    assert re.search(expected, result.stderr)
    assert "Traceback" not in result.stderr


def test_dev_and_prod_exclude_each_other(script):
    result = heart("serve", script, "--dev", "--prod")
    assert result.returncode == 2
    assert "--dev" in result.stderr and "--prod" in result.stderr


@pytest.mark.parametrize("value", ["1", "2", "auto"])
def test_workers(script, value):
    with Server(script, workers=value) as server:
        assert server.get().text == "hello"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("local x = = 1", r"main\.lua:1: unexpected symbol near '='"),
        ("\n\nerror('at load')", r"main\.lua:3: at load"),
        ("local t = nil\nt.x = 1", r"main\.lua:2: attempt to index local 't'"),
        ("error({ code = 1 })", r"main\.lua|table"),
        ("if true then", r"main\.lua:1: 'end' expected"),
    ],
)
def test_error_at_load_prints_file_line_and_message(script, code, message):
    script.write_text(code)
    result = heart("serve", script, "--port", "0")
    assert result.returncode == 1
    assert re.search(message, result.stderr), result.stderr
    assert "Traceback (most recent call last)" not in result.stderr


def test_error_in_a_module_names_the_module(script):
    script.with_name("part.lua").write_text("\nlocal x = nil + 1")
    script.write_text('require("part")')
    result = heart("serve", script, "--port", "0")
    assert result.returncode == 1
    assert re.search(r"part\.lua:2: attempt to perform arithmetic", result.stderr)


def test_folder_as_script_is_told(tmp_path):
    result = heart("serve", tmp_path)
    assert result.returncode in (1, 2)
    assert "Traceback" not in result.stderr


def test_script_without_routes_is_served(script):
    script.write_text("local x = 1")
    with Server(script) as server:
        assert server.get().status == 404


def test_byte_order_mark_and_shebang_are_skipped(script):
    script.write_bytes(b"#!/usr/bin/env heart\n" + APP.encode())
    with Server(script) as server:
        assert server.get().text == "hello"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('{ bdy = "stream" }', "main.lua:2: /x: unknown route option bdy (there are: body, max_body)"),
        ('{ body = "all" }', 'main.lua:2: /x: body: expected "buffer" or "stream"'),
        ("{ max_body = -1 }", "main.lua:2: /x: max_body: expected a number of bytes"),
        ("{ 7 }", "main.lua:2: /x: unknown route option 1 (there are: body, max_body)"),
    ],
)
def test_bad_route_option_names_the_line_of_the_script(tmp_path, options, expected):
    script = tmp_path / "main.lua"
    script.write_text(f'local app = require("heart.v1")\napp.post("/x", {options}, function() end)')
    result = heart("serve", script, "--port", "0")
    assert result.returncode == 1
    assert result.stderr.splitlines()[0].endswith(expected)
