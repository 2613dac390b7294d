-- One page from three services that are asked at the same time. The services are routes of this application, so that
-- the example runs alone; each takes its time. A real application has the addresses of its services in its
-- configuration: what a client says is its host is no place to send requests to.
local app = require("heart.v1")
local http = require("heart.v1.http")
local task = require("heart.v1.task")

local SERVICES = { "profile", "orders", "news" }
local ANSWERS = {
  profile = { name = "Ann" },
  orders = { count = 3 },
  news = { title = "Hearts beat faster" },
}

app.get("/services/:name", function(ctx)
  local answer = ANSWERS[ctx.pathParam("name")]
  if not answer then
    return 404, "no such service\n"
  end
  app.sleep(0.2)
  return ctx.json(answer)
end)

-- A service that fails, or is too slow, leaves a gap; it does not take the page with it.
---@param url string
---@return table
local function ask(url)
  local response, err = http.get(url, { timeout = 1, retries = 1 })
  if not response then
    return { error = err }
  elseif response.status ~= 200 then
    return { error = "status " .. response.status }
  end
  return response:json() or { error = "no JSON" }
end

app.get("/page", function(ctx)
  local base = "http://" .. ctx.host() .. "/services/"
  local asking = {}
  for i, name in ipairs(SERVICES) do
    asking[i] = task.spawn(ask, base .. name)
  end
  asking[#asking + 1] = task.spawn(ask, base .. "weather")
  local profile, orders, news, weather = unpack(task.gather(asking))
  return ("%s has %d orders; %s; weather: %s\n"):format(profile.name, orders.count, news.title, weather.error)
end)
