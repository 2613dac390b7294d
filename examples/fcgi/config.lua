-- Configuration of `heart fcgi`, with the names of luafcgid2.
Listen = "127.0.0.1:9000"
WorkerThreads = 2
LuaStates = 1
LuaMaxStates = 4
MinFileInfoTime = 1000
MaxPostSize = 16384
DefaultContentType = "text/html; charset=utf-8"

-- nginx.conf has no TLS. With it, leave this line out.
SessionCookieSecure = false
SessionCookieSameSite = "Lax"

-- For the scripts: the global `Config`.
Config = {
  title = "Guest-book",
  most = 50,
}
