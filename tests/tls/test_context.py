"""TLS contexts: what is read from files and texts, and what is said when that can not be done."""

import os
import subprocess
import sys

import pytest
import tls_native
from certificates import openssl


def refusal(**options):
    with pytest.raises(tls_native.Refused) as caught:
        tls_native.Context(**options)
    return str(caught.value)


def test_files_and_texts_are_the_same(certificates):
    leaf, root = certificates.client, certificates.root
    tls_native.Context(ca_file=str(root.path), certificate=str(leaf.path), key=str(leaf.key))
    tls_native.Context(ca_file=root.path.read_text(), certificate=leaf.path.read_text(), key=leaf.key.read_text())


def test_key_in_the_file_of_the_certificate(certificates):
    leaf = certificates.client
    both = leaf.path.read_text() + leaf.key.read_text()
    tls_native.Context(certificate=both)
    tls_native.Context(certificate=leaf.key.read_text() + leaf.path.read_text())


@pytest.mark.parametrize("option", ["ca_file", "certificate"])
def test_missing_file_is_named(option):
    assert refusal(**{option: "/nowhere/x.pem"}) == f"tls: {option}: /nowhere/x.pem: No such file or directory"


def test_missing_key_file_is_named(certificates):
    message = refusal(certificate=str(certificates.client.path), key="/nowhere/x.key")
    assert message == "tls: key: /nowhere/x.key: No such file or directory"


def test_folder_in_place_of_a_file_is_refused(tmp_path):
    assert refusal(ca_file=str(tmp_path)).startswith(f"tls: ca_file: {tmp_path}: ")


@pytest.mark.parametrize("option", ["ca_file", "certificate"])
def test_file_without_certificate_is_refused(option, tmp_path):
    path = tmp_path / "empty.pem"
    path.write_text("nothing\n")
    assert refusal(**{option: str(path)}) == f"tls: {option}: {path}: there is none in it"


def test_broken_certificate_is_refused(certificates):
    text = certificates.root.path.read_text()
    broken = text.replace(text.splitlines()[3], "!" * 64)
    assert refusal(ca_file=text + broken) == "tls: ca_file: bad base64 decode"
    assert refusal(certificate=broken) == "tls: certificate: bad base64 decode"


def test_key_of_another_certificate_is_refused(certificates):
    message = refusal(certificate=str(certificates.client.path), key=str(certificates.server.key))
    assert message == "tls: key: key values mismatch"


def test_key_without_certificate_is_refused(certificates):
    assert refusal(key=str(certificates.client.key)) == "tls: key: a certificate is missing"


def test_certificate_without_key_is_refused(certificates):
    path = certificates.client.path
    assert refusal(certificate=str(path)) == f"tls: key: {path}: there is none in it"


def test_password_of_a_key(certificates):
    files = {"certificate": str(certificates.secret.path), "key": str(certificates.secret.key)}
    tls_native.Context(password="open sesame", **files)
    path = certificates.secret.key
    assert refusal(**files) == f"tls: key: {path}: it is encrypted: a password is needed"
    assert refusal(password="wrong", **files).startswith(f"tls: key: {path}: ")


def test_unknown_ciphers_are_refused():
    assert refusal(ciphers="NONE-OF-THESE") == "tls: ciphers: no cipher match"


def system_context(**environment):
    """What a context without options says in a process with this environment; "" if it was made."""
    code = "import tls_native\ntry: tls_native.Context()\nexcept tls_native.Refused as e: print(e)"
    path = os.pathsep.join(["build/native", *sys.path])
    clean = {name: text for name, text in os.environ.items() if not name.startswith("SSL_CERT")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | {"PYTHONPATH": path} | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_system_store_is_that_of_the_environment(certificates, tmp_path):
    assert system_context(SSL_CERT_FILE=str(certificates.root.path)) == ""
    assert system_context(SSL_CERT_DIR=str(tmp_path)) == ""
    message = system_context(SSL_CERT_FILE="/nowhere/x.pem")
    assert message == "tls: SSL_CERT_FILE: /nowhere/x.pem: No such file or directory"
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    assert system_context(SSL_CERT_FILE=str(empty)) == f"tls: ca_file: {empty}: there is none in it"


def test_contexts_do_not_leak(certificates):
    """One with everything, and refused ones, 100 times each: memory stays."""
    code = f"""
import tls_native
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4
def go(n):
    for _ in range(n):
        tls_native.Context(ca_file={str(certificates.root.path)!r}, certificate={str(certificates.client.path)!r},
                           key={str(certificates.client.key)!r}, alpn=["h2", "http/1.1"])
        for options in ({{"ca_file": "/nowhere"}}, {{"certificate": {str(certificates.secret.path)!r}}}):
            try:
                tls_native.Context(**options)
            except tls_native.Refused:
                pass
go(20)
before = rss()
go(100)
assert rss() - before < 400, (before, rss())
"""
    path = os.pathsep.join(["build/native", *sys.path])
    environment = os.environ | {"PYTHONPATH": path, "SSL_CERT_FILE": str(certificates.root.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_openssl_is_that_of_the_command():
    """The headers, the library and the tool come from one package here."""
    from heartc import _tls

    assert _tls.version().split()[0] == openssl("version").split()[0] == "OpenSSL"
