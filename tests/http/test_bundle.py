"""A bundled application runs as its files do: the same answers, messages and rules, read from the executable."""

import gzip
import os
import re
import signal
import time
from email.utils import formatdate
from hashlib import blake2b
from pathlib import Path

import pytest
from archives import pack
from bundles import Bundle, one_file, write_files
from heart_server import PATIENCE, missing, wait_until

MAIN = """
local app = require("heart.v1")
local page = require("page")
local deep = require("part.deep")
app.static("/", "public")
app.static("/up", "empty")
app.get("/", function(ctx) return page.title .. " " .. deep .. " " .. require("rock") end)
local function join(...)
  local results = { ... }
  for i = 1, select("#", ...) do results[i] = tostring(results[i]) end
  return table.concat(results, "|")
end
app.post("/run", function(ctx) return join(assert(loadstring(ctx.bytes()))()) end)
app.get("/fail", function(ctx)
  page.fail()
end)
"""
PAGE = """local M = { title = "page" }
function M.fail()
  error("it failed")
end
return M
"""
BIG = os.urandom(1 << 20) * 9
FILES = {
    "main.lua": MAIN,
    "page.lua": PAGE,
    "part/init.lua": 'return "part"',
    "part/deep.lua": 'return "deep"',
    "lua_modules/share/lua/5.1/rock.lua": 'return "rock"',
    "bom.lua": b"\xef\xbb\xbf#!/usr/bin/env heart\nreturn 'marked'",
    "wrong.lua": "\n\nlocal x = = 1",
    "raises.lua": "\nerror('raised')",
    "env.lua": "return name",
    "templates/hello.html": "<h1>hello</h1>\nsecond\n",
    "templates/caf\u00e9 cr\u00e8me.txt": "utf8",
    "templates/new\nline.txt": "newline",
    "data.bin": bytes(range(256)) * 40,
    "empty.txt": "",
    "public/index.html": "home",
    "public/style.css": "body {}",
    "public/style.css.gz": gzip.compress(b"body {}", mtime=0),
    "public/empty.txt": "",
    "public/sub/index.html": "sub",
    "public/with space.txt": "space",
    "public/\u00fcn\u00ef.txt": "unicode",
    "public/big.bin": BIG,
    "empty/": "",
}
OLD = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = write_files(tmp_path_factory.mktemp("app"), FILES)
    os.utime(folder / "public/style.css", (OLD, OLD))
    return Bundle(folder, tmp_path_factory.mktemp("out") / "myapp")


@pytest.fixture(scope="module")
def server(bundle):
    with bundle.server(workers=2) as server:
        server.write("page.lua", 'return { title = "from the working directory" }')
        server.write("planted.lua", 'return "planted"')
        server.write("disk.txt", "on the disk")
        yield server


def lua(server, code):
    """What Lua code gives in the server, its results with a bar between them."""
    response = server.post("/run", code.encode())
    assert response.status == 200, server.wait_log(r"(?s)level.:.error.*").group(0)
    return response.body.decode()


# ---- Code ------------------------------------------------------------------------------------------------------


def test_require_finds_what_is_inside(server):
    assert server.get("/../x").status in (400, 404)
    assert lua(server, 'return require("page").title, require("part"), require("part.deep"), require("rock")') == (
        "page|part|deep|rock"
    )


def test_module_in_the_working_directory_is_not_loaded(server):
    """Whoever starts the application from a foreign folder must not run what lies there."""
    assert lua(server, 'return (pcall(require, "planted"))') == "false"
    text = lua(server, 'return select(2, pcall(require, "planted"))')
    assert "no file './planted.lua' in the executable" in text
    assert "no file './planted.so' in the executable" in text


def test_module_with_an_absolute_path_is_loaded_from_the_disk(server):
    code = f'package.path = "{server.folder}/?.lua;" .. package.path return require("planted")'
    assert lua(server, code) == "planted"


def test_searchpath_replaces_as_lua_does(server):
    assert lua(server, 'return package.searchpath("part.deep", "./?.lua")') == "./part/deep.lua"
    assert lua(server, 'return package.searchpath("part-deep", "x/?;?.lua", "-")') == "part/deep.lua"
    assert lua(server, 'return package.searchpath("part.deep", "?", "", "")') == (
        "nil|\n\tno file 'part.deep' in the executable"
    )
    assert lua(server, 'return package.searchpath("a%1.b", "?.x")') == "nil|\n\tno file 'a%1/b.x' in the executable"


def test_loadfile_and_dofile_read_what_is_inside(server):
    assert lua(server, 'return dofile("bom.lua")') == "marked"
    assert lua(server, 'return loadfile("env.lua", "t", { name = "mine" })()') == "mine"
    assert lua(server, 'return loadfile("env.lua", "b")').startswith("nil|")
    assert lua(server, 'return loadfile("wrong.lua")') == "nil|wrong.lua:3: unexpected symbol near '='"
    assert lua(server, 'return pcall(dofile, "raises.lua")') == "false|raises.lua:2: raised"
    assert lua(server, 'return loadfile("none.lua")') == "nil|cannot open none.lua: No such file or directory"


def test_path_is_found_however_it_is_written(server):
    for path in ("env.lua", "./env.lua", "part/../env.lua", ".//part/./../env.lua"):
        assert lua(server, f'return (loadfile("{path}") ~= nil)') == "true", path
    for path in ("../env.lua", "part/../../env.lua", "/env.lua", "env.lua/"):
        assert lua(server, f'return (loadfile("{path}") == nil)') == "true", path


def test_traceback_names_the_file_and_line_as_the_sources_do(server):
    assert server.get("/fail").status == 500
    server.wait_log(r"\./page\.lua:3: it failed")
    server.wait_log(r"main\.lua:15: in function")


def test_error_page_shows_the_source(bundle):
    with bundle.server(dev=True) as server:
        text = server.get("/fail").text
        assert "./page.lua, line 3" in text
        assert "<mark><i>3</i>  error(&quot;it failed&quot;)</mark>" in text


def test_error_at_load_is_told_as_that_of_a_file(tmp_path):
    folder = write_files(tmp_path / "app", {"main.lua": 'local x\nrequire("part")', "part.lua": "\nlocal x = nil + 1"})
    result = Bundle(folder, tmp_path / "myapp").run("--port", "0")
    assert result.returncode == 1
    assert re.search(r"^heart: \./part\.lua:2: attempt to perform arithmetic", result.stderr)
    assert "main.lua:2: in main chunk" in result.stderr
    write_files(folder, {"main.lua": "local x = = 1"})
    result = Bundle(folder, tmp_path / "myapp").run("--port", "0")
    assert "main.lua:1: unexpected symbol near '='" in result.stderr


def test_c_module_inside_is_loaded(tmp_path):
    """From a copy in memory, one for all workers."""
    library = next(iter(Path("/usr/lib").glob("*/lua/5.1/lfs.so")), None)
    if library is None:
        missing("lfs.so", "lua-filesystem")
    files = {
        "main.lua": """
            package.cpath = "./?.so;./lib/?.so"
            local lfs = require("v1-lfs")
            local ok, message = pcall(require, "lfs.inner")
            local bad, why = pcall(require, "text")
            require("heart.v1").get("/", function(ctx)
              return lfs.attributes("/", "mode") .. tostring(ok) .. message .. tostring(bad) .. why
            end)
        """,
        "v1-lfs.so": library.read_bytes(),
        "lib/lfs.so": library.read_bytes(),
        "text.so": "no library",
    }
    bundle = Bundle(write_files(tmp_path / "app", files), tmp_path / "myapp")
    with bundle.server(workers=4) as server:
        text = server.get().text
        assert text.startswith("directoryfalse")
        assert "no module 'lfs.inner' in file './lib/lfs.so'" in text
        assert "error loading module 'text' from file './text.so':" in text
        maps = Path(f"/proc/{server.pid}/maps").read_text()
        assert len({line.split()[4] for line in maps.splitlines() if "memfd:heart" in line}) == 2
        before = server.fds()
        server.signal(signal.SIGHUP)
        server.wait_log("reloaded")
        assert server.get().text == text
        wait_until(lambda: server.fds() <= before, lambda: f"{server.fds()} descriptors, {before} before")


def test_file_that_is_no_library_is_named(server):
    assert lua(server, 'return package.loadlib("data.bin", "x")') == "nil|data.bin: invalid ELF header|open"


def test_reload_reads_the_executable_again(server):
    server.signal(signal.SIGHUP)
    server.wait_log("reloaded: new requests go to the new code")
    assert server.get("/style.css").text == "body {}"
    assert lua(server, 'return require("page").title') == "page"


# ---- Files -----------------------------------------------------------------------------------------------------


def test_file_is_read_from_inside(server):
    assert lua(server, 'local f = io.open("templates/hello.html") return f:read("*a"), f:read(1)') == (
        "<h1>hello</h1>\nsecond\n|nil"
    )
    assert lua(server, 'local f = io.open("data.bin", "rb") return #f:read("*a"), f:seek("set", 300), f:read(1)') == (
        "10240|300|,"
    )
    assert lua(server, 'local f = io.open("empty.txt", "r") return f:read("*a"), io.type(f), f:close()') == "|file|true"
    assert lua(server, 'return #io.open("data.bin", "rt"):read("*a")') == "10240"
    assert lua(server, 'return io.open("templates/caf\u00e9 cr\u00e8me.txt"):read("*a")') == "utf8"
    assert lua(server, 'return io.open("templates/new\\nline.txt"):read("*a")') == "newline"


def test_lines_and_input_are_read_from_inside(server):
    count = "local n = 0 for l in io.lines({}) do n = n + #l end return n"
    assert lua(server, count.format('"templates/hello.html"')) == "20"
    assert lua(server, count.format('"templates/hello.html", 4')) == "22"
    assert lua(server, 'io.input("templates/hello.html") return io.read("*l"), io.input():close()') == (
        "<h1>hello</h1>|true"
    )


def test_what_is_not_inside_is_read_from_the_disk(server):
    assert lua(server, 'return io.open("disk.txt"):read("*a")') == "on the disk"
    assert lua(server, 'return io.lines("disk.txt")()') == "on the disk"
    assert lua(server, 'return io.open("none.txt")') == "nil|none.txt: No such file or directory|2"
    assert "none.txt: No such file" in lua(server, 'return pcall(io.lines, "none.txt")')
    assert lua(server, 'return io.open("templates")') != "nil"
    assert lua(server, f'return io.open("{server.folder}/page.lua"):read("*a")').count("working directory")


def test_what_is_written_goes_to_the_disk(server):
    assert lua(server, 'local f = io.open("written.txt", "w") f:write("new") f:close() return 1') == "1"
    assert (server.folder / "written.txt").read_text() == "new"
    assert lua(server, 'return io.open("written.txt"):read("*a")') == "new"
    assert lua(server, 'local f = io.open("empty.txt", "w") f:write("disk") f:close() return 1') == "1"
    assert (server.folder / "empty.txt").read_text() == "disk"
    assert lua(server, 'return #io.open("empty.txt"):read("*a")') == "0"  # what is inside wins
    assert lua(server, 'return io.open("data.bin", "r+")').startswith("nil|data.bin: No such file")


def test_wrong_arguments_are_told_as_by_lua(server):
    assert "bad argument #1 to '?'" in lua(server, "return pcall(io.open)")
    assert lua(server, 'return io.open("data.bin", "x")') == "nil|data.bin: Invalid argument|22"
    assert "invalid format" in lua(server, 'return pcall(io.lines("data.bin", "*x"))')
    assert "bad argument" in lua(server, "return pcall(loadfile, {})")
    assert "bad argument #1" in lua(server, "return pcall(package.loadlib)")
    assert "bad argument #2" in lua(server, 'return pcall(package.searchpath, "x")')


def test_reading_leaks_no_descriptor(server):
    lua(server, 'return io.open("data.bin"):close()')
    before = server.fds()
    lua(
        server,
        """
        for i = 1, 200 do
          io.open("data.bin"):close()
          for _ in io.lines("empty.txt") do end
          pcall(io.lines, "data.bin", "*x")
          loadfile("env.lua")
        end
        collectgarbage() collectgarbage()
        return 1
        """,
    )
    wait_until(lambda: server.fds() <= before, lambda: f"{server.fds()} descriptors, {before} before")


# ---- Static files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("", b"home", "text/html; charset=utf-8"),
        ("style.css", b"body {}", "text/css; charset=utf-8"),
        ("empty.txt", b"", "text/plain; charset=utf-8"),
        ("sub", b"sub", "text/html; charset=utf-8"),
        ("sub/", b"sub", "text/html; charset=utf-8"),
        ("with%20space.txt", b"space", "text/plain; charset=utf-8"),
        ("%C3%BCn%C3%AF.txt", b"unicode", "text/plain; charset=utf-8"),
        ("big.bin", BIG, "application/octet-stream"),
    ],
)
def test_static_file_is_served_from_inside(server, name, content, kind):
    with server.connect() as client:
        response = client.fetch(target=f"/{name}")
        assert (response.status, response["content-type"]) == (200, kind)
        assert response.body == content
        head = client.fetch("HEAD", f"/{name}")
        assert (head.status, head["content-length"], head.body) == (200, str(len(content)), b"")
        assert client.fetch("POST", "/run", body=b"return 1").text == "1"


def test_static_file_that_is_not_inside_is_not_served(server):
    server.write("public/disk.txt", "on the disk")
    for target in ("/disk.txt", "/../main.lua", "/%2e%2e/main.lua", "/style.css/", "/up/", "/main.lua", "/none"):
        assert server.get(target).status in (400, 404), target


def test_dates_of_static_files_are_those_of_the_files(server):
    response = server.get("/style.css")
    assert response["last-modified"] == formatdate(OLD, usegmt=True)
    assert server.get("/style.css", [("If-Modified-Since", formatdate(OLD, usegmt=True))]).status == 304
    assert server.get("/style.css", [("If-Modified-Since", formatdate(OLD - 1, usegmt=True))]).status == 200


def test_parts_and_versions_of_static_files_are_told(server):
    """The version is that of the content, so that it is the same wherever the bundle runs."""
    whole = server.get("/style.css")
    assert whole["etag"] == f'"{int.from_bytes(blake2b(whole.body, digest_size=16).digest()[:8], "little"):x}"'
    assert server.get("/style.css", [("If-None-Match", whole["etag"])]).status == 304
    for first, last in ((1000000, 7999999), (len(BIG) - 10, len(BIG) - 1)):
        part = server.get("/big.bin", [("Range", f"bytes={first}-{last}")])
        assert (part.status, part.body) == (206, BIG[first : last + 1])
        assert part["content-range"] == f"bytes {first}-{last}/{len(BIG)}"
    several = server.get("/big.bin", [("Range", "bytes=0-99,5000000-8999999")])
    assert BIG[:100] in several.body and BIG[5000000:9000000] in several.body


def test_precompressed_static_file_is_served_from_inside(server):
    answer = server.get("/style.css", [("Accept-Encoding", "gzip")])
    assert (answer["content-encoding"], gzip.decompress(answer.body)) == ("gzip", b"body {}")
    assert (answer["content-type"], answer["vary"]) == ("text/css; charset=utf-8", "Accept-Encoding")


def test_static_folder_on_the_disk_is_served_too(tmp_path):
    disk = write_files(tmp_path / "disk", {"a.txt": "disk"})
    code = f'local app = require("heart.v1") app.static("/d", "{disk}") app.static("/r", "uploads")'
    bundle = Bundle(write_files(tmp_path / "app", {"main.lua": code}), tmp_path / "myapp")
    with bundle.server(files={"uploads/b.txt": "relative"}) as server:
        assert server.get("/d/a.txt").text == "disk"
        assert server.get("/r/b.txt").text == "relative"


def test_static_folder_that_is_nowhere_is_told(tmp_path):
    folder = write_files(tmp_path / "app", {"main.lua": 'require("heart.v1").static("/", "publik")'})
    result = Bundle(folder, tmp_path / "myapp").run("--port", "0")
    assert result.returncode == 1
    assert "main.lua:1: static: publik: No such file or directory" in result.stderr


def test_many_clients_get_a_large_file_at_once(server):
    clients = [server.connect() for _ in range(8)]
    for client in clients:
        client.request(target="/big.bin")
    for client in clients:
        assert client.response().body == BIG
        client.close()


def test_bundle_is_replaced_while_it_runs(tmp_path):
    """The executable is open: what is renamed over it concerns the next start."""
    folder = write_files(tmp_path / "app", {"main.lua": 'require("heart.v1").static("/", "p")', "p/a.txt": "old"})
    bundle = Bundle(folder, tmp_path / "myapp")
    with bundle.server() as server:
        write_files(folder, {"p/a.txt": "new and longer"})
        Bundle(folder, tmp_path / "myapp")
        assert server.get("/a.txt").text == "old"
    with bundle.server() as server:
        assert server.get("/a.txt").text == "new and longer"


def test_executable_that_is_cut_short_while_it_runs_ends_the_answer(tmp_path):
    """It may be overwritten in place. No answer is wrong in silence, and the server goes on."""
    code = """
        local app = require("heart.v1")
        app.static("/", "p")
        app.get("/read", function(ctx) return tostring(select(2, io.open("p/small.txt"))) end)
        app.get("/load", function(ctx) return tostring(select(2, loadfile("p/small.txt"))) end)
        app.get("/", function(ctx) return "ok" end)
    """
    files = {"main.lua": code, "p/big.bin": BIG, "p/small.txt": "small"}
    bundle = Bundle(write_files(tmp_path / "app", files), tmp_path / "myapp")
    with bundle.server() as server:
        os.truncate(bundle.path, 10)
        for target in ("/big.bin", "/small.txt"):
            with server.connect() as client:
                client.request(target=target)
                with pytest.raises((AssertionError, ConnectionResetError)):
                    client.response()
        for target in ("/read", "/load"):
            assert server.get(target).text == "p/small.txt: the executable has been cut short since it was started"
        assert server.get().text == "ok"


# ---- Sizes -----------------------------------------------------------------------------------------------------


def test_ten_thousand_files(tmp_path):
    files = {f"public/{n // 100:02}/{n}.txt": str(n) for n in range(10_000)}
    files["main.lua"] = 'require("heart.v1").static("/", "public")'
    bundle = Bundle(write_files(tmp_path / "app", files), tmp_path / "myapp")
    began = time.monotonic()
    with bundle.server() as server:
        assert time.monotonic() - began < PATIENCE / 3
        with server.connect() as client:
            for n in (0, 1, 99, 100, 4321, 9999):
                assert client.fetch(target=f"/{n // 100:02}/{n}.txt").text == str(n)
            assert client.fetch(target="/00/100.txt").status == 404


def test_script_alone(tmp_path):
    folder = write_files(tmp_path / "app", {"main.lua": 'require("heart.v1").get("/", function() return "x" end)'})
    with Bundle(folder, tmp_path / "myapp").server() as server:
        assert server.get().text == "x"


def test_empty_script(tmp_path):
    with Bundle(write_files(tmp_path / "app", {"main.lua": ""}), tmp_path / "myapp").server() as server:
        assert server.get().status == 404


@pytest.mark.skipif(one_file() is not None, reason="the real file has no hole")
def test_files_behind_4_gib(tmp_path):
    """The stand-in for the executable has a hole."""
    code = b"""
        local app = require("heart.v1")
        app.static("/", ".")
        app.get("/read", function() return io.open("small.txt"):read("*a") .. require("part") end)
    """
    bundle = Bundle(write_files(tmp_path / "app", {"main.lua": ""}), tmp_path / "myapp")
    files = {b"big.bin": BIG, b"main.lua": code, b"part.lua": b"return 'part'", b"small.txt": b"small"}
    pack(bundle.path, [(name, content, OLD) for name, content in files.items()], start=5 << 30)
    with bundle.server() as server:
        assert server.get("/big.bin").body == BIG
        assert server.get("/small.txt").body == b"small"
        assert server.get("/read").text == "smallpart"


def test_file_of_100_megabytes(tmp_path):
    folder = write_files(tmp_path / "app", {"main.lua": 'require("heart.v1").static("/", ".")'})
    with open(folder / "large.bin", "wb") as file:
        file.truncate(100 << 20)
        file.seek((100 << 20) - 3)
        file.write(b"end")
    with Bundle(folder, tmp_path / "myapp").server() as server:
        body = server.get("/large.bin").body
        assert len(body) == 100 << 20 and body.endswith(b"\0end")
        assert server.rss() < 60 << 20
