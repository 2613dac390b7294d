hold()
local req, var = ngx.req, ngx.var
case("method", req.get_method)
case("version", req.http_version)
case("internal", req.is_internal)
case("start", function()
  return math.abs(req.start_time() - ngx.now()) < 1
end)
case("headers", req.get_headers)
case("headers, raw", req.get_headers, 0, true)
case("two headers", req.get_headers, 2)
case("a header", function()
  local headers = req.get_headers()
  return headers["X-One"], headers.x_one, headers.X_ONE, headers["x-one"], headers.nothing, headers["X-Two"]
end)
case("head", req.raw_header)
case("head without its first line", req.raw_header, true)
case("arguments", req.get_uri_args)
case("two arguments", req.get_uri_args, 2)
case("all arguments", req.get_uri_args, 0)
case("post arguments", function()
  local args = req.get_post_args(3)
  return type(args)
end)
case("body", function()
  return #req.get_body_data() > 100, req.get_body_file()
end)
for _, name in ipairs({
  "request_method",
  "request_uri",
  "args",
  "query_string",
  "is_args",
  "host",
  "http_host",
  "scheme",
  "server_protocol",
  "content_type",
  "remote_addr",
  "status",
  "https",
  "http_x_one",
  "http_x_two",
  "http_nothing",
  "arg_a",
  "arg_b",
  "arg_C",
  "arg_nothing",
  "cookie_k",
  "cookie_nothing",
  "http_cookie",
  "remote_user",
  "nothing",
  "request",
  "is_args",
  "document_uri",
  "uri",
  "server_port",
  "server_addr",
}) do
  case("variable " .. name, function()
    return var[name]
  end)
end
case("variables of the server", function()
  return tonumber(var.pid) == ngx.worker.pid(),
    #var.request_id,
    tonumber(var.msec) ~= nil,
    tonumber(var.remote_port) > 0,
    tonumber(var.request_time) >= 0,
    var.time_iso8601:match("^%d+-%d%d-%d%dT%d%d:%d%d:%d%d[+-]%d%d:%d%d$") ~= nil,
    var.time_local:match("^%d%d/%a+/%d+:%d%d:%d%d:%d%d [+-]%d%d%d%d$") ~= nil,
    #var.hostname > 0,
    #var.request_body == #req.get_body_data()
end)
case("a number is no name", function()
  return var[1]
end)
case("a table is no name", function()
  return var[{}]
end)
for _, name in ipairs({ "uri", "host", "http_x_one", "request_method" }) do
  case("write " .. name, function()
    var[name] = "x"
  end)
end
case("write args", function()
  var.args = "a=9&z"
  return var.args, var.arg_a, req.get_uri_args()
end)
case("set args", function()
  req.set_uri_args({ q = "x y" })
  local one = var.args
  req.set_uri_args("p=1")
  return one, var.args, req.get_uri_args()
end)
case("set headers", function()
  req.set_header("X-One", "changed")
  req.set_header("X-New", { "a", "b" })
  req.clear_header("X-Two")
  local headers = req.get_headers()
  return headers.x_one, headers.x_new, headers.x_two, var.http_x_one, var.http_x_two
end)
case("response headers", function()
  local header = ngx.header
  header.content_type = "text/x"
  header["X-A"] = "1"
  header.x_b = { "1", "2" }
  header.X_C = 5
  header["X-D"] = "d"
  header["X-D"] = nil
  header["X-E"] = {}
  require("ngx.resp").add_header("X-A", "2")
  return header["X-A"], header.x_b, header["X-C"], header.x_d, header.x_e, header["Content-Type"], header.nothing
end)
case("status", function()
  ngx.status = 201
  return ngx.status, ngx.headers_sent, var.status, var.sent_http_x_c
end)
release()
