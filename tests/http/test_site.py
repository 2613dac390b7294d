"""heart serve DIR: a folder of files, and no Lua."""

import signal

import pytest
from heart_server import Server, heart, wait_until

FILES = {
    "index.html": "home",
    "style.css": "body {}",
    "docs/index.html": "docs",
    "docs/page.html": "page",
    "scripts/tool.lua": "return 1",
    "empty/.keep": "",
    ".secret": "hidden",
    "404.html": "<h1>not here</h1>",
    "404.html.gz": "never looked for",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with files, and a server for it."""
    folder = tmp_path_factory.mktemp("site")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    with Server(folder, workers=2) as server:
        yield server


def test_files_are_served(site):
    assert site.get("/").text == "home"
    assert site.get("/docs/").text == "docs"
    assert site.get("/docs/page.html")["content-type"] == "text/html; charset=utf-8"
    assert site.get("/scripts/tool.lua").text == "return 1"
    part = site.fetch(target="/style.css", headers=[("Range", "bytes=0-3")])
    assert (part.status, part.text) == (206, "body")
    assert site.fetch("HEAD", "/style.css")["content-length"] == "7"


def test_folder_is_redirected_to_its_slash(site):
    answer = site.get("/docs?x=1")
    assert (answer.status, answer["location"]) == (301, "./docs/?x=1")
    assert site.get("/empty").status == site.get("/empty/").status == 404


@pytest.mark.parametrize("path", ["/none", "/docs/none", "/.secret", "/empty/", "/style.css/", "/../site/index.html"])
def test_missing_file_has_the_page_of_the_site(site, path):
    headers = [("Accept-Encoding", "gzip"), ("If-None-Match", "*"), ("Range", "bytes=0-0")]
    answer = site.fetch(target=path, headers=headers)
    assert (answer.status, answer.text) == (404, "<h1>not here</h1>")
    assert answer["content-type"] == "text/html; charset=utf-8"
    assert answer["etag"] is answer["content-encoding"] is None
    head = site.fetch("HEAD", path)
    assert (head.status, head["content-length"]) == (404, "17")


def test_missing_file_of_a_site_without_such_a_page(tmp_path):
    (tmp_path / "a.txt").touch()
    with Server(tmp_path) as server:
        answer = server.get("/none")
        assert (answer.status, answer.text) == (404, "Cannot GET /none")
        assert server.get("/").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/style.css", "/none"])
def test_other_methods_are_told_which_there_are(site, method, path):
    """RFC 9110 section 15.5.6."""
    answer = site.fetch(method, path)
    assert (answer.status, answer["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_options_are_told(site):
    answer = site.fetch("OPTIONS", "/style.css")
    assert (answer.status, answer["allow"]) == (204, "GET, HEAD, OPTIONS")


def test_unknown_method_is_refused(site):
    assert site.fetch("BREW", "/").status == 501


def test_new_and_changed_files_are_served_at_once(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    with Server(tmp_path) as server:
        assert server.get("/a.txt").text == "one"
        (tmp_path / "a.txt").write_text("two")
        (tmp_path / "b.txt").write_text("new")
        assert (server.get("/a.txt").text, server.get("/b.txt").text) == ("two", "new")
        server.signal(signal.SIGHUP)
        server.wait_log("reloaded")
        assert server.get("/b.txt").text == "new"


def test_relative_folder_is_that_of_the_working_directory(tmp_path):
    """And a path is enough for a command."""
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "a.txt").write_text("a")
    server = Server(None, files={"public/a.txt": "a"}, command=("./public",))
    with server:
        wait_until(lambda: server.get("/a.txt").text == "a", "the file is served")


def test_folder_of_an_application_is_the_application(tmp_path):
    """Its source is no file of a site."""
    (tmp_path / "main.lua").write_text('require("heart.v1").get("/", function() return require("part") end)')
    (tmp_path / "part.lua").write_text('return "part"')
    with Server(tmp_path) as server:
        assert server.get("/").text == "part"
        assert server.get("/main.lua").status == 404


@pytest.mark.parametrize("args", [["--watch"], ["--workers", "1", "--watch"]])
def test_watching_a_site_makes_no_sense(tmp_path, args):
    (tmp_path / "a.txt").touch()
    result = heart("serve", tmp_path, *args)
    assert (result.returncode, result.stderr) == (
        2,
        f"heart: --watch: files of {tmp_path} are read when they are asked for: there is nothing to reload\n",
    )
