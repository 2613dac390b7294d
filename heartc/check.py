"""`heart check`: problems of an application that can be found before a request comes.

First the script and all files that it requires are read: syntax, and modules that are not there. If there is nothing
wrong, the script is run as a worker of a server does, without listening and without its start events, and the routes
that it has registered are looked at.
"""

import _thread
import json as json_module
import os
import re
import select
import sys

from . import __version__, _core, config, lualib, luasource, routes, tls
from .errors import nearest

LOADED = ("loaded", "failed")
LOG_FLUSH = 1000  # ms
ERROR = re.compile(r"(?P<file>.+?):(?P<line>\d+): (?P<message>.+)")
# What Heart's own modules are built on, and the parts of lua-resty-core, are in every state without a file.
INTERNAL = ("heart.core", "resty.core.")
BUILT_IN = """
local names = {}
for _, list in ipairs({ package.loaded, package.preload }) do
  for name in pairs(list) do
    names[#names + 1] = name
  end
end
return table.concat(names, "\\n")
"""
SYNTAX = "local _, message = loadfile((...)); return message or ''"


class Problem:
    """Something to mend, at a line of a file (0: no line is known)."""

    def __init__(self, file, line, message):
        self.file = os.path.normpath(file)
        self.line = line
        self.message = message

    def __str__(self):
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class Sources:
    """The files of an application: the script and what it requires, found as a server finds it."""

    def __init__(self, settings):
        self.settings = settings
        self.known = set(_core.lua_evaluate(BUILT_IN).split("\n"))
        self.files = [settings.script]
        self.problems = []
        for path in self.files:  # grows meanwhile
            self.look_at(path)

    def look_at(self, path):
        """Read one file."""
        message = _core.lua_evaluate(SYNTAX, path)
        if message:
            self.problems.append(problem(message, path))
            return
        for line, name in luasource.required(luasource.read(path)):
            self.follow(path, line, name)

    def follow(self, path, line, name):
        """A file requires a module."""
        if name in self.known or name.startswith(INTERNAL):
            return
        self.known.add(name)
        found = luasource.search(name, self.settings.package_path)
        if found is None:
            if luasource.search_native(name, self.settings.package_cpath) is None:
                self.known.discard(name)  # every line that asks for it is told
                self.problems.append(Problem(path, line, self.missing(name)))
        elif not found.startswith(self.settings.stdlib + "/") and found not in self.files:
            self.files.append(found)

    def missing(self, name):
        """The message about a module that is not there."""
        own = luasource.modules_below(lualib.script_folder(self.settings.script))
        public = (name for name in luasource.modules_below(self.settings.stdlib) if name.startswith("heart.v1"))
        near = nearest(name, [*own, *public])
        return f"module {name}: no such module" + (f"; did you mean {near}?" if near else "")


def problem(text, script, files=()):
    """The problem that an error message of Lua tells; its traceback is left out. Lua shortens long names of files."""
    first = text.split("\n", 1)[0]
    match = ERROR.fullmatch(first)
    if not match:
        return Problem(script, 0, first.rstrip(":"))
    file = match["file"]
    if file.startswith("..."):
        file = next((path for path in (script, *files) if path.endswith(file[3:])), file)
    return Problem(file, int(match["line"]), match["message"].rstrip(":"))


def load(settings):
    """Run the script on a worker that does not listen. Returns the engine."""
    engine = _core.Engine(settings, [[]], sys.stderr.fileno())
    _thread.start_new_thread(engine.run, (0,))
    poll = select.poll()
    poll.register(engine.notify_fd(), select.POLLIN)
    try:
        while engine.phase(0) not in LOADED:
            poll.poll()
            os.read(engine.notify_fd(), 8)
            tls.look(engine)
    except KeyboardInterrupt:  # the worker uses the engine, which must not be freed before the process ends
        os._exit(130)
    return engine


def route_problems(engine, script):
    """Routes that are never reached."""
    for route, first in routes.unreachable(engine):
        file, line = route.place or (script, 0)
        where = f" at {os.path.normpath(first.place[0])}:{first.place[1]}" if first.place else ""
        if (first.bits, first.segments) == (route.bits, route.segments):
            yield Problem(file, line, f"{route} is registered twice, first{where}")
        else:
            yield Problem(
                file, line, f"{route} is never reached: {first}{where} takes its requests; register it earlier"
            )


def settings_for(script):
    """What a server would run with, for one worker."""
    settings = config.read_options([config.check_script([script]), "--workers", "1"])
    settings.checking = True
    settings.color = False
    settings.stdlib = lualib.stdlib_path()
    settings.package_path = lualib.package_path(script, settings.stdlib)
    settings.package_cpath = lualib.package_cpath(script)
    settings.libraries = lualib.libraries()
    return settings


def examine(settings):
    """(problems, number of routes or None, number of modules)."""
    sources = Sources(settings)
    modules = len(sources.files) - 1
    if sources.problems:
        return sources.problems, None, modules
    engine = load(settings)
    if engine.phase(0) == "failed":
        problems, count = [problem(engine.message(0), settings.script, sources.files)], None
    else:
        problems, count = list(route_problems(engine, settings.script)), len(engine.routes())
    engine.stop_logs(LOG_FLUSH)
    return problems, count, modules


def run(script, json):
    """`heart check SCRIPT`. What the script prints goes to stderr, so that stdout has the result alone."""
    settings = settings_for(script)
    _core.bind_lua(lualib.luajit_path(), __version__)
    with os.fdopen(os.dup(1), "w", errors="backslashreplace") as out:
        os.dup2(2, 1)
        problems, count, modules = examine(settings)
        print((as_json if json else as_text)(script, problems, count, modules), file=out)
    # A worker's thread may still run Lua code: nothing waits for it.
    sys.stderr.flush()
    os._exit(1 if problems else 0)


def number(n, noun):
    """ "1 route", "2 routes"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def as_text(script, problems, count, modules):
    """A line for each problem, or a summary."""
    if problems:
        return "\n".join(map(str, problems))
    return f"{script}: {number(count, 'route')}, {number(modules, 'module')}: no problems"


def as_json(script, problems, count, modules):
    """The same for programs. `routes` is null where the routes could not be looked at."""
    found = [vars(entry) | {"line": entry.line or None} for entry in problems]
    return json_module.dumps({"script": script, "routes": count, "modules": modules, "problems": found})
