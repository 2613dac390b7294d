---Programs: run one to its end, or talk to it while it runs. Nothing holds up the worker, and no zombie is left.
---
---    local process = require("heart.v1.process")
---    local result = assert(process.run({ cmd = "git", args = { "log", "-1" }, timeout = 5 }))
---
---There is no shell between, unless `cmd` is one. A program gets no descriptor of the server but its three streams, no
---blocked signal, and a process group of its own. See docs/process.md.
---@class heart.process
local M = {}

local argument = require("heart.argument")
local core = require("heart.core")
local portable = require("heart.portable")
local native = core.process

local MAX_OUTPUT = 16 * 1024 * 1024 -- bytes

---@alias heart.process.stream "pipe"|"null"|"inherit"

---@class heart.process.options
---@field cmd string a path, or a name that is looked for in PATH
---@field args? (string|number)[]
---@field env? table<string, string|number|false> changes to the server's environment; false removes a name
---@field clean_env? boolean start with an empty environment, which `env` adds to
---@field cwd? string working directory
---@field user? string|integer name or number of the user to become; only root may

---@class heart.process.run_options: heart.process.options
---@field stdin? string what it reads; without it the end of the file
---@field timeout? number seconds; then it and all that it has started in its group are killed
---@field max_output? integer bytes of stdout, and of stderr; beyond it is killed (16 MiB)

---@class heart.process.spawn_options: heart.process.options
---@field stdin? heart.process.stream ("pipe")
---@field stdout? heart.process.stream ("pipe")
---@field stderr? heart.process.stream|"stdout" ("pipe")

---@class heart.process.exit
---@field status? integer exit status, if it has ended by itself
---@field signal? string name of the signal that has ended it: "SIGKILL"

---@class heart.process.result: heart.process.exit
---@field stdout string
---@field stderr string

-- ---- Signals ------------------------------------------------------------------------------------------------------

-- Numbers of Linux on x86 and Arm.
local SIGNALS = {
  HUP = 1,
  INT = 2,
  QUIT = 3,
  ILL = 4,
  TRAP = 5,
  ABRT = 6,
  BUS = 7,
  FPE = 8,
  KILL = 9,
  USR1 = 10,
  SEGV = 11,
  USR2 = 12,
  PIPE = 13,
  ALRM = 14,
  TERM = 15,
  CHLD = 17,
  CONT = 18,
  STOP = 19,
  TSTP = 20,
  TTIN = 21,
  TTOU = 22,
  XCPU = 24,
  XFSZ = 25,
  WINCH = 28,
  SYS = 31,
}
local NAMES = {}
for name, number in pairs(SIGNALS) do
  NAMES[number] = "SIG" .. name
end

---@param signal any
---@return integer?
local function signal_number(signal)
  if type(signal) == "number" and signal >= 0 and signal <= 64 and signal % 1 == 0 then
    return signal
  end
  return type(signal) == "string" and SIGNALS[signal:upper():gsub("^SIG", "")] or nil
end

---@param code integer exit status, or minus the signal
---@return heart.process.exit
local function exit_of(code)
  if code >= 0 then
    return { status = code }
  end
  return { signal = NAMES[-code] or ("signal %d"):format(-code) }
end

-- ---- Options ------------------------------------------------------------------------------------------------------

---The options of both calls, and those of one.
---@param known table<string, string>
---@return table<string, string>
local function with_common(known)
  known.cmd, known.args, known.cwd, known.user = "string", "table", "string", "string or number"
  known.env, known.clean_env = "table", "boolean"
  return known
end

local RUN = with_common({ stdin = "string", timeout = "number", max_output = "number" })
local SPAWN = with_common({ stdin = "any", stdout = "any", stderr = "any" })
local STREAMS = { null = 0, pipe = 1, inherit = 2 }

---@param name string what was called
---@param options any
---@param known table<string, string>
local function check_options(name, options, known)
  if argument.options(name, options, known, 3).cmd == nil then
    error(("%s: cmd: expected a string, got nil"):format(name), 3)
  end
end

---@param name string
---@param args any[]
---@return string[]
local function texts(name, args)
  local out = {}
  for i = 1, #args do
    local kind = type(args[i])
    if kind ~= "string" and kind ~= "number" then
      error(("%s: args: expected strings, number %d is a %s"):format(name, i, kind), 4)
    end
    out[i] = tostring(args[i])
  end
  return out
end

---@param name string
---@param env table<any, any>
---@return string[]
local function environment(name, env)
  local out = {}
  for key, value in pairs(env) do
    if type(key) ~= "string" or key == "" or key:find("[=%z]") then
      error(("%s: env: %s is no name"):format(name, tostring(key)), 4)
    end
    if value == false then
      out[#out + 1] = key
    elseif type(value) == "string" or type(value) == "number" then
      out[#out + 1] = ("%s=%s"):format(key, value)
    else
      error(("%s: env: %s: expected a string or false, got %s"):format(name, key, type(value)), 4)
    end
  end
  return out
end

---@param name string
---@param o heart.process.options
---@param stdin integer
---@param stdout integer
---@param stderr integer
local function launch(name, o, stdin, stdout, stderr)
  local user = o.user and tostring(o.user)
  local args, env = texts(name, o.args or {}), environment(name, o.env or {})
  return native.launch(o.cmd, args, env, o.clean_env, o.cwd, user, stdin, stdout, stderr)
end

-- ---- Running to the end -------------------------------------------------------------------------------------------

---Run a program, and wait until it has ended and its output is closed. nil and a reason: it could not be started;
---"timeout", "output too large": it was killed, and the third result is what it had written by then.
---@param options heart.process.run_options
---@return heart.process.result?
---@return string? err
---@return string|heart.process.result|nil code the name of the error: "ENOENT"
function M.run(options)
  check_options("run", options, RUN)
  local limit, timeout = options.max_output or MAX_OUTPUT, options.timeout
  if timeout and not (timeout > 0 and timeout <= 31536000) then
    error("run: timeout: expected a positive number of seconds", 2)
  elseif not (limit >= 0 and limit < 2 ^ 31) then
    error("run: max_output: expected a number of bytes", 2)
  end
  local data = portable(options.stdin or "")
  if not data then
    return nil, "stdin: Cannot allocate memory", "ENOMEM"
  end
  local process, stdin, stdout, stderr = launch("run", options, options.stdin and 1 or 0, 1, 1)
  if not process then
    return nil, stdin, stdout
  end
  local code, out, errors, failure = native.run(process, stdin, stdout, stderr, data, timeout, limit)
  if failure then
    return nil, failure, { stdout = out, stderr = errors }
  end
  local result = exit_of(code)
  ---@cast result heart.process.result
  result.stdout, result.stderr = out, errors
  return result
end

-- ---- Talking to it ------------------------------------------------------------------------------------------------

---A program that runs. Its streams are sockets, see heart.v1.socket: `send`, `receive`, `close`.
---@class heart.process.handle
---@field pid integer
---@field stdin? heart.socket
---@field stdout? heart.socket
---@field stderr? heart.socket
---@field package native userdata
local Process = {}
Process.__index = Process

---Wait until it has ended.
---@param seconds? number at most
---@return heart.process.exit?
---@return string? err "timeout"
function Process:wait(seconds)
  local code, err = native.wait(self.native, seconds)
  if not code then
    return nil, err
  end
  return exit_of(code)
end

---Send a signal to it and to what it has started in its group.
---@param signal? string|integer ("TERM")
---@return true?
---@return string? err
---@return string? code "ESRCH": it has ended
function Process:kill(signal)
  local number = signal_number(signal == nil and "TERM" or signal)
  if not number then
    error(("kill: %s is no signal"):format(tostring(signal)), 2)
  end
  return native.kill(self.native, number)
end

---@param o heart.process.spawn_options
---@param name "stdin"|"stdout"|"stderr"
local function stream_kind(o, name)
  local kind = o[name] == nil and "pipe" or o[name]
  if name == "stderr" and kind == "stdout" then
    return 3
  end
  local number = STREAMS[kind]
  if not number then
    error(('spawn: %s: expected "pipe", "null" or "inherit", got %s'):format(name, tostring(kind)), 3)
  end
  return number
end

---Start a program. It goes on when its handle is forgotten, and is killed when the code that started it is: on a
---reload, and when the server ends.
---@param options heart.process.spawn_options
---@return heart.process.handle?
---@return string? err
---@return string? code
function M.spawn(options)
  check_options("spawn", options, SPAWN)
  local kinds = { stream_kind(options, "stdin"), stream_kind(options, "stdout"), stream_kind(options, "stderr") }
  local process, stdin, stdout, stderr = launch("spawn", options, kinds[1], kinds[2], kinds[3])
  if not process then
    return nil, stdin, stdout
  end
  local adopt = core.socket.adopt
  return setmetatable({
    native = process,
    pid = native.pid(process),
    stdin = stdin >= 0 and adopt(stdin) or nil,
    stdout = stdout >= 0 and adopt(stdout) or nil,
    stderr = stderr >= 0 and adopt(stderr) or nil,
  }, Process)
end

return M
