"""Certificates for the tests, made by the command `openssl`.

Authority     a CA, which signs certificates: a root, or one below another
Leaf          the files of one certificate: `path` (with the CAs between it and the root), `key`
Certificates  what most tests need; the fixture `certificates`
"""

import subprocess
from collections import namedtuple

from heart_server import need

Leaf = namedtuple("Leaf", "path key")
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
CA_EXTENSIONS = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"


def openssl(*words, **more):
    """Run the command; its output as text."""
    program = need("openssl", "openssl")
    return subprocess.run([program, *map(str, words)], check=True, capture_output=True, text=True, **more).stdout


class Authority:
    """A CA with its files in `folder`; `above` signs it, else it is a root that signs itself."""

    def __init__(self, folder, name="root", above=None):
        self.folder = folder
        self.name = name
        self.above = above
        self.path = folder / f"{name}.pem"
        self.key = folder / f"{name}.key"
        subject = ("-subj", f"/O=Heart's tests/CN={name}")
        if above is None:
            openssl("req", "-x509", *CURVE, "-noenc", "-keyout", self.key, "-out", self.path, *subject)
        else:
            above.sign(self.path, self.key, subject, CA_EXTENSIONS, 30)

    def chain(self):
        """The certificates from this CA up to the root, that one left out."""
        return self.path.read_text() + self.above.chain() if self.above is not None else ""

    def issue(self, name, *alternatives, days=30, password=None):
        """Sign a certificate for the alternative names ("DNS:a.test", "IP:127.0.0.1"). `days` below 0: it has
        expired. `password` encrypts its key."""
        path, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        extensions = f"subjectAltName={','.join(alternatives)}\n" if alternatives else "basicConstraints=CA:FALSE\n"
        self.sign(path, key, ("-subj", f"/O=Heart's tests/CN={name}"), extensions, days, password)
        path.write_text(path.read_text() + self.chain())
        return Leaf(path, key)

    def sign(self, path, key, subject, extensions, days, password=None):
        request, settings = path.with_suffix(".csr"), path.with_suffix(".ext")
        settings.write_text(extensions)
        secret = ("-passout", f"pass:{password}") if password else ("-noenc",)
        openssl("req", *CURVE, *secret, "-keyout", key, "-out", request, *subject)
        openssl(
            *("x509", "-req", "-in", request, "-CA", self.path, "-CAkey", self.key, "-out", path),
            *("-days", days, "-extfile", settings, "-set_serial", "0x1234abcd"),
        )


class Certificates:
    """`root` has signed `middle`, which has signed the rest; `stranger` is a root that nobody trusts."""

    def __init__(self, folder):
        self.folder = folder
        self.root = Authority(folder)
        self.middle = Authority(folder, "middle", self.root)
        self.stranger = Authority(folder, "stranger")
        self.server = self.middle.issue("server", "DNS:heart.test", "DNS:*.wild.test", "IP:127.0.0.1", "IP:::1")
        self.expired = self.middle.issue("expired", "DNS:heart.test", days=-1)
        self.client = self.middle.issue("client")
        self.secret = self.middle.issue("secret", password="open sesame")
        self.foreign = self.stranger.issue("foreign", "DNS:heart.test")
