-- lua-resty-lrucache. env: module.
for _, name in ipairs({ env.module, env.module .. ".pureffi" }) do
  local cache = assert(require(name).new(3))
  cache:set("a", 1)
  cache:set("b", { 2 }, 0.02)
  assert(cache:get("a") == 1 and cache:get("b")[1] == 2)
  ngx.sleep(0.03)
  local value, stale = cache:get("b")
  assert(value == nil and stale[1] == 2)
  for i = 1, 5 do
    cache:set(i, i)
  end
  assert(cache:get("a") == nil and cache:get(5) == 5)
  cache:delete(5)
  assert(cache:get(5) == nil)
  cache:flush_all()
  assert(cache:get(4) == nil)
end
