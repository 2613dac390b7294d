---Cron schedules: five fields (minute, hour, day of the month, month, day of the week), as in crontab(5).
---   parse(text[, tz]) → schedule, or nil and the reason;   schedule:next(time) → the first time after `time`
---Nothing here waits or runs anything. Times are Unix times in whole seconds.
local M = {}

local MINUTE, HOUR, DAY = 60, 3600, 86400
local YEARS_MAX = 30 -- how far ahead is looked; 29 February on a certain weekday takes 28

local SHORT = {
  ["@yearly"] = "0 0 1 1 *",
  ["@annually"] = "0 0 1 1 *",
  ["@monthly"] = "0 0 1 * *",
  ["@weekly"] = "0 0 * * 0",
  ["@daily"] = "0 0 * * *",
  ["@midnight"] = "0 0 * * *",
  ["@hourly"] = "0 * * * *",
}

local function names(text, first)
  local list, i = {}, first
  for name in text:gmatch("%a+") do
    list[name], i = i, i + 1
  end
  return list
end

local FIELDS = {
  { name = "minute", min = 0, max = 59, names = {} },
  { name = "hour", min = 0, max = 23, names = {} },
  { name = "day of the month", min = 1, max = 31, names = {} },
  { name = "month", min = 1, max = 12, names = names("jan feb mar apr may jun jul aug sep oct nov dec", 1) },
  { name = "day of the week", min = 0, max = 7, names = names("sun mon tue wed thu fri sat", 0) },
}

---@param text string
---@param field table
---@return integer?
local function value_of(text, field)
  local value = field.names[text:lower()]
  if not value and text:find("^%d%d?$") then
    value = tonumber(text)
  end
  if value and value >= field.min and value <= field.max then
    return value
  end
  return nil
end

---Add what one part of a list means: "*", "5", "1-5", each with or without "/2". False: it is not valid.
local function add_part(set, part, field)
  local range, step = part:match("^([^/]+)/(%d%d?)$")
  step = tonumber(step or 1)
  range = range or part
  if step == 0 or range:find("/", 1, true) then
    return false
  end
  local first, last
  if range == "*" then
    first, last = field.min, field.max == 7 and 6 or field.max
  else
    local low, high = range:match("^(%w+)%-(%w+)$")
    first = value_of(low or range, field)
    last = high and value_of(high, field) or first
    if not first or (high and not value_of(high, field)) then
      return false
    end
    if not high and part ~= range then -- "5/10": from 5 on
      last = field.max == 7 and 6 or field.max
    end
  end
  if first > last then
    return false
  end
  for value = first, last, step do
    set[value] = true
  end
  return true
end

---@return table<integer, true>?
local function parse_field(text, field)
  local set = {}
  if text:find("^,") or text:find(",,", 1, true) or text:find(",$") then
    return nil
  end
  for part in text:gmatch("[^,]+") do
    if not add_part(set, part, field) then
      return nil
    end
  end
  return set
end

-- ---- The calendar, in UTC -----------------------------------------------------------------------------------------

---Days from 1 January 1970 to a date; a month beyond 12 belongs to the next year.
local function days_from(year, month, day)
  year, month = year + math.floor((month - 1) / 12), (month - 1) % 12 + 1
  local shifted = month <= 2 and year - 1 or year
  local era = math.floor(shifted / 400)
  local of_era = shifted - era * 400
  local of_year = math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  return era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
end

local UTC = {}
function UTC.date(time)
  return os.date("!*t", time)
end
function UTC.time(year, month, day)
  return days_from(year, month, day) * DAY
end

local LOCAL = {}
function LOCAL.date(time)
  return os.date("*t", time)
end
---The first moment of a day; where clocks are changed at midnight, the first that there is.
function LOCAL.time(year, month, day)
  return os.time({ year = year, month = month, day = day, hour = 0 })
end

-- ---- Schedules ----------------------------------------------------------------------------------------------------

---@class heart.cron.schedule
---@field private sets table<integer, true>[]
---@field private any_day boolean a day counts if one of both fields takes it
---@field private every_hour boolean
---@field private calendar table
local Schedule = {}
Schedule.__index = Schedule

function Schedule:takes_day(date)
  local by_month, by_week = self.sets[3][date.day], self.sets[5][date.wday - 1]
  if self.any_day then
    return by_month or by_week
  end
  return by_month and by_week
end

---Whether clocks were set back within the hour before, so that this time of day came already.
function Schedule:repeats(time, date)
  local before = self.calendar.date(time - HOUR)
  return before.hour == date.hour and before.day == date.day
end

---The first time after `time`, in whole minutes.
---@param time integer
---@return integer
function Schedule:next(time)
  local calendar, sets = self.calendar, self.sets
  time = time - time % MINUTE + MINUTE
  local limit = time + YEARS_MAX * 366 * DAY
  while time < limit do
    local date = calendar.date(time)
    if not sets[4][date.month] then
      time = calendar.time(date.year, date.month + 1, 1)
    elseif not self:takes_day(date) then
      time = math.max(calendar.time(date.year, date.month, date.day + 1), time + MINUTE)
    elseif not sets[2][date.hour] or (not self.every_hour and self:repeats(time, date)) then
      time = time + (60 - date.min) * MINUTE
    elseif not sets[1][date.min] then
      time = time + MINUTE
    else
      return time
    end
  end
  return math.huge
end

---Whether any day is ever taken: not 30 February.
local function has_a_day(sets, any_day)
  if any_day then
    return true
  end
  for month in pairs(sets[4]) do
    local days = month == 2 and 29 or (month == 4 or month == 6 or month == 9 or month == 11) and 30 or 31
    for day in pairs(sets[3]) do
      if day <= days then
        return true
      end
    end
  end
  return false
end

---@param text string
---@param tz? "UTC"|"local"
---@return heart.cron.schedule?
---@return string? reason
function M.parse(text, tz)
  if type(text) ~= "string" then
    return nil, 'expected a schedule like "*/5 * * * *"'
  end
  if tz ~= nil and tz ~= "UTC" and tz ~= "local" then
    return nil, 'tz: expected "UTC" or "local"'
  end
  local fields, sets = {}, {}
  for field in (SHORT[text:lower()] or text):gmatch("%S+") do
    fields[#fields + 1] = field
  end
  if #fields ~= 5 then
    return nil, ("%s: expected five fields: minute, hour, day of the month, month, day of the week"):format(text)
  end
  for i, field in ipairs(FIELDS) do
    sets[i] = parse_field(fields[i], field)
    if not sets[i] then
      return nil, ("%s: %s is no %s"):format(text, fields[i], field.name)
    end
  end
  if sets[5][7] then
    sets[5][0] = true
  end
  local any_day = fields[3]:sub(1, 1) ~= "*" and fields[5]:sub(1, 1) ~= "*"
  if not has_a_day(sets, any_day) then
    return nil, ("%s: there is no such day"):format(text)
  end
  local every_hour = fields[2]:sub(1, 1) == "*"
  local calendar = tz == "local" and LOCAL or UTC
  return setmetatable({ sets = sets, any_day = any_day, every_hour = every_hour, calendar = calendar }, Schedule)
end

return M
