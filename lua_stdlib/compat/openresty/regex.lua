---Compiled regular expressions (PCRE2) for ngx.re, and where they match. Not for captures as Lua sees them, which are
---made in re.lua.
---
---A match is bounded: a pattern that backtracks without end gives an error, and so does one that wants too much memory.
---The positions of a match live in memory that all patterns share; they are read before anything else runs.
local M = {}

local ffi = require("ffi")
local bit = require("bit")
local library = require("compat.openresty.library")

ffi.cdef([[
typedef struct pcre2_real_code_8 pcre2_code_8;
typedef struct pcre2_real_match_data_8 pcre2_match_data_8;
typedef struct pcre2_real_match_context_8 pcre2_match_context_8;
typedef struct pcre2_real_jit_stack_8 pcre2_jit_stack_8;
pcre2_code_8 *pcre2_compile_8(const char *, size_t, uint32_t, int *, size_t *, void *);
void pcre2_code_free_8(pcre2_code_8 *);
int pcre2_jit_compile_8(pcre2_code_8 *, uint32_t);
int pcre2_pattern_info_8(const pcre2_code_8 *, uint32_t, void *);
int pcre2_get_error_message_8(int, char *, size_t);
pcre2_match_data_8 *pcre2_match_data_create_8(uint32_t, void *);
void pcre2_match_data_free_8(pcre2_match_data_8 *);
size_t *pcre2_get_ovector_pointer_8(pcre2_match_data_8 *);
int pcre2_match_8(const pcre2_code_8 *, const char *, size_t, size_t, uint32_t, pcre2_match_data_8 *,
  pcre2_match_context_8 *);
int pcre2_dfa_match_8(const pcre2_code_8 *, const char *, size_t, size_t, uint32_t, pcre2_match_data_8 *,
  pcre2_match_context_8 *, int *, size_t);
pcre2_match_context_8 *pcre2_match_context_create_8(void *);
void pcre2_match_context_free_8(pcre2_match_context_8 *);
int pcre2_set_match_limit_8(pcre2_match_context_8 *, uint32_t);
int pcre2_set_heap_limit_8(pcre2_match_context_8 *, uint32_t);
pcre2_jit_stack_8 *pcre2_jit_stack_create_8(size_t, size_t, void *);
void pcre2_jit_stack_free_8(pcre2_jit_stack_8 *);
void pcre2_jit_stack_assign_8(pcre2_match_context_8 *, void *, void *);
]])

local lib = library.open("pcre2")

-- pcre2.h
local UTF, MATCH_INVALID_UTF = 0x00080000, 0x04000000
local NO_JIT = 0x00002000
local JIT_COMPLETE = 1
local INFO_ALLOPTIONS, INFO_CAPTURECOUNT, INFO_NAMECOUNT, INFO_NAMEENTRYSIZE, INFO_NAMETABLE = 0, 4, 17, 18, 19
local NOMATCH, JIT_STACKLIMIT = -1, -46

local MATCH_LIMIT = 1000000 -- steps of one match: tens of milliseconds
local HEAP_LIMIT = 65536 -- KiB that one match may take
local LONG = 65536 -- bytes; what the match of a longer text has taken is given back at once
local JIT_STACK_MIN, JIT_STACK_MAX = 32768, 1048576
local WORKSPACE = 4096 -- integers, for "d"
local CACHE_MAX = 1024 -- compiled patterns that "o" keeps, at most twice that for a while

M.NOMATCH = NOMATCH

-- The letters of ngx.re's options. "U" trusts the text to be UTF-8 in OpenResty, where bytes that are none make PCRE
-- read beyond its end; PCRE2 has a mode that needs no trust.
local COMPILE = {
  a = 0x80000000, -- ANCHORED
  i = 0x00000008, -- CASELESS
  m = 0x00000400, -- MULTILINE
  s = 0x00000020, -- DOTALL
  x = 0x00000080, -- EXTENDED
  D = 0x00000040, -- DUPNAMES
  J = 0x00000203, -- ALLOW_EMPTY_CLASS, ALT_BSUX, MATCH_UNSET_BACKREF
  u = UTF,
  U = UTF + MATCH_INVALID_UTF,
}
local OTHER = { d = "dfa", j = "jit", o = "once" }

---@class compat.openresty.flags
---@field compile integer
---@field dfa? boolean
---@field jit? boolean
---@field once? boolean
---@field duplicates? boolean names may occur more than once: their captures are lists

---@type table<string, compat.openresty.flags>
local parsed = {}

---@param options string
---@return compat.openresty.flags
local function parse(options)
  local flags = { compile = 0 }
  for letter in options:gmatch(".") do
    if COMPILE[letter] then
      flags.compile = bit.bor(flags.compile, COMPILE[letter])
      flags.duplicates = flags.duplicates or letter == "D"
    elseif OTHER[letter] then
      flags[OTHER[letter]] = true
    else
      error(('unknown flag "%s" (flags "%s")'):format(letter, options), 0)
    end
  end
  return flags
end

---@class compat.openresty.regex
---@field code ffi.cdata*
---@field count integer captures, the whole match included
---@field names [string, integer][]
---@field utf boolean
---@field flags compat.openresty.flags

---@param code ffi.cdata*
---@param what integer
---@param ctype string
---@return any
local function info(code, what, ctype)
  local value = ffi.new(ctype)
  lib.pcre2_pattern_info_8(code, what, value)
  return value[0]
end

---@param code ffi.cdata*
---@return [string, integer][]
local function names_of(code)
  local names = {}
  local size = info(code, INFO_NAMEENTRYSIZE, "uint32_t[1]")
  local entry = info(code, INFO_NAMETABLE, "const unsigned char *[1]")
  for i = 1, info(code, INFO_NAMECOUNT, "uint32_t[1]") do
    names[i] = { ffi.string(entry + 2), entry[0] * 256 + entry[1] }
    entry = entry + size
  end
  return names
end

---@param pattern string
---@param flags compat.openresty.flags
---@return compat.openresty.regex?
---@return string? err
local function compile(pattern, flags)
  local number, at = ffi.new("int[1]"), ffi.new("size_t[1]")
  local code = lib.pcre2_compile_8(pattern, #pattern, flags.compile, number, at, nil)
  if code == nil then
    local text = ffi.new("char[256]")
    lib.pcre2_get_error_message_8(number[0], text, 256)
    local message = ('pcre2_compile() failed: %s in "%s"'):format(ffi.string(text), pattern)
    local offset = tonumber(at[0])
    if offset < #pattern then
      message = ('%s at "%s"'):format(message, pattern:sub(offset + 1))
    end
    return nil, message
  end
  code = ffi.gc(code, lib.pcre2_code_free_8)
  if flags.jit and not flags.dfa then
    lib.pcre2_jit_compile_8(code, JIT_COMPLETE) -- without it the match is slower, that is all
  end
  return {
    code = code,
    count = info(code, INFO_CAPTURECOUNT, "uint32_t[1]") + 1,
    names = names_of(code),
    utf = bit.band(info(code, INFO_ALLOPTIONS, "uint32_t[1]"), UTF) ~= 0,
    flags = flags,
  }
end

-- What "o" keeps: when `young` is full it becomes `old`, and what is not used before the next change is gone.
local young, old, size = {}, {}, 0

---@param key string
---@param value any
local function keep(key, value)
  if size >= CACHE_MAX then
    old, young, size = young, {}, 0
  end
  young[key] = value
  size = size + 1
end

---@param key string
local function recall(key)
  local value = young[key]
  if not value then
    value = old[key]
    if value then
      keep(key, value)
    end
  end
  return value
end

---A pattern ready to match.
---@param pattern string
---@param options? string
---@return compat.openresty.regex?
---@return string? err
function M.get(pattern, options)
  options = options or ""
  local flags = parsed[options]
  if not flags then
    flags = parse(options)
    parsed[options] = flags
  end
  if not flags.once then
    return compile(pattern, flags)
  end
  local key = options .. "\0" .. pattern
  local regex, err = recall(key), nil
  if not regex then
    regex, err = compile(pattern, flags)
    if regex then
      keep(key, regex)
    end
  end
  return regex, err
end

-- ---- Matching ----------------------------------------------------------------------------------------------------

local context = ffi.gc(lib.pcre2_match_context_create_8(nil), lib.pcre2_match_context_free_8)
lib.pcre2_set_match_limit_8(context, MATCH_LIMIT)
lib.pcre2_set_heap_limit_8(context, HEAP_LIMIT)
local stack -- made with the first pattern that wants "j"
local room, pairs_of_room = nil, 0
local workspace

---@param count integer
local function new_room(count)
  return ffi.gc(lib.pcre2_match_data_create_8(count, nil), lib.pcre2_match_data_free_8)
end

---@param count integer captures
local function reserve(count)
  if count > pairs_of_room then
    pairs_of_room = math.max(count, 32)
    room = new_room(pairs_of_room)
  end
  return room
end

---@param regex compat.openresty.regex
---@param subject string
---@param start integer bytes
---@param data ffi.cdata*
---@return integer
local function run(regex, subject, start, data)
  local flags = regex.flags
  if flags.dfa then
    workspace = workspace or ffi.new("int[?]", WORKSPACE)
    return lib.pcre2_dfa_match_8(regex.code, subject, #subject, start, 0, data, context, workspace, WORKSPACE)
  end
  if flags.jit and not stack then
    stack = lib.pcre2_jit_stack_create_8(JIT_STACK_MIN, JIT_STACK_MAX, nil)
    if stack ~= nil then
      stack = ffi.gc(stack, lib.pcre2_jit_stack_free_8)
      lib.pcre2_jit_stack_assign_8(context, nil, stack)
    end
  end
  local rc = lib.pcre2_match_8(regex.code, subject, #subject, start, 0, data, context)
  if rc == JIT_STACKLIMIT then
    rc = lib.pcre2_match_8(regex.code, subject, #subject, start, NO_JIT, data, context)
  end
  return rc
end

---Look for a match from an offset on.
---@param regex compat.openresty.regex
---@param subject string
---@param start integer bytes before which nothing is looked for
---@return integer rc captures that may have matched, the whole match included, or an error < 0 (NOMATCH: none)
---@return ffi.cdata* ovector begin and end of each capture, as offsets; good until the next call
function M.exec(regex, subject, start)
  local data = reserve(regex.count)
  if #subject > LONG then
    data = new_room(regex.count)
    room, pairs_of_room = data, regex.count
  end
  local rc = run(regex, subject, start, data)
  if regex.flags.dfa and rc >= 0 then
    rc = 1 -- the longest match; the others are shorter ones, not captures
  end
  return rc, lib.pcre2_get_ovector_pointer_8(data)
end

---Where to look after a match: behind it, and behind one more character if it was empty.
---@param regex compat.openresty.regex
---@param subject string
---@param from integer offset of the match
---@param to integer its end
---@return integer
function M.after(regex, subject, from, to)
  if from ~= to then
    return to
  end
  to = to + 1
  while regex.utf and to < #subject and bit.band(subject:byte(to + 1), 0xC0) == 0x80 do
    to = to + 1
  end
  return to
end

return M
