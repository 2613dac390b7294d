---OpenResty's LuaJIT has this function.
---@param t table
---@return boolean all keys are positive integers
return function(t)
  for key in next, t do
    if type(key) ~= "number" or key < 1 or key % 1 ~= 0 then
      return false
    end
  end
  return true
end
