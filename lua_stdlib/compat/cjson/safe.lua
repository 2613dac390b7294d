---cjson whose encode and decode return nil and a message where those of `cjson` raise an error.
---@type cjson
local M = require("heart.cjson")(true)

return M
