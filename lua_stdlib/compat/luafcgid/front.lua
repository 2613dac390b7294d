-- What a worker of `heart fcgi` runs in place of an application: it finds the script of each request and passes the
-- request on to a state that has loaded it (heart.core: script). The scripts' own side is compat/luafcgid/state.lua.
local core = require("heart.core")
local buffer = require("string.buffer")
local config = require("compat.luafcgid.config")
local log = require("heart.v1.log")
local new_files = require("compat.luafcgid.files")
local new_pool = require("compat.luafcgid.pool")
local page = require("compat.luafcgid.page")
local table_clear = require("table.clear")
local task = require("heart.v1.task")

local STATE = debug.getinfo(1, "S").source:match("^@(.*)front%.lua$") .. "state.lua"

---What this worker serves: core.argument is "config PATH" or "scripts FOLDER".
---@return luafcgid.settings settings
---@return string? root
local function read_argument()
  local kind, path = core.argument:match("^(%l+) (.*)$")
  if kind == "scripts" then
    return config.defaults(2), path
  end
  core.loaded(path)
  local settings, err = config.read(path)
  if not settings then
    error(err, 0)
  end
  return settings, nil
end

local settings, root = read_argument()
settings.show_errors = settings.show_errors or core.dev

-- What the engine passes on by itself: by SCRIPT_FILENAME, a state that has loaded the newest version of that script,
-- and until when that is known. Nothing is, while a request waits for a state: it may be the one that it gets.
local boxes, until_times = {}, {} ---@type table<string, userdata>, table<string, number>
core.script.known(boxes, until_times)

local function forget()
  table_clear(boxes)
  table_clear(until_times)
end

local files = new_files(root, settings, forget)

---Make a state that has loaded a script.
---@param script luafcgid.script
---@param number integer
---@param document_root string
---@return userdata? box
---@return string? err
local function make(script, number, document_root)
  local argument = {
    settings = settings,
    path = script.path,
    text = script.text,
    number = number,
    root = document_root,
  }
  return core.script.new(script.path, STATE, buffer.encode(argument))
end

local pool = new_pool(settings, make, forget)

---@param err string
---@param path string
local function failed(err, path)
  log.error(err, { script = path })
  return page.failed(settings.show_errors and (err:match("^(.-)\nstack traceback:") or err) or nil)
end

local refused = {
  [403] = "This script is not one of those that are served here.",
  [404] = "There is no such script.",
}

---@param ctx heart.ctx
local function serve(ctx)
  local filename = core.fcgi.param(ctx, "SCRIPT_FILENAME")
  if not filename or filename == "" then
    log.error("the front server sends no SCRIPT_FILENAME: which script is meant is not known")
    return page.answer(500, "The front server does not say which script is meant.")
  end
  local script, status = files:find(filename)
  if not script then
    return page.answer(status, refused[status])
  end
  local entry, err = pool:take(script, core.fcgi.param(ctx, "DOCUMENT_ROOT") or "")
  if not entry then
    if err then
      return failed(err, script.path)
    end
    return page.answer(404, refused[404])
  end
  local _, gone = core.request.sent(ctx)
  if gone then
    pool:give_back(entry)
    return
  end
  core.script.pass(ctx, entry.box, entry.once)
  entry.reserved = false
  if not entry.once and not pool:in_demand() then
    boxes[filename], until_times[filename] = entry.box, files:known_until(filename)
  end
end

core.fallback(serve)

task.every(math.max(settings.check_ms / 1000, 0.1), function()
  files:sweep()
  pool:sweep()
end)
