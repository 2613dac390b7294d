"""app.use, app.group, app.onerror, app.on, and route options."""

import signal
import time

import pytest
from heart_server import Server, heart, wait_until

APP = """
local app = require("heart.v1")
app.use(function(ctx, next)
  ctx.set("X-Order", "outer")
  return next()
end)
app.use("/admin", function(ctx, next)
  if ctx.header("X-Key") ~= "secret" then return 403, "no" end
  return next()
end)
app.use(function(ctx, next)
  if ctx.queryParam("wrap") == "" then return next() end
  local body = next()
  return "<" .. tostring(body) .. ">"
end)
app.use(function(ctx, next)
  if ctx.queryParam("sleep") ~= "" then app.sleep(0.02) end
  return next()
end)
app.get("/", function(ctx) return "home" end)
app.get("/admin/panel", function(ctx) return "panel" end)
app.get("/administrator", function(ctx) return "public" end)
app.get("/status", function(ctx) return 201, "made", { ["X-Made"] = "1" } end)
app.get("/error", function(ctx) error("oops") end)
app.get("/error-table", function(ctx) error({ status = 409 }) end)

local api = app.group("/api")
api.use(function(ctx, next) ctx.set("X-Api", "1") return next() end)
api.get("/items/:id", function(ctx) return "item " .. ctx.pathParam("id") end)
api.post("/items", function(ctx) return 201, "created" end)
local v2 = api.group("/v2")
v2.get("/items", function(ctx) return "v2" end)

app.onerror(function(ctx, err)
  if type(err) == "table" then return err.status, "conflict" end
  return 503, "handled " .. tostring(err):match("oops")
end)
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


def test_middleware_runs_around_the_handler(server):
    response = server.get("/?wrap=1")
    assert (response.text, response["x-order"]) == ("<home>", "outer")
    assert server.get("/").text == "home"


def test_middleware_may_answer_itself(server):
    response = server.get("/admin/panel")
    assert (response.status, response.text) == (403, "no")
    assert server.get("/admin/panel", [("X-Key", "secret")]).text == "panel"


def test_prefix_ends_at_a_segment(server):
    assert server.get("/administrator").text == "public"


def test_middleware_passes_all_results_on(server):
    response = server.get("/status")
    assert (response.status, response.text, response["x-made"]) == (201, "made", "1")


def test_middleware_may_yield(server):
    assert server.get("/?sleep=1&wrap=1").text == "<home>"


def test_groups_have_their_prefix_and_middleware(server):
    response = server.get("/api/items/7")
    assert (response.text, response["x-api"]) == ("item 7", "1")
    assert server.post("/api/items", b"").status == 201
    assert server.get("/api/v2/items").text == "v2"
    assert server.get("/api/v2/items")["x-api"] == "1"
    assert server.get("/")["x-api"] is None


def test_onerror_answers_failed_handlers(server):
    response = server.get("/error")
    assert (response.status, response.text) == (503, "handled oops")
    response = server.get("/error-table")
    assert (response.status, response.text) == (409, "conflict")


def test_onerror_may_yield(serve):
    server = serve("""
        local app = require("heart.v1")
        app.get("/", function(ctx) error("first") end)
        app.onerror(function(ctx, err) app.sleep(0.02) return 503, "later" end)
    """)
    assert (server.get().status, server.get().text) == (503, "later")


def test_onerror_that_fails_is_a_plain_500(serve):
    server = serve("""
        local app = require("heart.v1")
        app.get("/", function(ctx) error("first") end)
        app.get("/ok", function(ctx) return "ok" end)
        app.onerror(function(ctx, err) error("second") end)
    """)
    with server.connect() as client:
        response = client.fetch()
        assert (response.status, response.text) == (500, "500 - Internal Server Error")
        assert client.fetch(target="/ok").text == "ok"
    server.wait_log("second")


def test_start_and_stop_events_run_once_per_worker(serve, tmp_path):
    log = tmp_path / "events"
    server = serve(
        f"""
        local app = require("heart.v1")
        local function note(text)
          local f = io.open("{log}", "a")
          f:write(text, "\\n")
          f:close()
        end
        app.on("start", function() note("start") end)
        app.on("stop", function() note("stop") end)
        app.get("/", function(ctx) return "x" end)
        """,
        workers=2,
    )
    assert log.read_text().split() == ["start", "start"]
    assert server.get().status == 200
    server.stop()
    assert log.read_text().split() == ["start", "start", "stop", "stop"]


@pytest.mark.parametrize(
    "code",
    [
        'app.on("lunch", function() end)',
        'app.get("/x")',
        "app.get(nil, function() end)",
        'app.get("/x", "not a function")',
        "app.use(42)",
        'app.onerror("x")',
    ],
)
def test_wrong_registration_is_an_error_at_load(tmp_path, code):
    script = tmp_path / "main.lua"
    script.write_text(f'local app = require("heart.v1")\n{code}\n')
    result = heart("serve", script, "--port", "0")
    assert result.returncode == 1
    assert "main.lua:2:" in result.stderr


def test_group_may_have_parameters_and_its_middleware_runs(serve):
    server = serve("""
        local app = require("heart.v1")
        local user = app.group("/users/:userId")
        user.use(function(ctx, next) return "user " .. ctx.pathParam("userId") .. ": " .. next() end)
        user.get("/posts", function(ctx) return "posts" end)
        local inner = user.group("/files")
        inner.use(function(ctx, next) return "[" .. next() .. "]" end)
        inner.get("/:name", function(ctx) return ctx.pathParam("name") end)
        app.get("/users/:userId/open", function(ctx) return "open" end)
    """)
    assert server.get("/users/Ann/posts").text == "user Ann: posts"
    assert server.get("/users/Ann/files/A.txt").text == "user Ann: [A.txt]"
    assert server.get("/users/Ann/open").text == "open"


def test_prefix_with_a_parameter_is_an_error(tmp_path):
    script = tmp_path / "main.lua"
    script.write_text('require("heart.v1").use("/users/:id", function(ctx, next) return next() end)')
    result = heart("serve", script, "--port", "0")
    assert result.returncode == 1
    assert "main.lua:1" in result.stderr and "/users/:id" in result.stderr


def test_onerror_sees_the_fields_of_ctx(serve):
    server = serve("""
        local app = require("heart.v1")
        local kept
        app.use(function(ctx, next) ctx.user = "Ann" return next() end)
        app.get("/", function(ctx) error("x") end)
        app.get("/late", function(ctx) app.sleep(0.01) kept = ctx error("x") end)
        app.get("/kept", function(ctx) return tostring(pcall(kept.path)) end)
        app.get("/nobody", function(ctx) return tostring(rawequal(ctx.user, "Ann")) end)
        app.onerror(function(ctx, err) return 500, ctx.user .. " at " .. ctx.path() end)
    """)
    assert server.get("/").text == "Ann at /"
    assert server.get("/late").text == "Ann at /late"
    assert server.get("/kept").text == "false", "a ctx is of no use after its request"


def test_start_event_may_run_for_ever(serve):
    server = serve("""
        local app = require("heart.v1")
        local ticks = 0
        app.on("start", function() while true do ticks = ticks + 1 app.sleep(0.01) end end)
        app.on("stop", function() app.sleep(0.2) print("stopped") end)
        app.get("/", function(ctx) return ticks end)
    """)
    wait_until(lambda: int(server.get().text) > 3, "the task runs")
    begin = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert 0.2 <= time.monotonic() - begin < 3
    assert "stopped" in server.lines["stdout"]
