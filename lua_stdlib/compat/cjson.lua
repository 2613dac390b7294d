---@type cjson
local M = require("heart.cjson")(false)

return M
