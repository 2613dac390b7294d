"""Reads Lua source without running it: which modules it requires, and where `require` would find them."""

import os
import re

TOKEN = re.compile(
    r"""
    (?P<comment> --\[(?P<level>=*)\[ .*? (?:\](?P=level)\]|\Z) | --[^\n]* | ^\#[^\n]* )
  | (?P<long> \[(?P<equals>=*)\[ .*? (?:\](?P=equals)\]|\Z) )
  | (?P<string> "(?:\\.|[^"\\\n])*+"? | '(?:\\.|[^'\\\n])*+'? )
  | (?P<name> [A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]* )
  | (?P<space> \s+ )
  | (?P<other> \.+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)


def tokens(text):
    """(line, kind, text) of every token that is no comment."""
    line = 1
    for match in TOKEN.finditer(text):
        kind = match.lastgroup if match.lastgroup in ("string", "name", "other") else kind_of(match)
        if kind not in ("comment", "space"):
            yield line, kind, match[0]
        line += match[0].count("\n")


def kind_of(match):
    """The kind of a token with groups inside."""
    return next(kind for kind in ("comment", "long", "space") if match[kind] is not None)


def value(kind, text):
    """What a literal stands for; None if it is none, or has escapes, which no module's name needs."""
    if kind == "string" and len(text) > 1 and text[0] == text[-1] and "\\" not in text:
        return text[1:-1]
    if kind == "long" and text.endswith("]"):
        start = text.index("[", 1) + 1
        return text[start:-start].removeprefix("\n")
    return None


def required(text):
    """(line, module) of every require("literal"), require "literal" and require [[literal]]."""
    found = list(tokens(text))
    none = (0, "", "")
    for i, (line, kind, word) in enumerate(found):
        before = found[i - 1][2] if i else ""
        if kind != "name" or word != "require" or before in (".", ":", "function"):
            continue
        rest = [*found[i + 1 : i + 4], none, none, none]
        if rest[0][2] == "(":
            name = value(*rest[1][1:]) if rest[2][2] == ")" else None
        else:
            name = value(*rest[0][1:])
        if name is not None:
            yield line, name


def read(path):
    """The text of a Lua file; bytes that are no UTF-8 are kept."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        return file.read()


def search(name, path):
    """The first file of the templates in `path` (as package.path) that is there, or None."""
    for template in path.split(";"):
        found = template.replace("?", name.replace(".", "/"))
        if os.path.isfile(found) and os.access(found, os.R_OK):
            return found
    return None


def search_native(name, cpath):
    """The C module of that name: a file of its own, or one for all modules below the first part of the name."""
    return search(name, cpath) or search(name.partition(".")[0], cpath)


def modules_below(folder, limit=2000):
    """The names of Lua modules that lie in a folder, as require takes them; at most `limit`, hidden folders not."""
    found = []
    for at, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "lua_modules")
        inside = os.path.relpath(at, folder)
        prefix = "" if inside == "." else inside.replace(os.sep, ".") + "."
        for name in sorted(files):
            if name.endswith(".lua"):
                found.append((prefix + name[:-4]).removesuffix(".init"))
        if len(found) > limit:
            return found[:limit]
    return found
