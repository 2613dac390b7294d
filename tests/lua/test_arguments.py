"""A wrong argument of a public function is told at the line that calls it, not at one of Heart's own."""

import pytest
from heart_server import Server

PRELUDE = """
local app = require("heart.v1")
local channel, dgram, dns = require("heart.v1.channel"), require("heart.v1.dgram"), require("heart.v1.dns")
local fs, http, json = require("heart.v1.fs"), require("heart.v1.http"), require("heart.v1.json")
local kv, disk = require("heart.v1.kv.memory"), require("heart.v1.kv.disk")
local log, process, random = require("heart.v1.log"), require("heart.v1.process"), require("heart.v1.random")
local shared, socket, task = require("heart.v1.shared"), require("heart.v1.socket"), require("heart.v1.task")
local time, websocket = require("heart.v1.time"), require("heart.v1.websocket")
local worker, zlib = require("heart.v1.worker"), require("heart.v1.zlib")
local deflater, inflater = zlib.deflater(), zlib.inflater()
local event, mutex, queue, semaphore = task.event(), task.mutex(), task.queue(1), task.semaphore(1)
local file, ctx, listener, udp, done
local told = {}
app.get("/", function(c)
  ctx, file = c, assert(fs.open("/dev/null", "r+"))
  listener, udp = assert(socket.listen("127.0.0.1:0", print)), assert(socket.udp())
  done = task.spawn(function() end)
  for i, call in ipairs(CALLS) do
    local ok, err = pcall(call)
    told[i] = ok and "no error" or tostring(err)
  end
  file:close()
  listener:close()
  udp:close()
end)
app.get("/told", function(c) return c.json(json.array(told)) end)
CALLS = {
"""
# What is called, and the message behind the place.
CALLS = {
    "app.get(1)": "get: path: expected a string, got number",
    'app.get("/x", 1)': "get /x: handler: expected a function, got number",
    "app.static(1)": "static: route: expected a string, got number",
    "app.use(1)": "use: prefix: expected a string, got number",
    "app.group(1)": "group: expected a string, got number",
    'app.on("x")': 'on: expected "start" or "stop", got x',
    "app.onerror(1)": "onerror: expected a function, got number",
    "app.notfound(1)": "notfound: expected a function, got number",
    'app.sleep("soon")': "bad argument #1 to 'sleep' (number expected, got string)",
    "app.ws(1)": "ws: path: expected a string, got number",
    'app.ws("/w", 1)': "ws: expected a function or a table of functions, got number",
    'task.sleep("soon")': "bad argument #1 to 'sleep' (number expected, got string)",
    "task.spawn(1)": "bad argument #1 to 'spawn' (function expected, got number)",
    "task.spawn()": "bad argument #1 to 'spawn' (function expected, got nil)",
    "task.join(1)": "bad argument #1 to 'join' (task expected, got number)",
    'task.join(done, "soon")': "bad argument #2 to 'join' (number expected, got string)",
    'done:join("soon")': "bad argument #1 to 'join' (number expected, got string)",
    "task.cancel(1)": "bad argument #1 to 'cancel' (expected a task)",
    "task.gather(1)": "gather: expected functions and tasks, got number",
    "task.gather({ 1 })": "gather: expected functions and tasks, got number",
    "task.race(1)": "race: expected functions and tasks, got number",
    "task.race()": "race: expected functions and tasks",
    'task.timeout("soon", print)': "bad argument #1 to 'timeout' (number expected, got string)",
    "task.timeout(1, 1)": "bad argument #2 to 'timeout' (function expected, got number)",
    'task.semaphore("x")': "bad argument #1 to 'semaphore' (number expected, got string)",
    "task.semaphore(-1)": "bad argument #1 to 'semaphore' (expected a number of permits)",
    'semaphore:acquire("soon")': "bad argument #1 to 'acquire' (number expected, got string)",
    'semaphore:release("x")': "bad argument #1 to 'release' (number expected, got string)",
    'mutex:lock("soon")': "bad argument #1 to 'lock' (number expected, got string)",
    "mutex:unlock()": "the mutex is not locked by this task",
    'event:wait("soon")': "bad argument #1 to 'wait' (number expected, got string)",
    'queue:push(1, "soon")': "bad argument #2 to 'push' (number expected, got string)",
    "queue:push(nil)": "push: nil can not be put into a queue",
    'queue:pop("soon")': "bad argument #1 to 'pop' (number expected, got string)",
    'task.queue("x")': "queue: expected its size, 1 or more",
    'task.after("soon", print)': "after: expected seconds and a function",
    "task.after(1, 1)": "after: expected seconds and a function",
    'task.every("soon", print)': "every: expected seconds, more than 0, and a function",
    "task.every(1, 1)": "every: expected seconds, more than 0, and a function",
    "task.cron(1, print)": 'cron: expected a schedule like "*/5 * * * *"',
    'task.cron("* * * * *", 1)': "cron: expected a function",
    'task.cron("x", print)': "cron: x: expected five fields: minute, hour, day of the month, month, day of the week",
    "shared()": "bad argument #1 to 'shared' (string expected, got nil)",
    'shared("x", "y")': "bad argument #2 to 'shared' (number expected, got string)",
    "random.bytes()": "bad argument #1 to 'bytes' (number expected, got no value)",
    "random.integer(1)": "bad argument #2 to 'integer' (number expected, got no value)",
    'random.hex("x")': "bad argument #1 to 'hex' (number expected, got string)",
    "random.token({})": "bad argument #1 to 'token' (number expected, got table)",
    "random.uuid(3)": "uuid: expected version 4 or 7, got 3",
    'time.http("x")': "http: expected a Unix time of the years 0 to 9999, got x",
    'time.iso("x")': "iso: expected a Unix time of the years 0 to 9999, got x",
    "time.parse_http(nil)": "parse_http: expected a string, got nil",
    "time.parse_iso(nil)": "parse_iso: expected a string, got nil",
    "worker.on_message(1)": "on_message: expected a topic and a function",
    'worker.send("x", 1)': 'send: expected the id of a worker, "all" or "others"',
    "log.enabled(1)": "bad argument #1 to 'enabled' (expected 'debug', 'info', 'warn' or 'error')",
    "json.encode(print)": "json.encode: cannot encode function",
    "json.decode({})": "bad argument #1 to 'decode' (string expected, got table)",
    'json.decode("{")': "json.decode: unexpected end at byte 2 (line 1, column 2)",
    "json.array(1)": "bad argument #1 to 'array' (table expected, got number)",
    "json.encode(1, { depht = 1 })": "unknown option (there are: depth, indent, null)",
    "process.run(1)": "run: options: expected a table, got number",
    "process.run({})": "run: cmd: expected a string, got nil",
    'process.run({ "true" })': "run: unknown option 1 "
    "(there are: args, clean_env, cmd, cwd, env, max_output, stdin, timeout, user)",
    'process.run({ cmd = "true", x = 1 })': "run: unknown option x "
    "(there are: args, clean_env, cmd, cwd, env, max_output, stdin, timeout, user)",
    "process.run({ cmd = 1 })": "run: cmd: expected a string, got number",
    "process.spawn(1)": "spawn: options: expected a table, got number",
    "deflater:write(1)": "write: expected a string, got number",
    "zlib.deflater(1)": "deflater: options: expected a table, got number",
    "zlib.deflater({ level = 99 })": "deflater: level: expected a whole number from 0 to 9, got 99",
    "zlib.gzip(nil)": "gzip: expected a string, got nil",
    'zlib.gzip("", { x = 1 })': "gzip: unknown option x (there are: format, level, memory, window)",
    "zlib.deflate({})": "deflate: expected a string, got table",
    "inflater:write(nil)": "write: expected a string, got nil",
    "zlib.inflater({ x = 1 })": "inflater: unknown option x (there are: format, max, window)",
    "zlib.gunzip(nil)": "gunzip: expected a string, got nil",
    "zlib.inflate({})": "inflate: expected a string, got table",
    "channel.history(1)": "channel: expected a name of 1 to 255 bytes, got number",
    'channel.history("x", 0)': "channel.history: expected a length from 1 to 10000, got 0",
    "channel.past(1)": "channel: expected a name of 1 to 255 bytes, got number",
    "channel.members(1)": "channel: expected a name of 1 to 255 bytes, got number",
    "channel.count(1)": "channel: expected a name of 1 to 255 bytes, got number",
    "channel.publish(1, 1)": "channel: expected a name of 1 to 255 bytes, got number",
    'channel.publish("x")': "channel.publish: expected a string, a number, a boolean or a table, got nil",
    "channel.feed(1)": "channel: expected a name of 1 to 255 bytes, got number",
    'channel.subscribe("x", print, { id = 1 })': "channel.subscribe: unknown option id (there are: after, as)",
    "channel.subscribe(1)": "channel: expected a name of 1 to 255 bytes, got number",
    'channel.subscribe("x", 1)': "channel.subscribe: expected a function, got number",
    "dns.configure(1)": "dns.configure: options: expected a table, got number",
    "dns.configure({ x = 1 })": "dns.configure: unknown option x "
    "(there are: attempts, cache, edns, hosts, ipv6, ndots, resolv_conf, rotate, search, servers, tcp, timeout)",
    "dns.resolve(1)": "dns.resolve: expected a string, got number",
    'dns.resolve("x", 1)': "dns.resolve: options: expected a table, got number",
    'dns.resolve("x", { family = "x" })': "dns.resolve: unknown family x",
    'dns.resolve("x", { tiemout = 1 })': "dns.resolve: unknown option tiemout (there are: family, timeout)",
    'dns.query("x", "A", { family = 1 })': "dns.query: unknown option family (there are: timeout)",
    'dns.reverse("::1", 1)': "dns.reverse: options: expected a table, got number",
    "dns.query(1)": "dns.query: unknown type nil, or a name that is no string",
    'dns.query("x", "y")': "dns.query: unknown type y, or a name that is no string",
    "dns.reverse(1)": "dns.reverse: expected a numeric address",
    "fs.read()": "bad argument #1 to 'read' (string expected, got no value)",
    "fs.write(1)": "write: path: expected a string, got number",
    'fs.write("x", {})': "write: expected a string, got table",
    'fs.write("x", "", { y = 1 })': "write: unknown option y (there are: append, atomic, mode)",
    'fs.write("x", "", { mode = "9" })': 'write: mode: expected permission bits such as "644"',
    "fs.copy()": "bad argument #1 to 'copy' (string expected, got no value)",
    "fs.open()": "open: path: expected a string, got nil",
    'fs.open("x", "y")': "open: expected a mode such as r, w, a, r+, w+, a+ or wx, got y",
    "fs.stat()": "bad argument #1 to 'stat' (string expected, got nil)",
    "fs.lstat()": "bad argument #1 to 'lstat' (string expected, got nil)",
    "fs.exists()": "exists: path: expected a string, got nil",
    "fs.list()": "bad argument #1 to 'list' (string expected, got no value)",
    "fs.mkdir()": "mkdir: path: expected a string, got nil",
    "fs.remove()": "remove: path: expected a string, got nil",
    "fs.rename()": "bad argument #1 to 'rename' (string expected, got no value)",
    "fs.symlink()": "bad argument #1 to 'symlink' (string expected, got no value)",
    "fs.readlink()": "bad argument #1 to 'readlink' (string expected, got no value)",
    "fs.realpath()": "bad argument #1 to 'realpath' (string expected, got no value)",
    "fs.chmod()": "chmod: path: expected a string, got nil",
    'fs.chmod("x")': 'chmod: mode: expected permission bits such as "644"',
    "fs.watch()": "watch: path: expected a string, got nil",
    'fs.watch("x", 1)': "watch: options: expected a table, got number",
    "fs.temp_file(1)": "temp_file: options: expected a table, got number",
    "fs.temp_dir({ x = 1 })": "temp_dir: unknown option x (there are: dir, prefix)",
    'file:read("x")': 'read: expected a number, "l", "L" or "a", got x',
    "file:read(-1)": "read: expected a number of bytes",
    "file:write({})": "write: expected a string, got table",
    'file:seek("x")': 'bad argument #1 to \'seek\' (expected "set", "cur" or "end")',
    'file:seek("set", "x")': "bad argument #2 to 'seek' (number expected, got string)",
    "file:truncate()": "bad argument #1 to 'truncate' (number expected, got nil)",
    "http.request(1)": "http.request: expected a URL or a table, got number",
    'http.request({ url = "http://x", y = 1 })': "http: unknown option y "
    "(there are: auth, body, connect_timeout, decompress, expect, form, headers, jar, json, keepalive, max_body, "
    "max_head, method, proxy, query, redirects, retries, stream, timeout, tls, url)",
    "http.get(1)": "http: expected a URL, got number",
    'http.get("http://x", 1)': "http: expected a table of options, got number",
    'http.post("http://x", { body = true })': "http: body: expected a string or function, got boolean",
    "socket.connect(1)": "connect: expected a host",
    'socket.connect("x", "y")': "connect: expected a port, got y",
    'socket.connect("x", 65536)': "connect: expected a port, got 65536",
    'socket.connect("127.0.0.1", -1)': "connect: expected a port, got -1",
    'socket.connect("127.0.0.1", 1, { tiemout = 1 })': "connect: unknown option tiemout "
    "(there are: bind, bind_port, family, pool, receive_timeout, send_timeout, timeout, tls)",
    'socket.connect("127.0.0.1", 1, { tls = "x" })': "connect: tls: expected a boolean or table, got string",
    "dgram.open(1)": "dgram: options: expected a table, got number",
    "dgram.open({ host = 1 })": "dgram: host: expected a string, got number",
    "dgram.open({ x = 1 })": "dgram: unknown option x "
    "(there are: bind, bind_port, family, host, port, reuseaddr, reuseport, timeout)",
    'dgram.open({ host = "unix:/x", bind = "::1" })': 'dgram: host and bind: both begin with "unix:", or none',
    'dgram.open({ bind = "x" })': "bind: expected an IP address, or a path of 1 to 107 bytes",
    'dgram.open({ bind = "unix:" .. ("x"):rep(108) })': "bind: expected an IP address, or a path of 1 to 107 bytes",
    "socket.udp(1)": "dgram: options: expected a table, got number",
    "socket.listen(true)": "listen: expected a function",
    'socket.listen("127.0.0.1:0", 1)': "listen: expected a function",
    'socket.listen("127.0.0.1:0", print, { connections = "x" })': "listen: connections: expected a number, got string",
    'socket.listen("127.0.0.1:0", print, { x = 1 })': "listen: unknown option x "
    "(there are: backlog, connections, reuseport)",
    "udp:send()": "bad argument #1 to 'send' (string expected, got nil)",
    "websocket.connect(1)": "websocket.connect: expected a URL, got number",
    'websocket.connect("ws://x", 1)': "websocket: options: expected a table, got number",
    'websocket.connect("ws://x", { y = 1 })': "websocket: unknown option y "
    "(there are: auth, deflate, deflate_level, deflate_min, headers, jar, max_message, protocols, proxy, timeout, tls)",
    'websocket.connect("ws://x", { deflate = "x" })': 'websocket: deflate: expected a boolean or "context", got x',
    "ctx.status(1)": "bad argument #1 to 'status' (expected a status from 200 to 599)",
    "ctx.set()": "bad argument #1 to 'set' (string expected, got no value)",
    "ctx.redirect()": "bad argument #1 to 'redirect' (string expected, got no value)",
    'ctx.cookies("a", "b", 1)': "bad argument #3 to 'cookies' (table expected, got number)",
    "ctx.sse(1)": "bad argument #1 to 'sse' (function expected, got number)",
    "ctx.stream(1)": "bad argument #1 to 'stream' (function expected, got number)",
    "ctx.on_abort(1)": "bad argument #1 to 'on_abort' (function expected, got number)",
}

LONG = '("k"):rep(5000)'
OPTION = "unknown option y, or not of its type (there are: ttl, a number; sync, a boolean)"
TTL = "ttl: expected a positive number of seconds, at most 100 years"
# Of a store and of a transaction's store alike.
ACCESS = {
    "kv.get()": "bad argument #1 to 'get' (string expected, got no value)",
    "kv.fetch({})": "bad argument #1 to 'fetch' (string expected, got table)",
    "kv.has('')": "bad argument #1 to 'has' (a key has 1 to 4096 bytes)",
    f"kv.ttl({LONG})": "bad argument #1 to 'ttl' (a key has 1 to 4096 bytes)",
    "kv.set({})": "bad argument #1 to 'set' (string expected, got table)",
    "kv.set('x')": "bad argument #2 to 'set' (nil cannot be stored; use delete)",
    "kv.set('x', print)": "bad argument #2 to 'set' (a function cannot be stored)",
    "kv.set('x', 1, { y = 1 })": OPTION,
    "kv.add('x', 1, { ttl = 0 })": TTL,
    "kv.delete()": "bad argument #1 to 'delete' (string expected, got no value)",
    "kv.incr()": "bad argument #1 to 'incr' (string expected, got no value)",
    "kv.incr('x', 'y')": "bad argument #2 to 'incr' (number expected, got string)",
    "kv.cas('x', -1, 1)": "bad argument #2 to 'cas' (expected a version)",
    "kv.expire('x', -1)": TTL,
    "kv.list(1)": "list: options: expected a table, got number",
    "kv.list({ x = 1 })": "list: unknown option x (there are: cursor, keys_only, limit, prefix, reverse, start, stop)",
    "kv.list({ limit = 'x' })": "list: limit: expected a number, got string",
    f"kv.list({{ prefix = {LONG} }})": "list: a key has at most 4096 bytes",
    "kv.listKeys(1)": "listKeys: prefix: expected a string, got number",
    f"kv.listKeys({LONG})": "listKeys: a key has at most 4096 bytes",
    "kv.listKeys('', 0.5)": "listKeys: limit: expected a whole number, got 0.5",
    "kv.listPairs(1)": "listPairs: prefix: expected a string, got number",
    f"kv.listPairs({LONG})": "listPairs: a key has at most 4096 bytes",
    "kv.listPairs('', -1)": "listPairs: limit: expected a whole number, got -1",
    "kv.count(1)": "count: prefix: expected a string, got number",
    f"kv.count({LONG})": "count: a key has at most 4096 bytes",
    "kv.deletePrefix()": "deletePrefix: expected a string, got nil",
    f"kv.deletePrefix({LONG})": "deletePrefix: a key has at most 4096 bytes",
    "kv.getMany({ {} })": "getMany: key 1 is not a string",
}
STORE = {
    "kv.getMany(1)": "bad argument #1 to 'getMany' (table expected, got number)",
    "kv.transaction(1)": "transaction: expected a function, got number",
    "kv.transaction(print, { x = 1 })": "transaction: unknown option x (there are: retries, sync)",
    "kv.serialTransaction()": "serialTransaction: expected a function, got nil",
    "kv.watch(1, print)": "watch: a prefix or a list of keys: expected a table, got number",
    "kv.watch('x', 1)": "watch: expected a function, got number",
    "kv.watch({ {} }, print)": "watch: key 1 is not a string",
    f"kv.watch({LONG}, print)": "watch: a key has at most 4096 bytes",
    "kv.batch(1)": "bad argument #1 to 'batch' (table expected, got number)",
    "kv.batch({ 1 })": "batch: write 1 is not a table {name, key, ...}",
    "kv.batch({ { 'set' } })": "batch: write 1: expected {name, key, ...}",
    "kv.batch({ { 'put', 'x' } })": "batch: write 1: unknown name put (there are: set, delete, add, cas, incr, expire)",
    "kv.batch({ { 'set', 'x' } })": "batch: write 1: nil cannot be stored; use delete",
    "kv.batch({ { 'set', '', 1 } })": "batch: write 1: a key has 1 to 4096 bytes",
    "kv.batch({ { 'set', 'x', print } })": "batch: write 1: a function cannot be stored",
    "kv.batch({ { 'incr', 'x', 'y' } })": "batch: write 1: expected a number, got string",
    "kv.batch({ { 'set', 'x', 1, { y = 1 } } })": OPTION,
    "kv.batch({ { 'cas', 'x', {}, 1 } })": "batch: write 1: expected a number, got table",
    "kv.batch({ { 'expire', 'x', 0 } })": TTL,
}
NESTED = "transactions do not nest: use the store that the outer one was given"
TRANSACTION = {
    "kv.transaction(function(s) kv.transaction(print) end)": NESTED,
    "kv.serialTransaction(function(s) kv.serialTransaction(print) end)": NESTED,
    "kv.transaction(function(s) s.getMany(1) end)": "getMany: expected a table, got number",
    "kv.transaction(function(s) s.set('x', 1, { sync = false }) end)": "sync is an option of the whole transaction",
    "local k; kv.transaction(function(s) k = s end) k.get('x')": "store was used after its transaction had ended",
}
for name in ("kv", "disk"):
    CALLS |= {call.replace("kv.", name + "."): text for call, text in (ACCESS | STORE | TRANSACTION).items()}
    for call, text in ACCESS.items():
        CALLS[f"{name}.transaction(function(s) {call.replace('kv.', 's.')} end)"] = text


@pytest.fixture(scope="module")
def told():
    """The message of each call."""
    code = PRELUDE + "".join(f"function() {call} end,\n" for call in CALLS) + "}\n"
    with Server(code) as server:
        server.get("/")
        found = server.get("/told").json
        yield dict(zip(CALLS, found, strict=True)), str(server.script)


@pytest.mark.parametrize("call", CALLS)
def test_wrong_argument_is_told_at_the_line_of_the_call(told, call):
    messages, script = told
    line = PRELUDE.count("\n") + list(CALLS).index(call) + 1
    assert messages[call] == f"{script}:{line}: {CALLS[call]}"
