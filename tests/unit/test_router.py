"""The router: patterns, their order, methods, limits."""

import re
from pathlib import Path

import pytest
from routes_native import Table

MANUAL = Path(__file__).parent.parent.parent / "docs" / "routing.md"

# pattern: {path: values in the order of the pattern, or None where it must not match}
PATTERNS = {
    # Literal paths: case and slashes at the end do not count.
    "/": {"/": [], "": [], "//": [], "/a": None, "*": None},
    "": {"/": [], "/a": None},
    "/hello": {
        "/hello": [],
        "/HELLO": [],
        "/hello/": [],
        "/hello//": [],
        "/hell": None,
        "/hello/x": None,
        "hello": None,
    },
    "/Hello/": {"/hello": [], "/hello/": [], "/hello1": None},
    "noslash": {"/noslash": [], "noslash": None},
    "/data/list.json": {"/data/list.json": [], "/data/LIST.json": [], "/data/list_json": None, "/data": None},
    "/a%2Fb": {"/a%2fB": [], "/a/b": None},
    "/eight888/longer-than-sixteen": {
        "/EIGHT888/LONGER-than-sixteen": [],
        "/eight888/longer-than-sixteeN/": [],
        "/eight888/longer-than-sixteem": None,
    },
    # Letters only: "@" and "[" are neighbours of the alphabet, "`" and "{" too.
    "/@[`{": {"/@[`{": [], "/`{@[": None},
    # One parameter ends at a slash.
    "/users/:id": {
        "/users/7": ["7"],
        "/users/7/": ["7"],
        "/USERS/Ann": ["Ann"],
        "/users/a.b-c": ["a.b-c"],
        "/users/a%2Fb": ["a%2Fb"],
        "/users": None,
        "/users/": None,
        "/users/7/x": None,
        "/user/7": None,
    },
    "/:id": {"/x": ["x"], "/X/": ["X"], "/": None, "/x/y": None, "/%20": ["%20"], "/:id": [":id"]},
    "/users/:id/posts": {
        "/users/7/posts": ["7"],
        "/users/7/POSTS/": ["7"],
        "/users/7": None,
        "/users//posts": None,
        "/users/7/8/posts": None,
        "/users/posts/posts": ["posts"],
        "/users/7/posts/1": None,
    },
    "/:a/:b/:c": {"/1/2/3": ["1", "2", "3"], "/1/2": None, "/1/2/3/4": None, "/1//3": None},
    "/:User/:userName": {"/X/y": ["X", "y"]},
    # Delimiters inside a segment; the first occurrence ends the value.
    "/:from-:to": {
        "/ams-bru": ["ams", "bru"],
        "/a-b-c": ["a", "b-c"],
        "/ams": None,
        "/ams-": None,
        "/-bru": None,
        "/a/b-c": None,
        "/a-b/c": None,
    },
    "/:file.:ext": {"/img.png": ["img", "png"], "/a.tar.gz": ["a", "tar.gz"], "/.png": None, "/img-png": None},
    "/trip/:day-:month-:year": {"/trip/1-2-2024": ["1", "2", "2024"], "/trip/1-2": None, "/trip/--": None},
    "/geo/:lat..:long": {"/geo/5..6": ["5", "6"], "/geo/5.1..6.2": ["5.1", "6.2"], "/geo/5.6": None},
    "/v:major.:minor/x": {"/v1.2/x": ["1", "2"], "/V10.20/X/": ["10", "20"], "/v1/x": None, "/v1.2": None},
    "/report-:id.pdf": {
        "/report-7.pdf": ["7"],
        "/report-a.b.pdf": ["a.b"],
        "/report-.pdf": None,
        "/report-7.txt": None,
    },
    "/:x-a/b": {"/foo-a/b": ["foo"], "/foo/x-a/b": None, "/-a/b": None},
    # Text before a parameter, literal colons.
    "/@:name": {"/@ann": ["ann"], "/ann": None, "/@": None},
    "/~:name/x": {"/~ann/x": ["ann"], "/ann/x": None},
    "/name::name": {"/name:ann": ["ann"], "/name::ann": [":ann"], "/nameann": None, "/name:": None},
    "/k:::v": {"/k::1": ["1"], "/k:1": None},
    "/shop/::kind/color::color": {"/shop/:tea/color:red": ["tea", "red"], "/shop/tea/color:red": None},
    "/a:": {"/ab": ["b"], "/a": None},
    # Adjacent parameters: all but the last take one character.
    "/t:a:b": {"/txy": ["x", "y"], "/txyz": ["x", "yz"], "/tx": None, "/t": None, "/t/y": None},
    "/:a:b:c/end": {"/123/end": ["1", "2", "3"], "/12345/end": ["1", "2", "345"], "/12/end": None},
    "/t:a?:b?": {"/t": ["", ""], "/tx": ["x", ""], "/txyz": ["x", "yz"], "/s": None},
    "/t:a?:b": {"/txy": ["x", "y"], "/tx": None, "/t": None},
    # Optional parameters and the slash before them.
    "/api/:id?": {
        "/api": [""],
        "/api/": [""],
        "/api/7": ["7"],
        "/API/7/": ["7"],
        "/ap": None,
        "/api/7/8": None,
        "/apix": None,
    },
    "/:id?": {"/": [""], "": [""], "/x": ["x"], "/x/y": None},
    "/cal/:day/:month?/:year?": {
        "/cal/1": ["1", "", ""],
        "/cal/1/2": ["1", "2", ""],
        "/cal/1/2/3": ["1", "2", "3"],
        "/cal/1//3": ["1", "", "3"],
        "/cal": None,
        "/cal/1/2/3/4": None,
    },
    "/cal/:day.:month?.:year?": {
        "/cal/1..": ["1", "", ""],
        "/cal/1.2.": ["1", "2", ""],
        "/cal/1.2.3": ["1", "2", "3"],
        "/cal/1": None,
        "/cal/1.2": None,
    },
    "/cal/:day-:month?-:year?": {"/cal/1--": ["1", "", ""], "/cal/1-2-3": ["1", "2", "3"], "/cal/1-/-": None},
    "/pre:mid?post": {"/prexpost": ["x"], "/prepost": [""], "/pre": None, "/prexpos": None},
    "/::tag?": {"/:": [""], "/:a": ["a"], "/a": None},
    "/a/:b?/c": {"/a/x/c": ["x"], "/a//c": [""], "/a/c": None},
    "/a/:b?*": {"/a": ["", ""], "/a/x": ["", "x"], "/a/x/y": ["", "x/y"]},
    # "*" takes anything, "+" at least one character.
    "/*": {"/": [""], "": [""], "/a": ["a"], "/a/b/": ["a/b/"], "//": ["/"], "/A/B": ["A/B"]},
    "*": {"/": [""], "/a/b": ["a/b"]},
    "/files/*": {
        "/files": [""],
        "/files/": [""],
        "/files/a": ["a"],
        "/files/a/b.c": ["a/b.c"],
        "/files/a/b/": ["a/b"],
        "/FILES/A": ["A"],
        "/filesx": None,
        "/file": None,
    },
    "/files/+": {"/files/a": ["a"], "/files/a/b": ["a/b"], "/files": None, "/files/": None},
    "/+": {"/": None, "/a": ["a"], "/a/b/": ["a/b"]},
    "/config/*.json": {
        "/config/a.json": ["a"],
        "/config/a/b.json": ["a/b"],
        "/config/.json": [""],
        "/config/a.json.json": ["a.json"],
        "/config/a.yaml": None,
        "/config": None,
    },
    "/config/+.json": {
        "/config/a.json": ["a"],
        "/config/a/b.JSON": ["a/b"],
        "/config/.json": None,
        "/config/a.jso": None,
    },
    "/go*stop": {"/gostop": [""], "/go/1/stop": ["/1/"], "/gostopstop": ["stop"], "/go": None, "/gostopx": None},
    "/go+stop": {"/gostop": None, "/goxstop": ["x"], "/gostopstop": ["stop"]},
    "/a*cd*g/": {"/acdg": ["", ""], "/abbcdffg": ["bb", "ff"], "/abbcdff": None},
    "/*v1*/proxy": {"/v1/proxy": ["", ""], "/shop/v1/cart/proxy": ["shop/", "/cart"], "/v1": None},
    "/x***y": {"/xy": ["", "", ""], "/xaby": ["ab", "", ""], "/x*y": ["*", "", ""], "/x": None},
    "/x**": {"/x": ["", ""], "/xab/c": ["ab/c", ""]},
    "/x++": {"/x+a": ["a"], "/xab": None},
    "/x*+": {"/xab": None},
    # A wildcard leaves to what follows as much as that needs, counted from the end.
    "/w/*/:id": {
        "/w/a/1": ["a", "1"],
        "/w/a/b/1": ["a/b", "1"],
        "/w/a": None,
        "/w": None,
        "/w/a-b/c/1": ["a-b/c", "1"],
        "/w//1": ["", "1"],
    },
    "/w/*/:id?": {
        "/w": ["", ""],
        "/w/a": ["a", ""],
        "/w/a/1": ["a", "1"],
        "/w/a/b/1": ["a/b", "1"],
        "/w/a//1": ["a/", "1"],
    },
    "/w/+/:id": {"/w/a/1": ["a", "1"], "/w/a/b/1": ["a/b", "1"], "/w/a": None, "/w//1": None},
    "/w/*/:x/:y": {"/w/a/1/2": ["a", "1", "2"], "/w/a/b/1/2": ["a/b", "1", "2"], "/w/1/2": None},
    "/p/:name/log/*": {"/p/x/log": ["x", ""], "/p/x/log/": ["x", ""], "/p/x/LOG/a/b": ["x", "a/b"], "/p/x/lag": None},
    "/*/aa": {"/aaa/aa": ["aaa"], "/b/aa": ["b"], "/aa": None, "/aa/aa/aa": ["aa/aa"]},
    # No constraints and no escapes: these are plain characters.
    "/n/:id<int>": {"/n/x": ["x"]},
    "/e/\\:id": {"/e/\\7": ["7"]},
    # "*" and "+" are part of a name that they follow.
    "/m/:a*": {"/m/x": ["x"], "/m/x/y": None},
}
ROWS = [(pattern, path, values) for pattern, paths in PATTERNS.items() for path, values in paths.items()]


def table(*routes):
    """Routes given as "METHOD path"; the handler is the position."""
    t = Table()
    for number, route in enumerate(routes):
        method, path = route.split(" ", 1)
        assert t.add(method, path.encode(), number) == "ok"
    return t


def handler(t, method, path):
    found = t.match(method, path.encode())
    return found and found[0]


@pytest.mark.parametrize("pattern,path,values", ROWS)
def test_pattern_row_gives_values(pattern, path, values):
    found = table(f"GET {pattern}").match("GET", path.encode())
    assert (found and [value.decode() for _, value in found[1]]) == values


def manual_rows():
    """The examples of the manual: pattern, path, what it says of the values."""
    return re.findall(r"^\| `(/[^`]*)` \| `(/[^`]*)` \| (.*) \|$", MANUAL.read_text(), re.M)


@pytest.mark.parametrize("pattern,path,says", manual_rows())
def test_example_of_the_manual_is_true(pattern, path, says):
    t = table(f"GET {pattern}")
    if says == "no match":
        assert t.match("GET", path.encode()) is None
        return
    values = re.findall(r'(\S+) = "(.*?)"', says)
    assert len(values) == len(t.match("GET", path.encode())[1])
    for name, value in values:
        assert t.param(path.encode(), name.strip("`").encode()) == value.encode()


@pytest.mark.parametrize(
    "pattern,names",
    [
        ("/:a/:B?/:a_c", "a B a_c"),
        ("/*/+/*/+", "*1 +1 *2 +2"),
        ("/:a-:b.:c::d", "a b c d"),
        ("/:a*/x+", "a* +1"),
        ("/:", ""),
    ],
)
def test_names_are_kept_as_written(pattern, names):
    paths = [b"/x/x/x/x", b"/1-2.3:4", b"/1/2/3", b"/y/xz", b"/y"]
    found = next(m for m in (table(f"GET {pattern}").match("GET", path) for path in paths) if m)
    assert b" ".join(name for name, _ in found[1]).decode() == names


def test_param_lookup_is_exact():
    t = table("GET /:id/:ID?/*/+")
    path = b"/1/2/x/y/z"
    assert t.param(path, b"id") == b"1"
    assert t.param(path, b"ID") == b"2"
    assert t.param(path, b"Id") is None
    assert t.param(path, b"") is None
    assert t.param(path, b"*") == t.param(path, b"*1") == b"x/y"
    assert t.param(path, b"+") == t.param(path, b"+1") == b"z"
    assert t.param(path, b"*2") is None


def test_repeated_name_gives_first_value():
    assert table("GET /:a/:a").param(b"/1/2", b"a") == b"1"


def test_absent_optional_is_empty():
    assert table("GET /x/:a?").param(b"/x", b"a") == b""


def test_first_registered_wins():
    t = table("GET /:name", "GET /world", "GET /early", "GET /*")
    assert handler(t, "GET", "/world") == 0
    assert handler(t, "GET", "/a/b") == 3
    t = table("GET /world", "GET /:name", "GET /WORLD/", "GET /later")
    assert handler(t, "GET", "/world") == 0
    assert handler(t, "GET", "/later") == 1


def test_order_holds_between_many_routes():
    """The result is that of trying all routes one by one."""
    patterns = ["/*" if i % 97 == 96 else f"/p{i % 7}/:x" if i % 5 == 0 else f"/p{i % 7}/{i % 11}" for i in range(400)]
    whole = table(*(f"GET {p}" for p in patterns))
    single = [table(f"GET {p}") for p in patterns]
    for path in [f"/p{a}/{b}" for a in range(8) for b in range(12)] + ["/", "/x/y/z"]:
        expected = next((i for i, t in enumerate(single) if t.match("GET", path.encode())), None)
        assert handler(whole, "GET", path) == expected, path


def test_methods_are_apart():
    t = table("GET /a", "POST /a", "* /b", "PUT /:x")
    assert [handler(t, m, "/a") for m in ("GET", "POST", "PUT", "DELETE")] == [0, 1, 3, None]
    assert [handler(t, m, "/b") for m in ("GET", "OTHER", "TRACE")] == [2, 2, 2]


def test_head_is_answered_by_get_in_registration_order():
    assert handler(table("GET /a"), "HEAD", "/a") == 0
    assert handler(table("GET /a", "HEAD /a"), "HEAD", "/a") == 0
    assert handler(table("HEAD /a", "GET /a"), "HEAD", "/a") == 0
    assert handler(table("HEAD /a", "GET /a"), "GET", "/a") == 1
    assert handler(table("POST /a"), "HEAD", "/a") is None


def test_allowed_names_the_methods_of_a_path():
    """RFC 9110 section 10.2.1."""
    t = table("GET /a", "POST /:x", "DELETE /b", "PATCH /a/")
    assert t.allowed(b"/A/") == {"GET", "HEAD", "POST", "PATCH"}
    assert t.allowed(b"/b") == {"POST", "DELETE"}
    assert t.allowed(b"/a/b") == set()
    assert len(table("* /a").allowed(b"/a")) == 9


def test_sixteen_parameters_are_the_limit():
    t = Table()
    path = b"".join(b"/:p%d" % i for i in range(16))
    assert t.add("GET", path) == "ok"
    assert t.add("GET", path + b"/:p16") == "limit"
    assert t.add("GET", b"*" * 16) == "ok"
    assert t.add("GET", b"*" * 17) == "limit"
    assert t.add("GET", b":" * 200) == "ok"
    assert [len(p) for p in t.registered()] == [len(path), 17, 201]
    assert len(t.match("GET", b"/x" * 16)[1]) == 16


def test_long_path_is_refused():
    t = Table()
    assert t.add("GET", b"/" + b"x" * 65533) == "ok"
    assert t.add("GET", b"/" + b"x" * 65534) == "limit"
    assert t.match("GET", b"/" + b"X" * 65533) is not None


def test_route_number_65536_is_refused():
    t = Table()
    for i in range(65535):
        assert t.add("GET", b"/%d" % i, i) == "ok"
    assert t.add("GET", b"/more") == "limit"
    assert all(t.match("GET", b"/%d" % i) == (i, []) for i in range(0, 65535, 13))
    assert t.match("GET", b"/more") is None


def test_freed_router_is_empty_and_usable():
    t = table("GET /a", "GET /:x")
    t.free()
    assert t.match("GET", b"/a") is None
    assert t.add("GET", b"/a", 9) == "ok"
    assert t.match("GET", b"/a") == (9, [])


def test_path_as_registered_is_kept():
    t = Table()
    for path in (b"", b"a/B/", b"/C/:Name/"):
        t.add("GET", path)
    assert t.registered() == [b"/", b"/a/B/", b"/C/:Name/"]


def test_every_byte_is_compared_as_ascii():
    """Only A-Z have another case, whatever the position in a word."""
    for length in range(1, 20):
        for c in range(256):
            stem = b"/" + b"q" * (length - 1)
            t = Table()
            t.add("GET", stem + b"k" + b"q")
            assert (t.match("GET", stem + bytes([c]) + b"Q") is not None) == (c in b"kK")


def test_hostile_path_is_matched_in_bounded_time():
    """A match makes no choice twice, so that its cost grows with the length of the path only."""
    t = table("GET /*a*a*a*a*a*a*a*ab", "GET /:a-:b-:c-:d-:e-:f.x")
    assert t.match("GET", b"/" + b"a" * 60000) is None
    assert t.match("GET", b"/" + b"-" * 60000) is None
