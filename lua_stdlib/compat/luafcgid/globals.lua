---Globals that each request of a script has its own of. Most scripts look at few of them, so one is made when a script
---first does; where a script has changed the metatable of _G for itself, all are made beforehand.

---@param names string[]
---@param makers table<string, fun(): any> by name; nil: there is none now
---@return fun() begin a new request has begun
return function(names, makers)
  local function index(_, name)
    local make = makers[name]
    local value = make and make()
    if value ~= nil then
      rawset(_G, name, value)
    end
    return value
  end

  local meta = { __index = index }
  setmetatable(_G, meta)

  return function()
    local late = getmetatable(_G) == meta and meta.__index == index
    for i = 1, #names do
      local name = names[i]
      rawset(_G, name, not late and makers[name]() or nil)
    end
  end
end
