"""The manual page: it renders without a warning and tells what --help tells."""

import re

import pytest
from heart_server import heart, need, run

from heartc import commands, config


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    result = heart("man", env={"SOURCE_DATE_EPOCH": "1700000000"})
    assert result.returncode == 0 and result.stderr == ""
    path = tmp_path_factory.mktemp("man") / "heart.1"
    path.write_text(result.stdout)
    return path


def test_man_renders_without_warnings(page):
    result = run(need("man", "man-db"), "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page)
    assert result.stderr == ""


def test_mandoc_lint_finds_nothing(page):
    result = run(need("mandoc", "mandoc"), "-T", "lint", page, check=False)
    assert result.stdout + result.stderr == ""
    assert result.returncode == 0


def test_page_tells_all_commands_and_options(page):
    text = " ".join(run(need("mandoc", "mandoc"), "-T", "utf8", "-O", "width=200", page).stdout.split())
    text = re.sub(r".\x08", "", text)
    for command in commands.COMMANDS:
        assert (f"heart {command.usage()} {command.help}" in text) != command.hidden
    for option in config.OPTIONS:
        assert f"{option.flag} {option.kind.metavar}".rstrip() + f" {option.help}" in text
        assert f"Environment: {option.env}" in text
    for status, meaning in commands.STATUS:
        assert f"{status} {meaning}" in text


def test_date_is_that_of_the_sources(page):
    """Two builds give the same page."""
    assert ".TH HEART 1 2023-11-14 " in page.read_text()


def test_roff_is_escaped():
    from heartc.man import roff

    assert roff(r".a\b-c'd`e") == r"\&.a\eb\-c\(aqd\(gae"
