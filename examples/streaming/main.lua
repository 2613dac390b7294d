-- Bodies that are never in memory as a whole: one that is sent line by line, one that is read part by part.
local app = require("heart.v1")

local TICKS_MAX = 60

-- The head is sent at once, then a line every second. Other requests are served meanwhile.
app.get("/clock/:ticks?", function(ctx)
  local ticks = math.min(tonumber(ctx.pathParam("ticks")) or 10, TICKS_MAX)
  return ctx.stream(function(write)
    for tick = 1, ticks do
      if tick > 1 then
        app.sleep(1)
      end
      if not write(("tick %d at %s\n"):format(tick, os.date("!%H:%M:%S"))) then
        return -- the client has left
      end
    end
  end)
end)

-- The handler runs as soon as the head is there; nothing limits the size of the upload.
app.post("/count", { body = "stream" }, function(ctx)
  local read = ctx.reader()
  local bytes, lines = 0, 0
  local part, reason = read()
  while part do
    bytes = bytes + #part
    lines = lines + select(2, part:gsub("\n", ""))
    part, reason = read()
  end
  if reason then
    return 400, "upload failed: " .. reason .. "\n"
  end
  return ("%d bytes, %d lines\n"):format(bytes, lines)
end)
