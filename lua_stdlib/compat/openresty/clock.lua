---Times of ngx: now, time, today, localtime, utctime, http_time, cookie_time, parse_http_time. They are never cached,
---so update_time has nothing to do.
local M = {}

local ffi = require("ffi")

-- Names of our own: another module may have declared the system's.
ffi.cdef([[
typedef struct { long seconds; long nanoseconds; } compat_openresty_timespec;
int clock_gettime(int, void *);
]])

local CLOCK_REALTIME = 0
local DAYS = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }
local MONTHS = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }
local LAST = 253402300799 -- the last second of the year 9999
local COOKIE_LONG_YEAR = 2037 -- later years have four digits in a cookie

local now = ffi.new("compat_openresty_timespec")
---@type table<string, integer>
local month_of = {}
for i, name in ipairs(MONTHS) do
  month_of[name:lower()] = i
end

---@return number seconds since 1970, with milliseconds
function M.now()
  ffi.C.clock_gettime(CLOCK_REALTIME, now)
  return tonumber(now.seconds) + math.floor(tonumber(now.nanoseconds) / 1000000) / 1000
end

---@return integer seconds since 1970
function M.time()
  return os.time()
end

function M.update_time() end

---@return string "2010-11-18", local time
function M.today()
  return os.date("%Y-%m-%d") --[[@as string]]
end

---@return string "2010-11-18 11:27:35"
function M.localtime()
  return os.date("%Y-%m-%d %H:%M:%S") --[[@as string]]
end

---@return string
function M.utctime()
  return os.date("!%Y-%m-%d %H:%M:%S") --[[@as string]]
end

---@param seconds number
---@return osdate
local function calendar(seconds)
  if type(seconds) ~= "number" then
    error("number argument only", 3)
  end
  seconds = math.floor(math.min(math.max(seconds, 0), LAST))
  return os.date("!*t", seconds) --[[@as osdate]]
end

---@param seconds number
---@return string "Thu, 18 Nov 2010 11:27:35 GMT"
function M.http_time(seconds)
  local d = calendar(seconds)
  local form = "%s, %02d %s %04d %02d:%02d:%02d GMT"
  return form:format(DAYS[d.wday], d.day, MONTHS[d.month], d.year, d.hour, d.min, d.sec)
end

---@param seconds number
---@return string "Thu, 18-Nov-10 11:27:35 GMT"
function M.cookie_time(seconds)
  local d = calendar(seconds)
  local year = d.year > COOKIE_LONG_YEAR and d.year or ("%02d"):format(d.year % 100)
  local form = "%s, %02d-%s-%s %02d:%02d:%02d GMT"
  return form:format(DAYS[d.wday], d.day, MONTHS[d.month], year, d.hour, d.min, d.sec)
end

-- The three forms of RFC 9110 section 5.6.7. What stands behind the time is not looked at, as in nginx.
local FORMS = {
  { "^%a+, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d)", { 1, 2, 3, 4, 5, 6 } },
  { "^%a+, (%d%d)%-(%a%a%a)%-(%d%d) (%d%d):(%d%d):(%d%d)", { 1, 2, 3, 4, 5, 6 } },
  { "^%a+ (%a%a%a) ([ %d]%d) (%d%d):(%d%d):(%d%d) (%d%d%d%d)", { 2, 1, 6, 3, 4, 5 } },
}

---Days since 1970 of a date in the Gregorian calendar.
---@return integer
local function days_since(year, month, day)
  if month <= 2 then
    year, month = year - 1, month + 12
  end
  local years = 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  return years + math.floor(306 * (month + 1) / 10) + day - 719591
end

---@param day integer
---@return boolean
local function is_date(year, month, day)
  local next_year, next_month = year, month + 1
  if month == 12 then
    next_year, next_month = year + 1, 1
  end
  return day >= 1 and day <= days_since(next_year, next_month, 1) - days_since(year, month, 1)
end

---@param text string
---@return integer? seconds since 1970; nil: it is no time
function M.parse_http_time(text)
  if type(text) ~= "string" then
    error("string argument only", 2)
  end
  for _, form in ipairs(FORMS) do
    local found = { text:match(form[1]) }
    if found[1] then
      local value = {}
      for i, at in ipairs(form[2]) do
        value[i] = tonumber(found[at]) or month_of[found[at]:lower()]
      end
      local day, month, year, hour, minute, second = unpack(value, 1, 6)
      if #found[form[2][3]] == 2 then
        year = year + (year < 70 and 2000 or 1900)
      end
      if not month or not is_date(year, month, day) or hour > 23 or minute > 59 or second > 59 then
        return nil
      end
      return days_since(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
    end
  end
  return nil
end

return M
