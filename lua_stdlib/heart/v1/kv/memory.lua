---Keys and values in the memory of the server: shared by all workers and reloads, gone when the server ends.
---`--kv-memory` bounds it. See docs/kv.md.
local core = require("heart.core")

return require("heart.kv").new(core.kv_memory())
