---Keys and values on the disk: `--db` names the folder, `--kv-sync` says when a write is durable. The database is
---opened when an application first requires this. See docs/kv.md and docs/kv-disk.md.
local core = require("heart.core")

return require("heart.kv").new(core.kv_disk())
