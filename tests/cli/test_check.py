"""`heart check`: syntax, missing modules and routes that are never reached, with file and line."""

import json
import signal
import subprocess

import pytest
from heart_server import ROOT, heart, heart_command, heart_environment, wait_until

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/main.lua"))
HEAD = 'local app = require("heart.v1")\nlocal function f() end\n'


@pytest.fixture
def check(tmp_path):
    """A function that writes an application and checks it: the lines of stdout; `files` are its modules."""

    def run(code, *args, status=1, files=None, **more):
        for name, text in {"main.lua": code, **(files or {})}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        result = heart("check", "main.lua", *args, cwd=tmp_path, **more)
        assert result.returncode == status, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        return result.stdout.splitlines()

    return run


def test_sound_application_is_summed_up(check):
    code = 'local app = require("heart.v1")\nrequire("shop.cart")\napp.get("/", function() end)'
    files = {"shop/cart.lua": 'return require "shop.item"', "shop/item/init.lua": "return {}"}
    assert check(code, status=0, files=files) == ["main.lua: 1 route, 2 modules: no problems"]


@pytest.mark.parametrize("example", EXAMPLES, ids=[folder.name for folder in EXAMPLES])
def test_example_has_no_problems(example):
    result = heart("check", example / "main.lua")
    assert result.returncode == 0, result.stdout
    assert result.stdout.endswith(": no problems\n")


# ---- Syntax ------------------------------------------------------------------------------------------------


def test_syntax_error_names_file_and_line(check):
    assert check("\nlocal x = = 1") == ["main.lua:2: unexpected symbol near '='"]


def test_syntax_errors_of_all_modules_are_told(check):
    files = {"a.lua": "if", "b.lua": "local t = {\n1 2}"}
    lines = check('require("a")\nrequire("b")', files=files)
    assert [line.split(": ")[0] for line in lines] == ["a.lua:1", "b.lua:2"]


def test_long_path_is_told_whole(check):
    """LuaJIT shortens it in its own messages."""
    name = "a" * 40 + "." + "b" * 40
    path = name.replace(".", "/") + ".lua"
    assert check(f'require("{name}")', files={path: "if"})[0].startswith(path + ":1: ")
    assert check(f'require("{name}")', files={path: "error('no')"}) == [path + ":1: no"]


def test_shebang_and_byte_order_mark_are_skipped(check):
    code = b'\xef\xbb\xbf#!/usr/bin/env heart\nrequire("heart.v1").get("/", function() end)'
    assert check(code, status=0) == ["main.lua: 1 route, 0 modules: no problems"]


# ---- Modules -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    ['require("gone")', "require('gone')", 'require "gone"', "require [[gone]]", 'local x = require ( "gone" ).y'],
)
def test_missing_module_is_told(check, code):
    assert check("\n" + code) == ["main.lua:2: module gone: no such module"]


def test_missing_module_of_a_module_is_told(check):
    files = {"a.lua": '\n\nrequire("b.gone")'}
    assert check('require("a")', files=files) == ["a.lua:3: module b.gone: no such module"]


def test_missing_module_suggests_a_near_one(check):
    lines = check('require("shop.crat")', files={"shop/cart.lua": ""})
    assert lines == ["main.lua:1: module shop.crat: no such module; did you mean shop.cart?"]


def test_missing_module_is_told_for_every_line(check):
    assert len(check('require("gone")\nrequire("gone")')) == 2


def test_missing_module_in_a_function_is_told(check):
    """Nothing is run to find it."""
    assert check('os.remove("main.lua")\nlocal function f() require("gone") end') == [
        "main.lua:2: module gone: no such module"
    ]


@pytest.mark.parametrize(
    "code",
    [
        '-- require("gone")',
        '--[[ require("gone") ]]',
        '--[==[ ]] require("gone") ]==]',
        """local s = 'require("gone")'""",
        'local s = [[require("gone")]]',
        r"""local s = "\"require('gone')" """,
        'pcall(require, "gone")',
        'local t = { require = print } t.require("gone")',
        'local name = "x" pcall(function() require("gone." .. name) end)',
        'local ffi = require("ffi") require("bit") require("string.buffer") require("jit.opt") require("table.new")',
        'require("heart.v1.json") require("heart.v1.context") require("string")',
    ],
)
def test_what_is_no_missing_module_is_not_told(check, code):
    assert check(code, status=0) == ["main.lua: 0 routes, 0 modules: no problems"]


def test_module_of_luarocks_is_found(check):
    files = {"lua_modules/share/lua/5.1/rock/init.lua": ""}
    assert check('require("rock")', status=0, files=files) == ["main.lua: 0 routes, 1 module: no problems"]


def test_native_module_is_found(check):
    """The file is looked for, not loaded."""
    code = 'local function f() require("deep.part") require("other") end'
    check(code, status=0, files={"deep.so": "", "lua_modules/lib/lua/5.1/other.so": ""})


def test_modules_that_require_each_other_are_read_once(check):
    files = {"a.lua": 'local function f() require("b") end', "b.lua": 'require("a")'}
    assert check('require("a")', status=0, files=files) == ["main.lua: 0 routes, 2 modules: no problems"]


# ---- Loading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("\nerror('at load')", "main.lua:2: at load"),
        ("local t = nil\nt.x = 1", "main.lua:2: attempt to index local 't' (a nil value)"),
        ("error({ code = 1 })", "main.lua: (error object is a table value)"),
        ('local m = "gone"\nrequire(m)', "main.lua:2: module 'gone' not found"),
        (HEAD + 'app.static("/", "nowhere")', "main.lua:3: static: nowhere: No such file or directory"),
        (HEAD + 'app.get("/", { x = 1 }, f)', "main.lua:3: /: unknown route option x (there are: body, max_body)"),
    ],
)
def test_error_at_load_is_told(check, code, expected):
    assert check(code) == [expected]


def test_start_and_stop_events_do_not_run(check, tmp_path):
    code = HEAD + "app.on('start', function() io.open('started', 'w') end)\n"
    check(code + "app.on('stop', function() io.open('stopped', 'w') end)", status=0)
    assert not (tmp_path / "started").exists() and not (tmp_path / "stopped").exists()


def test_nothing_is_listened_on(check):
    """A server that holds the port does not disturb."""
    code = "for line in io.lines('/proc/net/tcp') do assert(not line:find(':FFFD 0')) end"
    check(code, status=0, env={"PORT": "65533"})


def test_printed_text_is_not_mixed_with_the_result(check):
    code = "print('hello') require('heart.v1.log').info('logged') io.stdout:write('more\\n')"
    assert check(code, status=0) == ["main.lua: 0 routes, 0 modules: no problems"]


def test_script_that_waits_is_waited_for(check):
    assert check(HEAD + "app.sleep(0.05) app.get('/', f)", status=0) == ["main.lua: 1 route, 0 modules: no problems"]


def test_script_without_end_can_be_stopped(tmp_path):
    (tmp_path / "main.lua").write_text("io.open('begun', 'w') while true do end")
    process = subprocess.Popen(
        [*heart_command(), "check", "main.lua"], cwd=tmp_path, env=heart_environment(), stdout=subprocess.PIPE
    )
    try:
        wait_until((tmp_path / "begun").exists, "the script runs")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    finally:
        process.kill()
        process.communicate()


# ---- Routes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('app.get("/a", f)', 'app.get("/a", f)'),
        ('app.get("/a", f)', 'app.get("/A/", f)'),
        ('app.get("/:x", f)', 'app.get("/:x", f)'),
        ('app.any("/*", f)', 'app.any("/*", f)'),
        ('app.group("/g").get("/x", f)', 'app.get("/g/x", f)'),
    ],
)
def test_route_that_is_registered_twice_is_told(check, first, second):
    lines = check(f"{HEAD}{first}\n{second}")
    assert len(lines) == 1
    assert lines[0].startswith("main.lua:4: ") and lines[0].endswith(" is registered twice, first at main.lua:3")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('app.get("/:name", f)', 'app.get("/world", f)'),
        ('app.get("/:a", f)', 'app.get("/:b", f)'),
        ('app.get("/*", f)', 'app.get("/:name", f)'),
        ('app.get("/*", f)', 'app.get("/", f)'),
        ('app.get("/files/*", f)', 'app.get("/files/+", f)'),
        ('app.get("/files/*", f)', 'app.get("/files/:a/:b?", f)'),
        ('app.get("/:x?", f)', 'app.get("/", f)'),
        ('app.get("/:name", f)', 'app.get("/:from-:to", f)'),
        ('app.any("/a", f)', 'app.get("/a", f)'),
        ('app.any("/:x", f)', 'app.post("/a", f)'),
        ('app.get("/a", f)', 'app.head("/a", f)'),
    ],
)
def test_route_behind_one_that_takes_everything_is_told(check, first, second):
    lines = check(f"{HEAD}{first}\n{second}")
    assert len(lines) == 1, lines
    assert lines[0].startswith("main.lua:4: ") and " is never reached: " in lines[0]
    assert lines[0].endswith(" at main.lua:3 takes its requests; register it earlier")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('app.get("/world", f)', 'app.get("/:name", f)'),
        ('app.get("/:name", f)', 'app.post("/:name", f)'),
        ('app.get("/:name", f)', 'app.any("/world", f)'),
        ('app.head("/a", f)', 'app.get("/a", f)'),
        ('app.get("/:a", f)', 'app.get("/:a/:b", f)'),
        ('app.get("/:a", f)', 'app.get("/:a?", f)'),
        ('app.get("/:a", f)', 'app.get("/+", f)'),
        ('app.get("/+", f)', 'app.get("/*", f)'),
        ('app.get("/:from-:to", f)', 'app.get("/:name", f)'),
        ('app.get("/:a:b", f)', 'app.get("/:a", f)'),
        ('app.get("/a*", f)', 'app.get("/:name", f)'),
        ('app.get("/*/edit", f)', 'app.get("/:page/:action", f)'),
        ('app.get("/:x.json", f)', 'app.get("/:x.xml", f)'),
    ],
)
def test_routes_that_are_reached_are_not_told(check, first, second):
    assert check(f"{HEAD}{first}\n{second}", status=0) == ["main.lua: 2 routes, 0 modules: no problems"]


def test_route_of_a_module_names_its_line(check):
    files = {"pages.lua": 'require("heart.v1").get("/:x", print)\n\nrequire("heart.v1").get("/y", print)'}
    assert check('require("pages")', files=files) == [
        "pages.lua:3: GET /y is never reached: GET /:x at pages.lua:1 takes its requests; register it earlier"
    ]


def test_route_behind_several_that_take_everything_together_is_told(check):
    methods = ["head", "get", "post", "put", "delete", "options", "trace", "patch"]
    code = HEAD + "".join(f'app.{method}("/a", f)\n' for method in methods)
    check(code + 'app.any("/a", f)', status=0)  # PROPFIND and the like go to `any` alone
    assert len(check(code + 'app.any("/:x", f)\napp.any("/a", f)')) == 1


def test_route_with_many_parameters_is_checked_quickly(check):
    path = "".join(f"/:p{i}?" for i in range(16))
    assert len(check(f'{HEAD}app.get("{path}", f)\napp.get("{path}", f)')) == 1


# ---- What it prints ----------------------------------------------------------------------------------------


def test_json_has_the_problems(check):
    assert [json.loads(line) for line in check('\nrequire("gone")', "--json")] == [
        {
            "script": "main.lua",
            "routes": None,
            "modules": 0,
            "problems": [{"file": "main.lua", "line": 2, "message": "module gone: no such module"}],
        }
    ]


def test_json_of_a_sound_application(check):
    lines = check(HEAD + "print('x') app.get('/', f)", "--json", status=0)
    assert [json.loads(line) for line in lines] == [{"script": "main.lua", "routes": 1, "modules": 0, "problems": []}]


def test_missing_script_is_told(tmp_path):
    (tmp_path / "main.lua").write_text("")
    result = heart("check", "main.luaa", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "heart: main.luaa: no such file; did you mean main.lua?\n"
