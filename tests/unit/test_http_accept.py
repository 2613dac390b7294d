"""http_accept.pxi: which codings a client takes (RFC 9110 sections 12.4.2 and 12.5.3)."""

import random
import re

import files_native as files
import pytest

NAMES = ["br", "zstd", "gzip"]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("", []),
        ("gzip", ["gzip"]),
        ("gzip, deflate, br, zstd", ["br", "zstd", "gzip"]),
        ("gzip, deflate", ["gzip"]),
        ("GZIP;Q=1", ["gzip"]),
        ("x-gzip", ["gzip"]),
        ("gzip;q=1.0, br;q=0.8", ["gzip", "br"]),
        ("gzip;q=0.5,zstd;q=0.7,br;q=0.6", ["zstd", "br", "gzip"]),
        ("br;q=0.001", ["br"]),
        ("br;q=0", []),
        ("br;q=0.000, gzip", ["gzip"]),
        ("*", ["br", "zstd", "gzip"]),
        ("*;q=0", []),
        ("*;q=0.5, gzip", ["gzip", "br", "zstd"]),
        ("br;q=0, *", ["zstd", "gzip"]),
        ("identity", []),
        ("identity;q=1, *;q=0", []),
        ("identity, gzip", ["gzip"]),
        ("identity, gzip;q=0.9", []),
        ("identity;q=0.5, gzip;q=0.9, br;q=0.1", ["gzip"]),
        ("identity;q=0, br", ["br"]),
        (" \t gzip \t; \t q=0.5 \t , \tbr", ["br", "gzip"]),
        (",,gzip,,", ["gzip"]),
        # malformed members are passed over
        ("gzip;q=2", []),
        ("gzip;q=1.001", []),
        ("gzip;q=0.1234", []),
        ("gzip;q=-1", []),
        ("gzip;q=", []),
        ("gzip;q=.5", []),
        ("gzip;q=0,5", []),
        ("gzip;level=9", []),
        ("gzip;q=0.5;q=1", []),
        ("gzip;;q=1", []),
        ("gzip br", []),
        ("gzipp, xgzip, b, brr", []),
    ],
)
def test_codings_come_in_the_order_of_their_weights(value, wanted):
    assert files.codings([value.encode()]) == wanted


def test_lines_of_a_field_are_one_list():
    assert files.codings([b"gzip;q=0.5", b"br;q=0.4, identity;q=0.1"]) == ["gzip", "br"]
    assert files.codings([]) == []


def reference(value):
    """A second reading."""
    weights = {}
    for member in value.split(","):
        match = re.fullmatch(r"([^;]*?)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?", member.strip(" \t"))
        if match and "\t" not in match[1]:
            name = match[1].strip(" \t").lower().replace("x-gzip", "gzip")
            weights[name] = float(match[2] or 1) if match[2] is not None else 1.0
    order = []
    for name in NAMES:
        weight = weights.get(name, weights.get("*", 0))
        if weight > 0 and weight >= weights.get("identity", 0):
            order.append((-weight, NAMES.index(name), name))
    return [name for _, _, name in sorted(order)]


def test_random_fields_are_read_as_by_another_reader():
    pick = random.Random(1)
    pieces = [
        "gzip",
        "br",
        "zstd",
        "identity",
        "*",
        "deflate",
        ",",
        ", ",
        ";q=0",
        ";q=1",
        ";q=0.5",
        "; q=0.25",
        " ",
        "",
    ]
    for _ in range(8000):
        value = "".join(pick.choices(pieces, k=pick.randrange(12)))
        assert files.codings([value.encode()]) == reference(value), value
