"""Reading Lua source for what it requires, whatever the source is."""

import pytest

from heartc import luasource

SOURCE = """\
#!/usr/bin/env heart
-- require "no"
local a, b = require("one"), require 'two' --[==[ require("no") ]] ]==] local c = require [==[
three]==]
local s = "\\"" .. 'require("no")' .. [[ require("no") ]]
local t = { x = require"four".y, require = 1 }
t.require("no") t:require("no") require(name) require("five" .. t) require("six")()
"""


def names(text):
    return [name for _, name in luasource.required(text)]


def test_literals_are_found_with_their_lines():
    assert list(luasource.required(SOURCE)) == [(3, "one"), (3, "two"), (3, "three"), (6, "four"), (7, "six")]


def test_source_that_ends_anywhere_is_read():
    for end in range(len(SOURCE)):
        for line, name in luasource.required(SOURCE[:end]):
            assert name != "no" and 1 <= line <= 7


@pytest.mark.parametrize(
    "text", ["[" * 100000, "--[" + "=" * 100000, '"\\' * 100000, "require(" * 30000, "..." * 50000]
)
def test_hostile_source_is_read_in_linear_time(text):
    assert names(text) == []


def test_every_byte_is_read():
    text = bytes(range(256)).decode("utf-8", "surrogateescape")
    assert names(text + '\nrequire("x")') in ([], ["x"])


def test_search_follows_the_order_of_the_path(tmp_path):
    for name in ("a/x.lua", "b/x.lua", "b/y/init.lua"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    path = ";".join(f"{tmp_path}/{root}/?.lua;{tmp_path}/{root}/?/init.lua" for root in "ab")
    assert luasource.search("x", path) == f"{tmp_path}/a/x.lua"
    assert luasource.search("y", path) == f"{tmp_path}/b/y/init.lua"
    assert luasource.search("z", path) is None


def test_modules_below_a_folder_are_named_as_require_names_them(tmp_path):
    for name in ("main.lua", "shop/cart.lua", "shop/init.lua", ".git/x.lua", "lua_modules/y.lua", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert luasource.modules_below(tmp_path) == ["main", "shop.cart", "shop"]
