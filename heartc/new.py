"""`heart new`: writes a small application that runs."""

import os
import re
import shlex

from . import lualib
from .errors import HeartError

FOLDER = "template"
RENAMED = {"gitignore": ".gitignore"}  # in the package it would be taken for its own
NAME = "APP_NAME"


def run(dir):
    """`heart new DIR`. Nothing is overwritten, and nothing is written if a file is in the way."""
    files = template()
    refuse_existing(dir, files)
    try:
        name = app_name(dir)
        for path, text in files.items():
            write(os.path.join(dir, path), text.replace(NAME, name))
    except OSError as error:
        raise HeartError(f"{error.filename or dir}: can not be written: {error.strerror}") from None
    print(f"Made {os.path.join(dir, '')} with {', '.join(files)}. Next:\n")
    if os.path.normpath(dir) != ".":
        print(f"    cd {shlex.quote(dir)}")
    print("    heart serve main.lua --dev --watch\n\nand open http://localhost:3333")


def app_name(folder):
    """What the application is called: its folder's name, of characters that mean nothing in Lua, HTML and Markdown."""
    name = os.path.basename(os.path.abspath(folder))
    return " ".join(re.findall(r"[\w.]+(?:-[\w.]+)*", name)).replace("_", " ").strip() or "My application"


def template():
    """The files to write: path to text."""
    top = lualib.data_path(FOLDER)
    found = {}
    for folder, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), top)
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                found[RENAMED.get(path, path)] = file.read()
    return found


def refuse_existing(folder, files):
    """An error if the folder can not be the application's."""
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise HeartError(f"{folder}: is a file; expected a new folder")
    for path in files:
        found = os.path.join(folder, path)
        if os.path.lexists(found):
            raise HeartError(f"{found}: is there already, and nothing is overwritten; expected a new folder")


def write(path, text):
    """Write a new file, with the folders on its way."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "x", encoding="utf-8") as file:
        file.write(text)
