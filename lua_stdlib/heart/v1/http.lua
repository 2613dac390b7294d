---An HTTP client: requests wait without holding up others, connections are kept and used again, failures are values.
---
---    local http = require("heart.v1.http")
---    local response, err = http.get("http://127.0.0.1:8080/users/7")
---
---A response with a status of 400 or more is a response, too; `nil, err` means that there is none.
---@class heart.http
local M = {}

local bodies = require("heart.http_body")
local connection = require("heart.http_connection")
local cookies = require("heart.http_cookies")
local core = require("heart.core")
local json = require("heart.v1.json")
local requests = require("heart.http_request")

local now, take, field_of, fields_of = core.now, core.socket.take, core.socket.field, core.socket.fields

local INTERIM_MAX = 16
local DRAINED_MAX = 65536
local CONTINUE_SECONDS = 1
local BACKOFF, BACKOFF_MAX = 0.1, 5
local BUSY = { [429] = true, [502] = true, [503] = true, [504] = true }
local REDIRECT = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }
---What a connection from the pool fails with if the server has closed it meanwhile.
local STALE = { closed = true, ["connection reset"] = true, ["broken pipe"] = true }

-- ---- Responses -----------------------------------------------------------------------------------------------------

---@class heart.http.response
---@field status integer
---@field reason string
---@field version string "1.0" or "1.1"
---@field headers table<string, string> any case; fields of the same name are joined by ", "
---@field url string that was asked for last
---@field body? string nil with `stream`
---@field reader? heart.http.reader with `stream`
---@field socket? any after 101: the connection, which is the caller's now
---@field private head string
local Response = {}

---The value of this body as JSON.
---@return any value nil: see err
---@return string? err
function Response:json()
  local ok, value = pcall(json.decode, self.body or "")
  if not ok then
    return nil, value
  end
  return value
end

---All values of a field, in their order.
---@param name string
---@return string[]
function Response:values(name)
  local found, lower = {}, name:lower()
  local list = fields_of(self.head)
  for i = 1, #list, 2 do
    if list[i]:lower() == lower then
      found[#found + 1] = list[i + 1]
    end
  end
  return found
end

---All fields as they came: { { name, value }, ... }.
---@return string[][]
function Response:fields()
  local found, list = {}, fields_of(self.head)
  for i = 1, #list, 2 do
    found[#found + 1] = { list[i], list[i + 1] }
  end
  return found
end

---With `stream`: leave the rest of the body, and close the connection. After the end of the body it does nothing.
function Response:close()
  if self.sock then
    self.sock:close()
    self.sock = nil
  end
end

local headers_meta = {
  __index = function(self, name)
    return field_of(self[1], name)
  end,
}

---Made when somebody asks for them.
local lazy = {
  headers = function(self)
    return setmetatable({ self.head }, headers_meta)
  end,
  reason = function(self)
    return self.head:match("^HTTP/%S+ %d+ ?([^\r\n]*)")
  end,
  version = function(self)
    return self.head:match("^HTTP/(%S+)")
  end,
}

local response_meta = {
  __index = function(self, name)
    local make = lazy[name]
    if not make then
      return Response[name]
    end
    local value = make(self)
    rawset(self, name, value)
    return value
  end,
}

-- ---- One request, one response --------------------------------------------------------------------------------------

---Read heads until a final one.
---@return integer? status
---@return string head or the reason
---@return integer|"chunked"|nil length
---@return boolean? keep
local function read_final_head(sock, max)
  for _ = 1, INTERIM_MAX do
    local status, head, length, keep = sock:read_head(max)
    if not status or status >= 200 or status == 101 then
      return status, head, length, keep
    end
  end
  return nil, "too many interim responses"
end

---Send the body, where it does not go with the head. A server may answer before it has read all of it, so that a
---failure to send is told only if there is no answer.
---@param call heart.http.call
---@return integer? status if the answer has come already
---@return string? head or err
---@return integer|"chunked"|nil length
---@return boolean? keep
local function send_body(sock, call, seconds)
  if call.options.expect then
    sock:settimeouts(nil, nil, math.min(CONTINUE_SECONDS, seconds))
    local status, head, length = sock:read_head(call.max_head)
    sock:settimeouts(nil, nil, nil)
    if status and status >= 200 then
      return status, head, length, false
    elseif not status and head ~= "timeout" then
      return nil, head
    end
  end
  local ok, err, own
  if type(call.body) == "string" then
    ok, err = sock:send(call.body)
  else
    ok, err, own = bodies.send(sock, call.body, call.length)
  end
  if not ok then
    if own then
      return nil, err
    end
    local status, head, length = read_final_head(sock, call.max_head)
    return status, status and head or err, length, false
  end
end

---@return integer? status
---@return string head or the reason
---@return integer|"chunked"|nil length
---@return boolean? keep
local function exchange(sock, call, seconds)
  local sent, err = sock:send(call.head)
  if not sent then
    return nil, err
  end
  if call.body then
    local status, head, length, keep = send_body(sock, call, seconds)
    if status or head then
      return status, head, length, keep
    end
  end
  return read_final_head(sock, call.max_head)
end

---@param sock any
---@param call heart.http.call
---@param keep boolean? the server leaves the connection open
local function release(sock, call, keep)
  if keep and call.idle then
    connection.give(sock, call.key, call.idle)
  else
    sock:close()
  end
end

---Read the body, or leave it to the caller.
---@param response heart.http.response
---@return heart.http.response?
---@return string? err
local function take_body(sock, call, response, length, keep)
  local status = response.status
  if status == 101 then
    response.socket = sock
    return response
  elseif call.is_head or status == 204 or status == 304 then
    length = 0
  end
  local coding = call.decompress and length ~= 0 and field_of(response.head, "content-encoding") or nil
  if call.stream then
    sock:deadline(nil)
    sock:settimeouts(nil, nil, call.timeout)
    response.sock = sock
    response.reader = bodies.reader(sock, length, coding, math.huge, function(complete)
      response.sock = nil
      release(sock, call, complete and keep and length ~= nil)
    end)
    return response
  end
  local body, err = bodies.whole(sock, length, coding, call.max_body)
  if not body then
    sock:close()
    return nil, err
  end
  response.body = body
  release(sock, call, keep and length ~= nil)
  return response
end

---One request on one connection.
---@return heart.http.response?
---@return string? err
---@return boolean? dead the connection was, before the response began
local function attempt(sock, call, seconds)
  sock:deadline(seconds)
  local status, head, length, keep = exchange(sock, call, seconds)
  if not status then
    sock:close()
    return nil, head, STALE[head]
  end
  local response = setmetatable({ status = status, url = call.target.text, head = head }, response_meta)
  return take_body(sock, call, response, length, keep)
end

---Ask once; a connection from the pool that proves dead is replaced by a new one.
---@param call heart.http.call
---@param deadline number
---@return heart.http.response?
---@return string? err
local function ask(call, deadline)
  local left = deadline - now()
  local sock = take(call.key, call.repeatable)
  local pooled = sock ~= nil
  while true do
    if left <= 0 then
      return nil, "timeout"
    end
    if not sock then
      local fresh, err = connection.open(call.route, left)
      if not fresh then
        return nil, err
      end
      sock, left = fresh, math.max(deadline - now(), 0.001)
    end
    local ok, response, err, dead = pcall(attempt, sock, call, left)
    if not ok then -- cancelled, or the function that gives the body has failed
      sock:close()
      error(response, 0)
    elseif response or not (dead and pooled and call.repeatable) then
      return response, err
    end
    sock, pooled, left = nil, false, deadline - now()
  end
end

-- ---- Retries and redirects ------------------------------------------------------------------------------------------

---Whether asking again may help.
---@param response heart.http.response?
---@param err string?
local function is_passing(response, err)
  if response then
    return BUSY[response.status]
  end
  return not err:find("too large", 1, true) and not err:find("^bad ") and not err:find("certificate", 1, true)
end

---@param call heart.http.call
---@param deadline number
---@return heart.http.response?
---@return string? err
local function ask_again(call, deadline)
  for turn = 1, math.huge do
    local response, err = ask(call, deadline)
    if turn > call.retries or not call.repeatable or not is_passing(response, err) then
      return response, err
    end
    local pause = math.min(BACKOFF_MAX, BACKOFF * 2 ^ (turn - 1)) * (0.5 + math.random() / 2)
    local asked = response and tonumber(response.headers["retry-after"])
    pause = math.max(pause, asked or 0)
    if now() + pause >= deadline then
      return response, err
    end
    if response then
      response:close()
    end
    core.sleep(pause)
  end
end

---Give the connection of a response that nobody will read back, if little is left.
---@param response heart.http.response
local function drain(response)
  local total = 0
  while response.reader and total < DRAINED_MAX do
    local part = response.reader()
    if not part then
      return
    end
    total = total + #part
  end
  response:close()
end

---@param call heart.http.call
---@return heart.http.response?
---@return string? err
local function perform(call)
  local deadline = now() + call.timeout
  local response, err
  for turn = 0, math.huge do
    if call.retries > 0 then
      response, err = ask_again(call, deadline)
    else
      response, err = ask(call, deadline)
    end
    if not response then
      return nil, err
    end
    if call.jar then
      for _, text in ipairs(response:values("set-cookie")) do
        call.jar:set(call.target, text)
      end
    end
    local location = REDIRECT[response.status] and call.redirects > 0 and field_of(response.head, "location")
    if not location then
      return response
    end
    local follows, why = requests.redirect(call, response.status, location)
    if follows and type(follows.body) == "function" then
      return response
    end
    drain(response)
    if not follows then
      return nil, why
    elseif turn == call.redirects then
      return nil, "too many redirects"
    end
    call = follows
  end
end

-- ---- The module ----------------------------------------------------------------------------------------------------

---@param call heart.http.call?
---@param err string?
---@return heart.http.response?
---@return string? err
local function run(call, err)
  if not call then
    return nil, err
  end
  return perform(call)
end

---Send a request and wait for the response.
---@param options string|heart.http.options a URL, or a table with one
---@return heart.http.response?
---@return string? err "timeout", "connection refused", "closed", "host not found", "body too large", "bad URL", ...
function M.request(options)
  if type(options) == "string" then
    return run(requests.write_plain(options))
  elseif type(options) ~= "table" then
    error(("http.request: expected a URL or a table, got %s"):format(type(options)), 2)
  end
  requests.check_options(options, 2)
  return run(requests.write_options(options))
end

---@param method string
---@return fun(url: string, options?: heart.http.options): heart.http.response?, string?
local function verb(method)
  return function(url, options)
    if type(url) ~= "string" then
      error(("http: expected a URL, got %s"):format(type(url)), 2)
    elseif not options and method == "GET" then
      return run(requests.write_plain(url))
    end
    if options ~= nil and type(options) ~= "table" then
      error(("http: expected a table of options, got %s"):format(type(options)), 2)
    end
    local all = { url = url, method = method }
    for name, value in pairs(options or {}) do
      all[name] = value
    end
    requests.check_options(all, 2)
    return run(requests.write_options(all))
  end
end

M.get = verb("GET")
M.head = verb("HEAD")
M.post = verb("POST")
M.put = verb("PUT")
M.patch = verb("PATCH")
M.delete = verb("DELETE")

---A new jar for the option `jar`: it keeps what responses set, and sends what fits.
---@return heart.http.jar
function M.jar()
  return cookies.new()
end

return M
