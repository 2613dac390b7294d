"""Scripts of luafcgid: main(env, con), the helper module, error pages."""

import pytest
from fcgi_scripts import Scripts

DUMP = """
local fcgi = require("luafcgid")

function main(env, con)
  con:header("X-Powered-By", "Lua")
  con:puts("version " .. env.LUAFCGID_VERSION .. "\\n")
  con:puts("method " .. env.REQUEST_METHOD .. "\\n")
  if env.REQUEST_METHOD == "GET" then
    local parameters, names = fcgi.parse(env.QUERY_STRING), {}
    for name in pairs(parameters) do
      names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
      con:puts(name .. " = " .. fcgi.serialize(parameters[name]) .. "\\n")
    end
  else
    con:puts("body " .. tostring(con:gets()) .. " then " .. tostring(con:gets()))
  end
end
"""
SCRIPTS = {
    "dump.lua": DUMP,
    "head.lua": """
function main(env, con)
  con:header("Status: 404 Not Here\\r\\nX-One: 1")
  con:header("X-Two", 2)
  con:header("X-Two", "again")
  con:header("Content-Type", "text/plain")
  con:header("Content-Length", "9999")
  con:puts(12)
  con:puts(" twelve")
end
""",
    "flush.lua": """
local task = require("heart.v1.task")
function main(env, con)
  con:header("X-Early", "yes")
  con:puts("first ")
  con:flush()
  task.sleep(0.02)
  con:header("X-Late", "no")
  con:puts("second")
end
""",
    "reset.lua": """
function main(env, con)
  con:header("X-Kept", "yes")
  con:puts("forgotten")
  con:reset()
  con:puts("kept")
end
""",
    "count.lua": "count = 0\nfunction main(env, con) count = count + 1 con:puts(count) end",
    "inject.lua": """
function main(env, con)
  con:puts(select(2, pcall(con.header, con, "X-A", env.QUERY_STRING .. "\\r\\nX-B: b")))
  con:puts("\\n" .. select(2, pcall(con.header, con, "no colon")))
  con:puts("\\n" .. select(2, pcall(con.puts, con, {})))
end
""",
    "config.lua": """
function main(env, con)
  con:puts(tostring(con:config("colour")) .. " " .. tostring(con:config("workers")))
  con:puts(" " .. con:config("colour", "green") .. " " .. con:config("colour"))
end
""",
    "log.lua": 'function main(env, con) con:log("100%s of %d") con:puts("ok") end',
    "fails.lua": 'function main(env, con) con:puts("half a page") error("this <failed>") end',
    "syntax.lua": "function main(",
    "integer.lua": "function main(env, con)\n  con:puts(7 // 2)\nend",
    "nothing.lua": "x = 1",
    "both.lua": """
function main(env, con)
  Send("Env " .. tostring(Env.QUERY_STRING) .. ", ")
  con:puts("env " .. env.QUERY_STRING .. ", ")
  Send(tostring(Env.LUAFCGID_VERSION) .. " " .. LUAFCGID_VERSION)
end
""",
    "files.lua": """
function main(env, con)
  local file = assert(io.open("data.txt"))
  con:puts(file:read("*a"))
  file:close()
  for line in io.lines("data.txt") do con:puts("," .. line) end
  con:puts("," .. dofile("value.lua"))
  con:puts("," .. tostring(io.open("missing.txt")))
end
""",
    "data.txt": "one\n",
    "value.lua": "return 42",
    "shebang.lua": "#!/usr/bin/lua\n-- second\nfunction main(env, con) error('line 3', 1) end",
}
CONFIG = """
listen = ":9000"
workers = 1
handler = "main"
headers = "X-Always: a\\r\\nX-Also: b\\r\\n"
contenttype = "text/html"
showerrors = %s
maxpost = 1000
colour = "red"
"""


@pytest.fixture(scope="module")
def scripts():
    with Scripts(SCRIPTS, "--prod", config=CONFIG % "false") as server:
        yield server


def test_main_gets_variables_and_connection(scripts):
    answer = scripts.ask("dump.lua", QUERY_STRING="b=2&a=x+y%21&b=3&c")
    assert answer.status == 200
    assert answer.text == 'version 1\nmethod GET\na = "x y!"\nb = {[1] = "2",[2] = "3"}\nc = ""\n'
    assert answer["x-powered-by"] == "Lua"
    assert answer["content-type"] == "text/html"
    assert (answer["x-always"], answer["x-also"]) == ("a", "b")
    assert answer["content-length"] == str(len(answer.body))
    assert answer["x-elapsedtime"] is None


def test_gets_gives_the_body_once(scripts):
    answer = scripts.ask("dump.lua", b"name=value" * 99)
    assert answer.text.endswith(f"body {'name=value' * 99} then nil")
    assert scripts.ask("dump.lua", b"").text.endswith("body nil then nil")


def test_body_beyond_maxpost_is_refused_whole(scripts):
    assert scripts.ask("dump.lua", b"x" * 1000).status == 200
    assert scripts.ask("dump.lua", b"x" * 1001).status == 413


def test_headers_set_status_and_type_and_repeat(scripts):
    answer = scripts.ask("head.lua")
    assert answer.status == 404
    assert answer["x-one"] == "1"
    assert answer.all("x-two") == ["2", "again"]
    assert answer["content-type"] == "text/plain"
    assert answer["content-length"] == "9"
    assert answer.body == b"12 twelve"


def test_line_end_in_a_header_is_an_error(scripts):
    lines = scripts.ask("inject.lua", QUERY_STRING="a").text.split("\n")
    assert "a line end, a NUL or a colon has no place there" in lines[0]
    assert 'is no line "Name: value"' in lines[1]
    assert "bad argument #1 to 'puts' (string expected, got table)" in lines[2]


def test_flush_sends_what_there_is(scripts):
    process = scripts.start_asking("flush.lua")
    with process.stdout as output:
        lines = iter(output.readline, b"\r\n")
        head = [line.decode().rstrip() for line in lines]
        assert output.read() == b"first second"
    process.wait()
    assert "X-Early: yes" in head
    assert not [line for line in head if line.startswith(("X-Late", "Content-Length"))]
    scripts.wait_log("a header was set after the head")


def test_without_buffering_everything_is_sent_at_once():
    with Scripts(SCRIPTS, config="buffering = false\nworkers = 1") as server:
        answer = server.ask("dump.lua")
        assert answer["content-length"] is None
        assert answer.text == "version 1\nmethod GET\n"


def test_reset_forgets_the_body_alone(scripts):
    answer = scripts.ask("reset.lua")
    assert answer.body == b"kept"
    assert answer["x-kept"] == "yes"


def test_globals_live_on(scripts):
    assert [scripts.ask("count.lua").text for _ in range(3)] == ["1", "2", "3"]


def test_config_has_the_variables_of_the_file(scripts):
    assert scripts.ask("config.lua").text == "red 1 green green"


def test_log_writes_what_it_is_given(scripts):
    assert scripts.ask("log.lua").text == "ok"
    scripts.wait_log(r'"message":"100%s of %d"')


def test_both_apis_are_there(scripts):
    assert scripts.ask("both.lua", QUERY_STRING="q").text == "Env q, env q, nil 2"


def test_relative_names_of_files_mean_the_folder_of_the_script(scripts):
    assert scripts.ask("files.lua").text == "one\n,one,42,nil"


def test_helpers_are_inverse():
    code = """
local lf = require("luafcgid")
function main(env, con)
  local bytes = {}
  for i = 0, 255 do bytes[i + 1] = string.char(i) end
  local text = table.concat(bytes)
  assert(lf.urldecode(lf.urlencode(text)) == text)
  local value = { 1, "two", { three = 3, [4] = "4", yes = true, no = false }, text }
  local again = assert(loadstring("return " .. lf.serialize(value)))()
  assert(again[3].three == 3 and again[3][4] == "4" and again[3].yes == true and again[3].no == false)
  assert(again[1] == 1 and again[2] == "two" and again[4] == text)
  assert(lf.urlencode("a b/ä") == "a+b%2F%C3%A4" and lf.urlencode("") == "" and lf.urlencode(nil) == nil)
  assert(next(lf.parse("")) == nil and lf.parse("a=1=2").a == "1=2" and lf.parse("=x")[""] == "x")
  con:puts("held")
end
"""
    with Scripts({"helpers.lua": code}) as server:
        assert server.ask("helpers.lua").text == "held"


# ---- Errors ------------------------------------------------------------------------------------------------


def test_failed_script_gives_a_page_without_details(scripts):
    for name in ("fails.lua", "syntax.lua", "nothing.lua"):
        answer = scripts.ask(name)
        assert answer.status == 500
        assert answer["content-type"] == "text/html; charset=utf-8"
        assert "500 Internal Server Error" in answer.text
        assert name not in answer.text and "half a page" not in answer.text
    scripts.wait_log(r"www/fails\.lua:1: this <failed>")
    scripts.wait_log(r"nothing\.lua: there is no function main")


def test_showerrors_tells_what_failed():
    with Scripts(SCRIPTS, "--prod", config=CONFIG % "true") as server:
        assert "fails.lua:1: this &lt;failed&gt;" in server.ask("fails.lua").text
        assert "syntax.lua:1:" in server.ask("syntax.lua").text
        answer = server.ask("integer.lua")
        assert "integer.lua:2: the operator &#39;//&#39; is of Lua 5.3" in answer.text
        assert "traceback" not in answer.text
        assert "shebang.lua:3: line 3" in server.ask("shebang.lua").text


def test_dev_shows_the_source():
    with Scripts(SCRIPTS, dev=True) as server:
        answer = server.ask("fails.lua")
        assert answer.status == 500
        assert "this &lt;failed&gt;" in answer.text and "half a page" in answer.text
        assert "syntax.lua:1:" in server.ask("syntax.lua").text


def test_missing_script_gives_a_page(scripts):
    answer = scripts.ask("missing.lua")
    assert answer.status == 404
    assert "404 Not Found" in answer.text and "missing.lua" not in answer.text


def test_head_has_no_body(scripts):
    answer = scripts.ask("dump.lua", REQUEST_METHOD="HEAD")
    assert answer.status == 200 and answer.body == b""


def test_no_script_filename_is_told(scripts):
    answer = scripts.ask("dump.lua", SCRIPT_FILENAME="")
    assert answer.status == 500
    scripts.wait_log("no SCRIPT_FILENAME")
