---JSON (RFC 8259): Lua values to text and back. Bad data raises an error that names the place in it.
---@class heart.json
local M = {}

local core = require("heart.core").json

---@class heart.json.encode_options
---@field depth? integer levels of nesting allowed, 1 to 2000 (1000)
---@field indent? integer spaces per level, 0 to 16; 0 writes one line (0)

---@class heart.json.decode_options
---@field depth? integer levels of nesting allowed, 1 to 2000 (1000)
---@field null? boolean null becomes `json.null` instead of nil (false)

---The JSON text of a value. A table with the keys 1 to n is an array, one with string keys an object, an empty one is
---`[]`. What JSON cannot hold, sparse arrays and cycles are errors that tell the path to the culprit.
---@type fun(value: any, options?: heart.json.encode_options): string
M.encode = core.encode

---The value of a JSON text. null becomes nil, so it is missing from its table.
---@type fun(text: string, options?: heart.json.decode_options): any
M.decode = core.decode

---What stands for null in tables: `encode` writes it, `decode` gives it if asked to.
---@type userdata
M.null = core.null

---Mark a table, or a new one, as an array: only integer keys are allowed.
---@type fun(t?: table): table
M.array = core.array

---Mark a table, or a new one, as an object: `{}` when empty, and number keys are written as strings.
---@type fun(t?: table): table
M.object = core.object

return M
