std = "luajit"
max_line_length = 120
exclude_files = { "build", ".venv" }
-- OpenResty's table, in every state.
globals = { "ngx" }

-- It fits the standard library to the engine's scheduler, and guards the loading of C modules.
files["lua_stdlib/heart/boot.lua"] = { globals = { "coroutine", "loadfile", "dofile", "package", "require" } }
-- It reads the files of a bundled application.
files["lua_stdlib/heart/bundle.lua"] = { globals = { "io", "loadfile", "package" } }
-- They run after prelude.lua, and with the port of a server.
files["tests/compat/cases/*.lua"] = { read_globals = { "case", "hold", "release", "ECHO", "TLS" } }
-- They run after a line that reads `env`.
files["tests/compat/libraries/*.lua"] = { read_globals = { "env" } }
-- A configuration file of luafcgid2 is its globals; scripts of both daemons have a function main and find these.
files["examples/fcgi/config.lua"] = { allow_defined_top = true, unused = false, ignore = { "131" } }
files["examples/fcgi/www/*.lua"] = {
  globals = { "main" },
  ignore = { "131" },
  read_globals = {
    "Config", "Cookies", "Env", "Header", "Info", "LocalConfig", "Log", "Receive", "RespContentType", "RespStatus",
    "Response", "Send", "Session", "lf",
  },
}
