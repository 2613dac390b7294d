local TIMES =
  { 1290079655, 0, 2524608000, 915148800, 1.7, -5, 2 ^ 40, 253402300799, 253402300800, 2145916800, 951782400 }
for _, time in ipairs(TIMES) do
  case("http " .. time, ngx.http_time, time)
  case("cookie " .. time, ngx.cookie_time, time)
end
case("http text", ngx.http_time, "12")
case("http nil", ngx.http_time, nil)
for _, text in ipairs({
  "Thu, 18 Nov 2010 11:27:35 GMT",
  "Thursday, 18-Nov-10 11:27:35 GMT",
  "Thu Nov 18 11:27:35 2010",
  "Thu Nov  8 11:27:35 2010",
  "nope",
  "",
  "Thu, 18-Nov-2010 11:27:35 GMT",
  "Thu, 18-Nov-70 11:27:35 GMT",
  "Thu, 31 Feb 2010 11:27:35 GMT",
  "Mon, 29 Feb 2016 00:00:00 GMT",
  "Sun, 29 Feb 2015 00:00:00 GMT",
  "Thu, 18 Nov 1969 11:27:35 GMT",
  "Thu, 18 Nov 2010 24:27:35 GMT",
  "Thu, 18 Nov 2010 23:60:35 GMT",
  "Thu, 18 Nov 2010 11:27:35 UTC",
  "Thu, 18 Nov 2010 11:27:35",
  "Thu, 00 Nov 2010 11:27:35 GMT",
  "Thu, 30 Apr 2010 11:27:35 GMT",
  "Thu, 31 Apr 2010 11:27:35 GMT",
  "Fri, 31 Dec 9999 23:59:59 GMT",
}) do
  case("parse " .. text, ngx.parse_http_time, text)
end
case("parse nil", ngx.parse_http_time, nil)
case("forms", function()
  local _, now = ngx.update_time(), ngx.now()
  return math.abs(now - os.time()) < 2,
    math.abs(ngx.time() - now) < 2,
    now * 1000 % 1 < 0.001,
    ngx.today():match("^%d+-%d%d-%d%d$") ~= nil,
    ngx.localtime():match("^%d+-%d%d-%d%d %d%d:%d%d:%d%d$") ~= nil,
    #ngx.utctime()
end)
