"""Systems that the file was not built on: nothing but /proc and a folder, an older glibc, musl."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from frozen.one_file import entries, worked
from heart_server import Server, missing, need, run

from heartc import commands

LOADER = "/lib64/ld-linux-x86-64.so.2"
APP = Path("/app/main.lua")


def module(name):
    """A C module for Lua from Debian."""
    found = sorted(Path("/usr/lib").glob(f"*/lua/5.1/{name}.so"))
    if not found:
        missing(name, f"lua-{name}")
    return found[0].resolve()


def test_empty_root(root, serve_in):
    made = root()
    with serve_in(made, APP) as server:
        assert server.get().text == "served"
        assert "_internal/libc.so.6" in Path(f"/proc/{server.pid}/maps").read_text()
    assert entries(made.folder / "tmp/heart-0")[0].endswith("-own")


def test_every_command_in_an_empty_root(root):
    made = root()
    assert worked(made.run("version"))
    assert made.run("--help").returncode == 0
    for command in commands.COMMANDS:
        assert made.run(command.name, "--help").returncode == 0, command.name


def test_disk_store_loads_in_an_empty_root(root):
    """rocksdict with the C++ library that comes along: its loader must find all that it asks for."""
    made = root()
    assert worked(made.run("version"))
    inner = next((made.folder / "tmp/heart-0").glob("*/_internal"))
    program = f"{next(inner.glob('ld-*'))} --list {next((inner / 'rocksdict').glob('*.so'))}"
    listed = run(*program.split(), env={"LD_LIBRARY_PATH": str(inner)}).stdout
    assert "libstdc++.so.6" in listed
    assert all(str(inner) in line for line in listed.splitlines() if "=>" in line)


def test_tls_and_libraries_in_an_empty_root(root, serve_in, certificates):
    """OpenSSL, PCRE2 and zlib come along; whom to trust, the root says."""
    made = root()
    made.write("etc/ssl/certs/ca-certificates.crt", certificates.root.path.read_bytes())
    made.write(
        "app/main.lua",
        """
        local core, ffi = require("heart.core"), require("ffi")
        ffi.cdef("const char *OpenSSL_version(int); const char *zlibVersion(void); int pcre2_config_8(int, void *);")
        ffi.load(core.libraries.crypto, true)
        require("heart.v1").get("/", function()
          local version = ffi.string(ffi.load(core.libraries.z).zlibVersion())
          local jit = ffi.new("uint32_t[1]")
          local found = ffi.load(core.libraries.pcre2).pcre2_config_8(1, jit)
          return table.concat({ ffi.string(ffi.C.OpenSSL_version(0)), version, found, jit[0],
            tostring(core.tls.context()):match("^userdata") }, "|")
        end)
        """,
    )
    with serve_in(made, APP) as server:
        assert re.fullmatch(r"OpenSSL 3\.[^|]+\|1\.\d[^|]*\|0\|1\|userdata", server.get().text)


def test_names_of_hosts_are_resolved_in_an_empty_root(root, serve_in):
    """The resolver of our own C library reads the root's own file."""
    made = root()
    made.write("etc/hosts", "127.0.0.1 here.test\n")
    with serve_in(made, APP, "--listen", "here.test:0") as server:
        assert server.get().text == "served"


def test_older_glibc_is_not_used(root):
    """What tells its version is the text in the loader."""
    made = root()
    made.write(LOADER[1:], Path(LOADER).read_bytes().replace(b"release version 2.", b"release version 1."))
    assert worked(made.run("version"))
    assert entries(made.folder / "tmp/heart-0")[0].endswith("-own")


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"release version 2.", b"release version 2.9", b"\0" * 5000])
def test_loader_of_the_host_that_is_none_is_not_used(root, content):
    made = root()
    made.write(LOADER[1:], content)
    assert worked(made.run("version"))


def test_newer_glibc_is_used(root):
    """The host's own, in a root that has nothing else of it."""
    made = root()
    for path in (LOADER, *map(str, Path("/lib/x86_64-linux-gnu").glob("lib[cm].so.6"))):
        made.write(path[1:], Path(path).read_bytes()).chmod(0o755)
    for name in ("libdl.so.2", "libpthread.so.0"):
        made.write(f"lib/x86_64-linux-gnu/{name}", Path(f"/lib/x86_64-linux-gnu/{name}").read_bytes())
    assert worked(made.run("version"))
    assert entries(made.folder / "tmp/heart-0")[0].endswith("-host")


@pytest.mark.parametrize("libc", ["host", "own"])
@pytest.mark.parametrize("name", ["lpeg", "lfs"])
def test_c_module_of_this_system_loads(frozen, name, libc):
    """With our own C library, too: it is not older than the one that the module was built for."""
    module(name)
    code = f'local m = require("{name}") require("heart.v1").get("/", function(ctx) return type(m) end)'
    assert frozen(code, env={"HEART_LIBC": libc}).get().text == "table"


def test_c_module_in_an_empty_root(root, serve_in):
    made = root()
    shutil.copy(module("lpeg"), made.folder / "app/lpeg.so")
    made.write(
        "app/main.lua",
        'local m = require("lpeg") require("heart.v1").get("/", function(ctx) return m.P("a"):match("a") end)',
    )
    with serve_in(made, APP) as server:
        assert server.get().text == "2"


def test_c_module_for_a_newer_glibc_is_refused(root):
    made = root()
    made.write("app/lpeg.so", module("lpeg").read_bytes().replace(b"GLIBC_2.14", b"GLIBC_2.99"))
    made.write("app/main.lua", 'require("lpeg")')
    result = made.run("serve", "/app/main.lua", "--port", "0")
    assert result.returncode == 1
    assert "built for glibc 2.99, and Heart runs with its own glibc 2." in result.stderr


@pytest.fixture
def musl_root(root, tmp_path):
    """A root with musl, as Alpine has it, and a C module built for it. The module's library has Alpine's name."""
    loader = Path("/lib/ld-musl-x86_64.so.1")
    if not loader.exists():
        missing("musl", "musl-tools")
    made = root()
    made.write("lib/ld-musl-x86_64.so.1", loader.read_bytes()).chmod(0o755)
    source = tmp_path / "odd.c"
    source.write_text("#include <stdlib.h>\nint luaopen_odd(void *L) { return L == malloc(1); }\n")
    run(need("musl-gcc", "musl-tools"), "-shared", "-fPIC", "-o", made.folder / "app/odd.so", source)
    probe = tmp_path / "probe.c"
    probe.write_text("int main(void) { return 42; }\n")
    run(need("musl-gcc", "musl-tools"), "-o", made.folder / "probe", probe)
    return made


def test_musl_root(musl_root, serve_in):
    """A program of the root runs with the root's C library, the server beside it with its own."""
    words = musl_root.command()
    assert subprocess.run([word.replace("/heart", "/probe") for word in words]).returncode == 42
    with serve_in(musl_root, APP) as server:
        assert server.get().text == "served"


def test_c_module_for_musl_is_refused(musl_root):
    musl_root.write("app/main.lua", 'require("odd")')
    result = musl_root.run("serve", "/app/main.lua", "--port", "0")
    assert result.returncode == 1
    assert "error loading module 'odd' from file '/app/odd.so'" in result.stderr
    assert "built for musl, and Heart runs with its own glibc 2." in result.stderr


def test_child_in_a_musl_root_runs_with_its_own_libc(musl_root, serve_in):
    """os.execute needs a shell; io.popen of /probe through a shell that is /probe itself is all there is here."""
    (musl_root.folder / "bin").mkdir()
    shutil.copy(musl_root.folder / "probe", musl_root.folder / "bin/sh")
    code = 'local status = os.execute("x") require("heart.v1").get("/", function(ctx) return status end)'
    musl_root.write("app/main.lua", code)
    with serve_in(musl_root, APP) as server:
        assert server.get().text == str(42 << 8)


def test_server_class_knows_the_root(root, serve_in):
    """The helper runs the file of the root, not the source tree."""
    made = root()
    with serve_in(made, APP) as server:
        assert isinstance(server, Server)
        assert Path(f"/proc/{server.pid}/root").readlink() == made.folder
