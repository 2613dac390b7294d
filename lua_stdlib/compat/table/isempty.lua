---OpenResty's LuaJIT has this function.
---@param t table
---@return boolean
return function(t)
  return next(t) == nil
end
