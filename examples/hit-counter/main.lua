-- Counts visits, for each page and in all. The counts are shared by all workers and survive a reload, not a restart.
local app = require("heart.v1")
local kv = require("heart.v1.kv.memory")

-- One key that only grows: incr does it in one step.
app.get("/", function()
  return ("Visits: %d\n"):format(kv.incr("visits"))
end)

-- Two keys that belong together: in a transaction they change both or not at all.
app.get("/pages/:page", function(ctx)
  local page = ctx.pathParam("page")
  local _, hits, total = kv.serialTransaction(function(store)
    return store.incr("page:" .. page), store.incr("total")
  end)
  return ("%s: %d of %d\n"):format(page, hits, total)
end)

-- As scripts for Heart v1 do it.
app.get("/classic", function()
  local hits
  kv.serialTransaction(function(store)
    hits = (tonumber(store.get("classic")) or 0) + 1
    store.set("classic", hits)
  end)
  return "Hits: " .. hits .. "\n"
end)

app.get("/top", function(ctx)
  local pages = kv.list({ prefix = "page:" })
  table.sort(pages, function(a, b)
    return a.value > b.value or (a.value == b.value and a.key < b.key)
  end)
  local lines = {}
  for i = 1, math.min(#pages, tonumber(ctx.query("n")) or 10) do
    lines[i] = ("%d %s\n"):format(pages[i].value, pages[i].key:sub(6))
  end
  return table.concat(lines)
end)
