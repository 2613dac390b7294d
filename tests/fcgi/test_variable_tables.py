"""The tables of variables that scripts get, and the globals that are made when a script looks at them: each request has
what it has sent, whatever the ones before had."""

import json
import random
from base64 import b64encode

import pytest
from fcgi_client import PARAMS, STDIN, Client, begin, encode, pairs, stream
from fcgi_scripts import Scripts

TELL = """
local json = require("heart.v1.json")
local function coded(variables)
  local found = {}
  for name, value in pairs(variables) do found[ngx.encode_base64(name)] = ngx.encode_base64(tostring(value)) end
  return found
end
function main(env, con)
  local version = env.LUAFCGID_VERSION
  env.LUAFCGID_VERSION = nil
  con:puts(json.encode({ env = coded(env), Env = coded(Env), version = version }))
  env.LEFT, Env.LEFT = "behind", "behind"
end
"""
SCRIPTS = {
    "tell.lua": TELL,
    "globals.lua": """
        function main()
          Send(tostring(Info.State) .. " " .. tostring(Cookies.a) .. " " .. Env.QUERY_STRING .. " ")
          Send(tostring(nothing) .. " " .. tostring(rawequal(Env, Env)) .. " " .. tostring(LocalConfig))
          Env, Cookies, Info, LocalConfig = "mine", nil, 3, {}
        end
    """,
    "strict.lua": """
        setmetatable(_G, { __index = function(_, name) error("no variable " .. name, 2) end })
        function main()
          Send(Env.QUERY_STRING .. " " .. tostring(Cookies.a) .. " " .. Info.State)
          Send(" " .. select(2, pcall(function() return nothing end)))
        end
    """,
    "other.lua": """
        getmetatable(_G).__index = function() return "other" end
        function main() Send(Env.QUERY_STRING .. " " .. tostring(nothing)) end
    """,
    "early.lua": """
        local before = tostring(Env)
        Env = "of the file"
        function main() Send(before .. " " .. Env.QUERY_STRING) end
    """,
}


@pytest.fixture(scope="module")
def scripts():
    with Scripts(SCRIPTS, "--workers", 1) as server:
        yield server


def tell(client, sent):
    """Let the script tell what it got of a list of pairs."""
    client.send(begin(1) + stream(PARAMS, 1, pairs(sent)) + stream(STDIN, 1, b""))
    answer = client.answer(1)
    assert answer.status == 200, answer.text
    return json.loads(answer.text)


def coded(sent):
    return {b64encode(encode(name)).decode(): b64encode(encode(value)).decode() for name, value in sent}


def same(client, sent):
    told = tell(client, sent)
    assert told == {"env": coded(sent), "Env": coded(sent), "version": 1}


def basic(scripts, **more):
    return list(scripts.variables("tell.lua", **more).items())


def test_any_variables(scripts):
    """Runs of like requests, from which one differs in some way."""
    source = random.Random(5)
    names = [f"VARIABLE_{n}" for n in range(90)] + [b"odd\0name", "", 'say "]]', "q\n"]
    values = ["", "1", "a" * 127, "a" * 128, "b" * 300, bytes(range(256)), '"', "\\065", "]]", "new\nline"]
    with Client(scripts.address()) as client:
        for _ in range(60):
            chosen = source.sample(names, source.choice([2, 5, 20, 80]))
            run = [(name, source.choice(values)) for name in chosen]
            for _ in range(source.randint(2, 12)):
                sent = list(run)
                for _ in range(source.choice([0, 0, 1, 1, 2, 5])):
                    at = source.randrange(len(sent))
                    kind = source.choice(["value", "value", "drop", "add", "twice", "move"])
                    if kind == "value":
                        sent[at] = (sent[at][0], source.choice(values))
                    elif kind == "drop" and len(sent) > 1:
                        del sent[at]
                    elif kind == "add":
                        sent.insert(at, (source.choice(names), source.choice(values)))
                    elif kind == "twice":
                        sent.append((sent[at][0], sent[at][1]))
                    elif kind == "move":
                        sent.append(sent.pop(at))
                same(client, source.choice([[*basic(scripts), *sent], [*sent, *basic(scripts)]]))


def test_last_of_a_name_counts_in_every_request(scripts):
    sent = [*basic(scripts), ("HTTP_A", "1"), ("HTTP_B", "2"), ("HTTP_A", "3")]
    with Client(scripts.address()) as client:
        for value in ("x", "x", "y", "1", "3"):
            sent[-3] = ("HTTP_A", value)
            same(client, sent)


def test_variable_of_an_earlier_request_is_gone(scripts):
    with Client(scripts.address()) as client:
        for n in range(5):
            same(client, [*basic(scripts), ("HTTP_COOKIE", f"secret={n}"), ("HTTP_X", "1")])
        same(client, [*basic(scripts), ("HTTP_X", "1")])
        same(client, basic(scripts))


def test_many_requests(scripts):
    """So many that what is kept of them is made anew several times."""
    with Client(scripts.address()) as client:
        for n in range(3500):
            sent = basic(scripts, REMOTE_PORT=n)
            assert tell(client, sent)["env"] == coded(sent)
            if n % 500 == 0:
                same(client, sent[:-1])


def test_version_of_the_web_server_is_kept(scripts):
    with Client(scripts.address()) as client:
        for _ in range(3):
            told = tell(client, [*basic(scripts), ("LUAFCGID_VERSION", "7")])
            assert told["version"] == "7"


def test_globals_are_of_the_request(scripts):
    for n in range(3):
        answer = scripts.ask("globals.lua", QUERY_STRING=f"q{n}", HTTP_COOKIE=f"a={n}")
        assert answer.text == f"1 {n} q{n} nil true nil"


def test_script_with_a_metatable_of_its_own_has_the_globals(scripts):
    for n in range(3):
        answer = scripts.ask("strict.lua", QUERY_STRING=f"q{n}", HTTP_COOKIE=f"a={n}")
        assert answer.text.startswith(f"q{n} {n} 1 ")
        assert answer.text.endswith("no variable nothing")
        assert scripts.ask("other.lua", QUERY_STRING=f"q{n}").text == f"q{n} other"


def test_globals_of_the_file_give_way(scripts):
    for n in range(3):
        assert scripts.ask("early.lua", QUERY_STRING=f"q{n}").text == f"nil q{n}"
