-- lua-resty-dns against a server that knows "a.test" (192.0.2.7). env: module, port.
local resolver = assert(require(env.module):new({
  nameservers = { { "127.0.0.1", env.port } },
  retrans = 2,
  timeout = 500,
}))
local answers = assert(resolver:query("a.test", { qtype = resolver.TYPE_A }))
assert(answers[1].address == "192.0.2.7" and answers[1].ttl == 60)
answers = assert(resolver:query("nothing.test"))
assert(answers.errcode == 3 and answers.errstr == "name error")
assert(assert(resolver:tcp_query("a.test"))[1].address == "192.0.2.7")
