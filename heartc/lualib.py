"""Finds LuaJIT (the shared object in lupa's wheel) and lua_stdlib, in a source tree, a wheel and a frozen binary."""

import importlib.util
import os
import sys

from .errors import HeartError

SHARE = ("/usr/local/share/lua/5.1", "/usr/share/lua/5.1")
SYSTEM_LUAJIT = tuple(f"{folder}/libluajit-5.1.so.2" for folder in ("/usr/local/lib", "/usr/lib", "/usr/lib/*-linux-*"))
LIB = ("/usr/local/lib/lua/5.1", "/usr/lib/lua/5.1")
# Libraries that Lua code loads by FFI. The names are those of their ABI: every distribution has them under these.
LIBRARIES = {
    "crypto": "libcrypto.so.3",
    "ssl": "libssl.so.3",
    "pcre2": "libpcre2-8.so.0",
    "z": "libz.so.1",
}


def luajit_path():
    """The shared object with LuaJIT 2.1. It is found without importing lupa, whose Python half is not needed. lupa has
    none for 32-bit processors: there it is the system's."""
    if sys.maxsize < 1 << 32:
        return system_luajit()
    spec = importlib.util.find_spec("lupa.luajit21")
    if spec is None or not spec.origin:
        raise HeartError("LuaJIT is missing: this Python has no lupa with LuaJIT 2.1; reinstall heart")
    return spec.origin


def system_luajit():
    """The LuaJIT of the distribution."""
    import glob  # on 32-bit processors only: `serve` imports little

    found = [path for pattern in SYSTEM_LUAJIT for path in glob.glob(pattern)]
    if not found:
        raise HeartError("LuaJIT is missing: apt-get install libluajit-5.1-2 (lupa has none for this processor)")
    return found[0]


def stdlib_path():
    """The folder of the Lua modules that Heart ships."""
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in (os.path.join(here, "lua_stdlib"), os.path.join(os.path.dirname(here), "lua_stdlib")):
        if os.path.isfile(os.path.join(folder, "heart", "boot.lua")):
            return folder
    raise HeartError(f"the Lua modules of Heart are missing below {here}; reinstall heart")


def libraries():
    """What ffi.load takes for each of LIBRARIES: the path of the one in the frozen binary, else the system's name. The
    system of a frozen binary may have none of them, or one for another C library."""
    if not getattr(sys, "frozen", False):
        return LIBRARIES
    inner = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return {name: os.path.join(inner, file) for name, file in LIBRARIES.items()}


def data_path(name):
    """A file or folder of data beside this module, as it is in a source tree, a wheel and the frozen binary."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    if not os.path.exists(path):
        raise HeartError(f"{path} is missing; reinstall heart")
    return path


def package_path(script, stdlib):
    """package.path: the script's folder, Heart's own versions of other hosts' modules, the LuaRocks tree of the script,
    Heart's modules, the system's. A tree may well have the original of such a module, which would block the worker
    (LuaSocket) or fail (lua-resty-core)."""
    folder = script_folder(script)
    rocks = os.path.join(folder, "lua_modules/share/lua/5.1")
    roots = [folder, os.path.join(stdlib, "compat"), rocks, stdlib, *SHARE]
    return ";".join(f"{root}/?.lua;{root}/?/init.lua" for root in roots)


def package_cpath(script):
    """package.cpath: C modules for Lua 5.1 beside the script, in its LuaRocks tree, of the system."""
    folder = script_folder(script)
    system = list(LIB)
    multiarch = getattr(sys.implementation, "_multiarch", "")
    if multiarch:
        system.append(f"/usr/lib/{multiarch}/lua/5.1")
    return ";".join(f"{root}/?.so" for root in [folder, os.path.join(folder, "lua_modules/lib/lua/5.1"), *system])


def script_folder(script):
    """The folder of the script, as it is written in messages: "." where none was given."""
    return os.path.dirname(script) or "."
