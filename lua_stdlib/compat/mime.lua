---MIME of LuaSocket: filters for ltn12 that encode, decode, wrap and normalize.
---@class mime: mime.core
local M = require("mime.core")

local choose = require("luasocket.choose")
local ltn12 = require("ltn12")

local cycle = ltn12.filter.cycle
local LINE = 76

M.encodet, M.decodet, M.wrapt = {}, {}, {}

M.encodet["base64"] = function()
  return cycle(M.b64, "")
end

M.encodet["quoted-printable"] = function(mode)
  return cycle(M.qp, "", mode == "binary" and "=0D=0A" or "\r\n")
end

M.decodet["base64"] = function()
  return cycle(M.unb64, "")
end

M.decodet["quoted-printable"] = function()
  return cycle(M.unqp, "")
end

M.wrapt["text"] = function(length)
  length = length or LINE
  return cycle(M.wrp, length, length)
end
M.wrapt["base64"] = M.wrapt["text"]
M.wrapt["default"] = M.wrapt["text"]

M.wrapt["quoted-printable"] = function()
  return cycle(M.qpwrp, LINE, LINE)
end

---A filter that encodes: "base64", or "quoted-printable" with the mode "text" or "binary".
M.encode = choose(M.encodet)
---A filter that decodes: "base64" or "quoted-printable".
M.decode = choose(M.decodet)
---A filter that breaks lines: "text", "base64", "quoted-printable", with the length of lines.
M.wrap = choose(M.wrapt)

---A filter that makes all line ends `marker`.
---@param marker? string (CRLF)
function M.normalize(marker)
  return cycle(M.eol, 0, marker)
end

---A filter that doubles the dots that begin lines.
function M.stuff()
  return cycle(M.dot, 2)
end

return M
