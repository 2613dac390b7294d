-- A chat with rooms: WebSockets, a channel for each room, the last messages for those who come later.
local app = require("heart.v1")
local channel = require("heart.v1.channel")

local TEXT_MAX = 500
local HISTORY = 20

app.static("/", "public")

---The channel of a room, or nil for a name that is none.
local function room_of(ctx)
  local name = ctx.pathParam("room")
  if not name:find("^[%w-]+$") or #name > 32 then
    return nil
  end
  local room = "room:" .. name
  channel.history(room, HISTORY)
  return room
end

-- Refused before the upgrade: a handler with a plain answer.
app.use("/rooms", function(ctx, next)
  local name = ctx.query("name") or ""
  if name == "" or #name > 32 then
    return 422, "say who you are: ?name=..."
  end
  return next()
end)

app.ws("/rooms/:room", { max_message = 4 * TEXT_MAX }, {
  open = function(ws, ctx)
    local room = room_of(ctx)
    if not room then
      return ws:close(1008, "a room's name has letters, digits and -")
    end
    ws.data.room, ws.data.name = room, ctx.query("name")
    ws:subscribe(room, { after = 0, as = ws.data.name })
    channel.publish(room, { type = "join", name = ws.data.name })
  end,
  message = function(ws, text)
    if ws.data.room and text ~= "" and #text <= TEXT_MAX then
      channel.publish(ws.data.room, { type = "say", name = ws.data.name, text = text })
    end
  end,
  close = function(ws)
    if ws.data.room then
      channel.publish(ws.data.room, { type = "leave", name = ws.data.name })
    end
  end,
})

-- What is going on in a room, without joining it.
app.get("/rooms/:room/messages", function(ctx)
  local lines = {}
  for _, message in ipairs(channel.past(room_of(ctx) or "none")) do
    if message.data.type == "say" then
      lines[#lines + 1] = message.data.name .. ": " .. message.data.text .. "\n"
    end
  end
  return table.concat(lines)
end)

app.post("/rooms/:room/messages", function(ctx)
  local room, text = room_of(ctx), ctx.formParam("text")
  if not room or text == "" or #text > TEXT_MAX then
    return 422, "a room and a text, please"
  end
  channel.publish(room, { type = "say", name = ctx.query("name"), text = text })
  return 201, "said"
end)
