-- The entries as text, written for luafcgid: main gets the variables and a connection.
local fcgi = require("luafcgid")
local entries = require("lib.entries")

function main(env, con)
  local most = tonumber(fcgi.parse(env.QUERY_STRING).most) or 10
  con:header("Content-Type", "text/plain; charset=utf-8")
  con:header("Cache-Control", "no-store")
  for _, entry in ipairs(entries.latest(math.max(1, math.min(most, 50)))) do
    con:puts(entry.name .. ": " .. entry.text .. "\n")
  end
end
