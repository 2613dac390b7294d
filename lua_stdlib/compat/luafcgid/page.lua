---The pages that answer where no script does: 403, 404, 500.
local M = {}

local responses = require("compat.luafcgid.responses")

local TYPE = { ["Content-Type"] = "text/html; charset=utf-8" }
local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

---@param text string
local function escape(text)
  return (text:gsub("[&<>\"']", ENTITIES))
end

---What a handler returns.
---@param status integer
---@param text string a sentence
---@param details? string shown as it is
---@return integer status
---@return string body
---@return table<string, string> headers
function M.answer(status, text, details)
  local title = escape(responses[status])
  local more = details and "<pre>" .. escape(details) .. "</pre>\n" or ""
  local body = ("<!doctype html>\n<title>%s</title>\n<h1>%s</h1>\n<p>%s</p>\n%s"):format(
    title,
    title,
    escape(text),
    more
  )
  return status, body, TYPE
end

---A script has failed.
---@param message? string shown if it is given
function M.failed(message)
  return M.answer(500, "The script of this page has failed.", message)
end

return M
