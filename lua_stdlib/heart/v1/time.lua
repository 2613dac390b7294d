---Clocks, and times as text: the dates of HTTP (RFC 9110) and ISO 8601 (RFC 3339). Times are Unix times in seconds;
---texts are in UTC.
---@class heart.time
local M = {}

local core = require("heart.core").random

local floor = math.floor
local DAY = 86400
local WEEKDAYS = { "Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed" } -- from 1 January 1970 on
local MONTHS = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }
local LENGTHS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
local FIRST, LAST = -62167219200, 253402300799 -- the years 0 to 9999, which both formats can write

---The time, with a fraction. It may be set back; use `monotonic` to measure.
---@type fun(): number
M.now = core.wall

---Seconds since some moment, with a fraction. Never set back.
---@type fun(): number
M.monotonic = core.monotonic

---Days from 1 January 1970 to a day of the Gregorian calendar: years begin in March here, so that the day that not
---every year has is the last one.
---@param year integer
---@param month integer
---@param day integer
local function days_of(year, month, day)
  if month <= 2 then
    year, month = year - 1, month + 12
  end
  local leap_days = floor(year / 4) - floor(year / 100) + floor(year / 400)
  return 365 * year + leap_days + floor((153 * month - 457) / 5) + day - 719469
end

---@param days integer since 1 January 1970
---@return integer year
---@return integer month
---@return integer day
local function date_of(days)
  local z = days + 719468
  local era = floor(z / 146097) -- of 400 years
  local rest = z - era * 146097
  local year = floor((rest - floor(rest / 1460) + floor(rest / 36524) - floor(rest / 146096)) / 365)
  local of_year = rest - (365 * year + floor(year / 4) - floor(year / 100))
  local month = floor((5 * of_year + 2) / 153)
  local day = of_year - floor((153 * month + 2) / 5) + 1
  return year + era * 400 + (month >= 10 and 1 or 0), month < 10 and month + 3 or month - 9, day
end

---@param name string what was called
---@param t number?
---@return number
local function check_time(name, t)
  if t == nil then
    return core.wall()
  end
  if type(t) ~= "number" or not (t >= FIRST and t < LAST + 1) then
    error(("%s: expected a Unix time of the years 0 to 9999, got %s"):format(name, tostring(t)), 3)
  end
  return t
end

---@param name string what was called
---@param text any
local function check_text(name, text)
  if type(text) ~= "string" then
    error(("%s: expected a string, got %s"):format(name, type(text)), 3)
  end
end

---Unix time of a moment in UTC; nil if the calendar does not have it. A leap second counts as the one after it.
local function moment(year, month, day, hour, minute, second)
  if not (year and month and day and hour and minute and second) or month < 1 or month > 12 or day < 1 then
    return nil
  end
  local leap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
  if day > LENGTHS[month] + (month == 2 and leap and 1 or 0) or hour > 23 or minute > 59 or second > 60 then
    return nil
  end
  return days_of(year, month, day) * DAY + hour * 3600 + minute * 60 + second
end

-- ---- HTTP ---------------------------------------------------------------------------------------------------------

---A date as HTTP writes it: "Sun, 06 Nov 1994 08:49:37 GMT".
---@param t? number (now)
---@return string
function M.http(t)
  t = floor(check_time("http", t))
  local days = floor(t / DAY)
  local year, month, day = date_of(days)
  local s = t - days * DAY
  return ("%s, %02d %s %04d %02d:%02d:%02d GMT"):format(
    WEEKDAYS[days % 7 + 1],
    day,
    MONTHS[month],
    year,
    floor(s / 3600),
    floor(s / 60) % 60,
    s % 60
  )
end

local MONTH_NUMBERS = {}
for i, name in ipairs(MONTHS) do
  MONTH_NUMBERS[name] = i
end

---Read a date of HTTP, in any of its three forms (RFC 9110, section 5.6.7).
---@param text string
---@return integer? t nil: it is none
function M.parse_http(text)
  check_text("parse_http", text)
  local day, month, year, h, m, s = text:match("^%a%a%a, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$")
  if not day then
    day, month, year, h, m, s = text:match("^%a+day, (%d%d)%-(%a%a%a)%-(%d%d) (%d%d):(%d%d):(%d%d) GMT$")
    if year then -- two digits: what seems more than 50 years ahead was in the last century
      local now = date_of(floor(core.wall() / DAY))
      local full = floor(now / 100) * 100 + tonumber(year)
      year = full > now + 50 and full - 100 or full
    end
  end
  if not day then
    month, day, h, m, s, year = text:match("^%a%a%a (%a%a%a) ([ %d]%d) (%d%d):(%d%d):(%d%d) (%d%d%d%d)$")
  end
  return moment(tonumber(year), MONTH_NUMBERS[month], tonumber(day), tonumber(h), tonumber(m), tonumber(s))
end

-- ---- ISO 8601 -----------------------------------------------------------------------------------------------------

---A time as ISO 8601 and RFC 3339 write it: "1994-11-06T08:49:37Z".
---@param t? number (now)
---@param digits? integer of the fraction, 0 to 6 (0)
---@return string
function M.iso(t, digits)
  t = check_time("iso", t)
  digits = digits or 0
  if type(digits) ~= "number" or digits < 0 or digits > 6 or digits % 1 ~= 0 then
    error("iso: expected 0 to 6 digits", 2)
  end
  local whole = floor(t)
  local days = floor(whole / DAY)
  local year, month, day = date_of(days)
  local s = whole - days * DAY
  local fraction = ""
  if digits > 0 then -- cut off, not rounded: no moment is written that has not come yet
    fraction = ("." .. "%0" .. digits .. "d"):format(floor((t - whole) * 10 ^ digits))
  end
  return ("%04d-%02d-%02dT%02d:%02d:%02d%sZ"):format(
    year,
    month,
    day,
    floor(s / 3600),
    floor(s / 60) % 60,
    s % 60,
    fraction
  )
end

---Read a time of RFC 3339, with "Z" or an offset, or a date alone: its first moment in UTC.
---@param text string
---@return number? t nil: it is none
function M.parse_iso(text)
  check_text("parse_iso", text)
  local year, month, day, rest = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$")
  if rest == "" then
    return moment(tonumber(year), tonumber(month), tonumber(day), 0, 0, 0)
  end
  local h, m, s, fraction, zone = (rest or ""):match("^[Tt ](%d%d):(%d%d):(%d%d)(%.?%d*)(.+)$")
  local t = moment(tonumber(year), tonumber(month), tonumber(day), tonumber(h), tonumber(m), tonumber(s))
  if not t or fraction == "." or (fraction ~= "" and fraction:sub(1, 1) ~= ".") then
    return nil
  end
  local sign, oh, om = zone:match("^([+-])(%d%d):(%d%d)$")
  if sign then
    if tonumber(oh) > 23 or tonumber(om) > 59 then
      return nil
    end
    t = t - (sign == "+" and 1 or -1) * (tonumber(oh) * 3600 + tonumber(om) * 60)
  elseif zone ~= "Z" and zone ~= "z" then
    return nil
  end
  return fraction == "" and t or t + tonumber("0" .. fraction)
end

return M
