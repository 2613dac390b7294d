"""Path patterns over the wire; the whole table is tested with the router itself."""

import pytest
from heart_server import Server

APP = """
local app = require("heart.v1")
local function show(...)
  local names = { ... }
  return function(ctx)
    local out = {}
    for i, name in ipairs(names) do out[i] = name .. "=" .. ctx.pathParam(name) end
    return table.concat(out, " ")
  end
end
app.get("/plain", function(ctx) return "plain" end)
app.get("/user/:name", show("name"))
app.get("/user/me", function(ctx) return "never" end)
app.get("/fixed/first", function(ctx) return "literal" end)
app.get("/fixed/:name", show("name"))
app.get("/opt/:name?", show("name"))
app.get("/range/:from-:to", show("from", "to"))
app.get("/file/:name.:ext", show("name", "ext"))
app.get("/star/*", show("*"))
app.get("/two/*/mid/*", show("*1", "*2"))
app.get("/plus/+", show("+"))
app.get("/config/+.json", show("+1"))
app.get("/@:name", show("name"))
app.get("/name::name", show("name"))
app.get("/twice", function(ctx) return "first" end)
app.get("/twice", function(ctx) return "second" end)
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("/plain", "plain"),
        ("/PLAIN/", "plain"),
        ("/user/Ada", "name=Ada"),
        ("/user/me", "name=me"),
        ("/fixed/first", "literal"),
        ("/fixed/other", "name=other"),
        ("/opt", "name="),
        ("/opt/", "name="),
        ("/opt/x", "name=x"),
        ("/range/a-b", "from=a to=b"),
        ("/file/image.png", "name=image ext=png"),
        ("/star", "*="),
        ("/star/a/b/c", "*=a/b/c"),
        ("/two/a/b/mid/c/d", "*1=a/b *2=c/d"),
        ("/plus/a/b", "+=a/b"),
        ("/config/app.json", "+1=app"),
        ("/@ada", "name=ada"),
        ("/name:ada", "name=ada"),
        ("/twice", "first"),
    ],
)
def test_pattern_matches(server, target, text):
    response = server.get(target)
    assert (response.status, response.text) == (200, text)


@pytest.mark.parametrize(
    "target", ["/user", "/user/", "/user/a/b", "/plus", "/plus/", "/range/a", "/plainer", "/file/x"]
)
def test_pattern_does_not_match(server, target):
    assert server.get(target).status == 404


def test_registration_order_holds_in_every_run(serve):
    """Heart v1 registered in hash order, so that overlapping routes were undefined."""
    names = [f"r{i}" for i in range(30)]
    lines = ['local app = require("heart.v1")'] + [
        f'app.get("/x/:{name}", function(ctx) return "{name}" end)' for name in names
    ]
    for _ in range(2):
        assert serve("\n".join(lines)).get("/x/1").text == "r0"


def test_thousand_routes_are_all_found(serve):
    server = serve("""
        local app = require("heart.v1")
        for i = 1, 1000 do
          app.get("/literal/" .. i, function(ctx) return i end)
          app.get("/pattern" .. i .. "/:x", function(ctx) return i .. ctx.pathParam("x") end)
        end
    """)
    with server.connect() as client:
        for i in range(1, 1001, 37):
            assert client.fetch(target=f"/literal/{i}").text == str(i)
            assert client.fetch(target=f"/pattern{i}/y").text == f"{i}y"
