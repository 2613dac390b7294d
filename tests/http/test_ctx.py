"""The request and response functions of ctx: those of Heart v1 with their exact results, and the new ones."""

import pytest
from heart_server import Server

APP = """
local app = require("heart.v1")
local json = require("heart.v1.json")
app.get("/path/:id", function(ctx) return ctx.pathParam("id") .. "|" .. ctx.pathParam("none") end)
app.get("/query", function(ctx) return ctx.queryParam("a") .. "|" .. ctx.queryParam("none") end)
app.get("/header", function(ctx) return ctx.headers("x-test") .. "|" .. ctx.headers("none") end)
app.get("/cookie", function(ctx) return ctx.cookies("a") .. "|" .. ctx.cookies("none") end)
app.post("/form", function(ctx) return ctx.formParam("a") .. "|" .. ctx.formParam("none") end)
app.get("/empty-string", function(ctx)
  local kinds = {}
  for _, v in ipairs {
    ctx.pathParam("x"), ctx.queryParam("x"), ctx.formParam("x"), ctx.headers("x"), ctx.cookies("x"),
  } do kinds[#kinds + 1] = type(v) .. #v end
  return table.concat(kinds, " ")
end)
app.get("/facts", function(ctx)
  return ctx.json {
    path = ctx.path(), host = ctx.host(), ip = ctx.ip(), method = ctx.method(), protocol = ctx.protocol(),
  }
end)
app.post("/body", function(ctx)
  local body = ctx.body()
  return ctx.json { value = body.value, string = body.string(), bytes = ctx.bytes() }
end)
app.post("/body-json", function(ctx)
  local t = ctx.body().json()
  return type(t) .. " " .. tostring(t.a) .. " " .. tostring(next(t))
end)
app.get("/redirect", function(ctx) return ctx.redirect("/there") end)
app.get("/redirect/:code", function(ctx) return ctx.redirect("https://h/x?a=1", tonumber(ctx.pathParam("code"))) end)
app.get("/status/:code", function(ctx) return ctx.status(tonumber(ctx.pathParam("code"))).json { chained = true } end)
app.get("/status-text", function(ctx) ctx.status(202) return "accepted" end)
app.get("/bad-status", function(ctx) ctx.status(99) return "x" end)
app.get("/json", function(ctx)
  local text = ctx.json { a = { 1, 2, 3 }, b = "ü\\n" }
  assert(type(text) == "string")
  return text
end)
app.get("/text", function(ctx) return ctx.html("<p>") and ctx.text("plain") end)
app.get("/html", function(ctx) return ctx.html("<p>") end)
app.get("/set-header", function(ctx) ctx.headers("X-Out", "1") return "x" end)

app.get("/new/:id", function(ctx)
  return ctx.json {
    header = ctx.header("X-One"),
    header_missing = ctx.header("X-None") == nil,
    cookie = ctx.cookie("a"),
    cookie_missing = ctx.cookie("none") == nil,
    query = ctx.query("q"),
    query_missing = ctx.query("none") == nil,
    param = ctx.param("id"),
    param_missing = ctx.param("none") == nil,
    form_missing = ctx.form("none") == nil,
  }
end)
app.get("/all/:id/:other?", function(ctx)
  return ctx.json { header = ctx.header(), cookie = ctx.cookie(), query = ctx.query(), param = ctx.param() }
end)
app.post("/form-all", function(ctx) return ctx.json(ctx.form()) end)
app.get("/module", function(ctx)
  local context = require("heart.v1.context")
  return context.method() .. " " .. context.path() .. " " .. context.queryParam("q")
end)
app.get("/module-json", function(ctx) return json.encode(json.decode('{"a":[1,2,{"b":null,"c":true}]}')) end)
app.get("/module-json-bad", function(ctx) return json.decode("{nope") end)
app.get("/number", function(ctx) return 42.5 end)
app.get("/integer", function(ctx) return 42 end)
app.get("/nil", function(ctx) return nil end)
app.get("/table", function(ctx) return { 1 } end)
app.get("/boolean", function(ctx) return true end)
app.get("/binary", function(ctx) return "a\\0b\\255" end)
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


def test_missing_values_are_empty_strings(server):
    """Heart v1: never nil."""
    assert server.get("/empty-string").text == "string0 string0 string0 string0 string0"


def test_values_are_found(server):
    assert server.get("/path/Seven").text == "Seven|"
    assert server.get("/query?a=x%20y").text == "x y|"
    assert server.get("/header", [("X-TEST", "found")]).text == "found|"
    assert server.get("/cookie", [("Cookie", "b=2; a=1; c=3")]).text == "1|"


def test_facts_of_the_request(server):
    facts = server.get("/facts?x=1").json
    assert facts == {"path": "/facts", "host": "test", "ip": "127.0.0.1", "method": "GET", "protocol": "http"}


def test_body_has_value_and_string(server):
    assert server.post("/body", b"payload").json == {
        "value": "payload",
        "string": "payload",
        "bytes": "payload",
    }
    assert server.post("/body", b"").json["string"] == ""


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"a": 5}', "table 5 a"),
        (b"", "table nil nil"),
        (b"{broken", "table nil nil"),
        (b'{"a":null}', "table nil nil"),
    ],
)
def test_body_json_is_a_table_even_when_it_is_none(server, body, text):
    """Heart v1: {} for an empty and for an invalid body."""
    assert server.post("/body-json", body).text == text


def test_redirect(server):
    response = server.get("/redirect")
    assert (response.status, response["location"]) == (302, "/there")
    for code in (301, 303, 307, 308):
        response = server.get(f"/redirect/{code}")
        assert (response.status, response["location"]) == (code, "https://h/x?a=1")


def test_status_chains(server):
    response = server.get("/status/201")
    assert (response.status, response.json) == (201, {"chained": True})
    assert (server.get("/status-text").status, server.get("/status-text").text) == (202, "accepted")


@pytest.mark.parametrize("code", [200, 201, 299, 400, 404, 418, 451, 500, 503, 599])
def test_any_final_status_reaches_the_client(server, code):
    assert server.get(f"/status/{code}").status == code


def test_status_out_of_range_is_an_error(server):
    assert server.get("/bad-status").status == 500


def test_json_sets_the_type_and_returns_the_text(server):
    response = server.get("/json")
    assert response["content-type"].startswith("application/json")
    assert response.json == {"a": [1, 2, 3], "b": "ü\n"}


def test_text_and_html_set_the_type(server):
    response = server.get("/text")
    assert (response["content-type"], response.text) == ("text/plain; charset=utf-8", "plain")
    response = server.get("/html")
    assert (response["content-type"], response.text) == ("text/html; charset=utf-8", "<p>")


def test_headers_with_a_value_sets_a_response_header(server):
    assert server.get("/set-header")["x-out"] == "1"


def test_new_getters_return_nil_for_what_is_missing(server):
    got = server.get("/new/7?q=v", [("X-One", "1"), ("Cookie", "a=b")]).json
    assert got == {
        "header": "1",
        "header_missing": True,
        "cookie": "b",
        "cookie_missing": True,
        "query": "v",
        "query_missing": True,
        "param": "7",
        "param_missing": True,
        "form_missing": True,
    }


def test_getters_without_a_name_return_all(server):
    got = server.get("/all/7?a=1&b=two+words", [("X-One", "1"), ("Cookie", "c=d; e=f")]).json
    assert {k.lower(): v for k, v in got["header"].items()} == {"host": "test", "x-one": "1", "cookie": "c=d; e=f"}
    assert got["cookie"] == {"c": "d", "e": "f"}
    assert got["query"] == {"a": "1", "b": "two words"}
    assert got["param"]["id"] == "7"
    form = server.post("/form-all", b"a=1&b=%C3%BC", [("Content-Type", "application/x-www-form-urlencoded")])
    assert form.json == {"a": "1", "b": "ü"}


def test_context_module_follows_the_running_request(server):
    assert server.get("/module?q=1").text == "GET /module 1"


def test_json_module_encodes_and_decodes(server):
    assert server.get("/module-json").json == {"a": [1, 2, {"c": True}]}
    assert server.get("/module-json-bad").status == 500


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/number", b"42.5"),
        ("/integer", b"42"),
        ("/nil", b""),
        ("/table", b""),
        ("/boolean", b""),
        ("/binary", b"a\0b\xff"),
    ],
)
def test_return_value_is_the_body(server, target, body):
    """Heart v1: strings and numbers; everything else is an empty body."""
    response = server.get(target)
    assert (response.status, response.body) == (200, body)
