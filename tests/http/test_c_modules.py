"""C modules for Lua 5.1 and Lua modules are found and loaded by require."""

import importlib.util
from pathlib import Path

import pytest
from heart_server import Server, heart, missing, need, run

MODULES = {"lpeg": "lua-lpeg", "lfs": "lua-filesystem"}


def need_module(name):
    folders = Path("/usr/lib").glob("*/lua/5.1")
    if not any((folder / f"{name}.so").exists() for folder in folders):
        missing(name, MODULES[name])


@pytest.mark.parametrize(
    ("module", "code", "text"),
    [
        ("lpeg", 'return tostring((m.P("a") ^ 1 * -1):match("aaa"))', "4"),
        ("lfs", 'return m.attributes("/", "mode")', "directory"),
    ],
)
def test_c_module_loads_and_works(serve, module, code, text):
    need_module(module)
    server = serve(
        f'local m = require("{module}") require("heart.v1").get("/", function(ctx) {code} end)',
        workers=2,
    )
    for _ in range(10):
        assert server.get().text == text


def test_c_module_that_yields_through_a_metamethod_is_no_crash(serve):
    need_module("lpeg")
    server = serve("""
        local app, lpeg = require("heart.v1"), require("lpeg")
        app.get("/", function(ctx)
          return tostring(lpeg.match(lpeg.Cmt(lpeg.P("a"), function() app.sleep(0.01) return true end), "a"))
        end)
        app.get("/ok", function(ctx) return "ok" end)
    """)
    assert server.get().status == 500
    assert server.get("/ok").text == "ok"


def test_missing_path_of_a_library_is_told_as_by_lua(serve):
    server = serve('require("heart.v1").get("/", function(ctx) return select(2, pcall(package.loadlib)) end)')
    assert server.get().text.startswith("bad argument #1 to")


def module_file(name):
    """Where Debian has put a C module."""
    need_module(name)
    return next(Path("/usr/lib").glob(f"*/lua/5.1/{name}.so")).resolve()


def refusal(folder, code):
    """What a server says on stderr whose script is `code`."""
    (folder / "main.lua").write_text(code)
    result = heart("serve", folder / "main.lua", "--port", "0")
    assert result.returncode == 1
    return result.stderr


def test_module_for_musl_is_refused_with_a_reason(tmp_path):
    (tmp_path / "odd.c").write_text("#include <stdlib.h>\nint luaopen_odd(void *L) { return L == malloc(1); }\n")
    run(need("musl-gcc", "musl-tools"), "-shared", "-fPIC", "-o", tmp_path / "odd.so", tmp_path / "odd.c")
    for code in ('require("odd")', 'require("odd.inner")', f'assert(package.loadlib("{tmp_path}/odd.so", "*"))'):
        said = refusal(tmp_path, code)
        assert "it was built for musl, and Heart runs with" in said
        assert f"{tmp_path}/odd.so" in said


def test_module_for_a_newer_libc_is_refused_with_a_reason(tmp_path):
    (tmp_path / "lpeg.so").write_bytes(module_file("lpeg").read_bytes().replace(b"GLIBC_2.14", b"GLIBC_2.99"))
    said = refusal(tmp_path, 'require("lpeg")')
    assert "lpeg.so" in said
    assert "it was built for glibc 2.99, and Heart runs with" in said


def test_module_is_refused_whatever_package_path_says(tmp_path):
    (tmp_path / "lpeg.so").write_bytes(module_file("lpeg").read_bytes().replace(b"GLIBC_2.14", b"GLIBC_2.99"))
    said = refusal(tmp_path, 'package.path = "" package.loaded["heart.cmodule"] = false require("lpeg")')
    assert "it was built for glibc 2.99" in said


def test_broken_module_is_no_crash(tmp_path):
    """Cut off at every eighth byte of its first 4 KiB, and with random bytes: always an error, whoever says it."""
    whole = module_file("lpeg").read_bytes()
    (tmp_path / "main.lua").write_text("""
        local refuse, whole = require("heart.cmodule").refuse, io.open("whole.so", "rb"):read("*a")
        local function try(data)
          local file = io.open("cut.so", "wb")
          file:write(data)
          file:close()
          refuse("cut.so")
        end
        for size = 0, 4096, 8 do try(whole:sub(1, size)) end
        for size = 4096, #whole, 1021 do try(whole:sub(1, size)) end
        math.randomseed(7)
        for _ = 1, 300 do
          local at = math.random(7, 1024)
          try(whole:sub(1, at) .. string.char(math.random(0, 255), math.random(0, 255)) .. whole:sub(at + 3))
        end
        error("all tried")
    """)
    (tmp_path / "whole.so").write_bytes(whole)
    result = heart("serve", tmp_path / "main.lua", "--port", "0", cwd=tmp_path)
    assert "all tried" in result.stderr


def test_modules_beside_the_script_are_found(serve):
    server = serve(
        """
        local names = {}
        for _, name in ipairs { "plain", "bundle", "sub.inner", "rock", "rock.deep" } do
          names[#names + 1] = require(name)
        end
        require("heart.v1").get("/", function(ctx) return table.concat(names, " ") end)
        """,
        files={
            "plain.lua": 'return "plain"',
            "bundle/init.lua": 'return "bundle"',
            "sub/inner.lua": 'return "inner"',
            "lua_modules/share/lua/5.1/rock.lua": 'return "rock"',
            "lua_modules/share/lua/5.1/rock/deep/init.lua": 'return "deep"',
        },
    )
    assert server.get().text == "plain bundle inner rock deep"


def test_own_modules_win_over_others(serve):
    server = serve(
        'local m = require("lfs") require("heart.v1").get("/", function(ctx) return m end)',
        files={"lfs.lua": 'return "mine"'},
    )
    assert server.get().text == "mine"


def test_missing_module_names_the_places(tmp_path):
    (tmp_path / "main.lua").write_text('require("no_such_module")')
    result = heart("serve", tmp_path / "main.lua", "--port", "0")
    assert result.returncode == 1
    assert "module 'no_such_module' not found" in result.stderr
    assert str(tmp_path) in result.stderr


def test_standard_library_is_complete(serve):
    server = serve("""
        local missing = {}
        for name in ([[assert collectgarbage dofile error getfenv getmetatable ipairs load loadfile loadstring
          next pairs pcall print rawequal rawget rawset require select setfenv setmetatable tonumber tostring type
          unpack xpcall coroutine.create coroutine.resume coroutine.running coroutine.status coroutine.wrap
          coroutine.yield debug.traceback debug.getinfo io.open io.lines math.floor os.time os.getenv
          package.loaded package.path package.cpath string.format string.gsub string.rep table.concat
          table.insert table.sort bit.band jit.version]]):gmatch("%S+") do
          local value = _G
          for part in name:gmatch("[^.]+") do value = value and value[part] end
          if value == nil then missing[#missing + 1] = name end
        end
        local ffi = require("ffi")
        require("heart.v1").get("/", function(ctx)
          return table.concat(missing, " ") .. tostring(ffi.sizeof("int")) .. tostring((pcall(error, "x")))
        end)
    """)
    assert server.get().text == "4false"


def test_no_other_lua_is_loaded():
    """Two Luas with global symbols in one process crash."""
    assert importlib.util.find_spec("lupa.luajit21") is not None
    with Server('require("heart.v1").get("/", function(ctx) return "x" end)') as server:
        maps = Path(f"/proc/{server.pid}/maps").read_text()
        assert "luajit21" in maps
        assert not [line for line in maps.splitlines() if "lupa/lua5" in line]
