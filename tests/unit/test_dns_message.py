"""heart/dns_message.lua and heart/address.lua: DNS messages against dnslib, addresses against ipaddress."""

import ipaddress
import json
import random

import pytest
from dnslib import AAAA, CNAME, MX, QTYPE, RR, SOA, SRV, TXT, A, DNSLabel, DNSRecord
from heart_server import ROOT
from hypothesis import given
from hypothesis import strategies as st
from lua_native import Lua

SETUP = f"""
package.path = "{ROOT}/lua_stdlib/?.lua"
local message, address = require("heart.dns_message"), require("heart.address")
function decode(data)
  local found, err = message.decode(data)
  return json.encode(found or {{ error = err }})
end
function encode(id, name, type, size)
  return message.encode(id, name, type, size > 0 and size or nil)
end
function is_read_or_refused(data)
  local found, err = message.decode(data)
  return type(found) == "table" or type(err) == "string"
end
parse, text, within = address.parse, address.text, address.within
"""
ZONE = """
x.example. 60 IN A 192.0.2.1
x.example. 60 IN AAAA 2001:db8::1
x.example. 60 IN CNAME y.example.
x.example. 60 IN NS ns.example.
x.example. 60 IN PTR host.example.
x.example. 60 IN MX 10 mail.example.
x.example. 60 IN TXT "one " "two"
x.example. 60 IN SRV 1 2 443 www.example.
x.example. 60 IN CAA 128 issue "ca.example"
x.example. 60 IN SOA ns.example. root.example. 1 2 3 4 5
"""


@pytest.fixture(scope="module")
def lua():
    state = Lua()
    state.run(SETUP.encode())
    return state


def decode(lua, packet):
    # A JSON text is UTF-8: data of other records is not looked at here.
    return json.loads(lua.run(b"return decode(...)", bytes(packet)))


def answer(*records, **more):
    question = DNSRecord.question("x.example", "ANY")
    reply = question.reply(**more)
    reply.add_answer(*records)
    return reply


def test_every_type_is_read(lua):
    found = decode(lua, answer(*RR.fromZone(ZONE)).pack())["answers"]
    common = {"name": "x.example", "ttl": 60}
    assert [common | record == record for record in found] == [True] * len(found)
    assert {record.pop("type"): {k: v for k, v in record.items() if k not in common} for record in found} == {
        "A": {"address": "192.0.2.1"},
        "AAAA": {"address": "2001:db8::1"},
        "CNAME": {"target": "y.example"},
        "NS": {"target": "ns.example"},
        "PTR": {"target": "host.example"},
        "MX": {"preference": 10, "target": "mail.example"},
        "TXT": {"strings": ["one ", "two"], "text": "one two"},
        "SRV": {"priority": 1, "weight": 2, "port": 443, "target": "www.example"},
        "CAA": {"flags": 128, "tag": "issue", "value": "ca.example"},
        "SOA": {
            "target": "ns.example",
            "mailbox": "root.example",
            "serial": 1,
            "refresh": 2,
            "retry": 3,
            "expire": 4,
            "minimum": 5,
        },
    }


def test_question_is_what_dnslib_reads(lua):
    packet = DNSRecord.parse(lua.run(b"return encode(0xABCD, 'www.Example.com.', 28, 1232)"))
    assert packet.header.id == 0xABCD and packet.header.rd and not packet.header.qr
    assert packet.q.qname == "www.Example.com." and packet.q.qtype == QTYPE.AAAA
    assert packet.ar[0].rtype == QTYPE.OPT and packet.ar[0].rclass == 1232
    assert DNSRecord.parse(lua.run(b"return encode(1, '.', 2, 0)")).q.qname == "."


@pytest.mark.parametrize("name", ["", "..", "a..b", ".a", "a" * 64, ".".join(["a" * 49] * 6), "x." + "a" * 64 + "."])
def test_name_that_cannot_be_is_refused(lua, name):
    assert lua.run(b"return encode(1, ..., 1, 0)", name.encode()) is None


def test_longest_name_and_label_are_encoded(lua):
    name = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert str(DNSRecord.parse(lua.run(b"return encode(1, ..., 1, 0)", name.encode())).q.qname) == name + "."
    assert lua.run(b"return encode(1, ..., 1, 0)", (name + "b").encode()) is None


def test_odd_bytes_of_names_are_escaped_both_ways(lua):
    label = DNSLabel([b"a.b", b"c\\d", b"\x07 \xff", b"example"])
    packet = DNSRecord(q=None)
    packet.header.qr = 1
    packet.add_answer(RR("x.example", QTYPE.CNAME, rdata=CNAME(label)))
    target = decode(lua, packet.pack())["answers"][0]["target"]
    assert target == "a\\.b.c\\\\d.\\007\\032\\255.example"
    encoded = b"".join(bytes([len(part)]) + part for part in label.label)
    assert lua.run(b"return encode(1, ..., 1, 0)", target.encode())[12:-4] == encoded + b"\0"


def test_flags_are_read(lua):
    reply = answer()
    reply.header.tc, reply.header.rcode = 1, 3
    found = decode(lua, reply.pack())
    assert (found["response"], found["truncated"], found["code"]) == (True, True, 3)
    assert (found["name"], found["type"]) == ("x.example", 255)


@pytest.mark.parametrize(
    "name",
    [
        b"\xc0\x0c",  # points at itself
        b"\x01a\xc0\x0c",  # at its own beginning
        b"\xc0\x0e\xc0\x0c",  # forwards
        b"\xc0",
        b"\x41" + b"a" * 65 + b"\0",  # a label of an unknown kind
        b"\x05abc",
        b"\x3f" + b"a" * 63,
    ],
)
def test_bad_compression_is_refused(lua, name):
    head = bytes.fromhex("000181800001000000000000")
    assert "error" in decode(lua, head + name + b"\0\1\0\1")


def test_pointers_that_only_go_back_are_bounded(lua):
    """Each name of a record points at the one before it, and all together are too long."""
    packet = bytearray(bytes.fromhex("000181800000006400000000"))
    at = 0
    for _ in range(100):
        start = len(packet)
        packet += b"\x09" + b"a" * 9 + (bytes([0xC0 | at >> 8, at & 255]) if at else b"\0")
        packet += bytes.fromhex("000100010000003c0004c0000201")
        at = start
    assert decode(lua, packet) == {"error": "malformed record"}


def test_truncated_message_keeps_what_is_whole(lua):
    reply = answer(*RR.fromZone(ZONE))
    reply.header.tc = 1
    packet = reply.pack()
    found = decode(lua, packet[:-3])
    assert found["truncated"] and len(found["answers"]) == 9
    assert "error" in decode(lua, answer(*RR.fromZone(ZONE)).pack()[:-3])


def test_time_to_live_beyond_31_bits_is_none(lua):
    """RFC 2181 section 8"""
    reply = answer(RR("x.example", QTYPE.A, rdata=A("192.0.2.1"), ttl=2**31))
    assert decode(lua, reply.pack())["answers"][0]["ttl"] == 0


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(lua, data):
    decode_quietly(lua, data)


def decode_quietly(lua, data):
    assert lua.run(b"return is_read_or_refused(...)", data) is True


def test_damaged_messages_are_read_or_refused(lua):
    rng = random.Random(5)
    records = [*RR.fromZone(ZONE), RR("x", QTYPE.MX, rdata=MX("m.x.example", 1)), RR("x", QTYPE.TXT, rdata=TXT("t"))]
    records += [RR("y", QTYPE.SRV, rdata=SRV(1, 2, 3, "x.example")), RR("y", QTYPE.AAAA, rdata=AAAA("::1"))]
    whole = answer(*records, RR("z", QTYPE.SOA, rdata=SOA("a.b", "c.d", (1, 2, 3, 4, 5)))).pack()
    for _ in range(5000):
        packet = bytearray(whole[: rng.randrange(len(whole) + 1)] if rng.random() < 0.3 else whole)
        for _ in range(rng.randrange(4)):
            if packet:
                packet[rng.randrange(len(packet))] = rng.choice([0, 1, 0xC0, 0xFF, rng.randrange(256)])
        decode_quietly(lua, bytes(packet))


# ---- Addresses


@given(
    st.binary(min_size=4, max_size=4)
    | st.binary(min_size=16, max_size=16)
    | st.integers(0, 15).map(bytes).map(lambda zeros: (b"\1" + zeros + b"\2" * 16)[:16])
)
def test_address_is_written_and_read_as_python_does(lua, data):
    found = lua.run(b"return text(...)", data).decode()
    address = ipaddress.ip_address(data)
    mapped = getattr(address, "ipv4_mapped", None)
    assert found == (f"::ffff:{mapped}" if mapped else str(address))
    assert lua.run(b"return parse(...)", found.encode()) == data
    if len(data) == 16:
        assert lua.run(b"return parse(...)", address.exploded.encode()) == data


@given(st.text(st.sampled_from("0123456789abcdef:.:::. "), max_size=24))
def test_text_is_an_address_where_python_says_so(lua, text):
    try:
        expected = ipaddress.ip_address(text).packed
    except ValueError:
        expected = None
    assert lua.run(b"return parse(...)", text.encode()) == expected


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4), st.integers(0, 32))
def test_network_holds_what_python_says(lua, one, other, bits):
    network = ipaddress.ip_network((other, bits), strict=False)
    found = lua.run(b"local a, b, n = ... return within(a, b, n)", one, other, float(bits))
    assert found == (ipaddress.ip_address(one) in network)
