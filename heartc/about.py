"""What this Heart is: versions."""

import sys

from . import __version__, _core, lualib


def run():
    """`heart version`."""
    _core.bind_lua(lualib.luajit_path(), __version__)
    print(f"heart {__version__} ({_core.lua_version()}, Python {sys.version.split()[0]})")
