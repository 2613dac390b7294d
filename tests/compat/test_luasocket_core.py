"""Heart's LuaSocket and LuaSocket's own say the same: one script, run with both in one Lua state."""

import re
from pathlib import Path

import pytest
from debian_files import unpack
from lua_shell import Shell

SCRIPT = Path(__file__).with_name("luasocket_core.lua")
PRELUDE = """
local root = "%(root)s"
function original()
  local kept = {}
  for _, name in ipairs({ "socket", "socket.core" }) do
    kept[name], package.loaded[name] = package.loaded[name], nil
  end
  package.loaded["socket.core"] = assert(package.loadlib("%(core)s", "luaopen_socket_core"))()
  local socket = assert(loadfile(root .. "/usr/share/lua/5.1/socket.lua"))()
  for _, name in ipairs({ "socket", "socket.core" }) do
    package.loaded[name] = kept[name]
  end
  return socket
end
function told(socket)
  local lines = {}
  local chunk = assert(loadfile("%(script)s"))
  local ok, err = xpcall(function()
    chunk(function(line) lines[#lines + 1] = line end, socket)
  end, debug.traceback)
  if not ok then lines[#lines + 1] = err end
  return table.concat(lines, "\\n")
end
"""


@pytest.fixture(scope="module")
def lua():
    root = unpack("lua-socket")
    core = next(root.glob("usr/lib/*/lua/5.1/socket/core.so"))
    with Shell(prelude=PRELUDE % {"root": root, "core": core, "script": SCRIPT}) as shell:
        yield shell


def plain(text):
    """Without what may differ: where an object is, the name of the function in a message."""
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    text = re.sub(r"bad argument #(\d) to '[^']*' \((\w+ expected), got .*\)", r"bad argument #\1 (\2)", text)
    return re.sub(r"(bad argument #\d) to '[^']*'", r"\1", text).replace("got no value", "got nil")


def test_both_say_the_same(lua):
    ours = plain(lua.text('return told(require("socket"))')).split("\n")
    theirs = plain(lua.text("return told(original())")).split("\n")
    assert ours == theirs
    assert len(ours) > 180


def test_core_is_ours_even_if_there_is_the_other(lua):
    """A C module that blocks must not be found, whatever package.cpath has."""
    folder = next(unpack("lua-socket").glob("usr/lib/*/lua/5.1"))
    assert (
        lua.text(f"""
        package.cpath = "{folder}/?.so;" .. package.cpath
        for _, name in ipairs({{ "socket.core", "mime.core", "socket.unix" }}) do package.loaded[name] = nil end
        local kinds = {{}}
        for name, f in pairs({{ core = require("socket.core").tcp, mime = require("mime.core").b64,
          unix = require("socket.unix").stream }}) do
          kinds[#kinds + 1] = debug.getinfo(f, "S").what
        end
        return table.concat(kinds, " ")
    """)
        == "Lua Lua Lua"
    )
