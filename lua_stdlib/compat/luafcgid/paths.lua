---Relative names of files mean the folder of the script, in its own state: the working directory belongs to the whole
---process and is not changed. Programs (io.popen, os.execute) and heart.v1.fs go by the working directory.
local M = {}

---@param folder string
function M.install(folder)
  local function place(name)
    if type(name) == "string" and name ~= "" and name:sub(1, 1) ~= "/" then
      return folder .. "/" .. name
    end
    return name
  end

  local function wrap(library, name)
    local original = library[name]
    library[name] = function(path, ...)
      if path == nil then
        return original()
      end
      return original(place(path), ...)
    end
  end

  wrap(io, "open")
  wrap(io, "lines")
  wrap(io, "input")
  wrap(io, "output")
  wrap(_G, "loadfile")
  wrap(_G, "dofile")
  wrap(os, "remove")
  local rename = os.rename
  rawset(os, "rename", function(from, to)
    return rename(place(from), place(to))
  end)
end

return M
