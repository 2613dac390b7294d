"""What this Heart is: versions."""

import sys

from . import __version__, _core, lualib


def run():
    """`heart version`."""
    _core.bind_lua(lualib.luajit_path(), __version__)
    luajit = _core.lua_evaluate("return jit.version")
    print(f"heart {__version__} ({luajit}, Python {sys.version.split()[0]})")
