"""Shared by all tests. Native modules and helpers are on the path through pyproject.toml."""

from contextlib import ExitStack

import pytest
from browser import Browser
from certificates import Certificates
from heart_server import Server


@pytest.fixture
def serve():
    """A function that starts servers which stop with the test: `server = serve(code, "--flag", …)`."""
    with ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(Server(*args, **more))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """CAs and certificates for tests of TLS."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def browser():
    """A Chromium for pages: `page = browser.open(url)`."""
    with Browser() as browser:
        yield browser


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    """What failed, a line each, as the last of the output: often only the end of a long log is at hand."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for report in reporter.getreports("failed") + reporter.getreports("error") if reporter else ():
        crash = getattr(report.longrepr, "reprcrash", None)
        reason = " ".join(crash.message.split())[:300] if crash else ""
        reporter.write_line(f"{report.nodeid}: {reason}")
