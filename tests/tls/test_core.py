"""core.tls and core.libraries, in the real server: how an application gets contexts, and loads libraries by FFI."""

import subprocess
from pathlib import Path

import pytest
from heart_server import heart_command
from lua_shell import LuaFailed, Shell

PRELUDE = 'package.loaded.early = { pcall(require("heart.core").tls.context) }'
HEAD = 'local core = require("heart.core") local context = core.tls.context '


class CoreShell(Shell):
    """Its chunks know `core` and `context`."""

    def run(self, code, data=b""):
        return super().run(HEAD + code, data)


@pytest.fixture(scope="module")
def shell(certificates):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificates.root.path))
        with CoreShell(prelude=PRELUDE) as made:
            yield made


def maps(shell):
    return Path(f"/proc/{shell.server.pid}/maps").read_text()


def test_context_is_made_while_the_script_loads(shell):
    assert shell.text("local early = require('early') return tostring(early[1]) .. type(early[2])") == "trueuserdata"


def test_reason_is_told(shell):
    assert shell.text("return select(2, context({ ca_file = '/nowhere' }))") == (
        "tls: ca_file: /nowhere: No such file or directory"
    )


def test_all_options_at_once(shell, certificates):
    leaf = certificates.secret
    code = f"""
      return type(context({{ verify = false, ca_file = "{certificates.root.path}", ca_path = "/tmp", depth = 3,
        certificate = "{leaf.path}", key = "{leaf.key}", password = "open sesame", alpn = {{ "h2", "http/1.1" }},
        ciphers = "HIGH", min_version = "1.3", session_cache = false }}))"""
    assert shell.text(code) == "userdata"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{ verify = 1 }", "tls: verify: expected true or false"),
        ("{ ca_file = 1 }", "tls: ca_file: expected a string"),
        ('{ ca_file = "a\\0b" }', "tls: ca_file: there is a NUL in it"),
        ("{ depth = -1 }", "tls: depth: expected a number from 0 to 100"),
        ('{ min_version = "1.1" }', 'tls: min_version: expected "1.2" or "1.3"'),
        ('{ alpn = "h2" }', "tls: alpn: expected a list of names"),
        ('{ alpn = { "" } }', "tls: alpn: expected names, of 255 characters together"),
        ('{ alpn = { ("x"):rep(128), ("y"):rep(128) } }', "tls: alpn: expected names, of 255 characters together"),
        ("{ [1] = true }", "tls: options have names"),
        ("{ cafile = '/x' }", "tls: unknown option cafile"),
        ("7", "table expected, got number"),
    ],
)
def test_wrong_options_are_bugs(shell, options, message):
    with pytest.raises(LuaFailed, match=message.replace("?", r"\?")):
        shell.run(f"context({options})")


def test_many_at_once_are_all_answered(shell):
    """Each coroutine that waits gets its own."""
    code = """
      local task, seen = require("heart.v1.task"), {}
      for i = 1, 20 do
        seen[i] = task.spawn(function()
          return context({ ca_file = i % 2 == 0 and "/nowhere/" .. i or nil })
        end)
      end
      for i, t in ipairs(seen) do
        local made, why = t:join()
        assert(i % 2 == 0 and why == "tls: ca_file: /nowhere/" .. i .. ": No such file or directory"
          or i % 2 == 1 and type(made) == "userdata", i)
      end
      return "all" """
    assert shell.text(code) == "all"


def test_contexts_go_with_the_collector(shell):
    before = shell.text("collectgarbage() return collectgarbage('count')")
    shell.text("for i = 1, 30 do context() end collectgarbage() return 0")
    assert float(shell.text("collectgarbage() return collectgarbage('count')")) < float(before) + 50


def test_nothing_of_it_is_in_memory_without_use():
    with CoreShell() as unused:
        assert "libssl" not in maps(unused)
        assert "libpcre2" not in maps(unused)
        unused.run("core.tls.context({ verify = false }) return 0")
        assert "libssl" in maps(unused)


def test_libraries_load_by_ffi(shell):
    code = """
      local ffi = require("ffi")
      ffi.cdef("const char *OpenSSL_version(int); const char *zlibVersion(void); int pcre2_config_8(int, void *);" ..
        "const void *TLS_method(void);")
      ffi.load(core.libraries.crypto, true)
      assert(ffi.string(ffi.C.OpenSSL_version(0)):find("^OpenSSL 3"))
      assert(ffi.load(core.libraries.ssl).TLS_method() ~= nil)
      assert(ffi.string(ffi.load(core.libraries.z).zlibVersion()):find("^1%."))
      return ffi.load(core.libraries.pcre2).pcre2_config_8(9, nil) """
    assert int(shell.text(code)) >= 0


def test_check_makes_contexts_too(tmp_path, certificates):
    """A script that asks for one while it loads can be checked."""
    script = tmp_path / "main.lua"
    script.write_text('assert(require("heart.core").tls.context({ verify = false }))')
    result = subprocess.run([*heart_command(), "check", script], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
