-- The page of a fresh installation. /etc/heart/heart.conf says which application is served instead.
local app = require("heart.v1")

local PAGE = [[
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Heart is running</title>
<style>
  body { max-width: 40rem; margin: 15vh auto; padding: 0 1rem; font: 1.1rem/1.6 system-ui, sans-serif; color: #222; }
  h1 { font-weight: 600; }
  pre { padding: 1rem; overflow: auto; background: #f4f1ee; border-left: 3px solid #c33; font-size: .95rem; }
  @media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd; } pre { background: #242424; } }
</style>
<h1>Heart is running.</h1>
<p>This page is <code>/usr/share/heart/welcome/main.lua</code>. To serve an application of your own, put it below
<code>/srv</code>, name its script in <code>/etc/heart/heart.conf</code>, and restart the service:</p>
<pre>HEART_SCRIPT=/srv/shop/main.lua</pre>
<pre>systemctl restart heart</pre>
<p><code>man heart</code> tells the rest.</p>
</html>
]]

app.get("/", function(ctx)
  return ctx.html(PAGE)
end)
