---A function that calls one of several by its name, "default" if the first argument is no string.
---@param functions table<string, function>
---@return function
return function(functions)
  return function(name, first, second)
    if type(name) ~= "string" then
      name, first, second = "default", name, first
    end
    local fn = functions[name or "nil"]
    if not fn then
      error("unknown key (" .. tostring(name) .. ")", 3)
    end
    return fn(first, second)
  end
end
