"""The main thread's part of TLS, and what the build says without OpenSSL."""

import os
import subprocess
import sys

from heart_server import ROOT

from heartc import tls

COMPILER = """#!/bin/sh
cat | grep -q openssl && exit 1
exit 0
"""


class Engine:
    """What tls.look sees of the engine."""

    def __init__(self, wanted=True, mistake=None):
        self.wanted, self.mistake, self.said = wanted, mistake, []

    def tls_wanted(self):
        return self.wanted

    def tls_answer(self, table):
        if self.mistake:
            raise self.mistake
        self.said.append(table)

    def tls_refuse(self, why):
        self.said.append(why)


def test_nothing_is_imported_before_it_is_wanted(monkeypatch):
    monkeypatch.delitem(sys.modules, "heartc._tls", raising=False)
    engine = Engine(wanted=False)
    tls.look(engine)
    assert engine.said == []
    assert "heartc._tls" not in sys.modules


def test_those_who_wait_are_told_that_there_is_no_tls(monkeypatch):
    """A Heart that was built without it, or a system without OpenSSL."""
    monkeypatch.setitem(sys.modules, "heartc._tls", None)
    monkeypatch.delattr("heartc._tls", raising=False)
    engine = Engine()
    tls.look(engine)
    assert len(engine.said) == 1
    assert engine.said[0].startswith("TLS is not available: ")


def test_extension_of_another_build_is_refused():
    engine = Engine(mistake=ImportError("different builds"))
    tls.look(engine)
    assert engine.said == ["TLS is not available: different builds"]


def test_build_without_openssl_names_the_package(tmp_path):
    compiler = tmp_path / "cc"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    result = subprocess.run(
        [sys.executable, "setup.py", "--version"],
        cwd=ROOT,
        env=os.environ | {"CC": str(compiler)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1] == (
        "openssl/ssl.h is missing: install libssl-dev (Debian), openssl-devel (Fedora) or openssl-dev (Alpine)"
    )
