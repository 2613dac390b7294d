---TLS contexts for Heart's own modules: one for each set of options, in each worker. So files are read once, and later
---connections resume the sessions of earlier ones, also where an application makes its table of options anew each
---time.
local M = {}

local core = require("heart.core")

local CONTEXTS_MAX = 64

---@class heart.tls.options what core.tls.context takes, and of one connection:
---@field server_name? string sent to the server, and what its certificate must be for

---@type table<string, userdata>
local contexts = {}
local ncontexts = 0

---A text that is the same for the same options.
---@param options? heart.tls.options
---@return string
function M.key(options)
  if not options then
    return ""
  end
  local parts = {}
  for name, value in pairs(options) do
    if type(value) == "table" then
      value = table.concat(value, ",")
    end
    parts[#parts + 1] = ("%s=%s\0"):format(name, tostring(value))
  end
  table.sort(parts)
  return table.concat(parts)
end

---The context for these options. May wait.
---@param options? heart.tls.options
---@return userdata? context
---@return string? err
function M.context(options)
  local wanted = {}
  for name, value in pairs(options or {}) do
    if name ~= "server_name" then
      wanted[name] = value
    end
  end
  local key = M.key(wanted)
  if contexts[key] then
    return contexts[key]
  end
  local context, err = core.tls.context(wanted)
  if not context then
    return nil, err
  end
  if ncontexts >= CONTEXTS_MAX then
    contexts, ncontexts = {}, 0
  end
  contexts[key], ncontexts = context, ncontexts + 1
  return context
end

return M
