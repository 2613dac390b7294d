---Filters, sources, sinks and pumps, as LuaSocket has them (LTN12, by Diego Nehab).
---
---A source gives a chunk at each call, nil at its end, nil and a message when it fails. A sink takes a chunk, nil for
---the end, and nil with the message of a failed source; it gives a true value, or nil and a message. A filter takes a
---chunk and gives what it makes of it: "" when it has nothing (more) to give. After nil, for the end, it is called
---until it gives nil.
---@class ltn12
local M = {}

---@alias ltn12.source fun(): string?, any
---@alias ltn12.sink fun(chunk?: string, err?: any): any, any
---@alias ltn12.filter fun(chunk?: string): string?

local filter, source, sink, pump = {}, {}, {}, {}

M.filter, M.source, M.sink, M.pump = filter, source, sink, pump
M._VERSION = "LTN12 1.0.3"
---Bytes that source.file reads at a time.
M.BLOCKSIZE = 2048

local function check(name, value, what)
  if not value then
    error(("%s: expected a %s"):format(name, what), 3)
  end
end

-- ---- Filters -----------------------------------------------------------------------------------------------------

---A filter of a function `low(context, chunk, extra)` that gives the filtered chunk and its next context.
---@param low function
---@param context any the first one
---@param extra any
---@return ltn12.filter
function filter.cycle(low, context, extra)
  check("filter.cycle", low, "function")
  return function(chunk)
    local filtered
    filtered, context = low(context, chunk, extra)
    return filtered
  end
end

---Two filters as one. What `second` still holds is asked for before `first` is asked for more.
---@param first ltn12.filter
---@param second ltn12.filter
---@return ltn12.filter
local function join(first, second)
  local ended = false
  return function(chunk)
    if ended then
      return second(nil)
    end
    if chunk == nil or chunk == "" then
      local held = second("")
      if held ~= "" then
        return held or error("filter returned inappropriate nil")
      end
    end
    local more = chunk and ""
    while true do
      local middle = first(chunk)
      if middle == nil then
        if chunk then
          error("filter returned inappropriate nil")
        end
        ended = true
        return second(nil)
      end
      if middle == "" then
        return ""
      end
      local out = second(middle)
      if out ~= "" then
        return out or error("filter returned inappropriate nil")
      end
      chunk = more
    end
  end
end

---One filter of several, the first one first.
---@param ... ltn12.filter
---@return ltn12.filter
function filter.chain(...)
  local chained = ...
  for i = 2, select("#", ...) do
    chained = join(chained, (select(i, ...)))
  end
  return chained
end

-- ---- Sources -----------------------------------------------------------------------------------------------------

local function nothing()
  return nil
end

---A source without chunks.
---@return ltn12.source
function source.empty()
  return nothing
end

---A source that fails.
---@return ltn12.source
function source.error(message)
  return function()
    return nil, message
  end
end

---A source of an open file, which it closes at its end. Without one it fails with the message of io.open.
---@param handle file*?
---@param message any
---@return ltn12.source
function source.file(handle, message)
  if not handle then
    return source.error(message or "unable to open file")
  end
  return function()
    local chunk = handle:read(M.BLOCKSIZE)
    if not chunk then
      handle:close()
    end
    return chunk
  end
end

---A plain source of one that may give, beside a chunk, a function that goes on as the source.
---@param complex fun(): string?, any
---@return ltn12.source
function source.simplify(complex)
  check("source.simplify", complex, "source")
  return function()
    local chunk, extra = complex()
    if type(extra) == "function" then
      complex, extra = extra, nil
    end
    if not chunk then
      return nil, extra
    end
    return chunk
  end
end

---A source of a string, in pieces of BLOCKSIZE.
---@param text string?
---@return ltn12.source
function source.string(text)
  if not text then
    return source.empty()
  end
  local at = 1
  return function()
    local chunk = text:sub(at, at + M.BLOCKSIZE - 1)
    at = at + M.BLOCKSIZE
    return chunk ~= "" and chunk or nil
  end
end

---A source of the elements of a list.
---@param list string[]
---@return ltn12.source
function source.table(list)
  check("source.table", type(list) == "table", "table")
  local i = 0
  return function()
    i = i + 1
    return list[i]
  end
end

---A source that takes chunks back: called with one, it gives it again before all others.
---@param src ltn12.source
---@return fun(chunk?: string): string?, any
function source.rewind(src)
  check("source.rewind", src, "source")
  local back = {}
  return function(chunk)
    if chunk then
      back[#back + 1] = chunk
      return
    end
    chunk = table.remove(back)
    if chunk then
      return chunk
    end
    return src()
  end
end

---A source whose chunks go through filters.
---@param src ltn12.source
---@param ... ltn12.filter
---@return ltn12.source
function source.chain(src, ...)
  check("source.chain", src and ..., "source and a filter")
  local through = filter.chain(...)
  local last, holding = "", false -- what the filter was given, and whether it may hold more of it
  return function()
    if last == nil and not holding then
      return nil
    end
    while true do
      local out
      if holding then
        out = through(last and "")
      else
        local err
        last, err = src()
        if err then
          return nil, err
        end
        out, holding = through(last), true
      end
      if out == nil then
        if last then
          error("filter returned inappropriate nil")
        end
        holding = false
        return nil
      elseif out ~= "" then
        return out
      end
      holding = last == nil -- at the end it is asked until it gives nil
    end
  end
end

---Sources one after the other.
---@param ... ltn12.source
---@return ltn12.source
function source.cat(...)
  local sources, i = { ... }, 1
  return function()
    while sources[i] do
      local chunk, err = sources[i]()
      if chunk then
        return chunk
      elseif err then
        return nil, err
      end
      i = i + 1
    end
  end
end

-- ---- Sinks -------------------------------------------------------------------------------------------------------

local function discard()
  return 1
end

---A sink that forgets everything.
---@return ltn12.sink
function sink.null()
  return discard
end

---A sink that fails.
---@return ltn12.sink
function sink.error(message)
  return function()
    return nil, message
  end
end

---A sink into an open file, which it closes at the end. Without one it fails with the message of io.open.
---@param handle file*?
---@param message any
---@return ltn12.sink
function sink.file(handle, message)
  if not handle then
    return sink.error(message or "unable to open file")
  end
  return function(chunk)
    if not chunk then
      handle:close()
      return 1
    end
    return handle:write(chunk)
  end
end

---A sink into a list, a new one unless it is given.
---@param list string[]?
---@return ltn12.sink
---@return string[]
function sink.table(list)
  list = list or {}
  return function(chunk)
    if chunk then
      list[#list + 1] = chunk
    end
    return 1
  end, list
end

---A plain sink of one that may give, beside a true value, a function that goes on as the sink.
---@param complex fun(chunk?: string, err?: any): any, any
---@return ltn12.sink
function sink.simplify(complex)
  check("sink.simplify", complex, "sink")
  return function(chunk, err)
    local ok, extra = complex(chunk, err)
    if not ok then
      return nil, extra
    end
    if type(extra) == "function" then
      complex = extra
    end
    return 1
  end
end

---A sink behind filters: `sink.chain(filter, ..., sink)`.
---@return ltn12.sink
function sink.chain(...)
  local n = select("#", ...)
  local filters, into = { ... }, (select(n, ...))
  check("sink.chain", n > 1 and into, "filter and a sink")
  local through = filter.chain(unpack(filters, 1, n - 1))
  return function(chunk, err)
    if chunk == "" then
      return 1
    end
    local last = chunk and "" -- what the filter gives when it holds nothing more
    local out = through(chunk)
    while true do
      local ok, failure = into(out, err)
      if not ok then
        return nil, failure
      end
      if out == last then
        return 1
      end
      out = through(last)
    end
  end
end

-- ---- Pumps -------------------------------------------------------------------------------------------------------

---Move one chunk from a source to a sink.
---@param src ltn12.source
---@param snk ltn12.sink
---@return 1? more nil at the end, or with a message
---@return any err
function pump.step(src, snk)
  local chunk, source_error = src()
  local ok, sink_error = snk(chunk, source_error)
  if chunk and ok then
    return 1
  end
  return nil, source_error or sink_error
end

---Move all chunks from a source to a sink.
---@param src ltn12.source
---@param snk ltn12.sink
---@param step? function instead of pump.step
---@return 1?
---@return any err
function pump.all(src, snk, step)
  check("pump.all", src and snk, "source and a sink")
  step = step or pump.step
  while true do
    local ok, err = step(src, snk)
    if not ok then
      if err then
        return nil, err
      end
      return 1
    end
  end
end

return M
