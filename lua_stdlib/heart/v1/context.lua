---The functions of `ctx` for the request that is being served: `context.path()` is `ctx.path()` of the running handler.
---@meta heart.v1.context

---@class heart.cookie
---@field path? string|false default "/"
---@field domain? string
---@field maxAge? integer seconds
---@field expires? integer Unix time
---@field secure? boolean
---@field httpOnly? boolean
---@field sameSite? "Lax"|"Strict"|"None"|false default "Lax"

---@class heart.ctx.body
---@field value string
---@field string fun(): string
---@field json fun(): table {} when the body is empty or not JSON

---What a handler is given. Functions are called with a dot. Missing things are "" where the function takes a name only
---to read (pathParam, queryParam, formParam, headers, cookies), as in Heart v1, and nil in the shorter forms (param,
---query, form, header, cookie), which also give a table of all without an argument.
---@class heart.ctx
---@field method fun(): string
---@field path fun(): string as received, not decoded
---@field protocol fun(): "http"|"https"
---@field host fun(): string lower case, with its port if one was given
---@field ip fun(): string
---@field pathParam fun(name: string): string
---@field param fun(name?: string): string|table<string, string>|nil
---@field queryParam fun(name: string): string
---@field query fun(name?: string): string|table<string, string>|nil
---@field formParam fun(name: string): string from the query, an urlencoded or a multipart body
---@field form fun(name?: string): string|table<string, string>|nil
---@field headers fun(name: string, value?: string): string with a value: sets a response header
---@field header fun(name?: string): string|table<string, string>|nil
---@field cookies fun(name: string, value?: string, attributes?: heart.cookie): string with a value: sets a cookie
---@field cookie fun(name?: string): string|table<string, string>|nil
---@field clearCookie fun(name: string, attributes?: heart.cookie)
---@field clearCookies fun() all that the client sent
---@field body fun(): heart.ctx.body
---@field bytes fun(): string the request body
---@field reader fun(): fun(): string?, string? the body part by part
---@field status fun(code: integer): heart.ctx
---@field set fun(name: string, value: string?): heart.ctx a response header
---@field json fun(value: any): string sets the type, returns the text
---@field text fun(s: string): string
---@field html fun(s: string): string
---@field redirect fun(location: string, status?: integer): string
---@field sse fun(fn: fun(events: heart.sse)) send server-sent events
---@field on_abort fun(fn?: fun()) runs fn in a task when the client leaves; without fn the handler is cancelled then
---@field stream fun(fn: fun(write: fun(part: string): boolean?, string?)) send the body part by part
---@field [string] any fields of your own, for the rest of the request

---@type heart.ctx
local context = require("heart.core").context

return context
