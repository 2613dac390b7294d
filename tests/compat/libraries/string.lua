-- lua-resty-string: digests, ciphers and random bytes of libcrypto. env: prefix of its modules, digests of "hello".
local prefix = env.prefix
local text = require(prefix .. "string")
assert(text.to_hex("hello\255") == "68656c6c6fff")
assert(text.atoi("123") == 123 and text.atoi("x") == -1)
for name, expected in pairs(env.digests) do
  local digest = require(prefix .. name):new()
  assert(digest:update("hel") and digest:update("lo"))
  assert(text.to_hex(digest:final()) == expected, name)
  digest:reset()
end
assert(#require(prefix .. "random").bytes(16, true) == 16)
local aes = require(prefix .. "aes")
local box = assert(aes:new("a key", "saltsalt", aes.cipher(256, "cbc"), aes.hash.sha256, 3))
assert(box:decrypt(box:encrypt("a secret")) == "a secret")
local raw = assert(aes:new(("k"):rep(16), nil, aes.cipher(128, "cbc"), { iv = ("i"):rep(16) }))
assert(text.to_hex(raw:encrypt("hello")) == env.encrypted)
