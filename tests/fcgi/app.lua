local app = require("heart.v1")
local core = require("heart.core")
local task = require("heart.v1.task")

app.get("/", function()
  return "hello"
end)

app.get("/client", function(ctx)
  return table.concat({ ctx.protocol(), ctx.ip(), ctx.host(), ctx.header("user-agent") or "-" }, " ")
end)

app.post("/echo", function(ctx)
  return ctx.bytes()
end)

app.post("/length", function(ctx)
  return tostring(#ctx.bytes())
end)

app.post("/small", { max_body = 10 }, function(ctx)
  return ctx.bytes()
end)

app.post("/count", { body = "stream" }, function(ctx)
  local n, parts = 0, 0
  local read = ctx.reader()
  local wait = tonumber(ctx.query("wait"))
  if wait then
    task.sleep(wait)
  end
  while true do
    local part, why = read()
    if not part then
      return ("%d bytes, %s"):format(n, why or "whole")
    end
    n, parts = n + #part, parts + 1
    if ctx.query("slow") then
      task.sleep(tonumber(ctx.query("slow")))
    end
  end
end)

app.post("/bounded", { body = "stream", max_body = 10 }, function(ctx)
  local read = ctx.reader()
  local part, why
  repeat
    part, why = read()
  until not part
  return why or "whole"
end)

app.post("/unread", { body = "stream" }, function()
  return "not read"
end)

local sleeping, most = 0, 0
app.get("/sleep", function(ctx)
  sleeping = sleeping + 1
  most = math.max(most, sleeping)
  task.sleep(tonumber(ctx.query("seconds")))
  sleeping = sleeping - 1
  return "slept " .. ctx.query("seconds") .. " " .. (ctx.header("x-name") or "")
end)

app.get("/most", function()
  local before = most
  most = 0
  return tostring(before)
end)

app.get("/large", function(ctx)
  return ("x"):rep(tonumber(ctx.query("bytes")))
end)

app.get("/headers", function(ctx)
  for i = 1, 100 do
    ctx.set("x-" .. i, ("y"):rep(1000))
  end
  ctx.set("Status", "500 Not This")
  return 201, "made"
end)

app.get("/stream", function(ctx)
  ctx.stream(function(write)
    for i = 1, tonumber(ctx.query("parts")) do
      write(("%d,"):format(i))
      task.sleep(0)
    end
    if ctx.query("fail") then
      error("in the middle")
    end
  end)
end)

app.get("/late", function(ctx)
  local start = os.clock()
  repeat
  until os.clock() - start > 0.002 -- as long as a turn may take, and longer
  ctx.stream(function(write)
    write("part")
    error("the rest will not come")
  end)
end)

app.get("/fail", function()
  error("a bug")
end)

app.get("/error", function(ctx)
  return tostring(core.fcgi.error(ctx, "for the log")) .. " " .. ctx.method()
end)

app.get("/params", function(ctx)
  local all = core.fcgi.params(ctx)
  if not all then
    return "no FastCGI"
  end
  task.sleep(0)
  return ("%s %s %s"):format(all.REQUEST_METHOD, all.ODD, tostring(core.fcgi.param(ctx, "NONE")))
end)

app.get("/ends", function(ctx)
  local address, port = core.request.server(ctx)
  return table.concat({ address, port, core.request.peer(ctx) }, " ")
end)

app.get("/gone", function(ctx)
  ctx.on_abort()
  task.sleep(60)
end)

local aborted = 0
app.get("/told", function(ctx)
  ctx.on_abort(function()
    aborted = aborted + 1
  end)
  task.sleep(tonumber(ctx.query("seconds")))
  return "not told"
end)

app.get("/aborted", function()
  return tostring(aborted)
end)

local ended = 0
app.get("/endless", function(ctx)
  return ctx.stream(function(write)
    while write(("x"):rep(1000)) do
      task.sleep(0.01)
    end
    ended = ended + 1
  end)
end)

app.get("/ended", function()
  return tostring(ended)
end)

app.get("/target/*", function(ctx)
  local method, target = core.request.line(ctx)
  return method .. " " .. target
end)

app.get("/moved", function(ctx)
  return ctx.redirect("/there")
end)

app.delete("/deleted", function()
  return 204, ""
end)

app.ws("/ws", function(ws)
  ws:send("never")
end)

app.static("/files", "files")
