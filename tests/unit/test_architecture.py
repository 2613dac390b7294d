"""Who may import whom, and how long things may be. The rules are those of the design; this holds them."""

import ast
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CYTHON = sorted((ROOT / "pyx").glob("*.pxi")) + sorted((ROOT / "pyx").glob("*.pyx"))
PYTHON = sorted((ROOT / "heartc").glob("*.py"))
TESTS = sorted(p for p in (ROOT / "tests").rglob("*.py"))
LUA = sorted((ROOT / "lua_stdlib").rglob("*.lua"))
CODECS = [
    *("http_parse", "http_response", "http_chunk", "http_accept", "http_condition", "http_range"),
    *("ws_frame", "fcgi_record", "cgi_head"),
]
FUNCTION_LINES = 120
FILE_LINES = 700


def names(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def code(path):
    """The text of a Cython or Python file without comments and docstrings, lines kept."""
    text = re.sub(r'"""(?:.|\n)*?"""', lambda m: "\n" * m[0].count("\n"), path.read_text())
    return re.sub(r"#.*", "", text)


def lua_code(path):
    return re.sub(r"--\[\[(?:.|\n)*?\]\]|--.*", "", path.read_text())


def lua_api_names():
    """Every function of the Lua C API that the core declares."""
    text = (ROOT / "pyx/c/lua.pxd").read_text() + (ROOT / "pyx/c/lua_api.h").read_text()
    return set(re.findall(r"\b(luaL?_[a-z]\w+)\s*\(", text)) - {"lua_api_bind", "lua_api_bind_gil"}


def imports(path):
    """The modules that a Python file imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found |= {base} | {f"{base.rstrip('.')}.{alias.name}" for alias in node.names}
    return found


def refuse(paths, pattern, read=code):
    found = [
        f"{path.relative_to(ROOT)}:{n}: {line.strip()}"
        for path in paths
        for n, line in enumerate(read(path).splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not found, "\n".join(found)


def stem_starts(path, *prefixes):
    return path.stem.startswith(prefixes)


def test_core_imports_nothing_from_the_package():
    """It is given values and callbacks."""
    refuse(CYTHON, r"\b(import|cimport|from)\s+\.?heartc\b")


def test_nothing_imports_the_command_line():
    """Only the entry point does."""
    for path in PYTHON:
        if path.name != "__main__.py":
            assert not {m for m in imports(path) if m.split(".")[-1] == "cli"}, path.name


def test_only_the_command_line_imports_typer():
    """It costs megabytes, which a server does not spend; nor does it read the tables of the other commands."""
    for path in PYTHON:
        if path.name != "cli.py":
            assert not {m for m in imports(path) if m.split(".")[0] in ("typer", "click")}, path.name
    for name in ("config", "supervisor", "sockets", "lualib"):
        assert not {m for m in imports(ROOT / f"heartc/{name}.py") if m.split(".")[-1] in ("commands", "usage")}, name


@pytest.mark.parametrize("name", CODECS)
def test_codec_knows_no_socket_no_lua_no_gil_and_does_not_allocate(name):
    paths = [path for path in CYTHON if path.stem == name]
    api = "|".join(sorted(lua_api_names()))
    refuse(paths, rf"\b({api})\s*\(")
    refuse(paths, r"\bwith gil\b|\berrno\b|\b(recv|send|sendmsg|read|write|writev|socket)\(")
    refuse(paths, r"\b(malloc|calloc|realloc|free|buf_\w+|slab_\w+)\(")


def test_only_lua_files_call_the_lua_api():
    others = [path for path in CYTHON if not stem_starts(path, "lua_", "core")]
    refuse(others, rf"\b({'|'.join(sorted(lua_api_names()))})\s*\(")


def test_only_io_sees_would_block():
    """Of a connection, that is: the log thread has its own descriptor, and openat2 knows another meaning. OpenSSL reads
    and writes by itself, through tls_stream."""
    others = [path for path in CYTHON if path.stem not in ("io", "log", "static", "tls_stream")]
    refuse(others, r"\b(EAGAIN|EWOULDBLOCK)\b")


def test_only_the_tls_extension_sees_openssl():
    refuse([path for path in CYTHON if not stem_starts(path, "tls")], r"\b(SSL|EVP|BIO|X509)_\w+\(|openssl")
    for path in PYTHON:
        assert "ssl" not in imports(path), path.name


def test_only_the_store_imports_rocksdict():
    for path in PYTHON:
        if path.name != "kv_store.py":
            assert not {m for m in imports(path) if m.startswith("rocksdict")}, path.name
    refuse(CYTHON, r"\brocksdict\b")


def test_only_one_lua_is_imported():
    """A second Lua with global symbols crashes the process."""
    refuse([*PYTHON, *CYTHON], r"\blupa\.lua(?!jit21)\w+|^\s*import lupa\s*$|\bfrom lupa import (?!luajit21)")


def test_lua_modules_reach_the_network_only_through_heart():
    """But for the facades of other hosts' modules, which build upon each other by those hosts' names."""
    own = [path for path in LUA if "compat" not in path.parts]
    refuse(own, r"""require\s*\(?\s*["'](socket|ssl|posix|luv|cqueues)\b""", lua_code)
    refuse(LUA, r"ffi\.C\.(socket|connect)\b", lua_code)


def test_lua_modules_set_no_globals():
    """luacheck finds accidental ones; this finds deliberate ones."""
    refuse(LUA, r"^\s*_G\.\w+\s*=|\bsetfenv\(1\b", lua_code)


def cython_functions(path):
    """(name, lines) of every function of a Cython file: from its head to the last line that is indented more."""
    lines = code(path).splitlines()
    found = []
    for start, line in enumerate(lines):
        head = re.match(r"( *)(?:cdef|cpdef|def) (?!class\b|extern\b)[^=(]*?(\w+)\(", line)
        if not head:
            continue
        body, text = start + 1, line
        while text.count("(") > text.count(")") and body < len(lines):
            text += lines[body]
            body += 1
        if not text.rstrip().endswith(":"):
            continue
        end = body
        while end < len(lines) and (not lines[end].strip() or re.match(rf" {{{len(head[1]) + 1}}}", lines[end])):
            end += 1
        found.append((head[2], len("\n".join(lines[start:end]).rstrip().splitlines())))
    return found


def python_functions(path):
    return [
        (node.name, node.end_lineno - node.lineno + 1)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]


def functions(path):
    return python_functions(path) if path.suffix == ".py" else cython_functions(path)


@pytest.mark.parametrize("path", names(CYTHON + PYTHON + TESTS))
def test_no_function_is_too_long(path):
    long = [f"{name}: {lines} lines" for name, lines in functions(ROOT / path) if lines > FUNCTION_LINES]
    assert not long


@pytest.mark.parametrize("path", names(CYTHON + PYTHON + TESTS + LUA))
def test_no_file_is_too_long(path):
    assert len((ROOT / path).read_text().splitlines()) <= FILE_LINES


def test_most_functions_are_short():
    """Median at most 15 lines, nine of ten at most 50."""
    lengths = sorted(lines for path in CYTHON + PYTHON for _, lines in functions(path))
    assert len(lengths) > 20
    assert statistics.median(lengths) <= 15
    assert lengths[len(lengths) * 9 // 10] <= 50


@pytest.mark.parametrize("path", names(CYTHON))
def test_file_begins_with_its_head_comment(path):
    """It says what the file owns, its invariants, and what it is not for."""
    assert (ROOT / path).read_text().startswith(("#", '"""'))


def test_only_the_files_that_python_sees_define_python_functions():
    seen = {"engine.pxi", "inotify.pxi"}
    refuse([path for path in CYTHON if path.suffix == ".pxi" and path.name not in seen], r"^(def|cpdef) ")
