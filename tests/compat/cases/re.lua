local match, find, gmatch, sub, gsub = ngx.re.match, ngx.re.find, ngx.re.gmatch, ngx.re.sub, ngx.re.gsub

case("named", match, "hello, 1234", "([0-9])(?<rest>[0-9]+)")
case("unmatched captures are false", match, "hello", "(w)?(h)?ello(x)?")
case("no match", match, "hello", "(x)")
case("empty pattern", match, "hello", "")
case("unknown flag", match, "hello", "h", "k")
case("missing parenthesis", match, "hello", "(abc")
case("duplicate names", match, "hello", "(?<a>h)|(?<a>e)", "D")
case("second of duplicate names", match, "ello", "(?<a>h)|(?<a>e)", "D")
case("duplicate names that both match", match, "he", "(?<a>h)(?<a>e)", "D")
case("duplicate names without D", match, "hello", "(?<a>h)|(?<a>e)")
case("unmatched name", match, "h", "(?<a>h)(?<b>x)?")
case("unmatched name with D", match, "h", "(?<a>h)(?<b>x)?", "D")
case("case", match, "HELLO", "hello", "i")
case("dot", match, "a\nb", "a.b")
case("dot with s", match, "a\nb", "a.b", "s")
case("line", match, "a\nb", "^b$")
case("line with m", match, "a\nb", "^b$", "m")
case("extended", match, "ab", "a b # a comment", "x")
case("anchored", match, "ab", "b", "a")
case("utf", match, "åb", "^.b", "u")
case("bytes", match, "åb", "^.b")
case("utf unchecked", match, "\255\254", ".", "U")
case("javascript", match, "a", "a[]|a", "J")
case("longest alternative", match, "abcabc", "abc|abcabc", "d")
case("first alternative", match, "abcabc", "abc|abcabc")
case("no captures with d", match, "abcabc", "(abc)+", "d")
case("jit", match, "hello 42", "([0-9]+)", "jo")
case("once", match, "hello 43", "([0-9]+)", "o")
case("once again", match, "hello 44", "([0-9]+)", "o")
case("number as subject", match, 12345, "34")
case("nil as subject", match, nil, "nil")
case("pos", match, "hello", "l", "", { pos = 3 })
case("pos at the end", match, "hello", "", "", { pos = 6 })
case("pos 0", match, "hello", "h", "", { pos = 0 })
case("negative pos", match, "hello", "h", "", { pos = -3 })
for _, start in ipairs({ 1, 2, 4 }) do
  local ctx = { pos = start }
  case("pos " .. start, match, "abcb", "b", "", ctx)
  case("then", function()
    return ctx
  end)
end
case("table for the result", match, "abc", "(b)", "", nil, { foo = 1 })
case("table with remains", match, "abc", "(b)(x)?", "jo", nil, { 7, 8, 9 })

case("find", find, "hello", "l+")
case("find nothing", find, "hello", "x")
case("find a capture", find, "hello", "(l)(o)", "jo", nil, 2)
case("find a capture that is none", find, "hello", "(l)(o)", "jo", nil, 3)
case("find an unmatched capture", find, "hello", "(x)?h", "", nil, 1)
case("find an unmatched capture at the end", find, "hello", "h(x)?", "", nil, 1)
case("find the empty text", find, "hello", "")
local at = { pos = 2 }
case("find from pos", find, "hello", "", "", at)
case("pos stays", function()
  return at
end)
case("find with a bad pattern", find, "hello", "(")

local function all(subject, pattern, options)
  local it, err = gmatch(subject, pattern, options)
  if not it then
    return it, err
  end
  local out = {}
  for i = 1, 12 do
    local m, why = it()
    out[i] = m or tostring(why)
    if not m then
      break
    end
  end
  return out
end
case("words", all, "hello, world!", "([a-z]+)", "i")
case("empty matches", all, "abc", "")
case("empty and other matches", all, "baaac", "a*")
case("empty matches, bytes", all, "åb", "")
case("beginnings of lines", all, "a\nb", "^", "m")
case("gmatch with names", all, "aXb", "(?<n>[a-z])", "j")
case("gmatch anchored", all, "abcab", "a", "a")
case("gmatch with a bad pattern", all, "abc", "(")
case("gmatch with an unknown flag", all, "abc", "a", "k")
case("gmatch after its end", function()
  local it = gmatch("abc", "b")
  return it(), it(), it()
end)

case("sub", sub, "hello, 1234", "([0-9])[0-9]", "[$0][$1]")
case("sub without a match", sub, "hello", "x", "y")
case("gsub", gsub, "hello, world", "([a-z])[a-z]+", "[$0,$1]", "i")
for _, template in ipairs({
  "${0}x",
  "$$",
  "$5x",
  "$123",
  "$0$0\\$0",
  "${0}${1}",
  "",
  "-",
  "$1",
  "a$$b$0",
  "$",
  "${1",
  "$n",
  "${n}",
  "${}",
  "${0x}",
  "a$-b",
  "$ 0",
}) do
  case("template " .. template, gsub, "hello", "(l)", template)
end
case("number as replacement", gsub, "hello", "l", 5)
case("boolean as replacement", gsub, "hello", "l", true)
case("unmatched capture in a template", gsub, "hello", "(l)(x)?", "[$2$1]")
case("function", gsub, "hello", "l", function(m)
  return "[" .. m[0] .. "]"
end)
case("function gives a number", gsub, "hello", "l", function()
  return 5
end)
case("function gives nothing", gsub, "hello", "l", function()
  return nil
end)
case("function with names", gsub, "a.b.c", "(?<x>[a-z])", function(m)
  return m.x:upper()
end, "jo")
case("function that matches meanwhile", gsub, "abc", "[a-z]", function(m)
  return match("xyz", "(.)(.)(.)")[3] .. m[0]
end)
case("function that fails", gsub, "hello", "l", function()
  error("boo", 0)
end)
case("empty matches are replaced", gsub, "hello", "", "-")
case("empty matches, bytes are replaced", gsub, "åb", "", "-")
case("empty and other matches are replaced", gsub, "hello", "l*", "-")
case("lookahead", gsub, "hello", "(?=l)", "-")
case("beginnings of lines are replaced", gsub, "a\nb", "^", ">", "m")
case("number as subject of gsub", gsub, 123, "2", "x")
case("gsub with a bad pattern", gsub, "hello", "(", "-")
case("sub with an unknown flag", sub, "hello", "l", "x", "k")
case("gsub of bytes that are no UTF-8", function()
  local text, n, err = gsub("\255", ".", "x", "u")
  return text, n, err:match("^pcre_exec%(%) failed: ")
end)

local split = require("ngx.re").split
case("split", split, "a,b,c,d", ",")
case("split with a capture", split, "a,b,c,d", "(,)")
case("split at most", split, "a,b,c,d", ",", nil, nil, 2)
case("split at most 1", split, "a,b", ",", nil, nil, 1)
case("split at most 0", split, "a,b", ",", nil, nil, 0)
case("split characters", split, "abc", "")
case("split characters at most", split, "abcd", "", nil, nil, 2)
case("empty pieces", split, ",a,,b,,", ",")
case("empty pieces with a limit", split, "a,b,c,,", ",", nil, nil, 10)
case("nothing but separators", split, ",,", ",")
case("split the empty text", split, "", ",")
case("split from pos", split, "a,b,c", ",", nil, { pos = 3 })
case("split from a separator", split, "a,b,c", ",", nil, { pos = 4 })
case("split behind the end", split, "abcd", "b", nil, { pos = 10 })
case("split with captures of which one matches", split, "aXbxc", "(x)|(y)", "i")
case("split into a table", split, "a,b,c", ",", "jo", nil, 3, { 1, 2, 3, 4, 5, 6 })
case("split without a separator", split, "ab", ",")
case("split before a letter", split, "abcd", "(?=c)")
case("split at words", split, "ab cd", "\\b")
case("split with an empty capture", split, "abc", "()")
case("split the whole", split, "a", "a")
