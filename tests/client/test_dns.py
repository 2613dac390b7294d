"""heart.v1.dns against private name servers: a well-behaved one, dnsmasq, and scripted ones."""

import json
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager

import pytest
from dns_server import DnsServer
from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from heart_server import PATIENCE, free_port, need, wait_until
from lua_shell import LuaFailed, Shell
from turns import assert_short_turns

ZONE = """
example.test.       60 IN SOA ns.example.test. root.example.test. 1 2 3 4 1
www.example.test.   60 IN A 192.0.2.1
www.example.test.   60 IN A 192.0.2.2
www.example.test.   60 IN AAAA 2001:db8::1
v6.example.test.    60 IN AAAA 2001:db8::6
alias.example.test. 60 IN CNAME other.example.test.
other.example.test. 60 IN CNAME www.example.test.
example.test.       60 IN MX 20 b.example.test.
example.test.       60 IN MX 10 a.example.test.
example.test.       60 IN NS ns.example.test.
example.test.       60 IN TXT "one " "two"
example.test.       60 IN CAA 0 issue "ca.example.test"
_x._tcp.example.test. 60 IN SRV 2 0 1 c.example.test.
_x._tcp.example.test. 60 IN SRV 1 90 2 a.example.test.
_x._tcp.example.test. 60 IN SRV 1 10 3 b.example.test.
1.2.0.192.in-addr.arpa. 60 IN PTR www.example.test.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 60 IN PTR six.example.test.
short.example.test. 1 IN A 192.0.2.9
zero.example.test.  0 IN A 192.0.2.10
"""
PRELUDE = """
dns = require("heart.v1.dns")
json = require("heart.v1.json")
core = require("heart.core")
function show(list, err)
  assert(list == nil or err == nil)
  return json.encode(list or { err = err })
end
---resolve, with a configuration of its own
function with(options, name, more)
  options.hosts = options.hosts or "/nonexistent"
  options.resolv_conf = options.resolv_conf or "/nonexistent"
  if options.ipv6 == nil then options.ipv6 = true end
  dns.configure(options)
  return name and show(dns.resolve(name, more))
end
function query(...)
  return show(dns.query(...))
end
"""


@pytest.fixture(scope="module")
def lua():
    with Shell(prelude=PRELUDE) as shell:
        yield shell


@pytest.fixture(scope="module")
def zone():
    with DnsServer(ZONE) as server:
        yield server


@pytest.fixture
def serve():
    """A function that starts a DnsServer."""
    with ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(DnsServer(*args, **more))


def resolve(lua, server, name, more="{}", **options):
    """What dns.resolve gives with these servers: a list, or the error text."""
    servers = server if isinstance(server, list) else [server]
    texts = ", ".join(f'"{s if isinstance(s, str) else s.address}"' for s in servers)
    given = "".join(f", {key} = {value}" for key, value in options.items())
    found = json.loads(lua.text(f'return with({{ servers = {{ {texts} }} {given} }}, "{name}", {more})'))
    return found if isinstance(found, list) else found["err"]


def again(lua, name, more="{}"):
    """The same with the configuration and the cache as they are."""
    found = json.loads(lua.text(f'return show(dns.resolve("{name}", {more}))'))
    return found if isinstance(found, list) else found["err"]


def query(lua, server, name, kind):
    lua.text(f'with({{ servers = {{ "{server.address}" }} }})')
    return json.loads(lua.text(f'return query("{name}", "{kind}")'))


def sockets(lua):
    return int(lua.text("return core.socket.count()"))


# ---- Addresses


def test_host_has_addresses_of_both_families_in_turns(lua, zone):
    """RFC 8305 section 4"""
    both = ["2001:db8::1", "192.0.2.1", "192.0.2.2"]
    assert resolve(lua, zone, "www.example.test") == both
    assert again(lua, "WWW.Example.Test.") == both
    assert again(lua, "www.example.test", "{family = 'inet'}") == both[1:]
    assert again(lua, "www.example.test", "{family = 'inet6'}") == both[:1]
    assert again(lua, "v6.example.test", "{family = 'inet'}") == "host not found"


def test_families_that_the_machine_lacks_are_not_asked_for(lua, serve):
    server = serve(ZONE)
    assert resolve(lua, server, "www.example.test", ipv6="false") == ["192.0.2.1", "192.0.2.2"]
    assert [kind for _, kind, *_ in server.questions] == ["A"]


def test_aliases_are_followed(lua, zone):
    assert resolve(lua, zone, "alias.example.test", "{family = 'inet'}") == ["192.0.2.1", "192.0.2.2"]


def test_aliases_whose_end_is_elsewhere_are_followed(lua, serve):
    """Each answer has one step only."""

    def script(request, over_tcp, address):
        n = int(str(request.q.qname).split(".")[0][1:])
        text = f"a{n}.test. 60 IN CNAME a{n + 1}.test." if n < 5 else f"a{n}.test. 60 IN A 192.0.2.5"
        reply = request.reply()
        reply.add_answer(*RR.fromZone(text))
        return reply

    assert resolve(lua, serve(script=script), "a0.test", "{family = 'inet'}") == ["192.0.2.5"]


@pytest.mark.parametrize(
    "records", ["a.test. 60 IN CNAME a.test.", "a.test. 60 IN CNAME b.test.\nb.test. 60 IN CNAME a.test."]
)
def test_aliases_that_go_in_circles_end(lua, serve, records):
    def script(request, over_tcp, address):
        reply = request.reply()
        reply.add_answer(*RR.fromZone(records))
        return reply

    assert resolve(lua, serve(script=script), "a.test", "{family = 'inet'}") in ("too many aliases", "host not found")


@pytest.mark.parametrize("name", ["192.0.2.7", "::1", "2001:db8::7"])
def test_numeric_address_is_its_own(lua, serve, name):
    server = serve()
    assert resolve(lua, server, name) == [name]
    assert again(lua, name, "{family = 'inet6'}") == ([name] if ":" in name else "host not found")
    assert not server.questions


@pytest.mark.parametrize("name", ["1.2.3", "1.2.3.256", "a.invalid", "x.onion", "127.1"])
def test_special_names_are_not_asked_for(lua, serve, name):
    """RFC 6761, RFC 7686, and addresses that are none."""
    server = serve()
    assert resolve(lua, server, name) == "host not found"
    assert not server.questions


def test_localhost_is_this_machine(lua, serve):
    """RFC 6761 section 6.3"""
    server = serve()
    for name in ("localhost", "LOCALHOST.", "a.b.localhost"):
        assert resolve(lua, server, name) == ["127.0.0.1", "::1"]
    assert not server.questions


@pytest.mark.parametrize("name", ["", ".", "a..b", "a" * 64, ".".join(["a" * 50] * 6)])
def test_name_that_cannot_be_is_told(lua, zone, name):
    assert resolve(lua, zone, name) in ("bad host name", "host not found")


def test_unknown_name_is_told(lua, zone):
    assert resolve(lua, zone, "nobody.example.test") == "host not found"
    assert resolve(lua, zone, "example.test") == "host not found"  # it has other records


# ---- Files


def test_hosts_file_comes_first(lua, serve, tmp_path):
    server = serve(ZONE)
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "# a comment\n192.0.2.50 www.example.test Alias # more\r\n"
        "2001:DB8:0::50\twww.example.test\nnonsense x\n192.0.2.51 alias\n"
    )
    assert resolve(lua, server, "WWW.example.test", hosts=f'"{hosts}"') == ["192.0.2.50", "2001:db8::50"]
    assert again(lua, "www.example.test", "{family = 'inet6'}") == ["2001:db8::50"]
    assert again(lua, "alias") == ["192.0.2.50", "192.0.2.51"]
    assert not server.questions
    assert json.loads(lua.text('return show(dns.reverse("192.0.2.50"))')) == ["www.example.test", "Alias"]


def test_files_are_read_again_when_they_change(lua, serve, tmp_path):
    one, other = serve("www.test. 60 IN A 192.0.2.1"), serve("www.test. 60 IN A 192.0.2.2")
    hosts, resolv = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text("")
    # The port stands for the one that a test may not use.
    resolv.write_text(f"nameserver {one.address}\n")
    options = f'{{ hosts = "{hosts}", resolv_conf = "{resolv}", ipv6 = false }}'
    assert json.loads(lua.text(f"return with({options}, 'www.test')")) == ["192.0.2.1"]
    resolv.write_text(f"nameserver {other.address}\noptions edns0\n")
    wait_until(lambda: again(lua, "www.test") == ["192.0.2.2"], "the other server is asked")
    hosts.write_text("192.0.2.3 www.test\n")
    wait_until(lambda: again(lua, "www.test") == ["192.0.2.3"], "the hosts file is read")


def test_without_files_the_local_server_is_asked(lua):
    code = "return show(require('heart.dns_config').parse_resolv('').servers)"
    assert json.loads(lua.text(code))[0] | {"slow_until": 0} == {"address": "127.0.0.1", "port": 53, "slow_until": 0}


def test_resolv_conf_is_read_as_libc_does(lua):
    text = (
        b"; comment\n# comment\nnameserver 192.0.2.1\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\n"
        b"nameserver nonsense\ndomain a.test\nsearch b.test c.test.\n"
        b"options ndots:3 timeout:99 attempts:0 rotate edns0 use-vc unknown no-such:1\n"
    )
    found = json.loads(lua.text("return show(require('heart.dns_config').parse_resolv(...))", text))
    assert [server["address"] for server in found.pop("servers")] == ["192.0.2.1", "2001:db8::53", "fe80::1%eth0"]
    assert found == {
        "search": ["b.test", "c.test"],
        "ndots": 3,
        "timeout": 30,
        "attempts": 1,
        "rotate": True,
        "tcp": True,
        "size": 1232,
    }


def test_short_names_are_looked_for_in_the_search_domains(lua, serve):
    server = serve(ZONE)
    options = {"search": '{"none.test", "example.test"}', "ipv6": "false"}
    assert resolve(lua, server, "www", **options) == ["192.0.2.1", "192.0.2.2"]
    assert [q[0] for q in server.questions] == ["www.none.test", "www.example.test"]
    server.questions.clear()
    assert resolve(lua, server, "www.example", **options | {"search": '{"test"}'}) == ["192.0.2.1", "192.0.2.2"]
    assert [q[0] for q in server.questions] == ["www.example", "www.example.test"]
    server.questions.clear()
    assert resolve(lua, server, "www.example", **options | {"search": '{"test"}', "ndots": 2}) != "host not found"
    assert [q[0] for q in server.questions] == ["www.example.test"]
    assert resolve(lua, server, "www.", **options) == "host not found"


# ---- Servers


def test_dead_first_server_costs_once(lua, zone):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        expected = ["192.0.2.1", "192.0.2.2"]
        options = {"timeout": 0.3, "ipv6": "false", "cache": 0}
        assert resolve(lua, [dead, zone], "www.example.test", **options) == expected
        assert 0.3 <= time.monotonic() - start
        start = time.monotonic()
        for _ in range(5):
            assert again(lua, "www.example.test") == expected
        assert time.monotonic() - start < 0.3


def test_closed_port_costs_nothing(lua, zone):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{free.getsockname()[1]}"
    start = time.monotonic()
    assert resolve(lua, [closed, zone], "v6.example.test") == ["2001:db8::6"]
    assert time.monotonic() - start < 3


def test_silent_servers_end_in_time(lua, serve):
    servers = [serve(script=lambda *_: None) for _ in range(2)]
    before = sockets(lua)
    assert resolve(lua, servers, "x.test", timeout=0.1, attempts=2, ipv6="false") == "timeout"
    assert [server.asked() for server in servers] == [2, 2]
    start = time.monotonic()
    assert resolve(lua, servers, "x.test", "{timeout = 0.2}", timeout=1, attempts=1) == "timeout"
    assert time.monotonic() - start < PATIENCE / 2
    wait_until(lambda: sockets(lua) == before, "the sockets are closed")


@pytest.mark.parametrize(
    ("code", "err"),
    [
        ("SERVFAIL", "server failure"),
        ("REFUSED", "refused"),
        ("NOTIMP", "not implemented"),
        ("FORMERR", "format error"),
    ],
)
def test_server_that_fails_is_passed_over(lua, serve, zone, code, err):
    def script(request, *_):
        reply = request.reply()
        reply.header.rcode = getattr(RCODE, code)
        return reply

    failing = serve(script=script)
    assert resolve(lua, [failing, zone], "v6.example.test") == ["2001:db8::6"]
    assert resolve(lua, failing, "v6.example.test") == err


def test_servers_take_turns(lua, serve):
    one, other = serve(ZONE), serve(ZONE)
    options = {"rotate": "true", "ipv6": "false", "cache": 0}
    resolve(lua, [one, other], "www.example.test", **options)
    for _ in range(5):
        again(lua, "www.example.test")
    assert (one.asked(), other.asked()) == (3, 3)


def test_answer_that_does_not_fit_comes_by_tcp(lua, serve):
    zone = "".join(f"many.test. 60 IN A 192.0.2.{n}\n" for n in range(200))

    def script(request, over_tcp, address):
        if over_tcp:
            return NotImplemented
        reply = request.reply()
        reply.header.tc = 1
        return reply

    server = serve(zone, script)
    assert len(resolve(lua, server, "many.test", "{family = 'inet'}")) == 200
    assert [q[2] for q in server.questions] == [False, True]
    server.questions.clear()
    assert len(resolve(lua, server, "many.test", "{family = 'inet'}", tcp="true")) == 200
    assert [q[2] for q in server.questions] == [True]


def test_larger_answers_are_asked_for_and_refusals_of_that_borne(lua, serve):
    """RFC 6891 section 7"""
    sizes = []

    def script(request, over_tcp, address):
        sizes.append([extra.rclass for extra in request.ar])
        if not request.ar:
            return NotImplemented
        reply = request.reply()
        reply.ar.clear()
        reply.header.rcode = RCODE.FORMERR
        return reply

    assert resolve(lua, serve(ZONE, script), "v6.example.test", "{family = 'inet6'}", edns="true") == ["2001:db8::6"]
    assert sizes == [[1232], []]


def forged(request, address="192.0.2.66"):
    reply = request.reply()
    reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(address), ttl=60))
    return reply


def wrong_id(request):
    reply = forged(request)
    reply.header.id ^= 1
    return reply


def wrong_name(request):
    reply = forged(request)
    reply.q.qname = "www.examp1e.test"
    return reply


def wrong_type(request):
    reply = forged(request)
    reply.q.qtype = QTYPE.AAAA
    return reply


def no_question(request):
    reply = forged(request)
    reply.questions.clear()
    return reply


def question_again(request):
    return request


@pytest.mark.parametrize("wrong", [wrong_id, wrong_name, wrong_type, no_question, question_again])
def test_answer_to_another_question_is_ignored(lua, serve, wrong):
    """RFC 5452"""

    def script(request, over_tcp, address):
        right = forged(DNSRecord.parse(request.pack()), "192.0.2.1")  # a copy: what is wrong shares the question
        return [wrong(request)] * 40 + [right]

    assert resolve(lua, serve(script=script), "www.example.test", "{family = 'inet'}") == ["192.0.2.1"]


def test_answer_from_elsewhere_is_ignored(lua, serve):
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def script(request, over_tcp, address):
        other.sendto(bytes(forged(request).pack()), address)
        time.sleep(0.05)
        return forged(request, "192.0.2.1")

    with other:
        assert resolve(lua, serve(script=script), "www.example.test", "{family = 'inet'}") == ["192.0.2.1"]


def test_records_of_other_names_are_ignored(lua, serve):
    def script(request, over_tcp, address):
        reply = forged(request, "192.0.2.1")
        reply.add_answer(*RR.fromZone("bank.test. 60 IN A 192.0.2.66"))
        return reply

    assert resolve(lua, serve(script=script), "x.test", "{family = 'inet'}") == ["192.0.2.1"]
    assert json.loads(lua.text("return query('x.test', 'A')"))[0]["name"] == "x.test"
    assert len(json.loads(lua.text("return query('x.test', 'A')"))) == 1


def test_malformed_answer_is_passed_over(lua, serve, zone):
    broken = serve(script=lambda request, *_: bytes(request.reply().pack())[:-3])
    start = time.monotonic()
    assert resolve(lua, [broken, zone], "v6.example.test") == ["2001:db8::6"]
    assert time.monotonic() - start < 3
    assert resolve(lua, broken, "v6.example.test") == "malformed answer"


def test_numbers_and_ports_are_random(lua, serve):
    ids = []

    def script(request, over_tcp, address):
        ids.append(request.header.id)
        return forged(request)

    server = serve(script=script)
    resolve(lua, server, "localhost", ipv6="false", cache=0)
    lua.text("for i = 1, 64 do dns.resolve('n' .. i .. '.test') end")
    ports = {q[3] for q in server.questions}
    assert len(set(ids)) > 60 and len(ports) > 50
    assert max(ids) > 40000 and min(ids) < 25000


def test_slow_family_does_not_hold_up_the_other(lua, serve):
    """RFC 8305 section 3: some servers never answer for AAAA."""
    server = serve(ZONE, lambda request, *_: None if request.q.qtype == QTYPE.AAAA else NotImplemented)
    start = time.monotonic()
    assert resolve(lua, server, "www.example.test", timeout=3) == ["192.0.2.1", "192.0.2.2"]
    assert time.monotonic() - start < 2


# ---- Cache


def test_answers_are_kept_for_their_time(lua, serve):
    server = serve(ZONE)
    assert resolve(lua, server, "short.example.test", ipv6="false") == ["192.0.2.9"]
    for _ in range(5):
        assert again(lua, "short.example.test") == ["192.0.2.9"]
    assert server.asked() == 1
    time.sleep(1.1)
    assert again(lua, "short.example.test") == ["192.0.2.9"]
    assert server.asked() == 2
    for n in range(3):
        assert again(lua, "zero.example.test") == ["192.0.2.10"]
        assert server.asked("zero.example.test") == n + 1


def test_absence_is_kept_for_the_time_of_its_zone(lua, serve):
    """RFC 2308 section 5: the minimum of the SOA is 1 s; without an SOA nothing is kept."""
    server = serve(ZONE)
    assert resolve(lua, server, "nobody.example.test", ipv6="false") == "host not found"
    assert again(lua, "nobody.example.test") == "host not found"
    assert server.asked() == 1
    time.sleep(1.1)
    assert again(lua, "nobody.example.test") == "host not found"
    assert server.asked() == 2
    bare = serve("x.test. 60 IN A 192.0.2.1")
    assert resolve(lua, bare, "nobody.test", ipv6="false") == "host not found"
    again(lua, "nobody.test")
    assert bare.asked() == 2


def test_cache_is_bounded(lua, serve):
    server = serve(script=lambda request, *_: forged(request))
    resolve(lua, server, "localhost", ipv6="false", cache=20)
    lua.text("for i = 1, 200 do dns.resolve('n' .. i .. '.test') end")
    asked = server.asked()
    lua.text("for i = 200, 1, -1 do dns.resolve('n' .. i .. '.test') end")
    assert 180 <= server.asked() - asked <= 195


def test_one_question_is_shared_by_all_who_ask(lua, serve):
    server = serve(ZONE, delay=0.2)
    code = """
      with({ servers = { "%s" }, ipv6 = false })
      local tasks, got = {}, {}
      for i = 1, 50 do
        tasks[i] = core.task.spawn(function()
          return dns.resolve("www.example.test")[1]
        end)
      end
      for i = 1, 50 do
        core.task.wait(tasks[i])
        got[core.task.results(tasks[i])] = true
      end
      return next(got) .. tostring(next(got, next(got)))
    """
    assert lua.text(code % server.address) == "192.0.2.1nil"
    assert server.asked() == 1


def test_slow_dns_holds_up_nobody(lua, serve):
    server = serve(ZONE, delay=0.5)
    code = """
      with({ servers = { "%s" }, ipv6 = false })
      core.longest_turn()
      local task = core.task.spawn(dns.resolve, "www.example.test")
      local turns = 0
      while task:status() == "running" do
        core.sleep(0.001)
        turns = turns + 1
      end
      local _, work = core.longest_turn()
      return json.encode({ turns = turns, work = work })
    """

    def measure():
        found = json.loads(lua.text(code % server.address))
        assert found["turns"] > 50
        return found["work"]

    assert_short_turns(measure)


@pytest.mark.parametrize(
    "code",
    [
        'require("heart.v1.socket").connect("www.example.test", 80, { timeout = 0.3 })',
        'require("heart.v1.dgram").open({ host = "www.example.test", port = 53, timeout = 0.3 })',
        'require("heart.v1.http").get("http://www.example.test/", { timeout = 0.3 })',
        'require("heart.v1.http").get("https://www.example.test/", { connect_timeout = 0.3 })',
    ],
)
def test_time_of_those_who_need_a_name_holds_for_it(lua, serve, code):
    server = serve(script=lambda *_: None)
    began = time.monotonic()
    assert lua.text(f'with({{ servers = {{ "{server.address}" }} }}) return show({code})') == '{"err":"timeout"}'
    assert 0.2 < time.monotonic() - began < 2


def test_question_of_other_settings_does_not_count(lua, serve):
    """It is neither waited for, nor kept when it is answered."""
    slow, quick = serve(ZONE.replace("192.0.2.9", "192.0.2.99"), delay=0.5), serve(ZONE)
    code = f"""
      with({{ servers = {{ "{slow.address}" }}, ipv6 = false }})
      local before = core.task.spawn(dns.resolve, "short.example.test")
      core.sleep(0.1)
      with({{ servers = {{ "{quick.address}" }}, ipv6 = false }})
      local started = core.now()
      local found = assert(dns.resolve("short.example.test"))
      local took = core.now() - started
      before:join()
      return took .. " " .. dns.resolve("short.example.test")[1]
    """
    took, address = lua.text(code).split()
    assert (float(took) < 0.3, address) == (True, "192.0.2.9")


# ---- Records


def test_records_of_every_type_are_given(lua, zone):
    def first(name, kind):
        record = query(lua, zone, name, kind)[0]
        assert record.pop("ttl") in (59, 60) and record.pop("type") == kind
        return record

    name = {"name": "example.test"}
    assert first("Example.test.", "TXT") == name | {"text": "one two", "strings": ["one ", "two"]}
    assert first("example.test", "NS") == name | {"target": "ns.example.test"}
    assert first("example.test", "CAA") == name | {"flags": 0, "tag": "issue", "value": "ca.example.test"}
    assert first("example.test", "SOA")["mailbox"] == "root.example.test"
    assert first("alias.example.test", "CNAME")["target"] == "other.example.test"
    assert first("www.example.test", "A")["address"] == "192.0.2.1"
    assert first("alias.example.test", "AAAA") == {"name": "www.example.test", "address": "2001:db8::1"}
    assert [r["preference"] for r in query(lua, zone, "example.test", "MX")] == [10, 20]
    assert first("192.0.2.1", "PTR")["target"] == "www.example.test"
    assert first("2001:db8::1", "PTR")["target"] == "six.example.test"


def test_services_are_in_the_order_in_which_to_try_them(lua, zone):
    """RFC 2782: by priority, then at random by weight."""
    firsts = []
    for _ in range(60):
        ports = [r["port"] for r in query(lua, zone, "_x._tcp.example.test", "SRV")]
        assert sorted(ports) == [1, 2, 3] and ports[2] == 1
        firsts.append(ports[0])
    assert 2 <= 60 - firsts.count(2) <= 20 or firsts.count(2) == 60


def test_query_tells_what_is_missing(lua, zone):
    assert query(lua, zone, "www.example.test", "MX") == {"err": "no records"}
    assert query(lua, zone, "nobody.example.test", "A") == {"err": "host not found"}
    assert query(lua, zone, "a..b", "A") == {"err": "bad host name"}


def test_names_of_an_address(lua, zone):
    lua.text(f'with({{ servers = {{ "{zone.address}" }} }})')
    assert json.loads(lua.text('return show(dns.reverse("192.0.2.1"))')) == ["www.example.test"]
    assert json.loads(lua.text('return show(dns.reverse("192.0.2.99"))')) == {"err": "host not found"}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("dns.resolve()", "expected a string, got nil"),
        ("dns.resolve('x', {family = 'ipx'})", "unknown family ipx"),
        ("dns.query('x', 'B')", "unknown type B"),
        ("dns.query('x', 'OPT')", "unknown type OPT"),
        ("dns.configure({ servers = { 'ns.test' } })", "ns.test is not a numeric address"),
        ("dns.configure({ server = {} })", "unknown option server "),
        ("dns.reverse('www.test')", "expected a numeric address"),
    ],
)
def test_mistake_raises(lua, code, message):
    with pytest.raises(LuaFailed, match=message):
        lua.text(code)


# ---- A name server that we did not write


@contextmanager
def dnsmasq(*words):
    program = need("dnsmasq", "dnsmasq-base")
    port = free_port()
    command = [program, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file="]
    command += [f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", *words]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def test_dnsmasq_answers(lua):
    words = ["--address=/web.test/192.0.2.8", "--address=/web.test/2001:db8::8", "--local=/test/", "--local-ttl=30"]
    words += ["--mx-host=web.test,mail.test,5", "--txt-record=web.test,hello", "--srv-host=_s._udp.test,web.test,99"]
    words += ["--cname=short.test,long.test", "--host-record=long.test,192.0.2.9"]
    words += [f"--host-record=many.test,192.0.2.{n}" for n in range(1, 120)]
    with dnsmasq(*words) as server:
        wait_until(
            lambda: resolve(lua, server, "web.test", timeout=0.5, cache=0) == ["2001:db8::8", "192.0.2.8"], "it answers"
        )
        lua.text(f'with({{ servers = {{ "{server}" }}, edns = true }})')
        assert again(lua, "short.test", "{family = 'inet'}") == ["192.0.2.9"]
        assert again(lua, "nobody.test") == "host not found"
        assert len(again(lua, "many.test", "{family = 'inet'}")) == 119
        assert json.loads(lua.text("return query('web.test', 'MX')"))[0]["target"] == "mail.test"
        assert json.loads(lua.text("return query('web.test', 'TXT')"))[0]["text"] == "hello"
        assert json.loads(lua.text("return query('_s._udp.test', 'SRV')"))[0]["port"] == 99
        assert json.loads(lua.text("return show(dns.reverse('192.0.2.9'))")) == ["long.test"]
