---A source or sink of a socket: it is called, and select() takes it, too.
---@param sock socket.tcp
---@param call function
---@return table
return function(sock, call)
  return setmetatable({
    getfd = function()
      return sock:getfd()
    end,
    dirty = function()
      return sock:dirty()
    end,
  }, { __call = call })
end
