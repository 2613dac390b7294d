case("null", function()
  return ngx.null, type(ngx.null), tostring(ngx.null)
end)
case("constants", function()
  local found = {}
  for _, name in ipairs({
    "OK",
    "ERROR",
    "AGAIN",
    "DONE",
    "DECLINED",
    "STDERR",
    "EMERG",
    "ALERT",
    "CRIT",
    "ERR",
    "WARN",
    "NOTICE",
    "INFO",
    "DEBUG",
    "HTTP_GET",
    "HTTP_HEAD",
    "HTTP_POST",
    "HTTP_PUT",
    "HTTP_DELETE",
    "HTTP_MKCOL",
    "HTTP_COPY",
    "HTTP_MOVE",
    "HTTP_OPTIONS",
    "HTTP_PROPFIND",
    "HTTP_PROPPATCH",
    "HTTP_LOCK",
    "HTTP_UNLOCK",
    "HTTP_PATCH",
    "HTTP_TRACE",
    "HTTP_CONTINUE",
    "HTTP_SWITCHING_PROTOCOLS",
    "HTTP_OK",
    "HTTP_CREATED",
    "HTTP_ACCEPTED",
    "HTTP_NO_CONTENT",
    "HTTP_PARTIAL_CONTENT",
    "HTTP_SPECIAL_RESPONSE",
    "HTTP_MOVED_PERMANENTLY",
    "HTTP_MOVED_TEMPORARILY",
    "HTTP_SEE_OTHER",
    "HTTP_NOT_MODIFIED",
    "HTTP_TEMPORARY_REDIRECT",
    "HTTP_PERMANENT_REDIRECT",
    "HTTP_BAD_REQUEST",
    "HTTP_UNAUTHORIZED",
    "HTTP_PAYMENT_REQUIRED",
    "HTTP_FORBIDDEN",
    "HTTP_NOT_FOUND",
    "HTTP_NOT_ALLOWED",
    "HTTP_NOT_ACCEPTABLE",
    "HTTP_REQUEST_TIMEOUT",
    "HTTP_CONFLICT",
    "HTTP_GONE",
    "HTTP_UPGRADE_REQUIRED",
    "HTTP_TOO_MANY_REQUESTS",
    "HTTP_CLOSE",
    "HTTP_ILLEGAL",
    "HTTP_INTERNAL_SERVER_ERROR",
    "HTTP_NOT_IMPLEMENTED",
    "HTTP_METHOD_NOT_IMPLEMENTED",
    "HTTP_BAD_GATEWAY",
    "HTTP_SERVICE_UNAVAILABLE",
    "HTTP_GATEWAY_TIMEOUT",
    "HTTP_VERSION_NOT_SUPPORTED",
    "HTTP_INSUFFICIENT_STORAGE",
  }) do
    found[name] = ngx[name]
  end
  return found
end)
case("phase", ngx.get_phase)
case("subsystem", function()
  return ngx.config.subsystem, type(ngx.config.nginx_configure()), ngx.config.prefix():sub(-1), ngx.is_subrequest
end)
case("worker", function()
  return ngx.worker.id(), ngx.worker.count(), ngx.worker.exiting(), ngx.worker.pids()[1] == ngx.worker.pid()
end)

for _, args in ipairs({
  { ngx.ERR, "x", nil, true, false, 1.5 },
  { ngx.ERR, {} },
  { "x", "y" },
  { 99, "y" },
  { nil, "y" },
  { -1, "y" },
  { ngx.ERR, print },
  { ngx.ERR, ngx.null },
  { ngx.ERR },
  { ngx.DEBUG, setmetatable({}, {
    __tostring = function()
      return "text"
    end,
  }) },
}) do
  case("log", ngx.log, unpack(args, 1, 6))
end

case("sleep a text", ngx.sleep, "x")
case("sleep before now", ngx.sleep, -1)
case("sleep", ngx.sleep, 0.001)
case("context", function()
  ngx.ctx.a = 1
  local before = ngx.ctx
  ngx.ctx = { b = 2 }
  return before, ngx.ctx
end)
case("context of a number", function()
  ngx.ctx = 1
end)
case("a field of one's own", function()
  ngx.mine = 1
  return ngx.mine, ngx.nothing
end)
case("say a table with names", ngx.say, { a = 1 })
case("say a function", ngx.say, print)
case("print a list with a function", ngx.print, { print })
case("say lists", ngx.say, { 1, 2, { "a", nil, "b" } }, 5, nil, true, ngx.null)
case("say nothing", ngx.say)
case("print nothing", ngx.print)
case("headers were sent", function()
  ngx.status = 404
  ngx.header.foo = "x"
  return ngx.headers_sent, ngx.status, ngx.header.foo
end)
case("redirect after output", ngx.redirect, "/x")
case("redirect with a bad status", ngx.redirect, "/x", 200)
case("flush", ngx.flush)
case("flush with a number", ngx.flush, 1)
