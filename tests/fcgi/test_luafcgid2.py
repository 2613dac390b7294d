"""Scripts of luafcgid2: main() with globals, sessions, the names of Lua 5.3."""

import re
import subprocess
import time

import pytest
from fcgi_scripts import Scripts, nginx
from heart_server import need

SCRIPTS = {
    "dump.lua": """
function main()
  Send("<h1>Environment</h1>\\n")
  local names = {}
  for name in pairs(Env) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do Send(name .. " = " .. Env[name] .. "\\n") end
  if Env.REQUEST_METHOD == "POST" then
    Send("body " .. Receive() .. " then " .. Receive() .. "|")
  end
end
""",
    "globals.lua": """
function main()
  local cookies = {}
  for name, value in pairs(Cookies) do cookies[#cookies + 1] = name .. "=" .. value end
  table.sort(cookies)
  Send(table.concat(cookies, " ") .. "\\n")
  Send(tostring(LUAFCGID) .. " " .. LUAFCGID_VERSION .. " " .. Info.Thread .. " " .. Info.State .. "\\n")
  Send(Response[200] .. ", " .. Response[404] .. ", " .. Response[511] .. "\\n")
  Send(Dir() .. "\\n")
  for name, n in pairs(ThreadData()) do Send(name .. " " .. n .. "\\n") end
  Send(tostring(Config.colour) .. " " .. Config.list[2] .. " " .. tostring(LocalConfig and LocalConfig.title) .. "\\n")
  local name, value = lf.parse_pair("a%20b=c+d")
  Send(name .. "=" .. value .. " " .. lf.urlencode("ä") .. " " .. lf.parse("x=1&x=2").x[2])
end
""",
    "head.lua": """
function main()
  RespStatus(Response[403])
  RespContentType("text/plain; charset=utf-8")
  Header("X-One", "1")
  Header("X-Two: 2")
  Send("refused")
  if Env.QUERY_STRING == "reset" then
    Reset()
    Send("anew")
  end
end
""",
    "status.lua": "function main() RespStatus(Env.QUERY_STRING) end",
    "session.lua": """
function main()
  local q = lf.parse(Env.QUERY_STRING)
  if q.start then Session.Start() end
  if q.set then Send(tostring(Session.SetVar(q.realm or "r", q.set, q.to)) .. " ") end
  if q.number then Send(tostring(Session.SetVar("r", "n", (Session.GetVar("r", "n") or 0) + 1)) .. " ") end
  if q.table then Send(tostring(Session.SetVar("r", "t", {})) .. " ") end
  if q.flag then Send(tostring(Session.SetVar("r", "flag", true)) .. type(Session.GetVar("r", "flag")) .. " ") end
  if q.clear then Session.Clear(q.clear) end
  if q.delete then Session.Delete() end
  if q.has then Send(tostring(Session.HasRealm(q.has)) .. " ") end
  Send(tostring(Session.GetVar(q.from or "r", q.get or "a")))
end
""",
    "lua53.lua": """
local task = require("heart.v1.task")
function main()
  local packed = string.pack("<I2z", 513, "x")
  local n, s = string.unpack("<I2z", packed)
  Send(utf8.char(8364) .. " " .. utf8.len("äöü") .. " " .. n .. s .. " " .. math.type(1) .. " " .. math.tointeger("7"))
  task.sleep(0.001)
  local t = table.pack(1, nil, 3)
  Send(" " .. select("#", table.unpack(t, 1, t.n)))
end
""",
    "requires.lua": 'function main() local ok, why = pcall(require, "parts.bad") Send(why) end',
    "parts/bad.lua": "local a = 1\nreturn a | 2",
    "own.lua": """
function main()
  for _, name in ipairs({ "answer", "pool", "state", "files" }) do
    Send(tostring((pcall(require, name))) .. " ")
  end
  Send(tostring((pcall(require, "heart.v1.json"))))
end
""",
    "module.lua": """
local m = require("parts.good")
function main() Send(m.name .. require("luafcgid").urlencode(" ")) end
""",
    "parts/good.lua": 'return { name = "good" }',
    "late.lua": """
local task = require("heart.v1.task")
function main()
  task.spawn(function()
    task.sleep(0.05)
    Log("late: " .. select(2, pcall(Send, "x")))
  end)
  Send("done")
end
""",
}
CONFIG = """
WorkerThreads = 2
LuaStates = 1
DefaultHeaders = "X-Powered-By: tests\\r\\n"
DefaultContentType = "text/html"
SessionCookieSecure = false
SessionCookieSameSite = "Lax"
Config = {
  colour = "red",
  list = { "a", "b" },
  ["example.org"] = { title = "local" },
}
"""


@pytest.fixture(scope="module")
def scripts():
    with Scripts(SCRIPTS, "--prod", config=CONFIG) as server:
        yield server


def test_env_has_all_variables_and_receive_the_body(scripts):
    answer = scripts.ask("dump.lua", b"a=b", HTTP_X_OWN="own value")
    assert "HTTP_X_OWN = own value\n" in answer.text and "SERVER_NAME = example.org\n" in answer.text
    assert answer.text.endswith("body a=b then |")


def test_globals_are_those_of_luafcgid2(scripts):
    lines = scripts.ask("globals.lua", HTTP_COOKIE='one=1; two="b c"; empty=; three').text.split("\n")
    assert lines[0] == "empty= one=1 three= two=b c"
    assert re.fullmatch(r"true 2 [01] 1", lines[1])
    assert lines[2] == "200 OK, 404 Not Found, 511 Network Authentication Required"
    assert lines[3] == str(scripts.root)
    assert f"{scripts.root}/globals.lua 1" in lines
    assert lines[-2] == "red b local"
    assert lines[-1] == "a b=c d %C3%A4 2"


def test_output_has_the_order_of_luafcgid2(scripts):
    answer = scripts.ask("head.lua")
    assert answer.status == 403
    names = [name for name, _ in answer.headers if name not in ("server", "date")]
    assert names == ["content-type", "x-elapsedtime", "x-powered-by", "x-one", "x-two", "content-length"]
    assert answer["content-type"] == "text/plain; charset=utf-8"
    assert re.fullmatch(r"\d+", answer["x-elapsedtime"])
    assert answer.body == b"refused"


def test_reset_forgets_headers_and_body(scripts):
    answer = scripts.ask("head.lua", QUERY_STRING="reset")
    assert answer.status == 200 and answer["x-one"] is None
    assert answer["content-type"] == "text/html" and answer.body == b"anew"


@pytest.mark.parametrize(("text", "status"), [("404 Gone Fishing", 404), ("503", 503), ("what", 500), ("99", 500)])
def test_status_is_a_code_with_a_text(scripts, text, status):
    assert scripts.ask("status.lua", QUERY_STRING=text).status == status


def test_library_of_lua_53_is_there(scripts):
    assert scripts.ask("lua53.lua").text == "€ 3 513x integer 7 3"


def test_operator_of_lua_53_in_a_module_is_named(scripts):
    text = scripts.ask("requires.lua").text
    assert f"{scripts.root}/parts/bad.lua:2: the operator '|' is of Lua 5.3" in text


def test_modules_come_from_the_folder_of_the_script(scripts):
    assert scripts.ask("module.lua").text == "good+"


def test_modules_of_heart_itself_are_not_found_by_short_names(scripts):
    assert scripts.ask("own.lua").text == "false false false false true"


def test_task_of_an_earlier_request_has_none(scripts):
    assert scripts.ask("late.lua").text == "done"
    scripts.wait_log("late: Send: no request is served here")


def test_startup_script_and_entry_point(tmp_path):
    prelude = tmp_path / "prelude.lua"
    prelude.write_text("prefix = '<' function wrap(s) return prefix .. s .. '>' end")
    config = f'StartupScript = "{prelude}"\nentrypoint = "begin"\nLuaStates = 1'
    with Scripts({"a.lua": "local w = wrap function begin() Send(w('x')) end"}, config=config) as server:
        assert server.ask("a.lua").text == "<x>"


# ---- Sessions ----------------------------------------------------------------------------------------------


class Browser:
    """A client that keeps its session cookie."""

    def __init__(self, scripts, **who):
        self.scripts = scripts
        self.who = {"HTTP_USER_AGENT": "Browser/1.0", "HTTP_ACCEPT_LANGUAGE": "de"} | who
        self.key = None
        self.cookie = None

    def ask(self, query, **more):
        cookie = {"HTTP_COOKIE": f"other=1; XLuaSession={self.key}"} if self.key else {}
        answer = self.scripts.ask("session.lua", QUERY_STRING=query, **self.who | cookie | more)
        assert answer.status == 200
        self.cookie = answer["set-cookie"]
        if self.cookie is not None:
            key = re.match(r"XLuaSession=(\w+)", self.cookie)[1]
            self.key = None if key == "_" else key
        return answer.text


def test_session_remembers(scripts):
    browser = Browser(scripts)
    assert browser.ask("get=a") == "nil" and browser.cookie is None
    assert browser.ask("set=a&to=first") == "true first"
    key = browser.key
    assert re.fullmatch(r"\w{24}", key)
    assert [browser.ask("get=a") for _ in range(6)] == ["first"] * 6  # whichever worker answers
    assert browser.key == key
    assert browser.ask("flag=1&get=flag") == "trueboolean true"
    assert browser.ask("table=1") == "false first"
    assert [browser.ask("number=1&get=n") for _ in range(3)] == ["true 1", "true 2", "true 3"]
    assert browser.ask("set=a") == "true nil"  # nil removes


def test_cookie_has_its_attributes(scripts):
    browser = Browser(scripts)
    browser.ask("start=1")
    name, *attributes = browser.cookie.split("; ")
    assert re.fullmatch(r"XLuaSession=\w{24}", name)
    assert attributes[1:] == ["HttpOnly", "SameSite=Lax", "Path=/", "Domain=example.org"]
    assert re.fullmatch(r"Expires=\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", attributes[0])
    browser.ask("start=1", SERVER_NAME="localhost")
    assert "Domain" not in browser.cookie
    browser.ask("start=1", SERVER_NAME="192.0.2.1")
    assert "Domain" not in browser.cookie


def test_realms_are_apart(scripts):
    browser = Browser(scripts)
    browser.ask("set=a&to=1&realm=one")
    browser.ask("set=a&to=2&realm=two")
    assert browser.ask("from=one") == "1" and browser.ask("from=two") == "2" and browser.ask("from=*") == "1"
    assert browser.ask("has=one") == "true nil" and browser.ask("has=three") == "false nil"
    assert browser.ask("has=*") == "true nil"
    assert browser.ask("set=a&to=3&realm=*&from=two") == "true 3" and browser.ask("from=one") == "3"
    assert browser.ask("clear=one&has=one&from=one") == "true nil" and browser.ask("from=two") == "3"
    assert browser.ask("clear=*&has=*&from=two") == "false nil"


def test_deleted_session_is_gone_everywhere(scripts):
    browser = Browser(scripts)
    browser.ask("set=a&to=1")
    thief = Browser(scripts)
    thief.key = browser.key
    assert browser.ask("delete=1") == "nil"
    assert browser.key is None and "XLuaSession=_; Expires=Thu, 01 Jan 1970 00:00:00 GMT" in browser.cookie
    assert thief.ask("get=a") == "nil" and thief.key is None


@pytest.mark.parametrize(
    ("who", "found"),
    [
        ({}, True),
        ({"HTTP_USER_AGENT": "Other/2.0", "HTTP_ACCEPT_LANGUAGE": "en"}, True),  # 3 points for the address
        ({"REMOTE_ADDR": "192.0.2.99"}, True),  # 2 + 1
        ({"REMOTE_ADDR": "192.0.2.99", "HTTP_ACCEPT_LANGUAGE": "en"}, False),
        ({"REMOTE_ADDR": "192.0.2.99", "HTTP_USER_AGENT": "Other/2.0"}, False),
    ],
)
def test_visitor_must_score_enough(scripts, who, found):
    browser = Browser(scripts)
    browser.ask("set=a&to=mine")
    other = Browser(scripts, **who)
    other.key = browser.key
    assert other.ask("get=a") == ("mine" if found else "nil")
    if found:  # the session is that of who came last
        other.who["REMOTE_ADDR"] = "198.51.100.1"
        assert other.ask("get=a") == "mine" or who.get("HTTP_USER_AGENT") is None


@pytest.mark.parametrize("key", ["x" * 24, "short", "x" * 4000, "../../etc/passwd", "a b", ""])
def test_unknown_key_starts_nothing_and_is_dropped(scripts, key):
    browser = Browser(scripts)
    browser.key = key or "''"
    assert browser.ask("get=a") == "nil"
    assert browser.key is None


@pytest.mark.nightly
def test_settings_of_sessions_hold():
    config = """
SessionName = "sid" SessionKeyLen = 40 SessionTime = 1 SessionCookieHttpOnly = false SessionTargetScore = 6
LuaStates = 1
"""
    with Scripts(SCRIPTS, "--prod", config=config) as server:
        answer = server.ask("session.lua", QUERY_STRING="set=a&to=1")
        key = re.match(r"sid=(\w{40}); Expires=[^;]*; Secure; Path=/", answer["set-cookie"])[1]
        assert server.ask("session.lua", HTTP_COOKIE=f"sid={key}").text == "1"
        assert server.ask("session.lua", HTTP_COOKIE=f"sid={key}", REMOTE_ADDR="192.0.2.1").text == "nil"
        # it lives on as long as it is used
        for _ in range(3):
            time.sleep(0.5)
            assert server.ask("session.lua", HTTP_COOKIE=f"sid={key}").text == "1"
        time.sleep(1.2)
        assert server.ask("session.lua", HTTP_COOKIE=f"sid={key}").text == "nil"


# ---- Behind nginx ------------------------------------------------------------------------------------------


def test_nginx_and_curl_keep_a_session(scripts, tmp_path):
    def curl(path, *more):
        return subprocess.run(
            [need("curl", "curl"), "-sS", "-i", "-b", jar, "-c", jar, *more, f"{front.url}/{path}"],
            capture_output=True,
            check=True,
            text=True,
        ).stdout

    jar = tmp_path / "jar"
    with nginx(scripts) as front:
        assert curl("session.lua?number=1&get=n", "-H", "Host: www.example.org").endswith("true 1")
        assert jar.exists()
        assert curl("head.lua").startswith("HTTP/1.1 403 Forbidden\n")
        body = tmp_path / "large"
        body.write_bytes(b"x" * 300_000)
        assert curl("dump.lua", "--data-binary", f"@{body}").endswith("x" * 1000 + " then |")
        assert curl("missing.lua").startswith("HTTP/1.1 404 ")
