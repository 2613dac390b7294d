"""Where LuaJIT comes from."""

import pytest

from heartc import lualib
from heartc.errors import HeartError


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A Python of 32 bits, whose system has its libraries below tmp_path."""
    monkeypatch.setattr(lualib.sys, "maxsize", (1 << 31) - 1)
    monkeypatch.setattr(lualib, "SYSTEM_LUAJIT", (f"{tmp_path}/lib/libluajit-5.1.so.2", f"{tmp_path}/lib/*-linux-*/*"))
    return tmp_path


def test_64_bits_take_the_one_of_lupa():
    assert "lupa" in lualib.luajit_path()


def test_32_bits_take_the_one_of_the_system(small):
    """lupa has none for them."""
    file = small / "lib/arm-linux-gnueabihf/libluajit-5.1.so.2"
    file.parent.mkdir(parents=True)
    file.touch()
    assert lualib.luajit_path() == str(file)


def test_missing_luajit_of_the_system_names_the_package(small):
    with pytest.raises(HeartError, match="apt-get install libluajit-5.1-2"):
        lualib.luajit_path()
