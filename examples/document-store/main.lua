-- A store for JSON documents: POST makes one, its address is a ULID, so that lists are in the order of their making.
-- ETags are the versions of the store: a client that changes a document says which one it has seen.
local app = require("heart.v1")
local json = require("heart.v1.json")
local kv = require("heart.v1.kv.memory")

local PREFIX = "document:"
local PAGE = 20

local function problem(status, message)
  return status, json.encode({ error = message }) .. "\n", { ["Content-Type"] = "application/json" }
end

-- The text is stored as it came, once it is known to be JSON: a table would not tell [] from {}.
local function parse(ctx)
  local text = ctx.bytes()
  local ok, err = pcall(json.decode, text)
  if not ok then
    return nil, err
  end
  return text
end

local function etag(version)
  return ('"%d"'):format(version)
end

-- The version that the client wants to change: nil if it does not say.
local function wanted(ctx)
  local tag = ctx.header("if-match")
  return tag and tonumber(tag:match('^"(%d+)"$') or -1)
end

app.post("/documents", function(ctx)
  local text, err = parse(ctx)
  if not text then
    return problem(400, err)
  end
  local id = kv.ulid()
  local ok, version = kv.add(PREFIX .. id, text)
  if not ok then
    return problem(507, version)
  end
  return 201, json.encode({ id = id }) .. "\n", { Location = "/documents/" .. id, ETag = etag(version) }
end)

app.get("/documents", function(ctx)
  local after = ctx.query("after")
  local keys, cursor = kv.list({
    prefix = PREFIX,
    limit = PAGE,
    keys_only = true,
    cursor = after and PREFIX .. after,
  })
  local ids = json.array()
  for i, key in ipairs(keys) do
    ids[i] = key:sub(#PREFIX + 1)
  end
  return ctx.json({ ids = ids, after = cursor and cursor:sub(#PREFIX + 1) }) .. "\n"
end)

app.get("/documents/:id", function(ctx)
  local text, version = kv.fetch(PREFIX .. ctx.pathParam("id"))
  if not text then
    return problem(404, "no such document")
  end
  return 200, text, { ["Content-Type"] = "application/json", ETag = etag(version) }
end)

app.put("/documents/:id", function(ctx)
  local key = PREFIX .. ctx.pathParam("id")
  local text, err = parse(ctx)
  if not text then
    return problem(400, err)
  end
  local version = wanted(ctx)
  if version then
    local ok, now = kv.cas(key, version, text)
    if not ok then
      return problem(412, "the document was changed meanwhile")
    end
    return 204, "", { ETag = etag(now) }
  end
  local found, replaced = kv.transaction(function(store)
    return store.has(key) and store.set(key, text)
  end)
  if not found then
    return problem(503, replaced)
  end
  if not replaced then
    return problem(404, "no such document")
  end
  return 204, ""
end)

app.delete("/documents/:id", function(ctx)
  if not kv.delete(PREFIX .. ctx.pathParam("id")) then
    return problem(404, "no such document")
  end
  return 204, ""
end)
