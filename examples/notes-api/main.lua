-- A REST service: JSON in and out, checks with readable errors, a token for changes.
-- Notes live in the memory of the worker that took them: run it with --workers 1.
local app = require("heart.v1")
local json = require("heart.v1.json")

local TOKEN = os.getenv("NOTES_TOKEN") or "secret"
local TEXT_MAX = 200

local notes = {} -- id to note
local last_id = 0

local function problem(message)
  return { status = 422, message = message }
end

local function parse(ctx)
  local ok, value = pcall(json.decode, ctx.bytes())
  if not ok or type(value) ~= "table" then
    error({ status = 400, message = "the body must be a JSON object" })
  end
  if type(value.text) ~= "string" or value.text == "" then
    error(problem("text: expected a string that is not empty"))
  end
  if #value.text > TEXT_MAX then
    error(problem("text: at most " .. TEXT_MAX .. " bytes"))
  end
  if value.done ~= nil and type(value.done) ~= "boolean" then
    error(problem("done: expected true or false"))
  end
  return { text = value.text, done = value.done or false }
end

local function find(ctx)
  local id = tonumber(ctx.pathParam("id"))
  return notes[id] or error({ status = 404, message = "no such note" })
end

-- Whatever a handler raises becomes JSON; what it did not mean to raise stays in the log.
app.onerror(function(ctx, err)
  if type(err) == "table" and err.status then
    return err.status, ctx.json({ error = err.message })
  end
  return 500, ctx.json({ error = "internal error" })
end)

app.notfound(function(ctx)
  return 404, ctx.json({ error = "no such resource" })
end)

local api = app.group("/notes")

-- Everybody may read.
api.use(function(ctx, next)
  local reading = ctx.method() == "GET" or ctx.method() == "HEAD"
  if not reading and ctx.header("authorization") ~= "Bearer " .. TOKEN then
    return 401, ctx.json({ error = "a valid token is needed" }), { ["WWW-Authenticate"] = "Bearer" }
  end
  return next()
end)

api.get("/", function(ctx)
  local list = {}
  for _, note in pairs(notes) do
    list[#list + 1] = note
  end
  table.sort(list, function(a, b)
    return a.id < b.id
  end)
  return ctx.json(json.array(list))
end)

api.post("/", { max_body = 4096 }, function(ctx)
  local note = parse(ctx)
  last_id = last_id + 1
  note.id = last_id
  notes[note.id] = note
  return 201, ctx.json(note), { Location = "/notes/" .. note.id }
end)

api.get("/:id", function(ctx)
  return ctx.json(find(ctx))
end)

api.put("/:id", { max_body = 4096 }, function(ctx)
  local old, note = find(ctx), parse(ctx)
  note.id = old.id
  notes[note.id] = note
  return ctx.json(note)
end)

api.delete("/:id", function(ctx)
  notes[find(ctx).id] = nil
  return 204, ""
end)
