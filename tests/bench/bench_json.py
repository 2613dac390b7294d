"""JSON speed: Heart's encoder and decoder against lua-cjson, in one Lua state and one run.

Usage: python tests/bench/bench_json.py [seconds per measurement]
Needs Debian's lua-cjson. Prints nanoseconds per call and how many times faster Heart is; a ratio below 1 is a loss.
"""

import glob
import importlib.util
import json
import random
import string
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = ROOT / "build/bench/native"
ROUNDS = 7

LUA = b"""
package.cpath = package.cpath .. ";" .. (...)
local theirs = require("cjson")
local ours = json
local text, seconds, rounds = select(2, ...)
local value = theirs.decode(text)

local function measure(f, argument, count)
  collectgarbage()
  local start = os.clock()
  for _ = 1, count do f(argument) end
  return os.clock() - start
end

local function best(f, g, argument)
  local count = 1
  while measure(f, argument, count) < seconds / rounds / 2 do count = count * 2 end
  local least_f, least_g = math.huge, math.huge
  for _ = 1, rounds do
    least_f = math.min(least_f, measure(f, argument, count))
    least_g = math.min(least_g, measure(g, argument, count))
  end
  return least_f / count, least_g / count
end

local ours_encode, theirs_encode = best(ours.encode, theirs.encode, value)
local ours_decode, theirs_decode = best(ours.decode, theirs.decode, text)
return table.concat({ours_encode, theirs_encode, ours_decode, theirs_decode}, " ")
"""


def native():
    """lua_native, built with the optimization of the release."""
    spec = importlib.util.spec_from_file_location("native_setup", ROOT / "tests/native/setup.py")
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    builder.build(["lua_native"], str(OUT), ["-O2", "-fno-plt"])
    sys.path.insert(0, str(OUT))
    return importlib.import_module("lua_native")


def record(r):
    """Ten fields as of a customer."""
    return {
        "id": r.randrange(10**6),
        "name": "".join(r.choices(string.ascii_letters, k=12)),
        "email": "".join(r.choices(string.ascii_lowercase, k=8)) + "@example.com",
        "age": r.randrange(18, 90),
        "active": r.random() < 0.5,
        "balance": round(r.uniform(0, 10000), 2),
        "created": "2024-05-17T09:30:00Z",
        "city": r.choice(["Berlin", "Kyoto", "Lima", "Oslo"]),
        "tags": r.choices(["new", "vip", "late", "gold"], k=3),
        "note": " ".join("".join(r.choices(string.ascii_lowercase, k=6)) for _ in range(8)),
    }


def status(r):
    """A message as social networks send them: nested, long numbers, other scripts, links."""
    words = ["café", "日本語の文章", "hello", "привет", 'say "hi"', "line\nbreak", "C:\\path", "😀", "naïve", "world"]
    user = {
        "id": r.randrange(10**9),
        "name": r.choice(words),
        "description": " ".join(r.choices(words, k=8)),
        "url": "https://example.com/" + "".join(r.choices(string.ascii_letters, k=10)),
        "followers_count": r.randrange(10**5),
        "verified": False,
        "lang": "ja",
    }
    return {
        "metadata": {"result_type": "recent", "iso_language_code": "ja"},
        "created_at": "Sun Aug 31 00:29:15 +0000 2014",
        "id": r.randrange(10**15),
        "text": " ".join(r.choices(words, k=14)),
        "truncated": False,
        "user": user,
        "entities": {
            "hashtags": [{"text": r.choice(words), "indices": [3, 9]}],
            "urls": [{"url": "http://t.example/abc", "indices": [20, 42]}],
        },
        "retweet_count": r.randrange(1000),
        "favorited": False,
    }


def documents():
    r = random.Random(8259)
    ring = [[r.uniform(-180, 180), r.uniform(-90, 90)] for _ in range(500)]
    return {
        "hello": json.dumps({"hello": "world"}, separators=(",", ":")),
        "record": json.dumps(record(r), separators=(",", ":")),
        "1000 records": json.dumps([record(r) for _ in range(1000)], separators=(",", ":")),
        "1000 doubles": json.dumps([r.uniform(-180, 180) for _ in range(1000)], separators=(",", ":")),
        "coordinates": json.dumps({"type": "Polygon", "coordinates": [ring]}, separators=(",", ":")),
        "1000 integers": json.dumps([r.randrange(10**6) for _ in range(1000)], separators=(",", ":")),
        "messages": json.dumps({"statuses": [status(r) for _ in range(100)]}, ensure_ascii=False),
        "messages, \\u": json.dumps({"statuses": [status(r) for _ in range(100)]}, indent=1),
    }


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.3
    lua_native = native()
    folder = next(iter(glob.glob("/usr/lib/*/lua/5.1/cjson.so")), None)
    if folder is None:
        raise SystemExit("lua-cjson is not installed (Debian package lua-cjson)")
    path = folder.replace("cjson.so", "?.so").encode()
    columns = f"{'cjson':>10}{'ratio':>7}"
    print(f"{'document':16}{'bytes':>8} | {'encode ns':>10}{columns} | {'decode ns':>10}{columns}")
    for name, text in documents().items():
        state = lua_native.Lua()
        times = [float(t) * 1e9 for t in state.run(LUA, path, text.encode(), seconds, float(ROUNDS)).split()]
        encode, their_encode, decode, their_decode = times
        print(
            f"{name:16}{len(text.encode()):8} | {encode:10.0f}{their_encode:10.0f}{their_encode / encode:7.2f} | "
            f"{decode:10.0f}{their_decode:10.0f}{their_decode / decode:7.2f}"
        )


if __name__ == "__main__":
    main()
