"""What this Heart is: versions, how it was built, what it can do, and the licences of all that is inside."""

import importlib.util
import json as json_module
import os
import sys

from . import __version__, _core, lualib

TABLE = "licenses.txt"
STORE = "heartc.kv_store"
TLS = "heartc._tls"
METADATA = "importlib.metadata"  # is not in the one-file executable
JIT = "return tostring((jit.status()))"
FFI = "return tostring((pcall(require, 'ffi')))"
# What a library of the one-file executable says of its version, by its name in the table of licences.
ASK = {
    "PCRE2": """
        local ffi, CONFIG_VERSION = require("ffi"), 11
        ffi.cdef("int pcre2_config_8(uint32_t what, void *where)")
        local text = ffi.new("char[64]")
        ffi.load((...)).pcre2_config_8(CONFIG_VERSION, text)
        return ffi.string(text):match("%S+")
    """,
    "zlib": """
        local ffi = require("ffi")
        ffi.cdef("const char *zlibVersion(void)")
        return ffi.string(ffi.load((...)).zlibVersion())
    """,
}


def run(verbose, json):
    """`heart version`."""
    _core.bind_lua(lualib.luajit_path(), __version__)
    facts = all_facts() if verbose else {"versions": versions()}
    if json:
        print(json_module.dumps(facts))
    elif verbose:
        print(as_text(facts), end="")
    else:
        found = facts["versions"]
        print(f"heart {found['Heart']} (LuaJIT {found['LuaJIT']}, Python {found['Python']})")


def versions():
    """The versions of what runs."""
    return {
        "Heart": __version__,
        "LuaJIT": _core.lua_evaluate("return jit.version").removeprefix("LuaJIT "),
        "Python": sys.version.split()[0],
    }


def all_facts():
    """Everything, as JSON has it."""
    compiler, cython = _core.compiler()
    inside = components(cython)
    parts = {part["name"]: part["version"] for part in inside if part["version"]}
    tls = openssl()
    return {
        "versions": versions() | parts | ({"OpenSSL": tls} if tls else {}),
        "build": {
            "architecture": os.uname().machine,
            "C library": c_library(),
            "compiler": compiler,
            "form": form(),
        },
        "features": {
            "JIT": _core.lua_evaluate(JIT) == "true",
            "FFI": _core.lua_evaluate(FFI) == "true",
            "disk store": has_store(),
            "TLS": tls is not None,
        },
        "licences": [{"name": part["name"], "licence": part["licence"]} for part in inside],
    }


def as_text(facts):
    """All facts for people."""
    lines = []
    for title in ("versions", "build", "features"):
        lines += [f"{title.capitalize()}:", *aligned(facts[title].items()), ""]
    lines += ["Licences of what is inside:"]
    return "\n".join([*lines, *aligned((part["name"], part["licence"]) for part in facts["licences"])]) + "\n"


def aligned(pairs):
    """Names and values in two columns."""
    return [f"  {name:<26}{value if isinstance(value, str) else 'yes' if value else 'no'}" for name, value in pairs]


def c_library():
    """The C library that this process uses."""
    if "CS_GNU_LIBC_VERSION" in os.confstr_names:
        try:
            return os.confstr("CS_GNU_LIBC_VERSION")
        except (OSError, ValueError):
            pass
    return "musl"


def frozen():
    """Whether this is the one-file executable."""
    return getattr(sys, "frozen", False)


def form():
    """What Heart runs from."""
    if frozen():
        return "one file"
    here = os.path.dirname(os.path.abspath(__file__))
    return "package" if lualib.stdlib_path().startswith(here + os.sep) else "source tree"


def has_store():
    """Whether the disk store is in this Heart, and what it is built on."""
    return all(importlib.util.find_spec(name) is not None for name in (STORE, "rocksdict"))


def openssl():
    """The version of the OpenSSL that TLS uses: the one inside, or the system's. None: there is no TLS."""
    try:
        return importlib.import_module(TLS).version().split()[1]
    except ImportError:
        return None


# ---- Licences ----------------------------------------------------------------------------------------------


def read_table():
    """The rows of the table of licences."""
    with open(lualib.data_path(TABLE), encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines() if line and not line.startswith("#")]
    names = ("name", "version", "licence", "where", "package")
    return [dict(zip(names, (cell.strip() for cell in line.split("|")), strict=True)) for line in lines]


def components(cython):
    """The rows about what is inside this Heart; versions that can be known here are filled in."""
    known = {"Heart": __version__, "Cython runtime": cython}
    known |= {name: version for name, version in versions().items() if name != "LuaJIT"}
    found = [row for row in read_table() if is_inside(row)]
    for row in found:
        row["version"] = known.get(row["name"]) or row["version"] or found_version(row)
    return found


def found_version(row):
    """The version of a component as it says itself, "" if it can not."""
    if row["name"] in ASK:
        return _core.lua_evaluate(ASK[row["name"]], os.path.join(internal(), row["where"]))
    if row["package"] and not frozen():
        return importlib.import_module(METADATA).version(row["package"])
    return ""


def is_inside(row):
    """Whether a component of the table is part of what runs."""
    where = row["where"]
    if where in ("all", "file"):
        return where == "all" or frozen()
    if where == "package":
        return importlib.util.find_spec(row["package"].replace("-", "_")) is not None
    if where == "store":
        return importlib.util.find_spec("rocksdict") is not None
    if where == "glibc":  # it is unpacked only where the machine's own does not do
        return frozen() and c_library().startswith("glibc")
    return frozen() and any(where in names for _, _, names in os.walk(internal()))


def internal():
    """The folder of the one-file executable's libraries."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
