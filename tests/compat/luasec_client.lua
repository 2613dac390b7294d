-- What a client of LuaSec is told; run with LuaSec's own modules and with Heart's. `at`: ports of servers, by what they
-- do, and files. Gives lines.
local socket, ssl, at = ...
local lines = {}

local function show(...)
  local all = {}
  for i = 1, select("#", ...) do
    all[i] = tostring((select(i, ...))):gsub("0x%x+", "ADDRESS"):gsub("\n", " ")
  end
  return table.concat(all, "|")
end

local function case(name, fn, ...)
  lines[#lines + 1] = name .. ": " .. show(pcall(fn, ...))
end

local function wrap(port, parameters, name)
  local tcp = assert(socket.connect("127.0.0.1", port))
  parameters = parameters or {}
  parameters.mode = parameters.mode or "client"
  parameters.protocol = parameters.protocol or "any"
  local c, err = ssl.wrap(tcp, parameters)
  if not c then
    tcp:close()
    return nil, err
  end
  if name then
    c:sni(name)
  end
  c:settimeout(1)
  return c
end

local function shaken(port, ...)
  local c = wrap(port, ...)
  assert(c:dohandshake())
  return c
end

local function handshake(...)
  local c = wrap(...)
  local ok, err = c:dohandshake()
  c:close()
  return ok, err
end

local function trusting(more)
  more = more or {}
  more.verify, more.cafile = "peer", at.root
  return more
end

case("handshake", handshake, at.server)
case("handshake with a certificate that is right", handshake, at.server, trusting(), "heart.test")
case("expired certificate", handshake, at.expired, trusting(), "heart.test")
case("unknown authority", handshake, at.foreign, trusting(), "heart.test")
case("server that does not speak TLS", handshake, at.plain)
case("server that hangs up", handshake, at.rude)
case("server that is silent", handshake, at.silent)
case("second handshake", function()
  local c = shaken(at.server)
  return c:dohandshake()
end)
case("close", function()
  local c = shaken(at.server)
  return select("#", c:close()), select("#", c:close())
end)
case("use after close", function()
  local c = shaken(at.server)
  c:close()
  return c:send("x"), c:receive()
end)
case("send before the handshake", function()
  return wrap(at.server):send("x")
end)
case("send a part before the handshake", function()
  return wrap(at.server):send("text", 2, 3)
end)
case("receive before the handshake", function()
  return wrap(at.server):receive()
end)
case("receive too late", function()
  local c = shaken(at.server)
  c:settimeout(0.1)
  c:send("part")
  return c:receive()
end)
case("receive at once", function()
  local c = shaken(at.server)
  c:settimeout(0)
  return c:receive()
end)
case("all up to the end", function()
  local c = shaken(at.ends)
  c:send("x")
  return c:receive("*a")
end)
case("line that ends with the stream", function()
  local c = shaken(at.ends)
  c:send("x")
  return c:receive(), c:receive()
end)
case("stream that is cut off", function()
  local c = shaken(at.cuts)
  c:send("x")
  return c:receive("*a")
end)
case("line that is cut off", function()
  local c = shaken(at.cuts)
  c:send("x")
  return c:receive()
end)
case("verified", function()
  return shaken(at.server, trusting()):getpeerverification()
end)
case("not verified", function()
  return (shaken(at.foreign):getpeerverification())
end)
case("facts before the handshake", function()
  return wrap(at.server):info()
end)
case("facts", function()
  local c = shaken(at.server)
  local all = c:info()
  return c:info("protocol"), c:info("cipher"), c:info("bits"), c:info("algbits"), all.bits, all.protocol, c:info("none")
end)
case("protocol of none", function()
  return shaken(at.server, { alpn = "x" }):getalpn()
end)
case("name", function()
  return shaken(at.server, {}, "heart.test"):getsniname(), shaken(at.server):getsniname()
end)
case("certificate before the handshake", function()
  return wrap(at.server):getpeercertificate()
end)
case("certificate", function()
  local certificate = shaken(at.server):getpeercertificate()
  return (tostring(certificate):gsub(":.*", "")), certificate:serial(), certificate:validat(0)
end)
case("what it waits for", function()
  return wrap(at.server):want()
end)
case("texts", function()
  local context = ssl.newcontext({ mode = "client", protocol = "any" })
  return (tostring(context):gsub(":.*", "")), (tostring(wrap(at.server)):gsub(":.*", ""))
end)
for _, parameters in ipairs({
  { mode = "nope" },
  { protocol = "nope" },
  { verify = "nope" },
  { verify = { "peer", "nope" } },
  { ciphers = "nope" },
  { cafile = "/nonexistent" },
  { certificate = "/nonexistent" },
  { key = "/nonexistent" },
  { key = at.root },
}) do
  local name, value = next(parameters)
  case(("parameter %s %s"):format(name, tostring(value):gsub("^table.*", "list")), function()
    local c, err = wrap(at.server, parameters)
    return c, (err:gsub(" %([^n][^o].*%)$", "")) -- OpenSSL's reason, which is another one for files
  end)
end
return table.concat(lines, "\n")
