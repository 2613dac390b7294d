"""lua_stdlib/heart/errorpage.lua: the page of a failed request in development."""

from html.parser import HTMLParser
from pathlib import Path

import lupa.luajit21
import pytest

STDLIB = Path(__file__).parents[2] / "lua_stdlib"
VOID = {"meta", "br", "hr", "img", "link"}


class Page(HTMLParser):
    """Checks that every element is closed; keeps the text of the page, and that of marked lines."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.html = html
        self.open = []
        self.tags = set()
        self.text = ""
        self.marked = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert not any(name in ("src", "href") or name.startswith("on") for name, _ in attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "mark":
            self.marked.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if "mark" in self.open:
            self.marked[-1] += data


@pytest.fixture
def render():
    """Renders the page for a Lua expression."""
    lua = lupa.luajit21.LuaRuntime(encoding="latin-1")
    lua.execute(f'package.path = "{STDLIB}/?.lua;" .. package.path')

    def page(expression, **names):
        for name, value in names.items():
            lua.globals()[name] = value
        return Page(lua.eval(f'(require("heart.errorpage")({expression}))'))

    page.lua = lua
    return page


def test_page_shows_message_traceback_and_request(render):
    page = render(
        '{message = "nowhere.lua:3: boom", traceback = "stack traceback:\\n\\tmain.lua:3: in f", method = "GET",'
        ' target = "/x?y=1", headers = {{"Host", "a"}, {"Accept", "*/*"}}, version = "2.0.0"}'
    )
    for part in ("nowhere.lua:3: boom", "stack traceback:", "main.lua:3: in f", "GET /x?y=1", "Accept", "*/*", "2.0.0"):
        assert part in page.text
    assert page.html.startswith("<!doctype html>")
    assert "prefers-color-scheme: dark" in page.html
    assert page.marked == []


def test_everything_is_escaped(render):
    evil = '<script>alert("1")</script>&amp;\''
    page = render(
        "{message = e, traceback = e, method = e, target = e, headers = {{e, e}}, version = e}",
        e=evil,
    )
    assert "script" not in page.tags
    assert page.text.count(evil) == 8  # title, heading, traceback, method, target, both of a header, version


@pytest.mark.parametrize("name", ["Authorization", "COOKIE", "proxy-authorization", "X-Api-Key", "X-CSRF-Token"])
def test_secret_header_is_masked(render, name):
    page = render(f'{{message = "m", headers = {{{{"{name}", "hunter2"}}, {{"Accept", "shown"}}}}}}')
    assert "hunter2" not in page.html
    assert name in page.text
    assert "shown" in page.text


def write_source(path, lines=30):
    path.write_text("".join(f"local line{number} = '<{number}>'\n" for number in range(1, lines + 1)))
    return str(path)


@pytest.mark.parametrize(("line", "first", "last"), [(1, 1, 7), (3, 1, 9), (15, 9, 21), (30, 24, 30)])
def test_source_around_the_failing_line_is_shown(render, tmp_path, line, first, last):
    path = write_source(tmp_path / "main.lua")
    page = render("{message = m}", m=f"{path}:{line}: boom")
    assert page.marked == [f"{line}local line{line} = '<{line}>'"]
    shown = [number for number in range(1, 31) if f"'<{number}>'" in page.text]
    assert shown == list(range(first, last + 1))


@pytest.mark.parametrize(
    "message",
    [
        "error loading module 'x' from file '{path}':\n\t{path}:15: '=' expected",
        "wrapped: {path}:15: boom",
        "missing.lua:1: {path}:15: boom",
        "no place in it",
        "{path}:99: beyond the end",
        "{path}:99999999999999999999: boom",
    ],
)
def test_source_is_found_in_the_message_or_else_in_the_traceback(render, tmp_path, message):
    path = write_source(tmp_path / "main.lua")
    page = render(
        "{message = m, traceback = t}",
        m=message.format(path=path),
        t=f"stack traceback:\n\t[C]: in function 'error'\n\t{path}:15: in function <{path}:1>",
    )
    assert page.marked == ["15local line15 = '<15>'"]


def test_source_of_a_shortened_name_is_found_on_the_package_path(render, tmp_path):
    folder = tmp_path / ("d" * 70) / "app"
    folder.mkdir(parents=True)
    path = write_source(folder / "handlers.lua")
    render.lua.execute(f'package.path = "{folder}/?.lua;" .. package.path')
    page = render("{message = m}", m=f"...{path[-50:]}:15: boom")
    assert page.marked == ["15local line15 = '<15>'"]
    assert render("{message = m}", m="...other/app/handlers.lua:15: boom").marked == []


@pytest.mark.parametrize("name", ["secret.txt", "secret", "secret.lua.txt"])
def test_only_lua_files_are_shown(render, tmp_path, name):
    path = write_source(tmp_path / name)
    assert render("{message = m}", m=f"{path}:15: boom").marked == []


def test_folder_and_unreadable_file_are_left_out(render, tmp_path):
    (tmp_path / "folder.lua").mkdir()
    assert render("{message = m}", m=f"{tmp_path}/folder.lua:1: boom").marked == []
    assert render("{message = m}", m="none.lua:1: boom").marked == []


@pytest.mark.parametrize(
    "expression",
    [
        "nil",
        "42",
        '"text"',
        "{}",
        "{message = {}}",
        "{message = 42, traceback = 7, method = {}, target = false, headers = 5, version = {}}",
        '{message = "m", headers = {1, "x", {}, {1}, {nil, 2}, {{}, {}}}}',
        "{message = setmetatable({}, {__tostring = function() return 'mine' end})}",
        "{message = setmetatable({}, {__tostring = function() error('no') end})}",
        "{message = setmetatable({}, {__tostring = function() return 1 end})}",
        '{message = ""}',
        '{message = "\\0\\255\\27"}',
        '{message = ("x:1:"):rep(10000)}',
        '{message = ("a"):rep(1000000)}',
        '{message = (" "):rep(1000000) .. ":1:"}',
        '{message = ("a.lua:1:"):rep(100000), traceback = (" :1:"):rep(100000)}',
    ],
)
def test_odd_input_gives_a_page(render, expression):
    assert "500 Internal Server Error" in render(expression).text
