---OpenResty's LuaJIT has this function.
---@param t table
---@return table copy of its own level, without a metatable
return function(t)
  local copy = {}
  for key, value in next, t do
    copy[key] = value
  end
  return copy
end
