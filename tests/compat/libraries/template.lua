-- lua-resty-template. env: module.
local template = require(env.module)
template.caching(false)
local view = "{% for i, name in ipairs(names) do %}{{i}}: {{name}}{* raw *}\n{% end %}{# a comment #}"
local text = template.process and template.process(view, { names = { "<a>", "b" }, raw = "<br>" })
  or template.compile(view)({ names = { "<a>", "b" }, raw = "<br>" })
assert(text:find("1: &lt;a&gt;<br>", 1, true) and text:find("2: b<br>", 1, true), text)
template.render("Hello, {{name}}!", { name = "World" })
assert(template.compile("{-raw-}{{a}}{-raw-}{-side-}{{a}}{-side-}{*blocks.side*}")({ a = 1 }) == "{{a}}1")
local page = template.new("{{a}}", "<b>{*view*}</b>")
page.a = "&"
assert(tostring(page) == "<b>&amp;</b>", tostring(page))
