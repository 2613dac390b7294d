local bytes = {}
for code = 0, 255 do
  bytes[#bytes + 1] = string.char(code)
end
bytes = table.concat(bytes)

for _, kind in ipairs({ 0, 1, 2 }) do
  case("escape " .. kind, ngx.escape_uri, bytes, kind)
end
case("escape", ngx.escape_uri, bytes)
case("escape a number", ngx.escape_uri, 123)
case("escape nil", ngx.escape_uri, nil)
case("escape true", ngx.escape_uri, true)
case("escape an unknown kind", ngx.escape_uri, "a", 7)
for _, text in ipairs({
  "a%20b+c%2bd%zz%4%",
  "%41%C3%A5%00x",
  "%c3%A5%aA%Aa",
  "a?b+c%20?d+e",
  "%4",
  "%4g1",
  "%%41",
  "",
}) do
  case("unescape " .. text, ngx.unescape_uri, text)
end
case("unescape a number", ngx.unescape_uri, 12)
case("unescape nil", ngx.unescape_uri, nil)

local function sorted(args)
  local parts = {}
  for part in ngx.encode_args(args):gmatch("[^&]+") do
    parts[#parts + 1] = part
  end
  table.sort(parts)
  return parts
end
case("encode", sorted, { foo = 3, ["b r"] = "hello world" })
case("encode lists and booleans", sorted, { a = { 1, "b c", true }, b = true, c = false })
case("encode a list with false", sorted, { a = { 1, false, 2 } })
case("encode a table with names", sorted, { a = { b = 1 } })
case("encode reserved characters", ngx.encode_args, { ["a&=?"] = "/ +:,@!*'()" })
case("encode nothing", ngx.encode_args, {})
case("encode an empty list", ngx.encode_args, { a = {} })
case("encode a list", ngx.encode_args, { "x" })
case("encode a boolean key", ngx.encode_args, { [true] = 1 })
case("encode a function", ngx.encode_args, { a = print })
case("encode a nested table", ngx.encode_args, { a = { {} } })
case("encode null", ngx.encode_args, { a = ngx.null })
case("encode a text", ngx.encode_args, "x")
for _, text in ipairs({
  "a=1&b=2&a=3&c&d=&=x&&e=%20+%zz",
  "",
  "a=b=c",
  "a;b=1",
  "a&a&a=1",
  "a%3d=b%26",
  "=",
  "&=&a",
  "+=1&%=2",
  "a=1&&",
  "&&&",
  "a[]=1&a[]=2",
}) do
  case("decode " .. text, ngx.decode_args, text)
end
for _, max in ipairs({ -1, 0, 1, 2, 3, 4 }) do
  case("decode at most " .. max, ngx.decode_args, "a=1&b=2&c=3", max)
end
case("decode at most 1 of one and separators", ngx.decode_args, "a=1&&", 1)
case("decode a number", ngx.decode_args, 5)
case("decode nil", ngx.decode_args, nil)
case("decode many", function()
  local args, err = ngx.decode_args(("k=v&"):rep(120))
  return #args.k, err
end)

case("base64", ngx.encode_base64, bytes)
for _, text in ipairs({ "", "f", "fo", "foo", "foob" }) do
  case("base64 " .. text, ngx.encode_base64, text)
  case("unpadded " .. text, ngx.encode_base64, text, true)
end
case("base64 of a number", ngx.encode_base64, 1234)
case("base64 of nil", ngx.encode_base64, nil)
case("base64 of true", ngx.encode_base64, true)
case("base64 with a bad flag", ngx.encode_base64, "a", 1)
for _, text in ipairs({
  "aGVsbG8=",
  "aGVsbG8",
  "aGVsbG",
  "aGVsb",
  "aGVs bG8=",
  "aGVsbG8=xx",
  "=",
  "",
  "a",
  "a===",
  "aGVsbG8==",
  "aGV-_w==",
  "YQ==YQ==",
  "\n",
  "YR",
  "+/+/",
  "\255\255\255\255",
}) do
  case("decode " .. text, ngx.decode_base64, text)
end
case("decode base64 of a number", ngx.decode_base64, 1234)
case("decode base64 of nil", ngx.decode_base64, nil)
local url = require("ngx.base64")
case("for URLs", url.encode_base64url, "\255\254\253?")
case("for URLs, a number", url.encode_base64url, 12)
case("for URLs, nil", url.encode_base64url, nil)
for _, text in ipairs({ "__79Pw", "_+", "a", "YQ==", "YQ=", "" }) do
  case("for URLs back " .. text, url.decode_base64url, text)
end
case("for URLs back, nil", url.decode_base64url, nil)

for _, name in ipairs({ "md5", "md5_bin", "sha1_bin", "crc32_short", "crc32_long" }) do
  for _, value in ipairs({ "", "hello", bytes, 12, true }) do
    case(name .. " " .. #tostring(value), ngx[name], value)
  end
  case(name .. " nil", ngx[name], nil)
end
case("hmac", ngx.hmac_sha1, "key", bytes)
case("hmac with a long key", ngx.hmac_sha1, bytes, "text")
case("hmac of numbers", ngx.hmac_sha1, 1, 2)
case("hmac of nothing", ngx.hmac_sha1, "", "")
case("hmac without a key", ngx.hmac_sha1, nil, "x")

for _, value in ipairs({ "a'b\"c\\d\0\b\n\r\t\26\1x%_$", 1, "", "åäö\127" }) do
  case("SQL", ngx.quote_sql_str, value)
end
case("SQL of nil", ngx.quote_sql_str, nil)
case("SQL of true", ngx.quote_sql_str, true)
