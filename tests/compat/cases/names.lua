-- Names of hosts. The name server knows here.test, has trouble with ill.test and refuses shut.test.
local function connect(host)
  local s = ngx.socket.tcp()
  s:settimeout(1000)
  return s:connect(host, ECHO)
end

for _, host in ipairs({ "here.test", "HERE.test", "nowhere.test", "ill.test", "shut.test" }) do
  case("connect to " .. host, connect, host)
  case("datagrams to " .. host, function()
    return ngx.socket.udp():setpeername(host, ECHO)
  end)
end
case("use after a name that is unknown", function()
  local s = ngx.socket.tcp()
  local ok, err = s:connect("nowhere.test", ECHO)
  return ok, err, s:send("x")
end)
