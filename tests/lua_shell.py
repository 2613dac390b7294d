"""A server that runs the Lua code it is sent: how modules of Heart are tried from Python."""

from heart_server import Server

CODE = """
local app = require("heart.v1")
%s
app.post("/run", { max_body = 1e9 }, function(ctx)
  local size, rest = ctx.bytes():match("^(%%d+)\\n(.*)$")
  local run = assert(loadstring(rest:sub(1, size), "=test"))
  local ok, result = xpcall(run, debug.traceback, rest:sub(size + 1))
  return ok and 200 or 500, result
end)
"""


class LuaFailed(Exception):
    """The code has raised an error."""


class Shell:
    """A server as a context manager. `prelude`: Lua that it begins with; `more` is for Server."""

    def __init__(self, *args, prelude="", **more):
        self.server = Server(CODE % prelude, "--body-timeout", "60", *args, **more)

    def __enter__(self):
        self.server.__enter__()
        return self

    def __exit__(self, *exception):
        self.server.__exit__(*exception)

    def run(self, code, data=b""):
        """Run a chunk, with `data` as its `...`; what it returns, as bytes. A number is its text."""
        code = code.encode() if isinstance(code, str) else code
        with self.server.connect() as client:
            response = client.fetch("POST", "/run", body=b"%d\n%s%s" % (len(code), code, data))
        if response.status != 200:
            raise LuaFailed(response.text)
        return response.body

    def text(self, code, data=b""):
        """The same, as text."""
        return self.run(code, data).decode()
