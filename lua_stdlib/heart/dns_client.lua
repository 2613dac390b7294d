-- Asks name servers (RFC 1035 section 4.2, RFC 7766): one question, several servers, several rounds, UDP and then TCP
-- for an answer that did not fit. Knows no files and no cache.
-- An answer counts only if it comes from the server that was asked, to the port (chosen at random by the kernel) and
-- with the number (random, too) of the question, and repeats the question.

local core = require("heart.core")
local message = require("heart.dns_message")
local random = require("heart.v1.random")

local M = {}

local SLOW_SECONDS = 30
local UDP_MAX = 65535
local STRANGERS_A_TURN = 16
local NOT_THERE = { [0] = true, [3] = true }

---@class heart.dns.question
---@field name string as sent, lower case
---@field type integer
---@field id integer
---@field packet string

---@param found heart.dns.message
---@param question heart.dns.question
local function answers(found, question)
  return found.response and found.id == question.id and found.type == question.type and found.name == question.name
end

---Read datagrams until the answer is among them.
---@return heart.dns.message?
---@return string? err
local function receive(sock, question)
  local strangers = 0
  while true do
    local data, err = sock:receivefrom(UDP_MAX)
    if not data then
      return nil, err
    end
    local found = message.decode(data)
    if found and answers(found, question) then
      return found
    elseif not found and data:sub(1, 2) == question.packet:sub(1, 2) then
      return nil, "malformed answer"
    end
    strangers = strangers + 1
    if strangers % STRANGERS_A_TURN == 0 then
      core.sleep(0)
    end
  end
end

---@param server heart.dns.server
---@param question heart.dns.question
---@param seconds number
---@return heart.dns.message?
---@return string? err
local function ask_udp(server, question, seconds)
  local sock, err = core.socket.udp({ address = server.address, port = server.port })
  if not sock then
    return nil, err
  end
  sock:deadline(seconds)
  local found
  local sent, why = sock:send(question.packet)
  if sent then
    found, why = receive(sock, question)
  end
  sock:close()
  return found, why
end

---@return heart.dns.message?
---@return string? err
local function ask_tcp(server, question, seconds)
  local sock, err =
    core.socket.connect({ kind = "tcp", address = server.address, port = server.port, timeout = seconds })
  if not sock then
    return nil, err
  end
  sock:deadline(seconds)
  local n = #question.packet
  local sent, why = sock:send({ string.char(math.floor(n / 256), n % 256), question.packet })
  local head, data, found
  if sent then
    head, why = sock:receive(2)
  end
  if head then
    data, why = sock:receive(head:byte(1) * 256 + head:byte(2))
  end
  sock:close()
  if data then
    found = message.decode(data)
    if not found or not answers(found, question) then
      found, why = nil, "malformed answer"
    end
  end
  return found, why
end

---@param name string
---@param type integer
---@param size integer?
---@return heart.dns.question?
local function new_question(name, type, size)
  local id = random.integer(0, 65535)
  local packet = message.encode(id, name, type, size)
  return packet and { name = message.canonical(name), type = type, id = id, packet = packet }
end

---Ask one server, by TCP where it must be.
---@param config heart.dns.config
---@return heart.dns.message?
---@return string? err
local function ask(config, server, name, type)
  local question = new_question(name, type, config.size)
  local found, err
  if config.tcp then
    return ask_tcp(server, question, config.timeout)
  end
  found, err = ask_udp(server, question, config.timeout)
  if found and found.code == 1 and config.size then -- it does not know EDNS(0)
    question = new_question(name, type)
    found, err = ask_udp(server, question, config.timeout)
  end
  if found and found.truncated then
    local whole = ask_tcp(server, question, config.timeout)
    -- Part of the addresses is better than none.
    if whole or #found.answers == 0 then
      return whole, "truncated answer"
    end
  end
  return found, err
end

local turn = 0

---The servers in the order in which to ask them: those that did not answer lately come last.
---@param config heart.dns.config
---@return heart.dns.server[]
local function in_order(config)
  local good, slow, n, now = {}, {}, #config.servers, core.now()
  turn = config.rotate and turn + 1 or 0
  for i = 0, n - 1 do
    local server = config.servers[(turn + i) % n + 1]
    local list = now < server.slow_until and slow or good
    list[#list + 1] = server
  end
  for _, server in ipairs(slow) do
    good[#good + 1] = server
  end
  return good
end

---Ask until a server knows the answer, be it that there is no such name.
---@param config heart.dns.config
---@param name string
---@param type integer
---@return heart.dns.message?
---@return string? err "bad host name", "timeout", "server failure", "refused", ...
function M.exchange(config, name, type)
  if not message.encode_name(name) then
    return nil, "bad host name"
  end
  local reason
  local servers = in_order(config)
  for _ = 1, config.attempts do
    for _, server in ipairs(servers) do
      local found, err = ask(config, server, name, type)
      if found and NOT_THERE[found.code] then
        server.slow_until = 0
        return found
      end
      if not found then
        server.slow_until = core.now() + SLOW_SECONDS
      end
      reason = found and (message.codes[found.code] or "server failure") or (reason or err)
    end
  end
  return nil, reason
end

return M
