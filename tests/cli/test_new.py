"""`heart new` writes an application that runs, and overwrites nothing."""

import pytest
from heart_server import Server, heart, need, run
from shown import blocks, check, commands

FILES = [".gitignore", "README.md", "main.lua", "pages.lua", "static/style.css"]


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def shop(tmp_path):
    """The folder of a new application."""
    result = heart("new", "shop", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    return tmp_path / "shop"


def test_application_is_written_and_next_steps_are_printed(tmp_path):
    result = heart("new", "my shop", cwd=tmp_path)
    assert result.returncode == 0 and result.stderr == ""
    assert files(tmp_path / "my shop") == FILES
    assert "\n    cd 'my shop'\n    heart serve main.lua --dev --watch\n" in result.stdout


def test_application_answers_as_its_readme_says(shop):
    """From the folder above, as `heart serve shop/main.lua`."""
    wanted = [command for text in blocks(shop / "README.md") for command in commands(text)]
    assert len(wanted) == 3
    with Server(shop / "main.lua", workers=2) as server:
        check(server, wanted)
        assert server.get("/static/style.css")["content-type"].startswith("text/css")
        assert "shop runs" in server.get().text


def test_what_visitors_send_is_escaped(shop):
    with Server(shop / "main.lua") as server:
        page = server.get("/", [("Cookie", "name=<b>x</b>")])
        assert "<b>" not in page.text and "Hello, &lt;b&gt;x&lt;/b&gt;!" in page.text
        missing = server.get("/<i>")
        assert missing.status == 404 and "/&lt;i&gt;" in missing.text
        for body in (b"", b"name=", b"name=" + b"x" * 41, b"name=a%0Db"):
            refused = server.post("/name", body, [("Content-Type", "application/x-www-form-urlencoded")])
            assert refused.status == 422 and "A name has" in refused.text


def test_application_has_no_problems(shop):
    result = heart("check", shop / "main.lua")
    assert result.returncode == 0
    assert result.stdout.endswith("main.lua: 3 routes, 1 module: no problems\n")


def test_lua_is_formatted_and_lint_clean(shop):
    """It is when its name is put in, too."""
    run(need("luacheck", "lua-check"), "--no-config", "--std", "luajit", "--max-line-length", "120", ".", cwd=shop)


@pytest.mark.parametrize("name", ['it\'s "100%" <b>]]', "über-café", "...", "a" * 100, "%s", "$(x)`y`"])
def test_strange_name_is_no_danger(tmp_path, name):
    result = heart("new", name, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert heart("check", "main.lua", cwd=tmp_path / name).returncode == 0
    with Server(tmp_path / name / "main.lua") as server:
        page = server.get()
        assert page.status == 200
        assert page.text.count("<b>") == 0


def test_folder_that_is_there_is_filled(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    result = heart("new", ".", cwd=tmp_path)
    assert result.returncode == 0 and "cd " not in result.stdout
    assert files(tmp_path) == sorted([*FILES, "notes.txt"])


@pytest.mark.parametrize("taken", FILES)
def test_nothing_is_written_where_a_file_is_in_the_way(tmp_path, taken):
    path = tmp_path / "shop" / taken
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    result = heart("new", "shop", cwd=tmp_path)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith(f"heart: shop/{taken}: is there already, and nothing is overwritten")
    assert files(tmp_path / "shop") == [taken] and path.read_text() == "mine"


def test_dangling_link_is_in_the_way(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "main.lua").symlink_to(tmp_path / "elsewhere")
    assert heart("new", "shop", cwd=tmp_path).returncode == 1
    assert not (tmp_path / "elsewhere").exists()


def test_file_as_folder_is_told(tmp_path):
    (tmp_path / "shop").write_text("")
    result = heart("new", "shop", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr == "heart: shop: is a file; expected a new folder\n"


def test_folder_that_can_not_be_made_is_told():
    result = heart("new", "/proc/shop")
    assert result.returncode == 1
    assert result.stderr.startswith("heart: /proc/shop: can not be written: ")


def test_missing_folder_argument_is_told():
    result = heart("new")
    assert result.returncode == 2
    assert result.stderr == "heart: DIR is missing: heart new DIR (a folder)\n"
