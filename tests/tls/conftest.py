"""One CA and its certificates for all tests of this folder."""

from types import SimpleNamespace

import pytest
from certificates import Authority


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """`root` has signed `middle`, which has signed the rest; `stranger` is a root that nobody trusts."""
    folder = tmp_path_factory.mktemp("certificates")
    root = Authority(folder)
    middle = Authority(folder, "middle", root)
    stranger = Authority(folder, "stranger")
    return SimpleNamespace(
        folder=folder,
        root=root,
        middle=middle,
        stranger=stranger,
        server=middle.issue("server", "DNS:heart.test", "DNS:*.wild.test", "IP:127.0.0.1", "IP:::1"),
        expired=middle.issue("expired", "DNS:heart.test", days=-1),
        client=middle.issue("client"),
        secret=middle.issue("secret", password="open sesame"),
        foreign=stranger.issue("foreign", "DNS:heart.test"),
    )
