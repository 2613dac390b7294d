"""fs.watch: what happens to files is told by the names that they have, and nothing is missed in silence."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from heart_server import wait_until
from snippets import Failed


@pytest.fixture
def watch(lua):
    """A function that starts to watch with these options; `.events()` gives what was told since, names below `dir`."""

    def start(path="", options=""):
        options = f"{{{options}}}"
        follow = "function(e) seen[#seen + 1] = e end"
        lua.run(f"seen = {{}} watcher = assert(fs.watch(dir .. v.path, {options}, {follow}))", path=path)
        return start

    def events():
        return [
            tuple(
                str(event[key]).removeprefix(str(lua.dir)).lstrip("/") if key != "folder" else "folder"
                for key in ("kind", "from", "name", "folder")
                if key in event
            )
            for event in lua.one("return seen")
        ]

    def expect(*wanted):
        wait_until(lambda: events()[: len(wanted)] == list(wanted), lambda: f"{wanted}, but {events()}")

    start.events, start.expect = events, expect
    yield start
    lua.run("watcher:close() watcher, seen = nil, nil")


def test_life_of_a_file(lua, watch):
    watch()
    path = lua.dir / "a"
    path.write_text("x")
    watch.expect(("create", "a"), ("write", "a"))  # the kernel makes one of two equal events that nobody has read
    path.write_text("y")
    path.rename(lua.dir / "b")
    (lua.dir / "b").unlink()
    watch.expect(("create", "a"), ("write", "a"), ("write", "a"), ("move", "a", "b"), ("delete", "b"))


def test_modify_tells_of_an_open_file(lua, watch):
    path = lua.dir / "log"
    path.touch()
    watch(options="modify = true")
    with path.open("a") as file:
        file.write("line")
        file.flush()
        watch.expect(("modify", "log"))
    watch.expect(("modify", "log"), ("write", "log"))


def test_move_from_and_to_elsewhere(lua, watch):
    (lua.dir / "in").mkdir()
    (lua.dir / "x").touch()
    watch("/in")
    (lua.dir / "x").rename(lua.dir / "in" / "x")
    (lua.dir / "in" / "x").rename(lua.dir / "y")
    watch.expect(("create", "in/x"), ("delete", "in/x"))


def test_one_file_also_when_it_is_replaced(lua, watch):
    """As editors and atomic writes do it; it need not be there at first."""
    watch("/config")
    (lua.dir / "other").write_text("x")
    lua.run("fs.write(dir .. '/config', '1') fs.write(dir .. '/config', '2', {atomic = true})")
    watch.expect(("create", "config"), ("write", "config"))
    wait_until(lambda: len(watch.events()) == 3, "the move is told")
    kind, _, name = watch.events()[2]
    assert (kind, name) == ("move", "config")


def test_recursive_follows_new_and_moved_folders(lua, watch):
    (lua.dir / "old").mkdir()
    watch(options="recursive = true")
    (lua.dir / "old" / "x").touch()
    watch.expect(("create", "old/x"), ("write", "old/x"))
    (lua.dir / "old" / "x").unlink()
    (lua.dir / "new" / "deep").mkdir(parents=True)
    wait_until(lambda: ("create", "new/deep", "folder") in watch.events(), watch.events)
    (lua.dir / "new" / "deep" / "y").touch()
    wait_until(lambda: ("write", "new/deep/y") in watch.events(), watch.events)
    (lua.dir / "new").rename(lua.dir / "newer")
    wait_until(lambda: ("move", "new", "newer", "folder") in watch.events(), watch.events)
    lua.run("return fs.exists(dir)")
    (lua.dir / "newer" / "deep" / "z").touch()
    wait_until(lambda: ("write", "newer/deep/z") in watch.events(), watch.events)
    shutil.rmtree(lua.dir / "newer")
    wait_until(lambda: ("delete", "newer", "folder") in watch.events(), watch.events)


def test_files_made_before_their_new_folder_was_watched(lua, watch):
    watch(options="recursive = true")
    for i in range(20):
        (lua.dir / f"{i}" / "sub").mkdir(parents=True)
        (lua.dir / f"{i}" / "sub" / "file").touch()
    wanted = {f"{i}/sub/file" for i in range(20)}
    wait_until(lambda: wanted <= {event[1] for event in watch.events()}, watch.events)


def test_watched_folder_that_vanishes_ends_the_watching(lua):
    (lua.dir / "x").mkdir()
    with lua.server.connect() as client:
        lua.send(client, "local t = {} for e in assert(fs.watch(dir .. '/x')) do t[#t + 1] = e end return t")
        wait_until(lambda: inotify_count(lua) == 1, "it is watched")
        lua.run("return fs.exists(dir)")
        (lua.dir / "x").rmdir()
        assert lua.receive(client) == [[{"kind": "delete", "name": f"{lua.dir}/x", "folder": True}]]


def inotify_count(lua):
    count = 0
    for fd in Path(f"/proc/{lua.server.pid}/fd").iterdir():
        try:
            count += "inotify" in os.readlink(fd)
        except FileNotFoundError:
            continue
    return count


def test_many_events(lua, watch):
    watch()
    for i in range(3000):
        (lua.dir / f"{i}").touch()
    wanted = [event for i in range(3000) for event in (("create", f"{i}"), ("write", f"{i}"))]
    wait_until(lambda: len(watch.events()) == 6000, lambda: len(watch.events()))
    assert watch.events() == wanted


def test_overflow_is_told(lua, watch, tmp_path):
    """The kernel's queue is full while the worker waits for somebody to open a FIFO."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 20000:
        pytest.skip(f"fs.inotify.max_queued_events is {limit}")
    watch(options="recursive = true")
    (lua.dir / "a").touch()
    (lua.dir / "b").touch()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with lua.server.connect() as client:
        lua.send(client, "io.open(v.fifo):close()", fifo=str(fifo))
        for _ in range(limit):  # twice as many as there is room for: the worker may take some before it waits
            os.close(os.open(lua.dir / "a", os.O_WRONLY))
            os.close(os.open(lua.dir / "b", os.O_WRONLY))
        os.close(os.open(fifo, os.O_WRONLY))
        lua.receive(client)
    lost = "for _, e in ipairs(seen) do if e.kind == 'lost' then return e.name == dir end end return false"
    wait_until(lambda: lua.one(lost), "the loss is told")
    (lua.dir / "c").touch()
    wait_until(lambda: lua.one("return seen[#seen].name:match('[^/]*$')") == "c", "events come again")


def test_error_in_the_function_is_logged_and_the_next_event_comes(lua):
    lua.run("n = 0 watcher = fs.watch(dir, function(e) n = n + 1 error('failed on ' .. e.kind) end)")
    (lua.dir / "a").touch()
    wait_until(lambda: lua.run("return n") == [2], "both events are told")
    lua.server.wait_log("failed on create")
    lua.run("watcher:close()")


def test_failures(lua):
    assert lua.run("return fs.watch(dir .. '/none/x')") == [
        None,
        f"{lua.dir}/none/x: No such file or directory",
        "ENOENT",
    ]
    with pytest.raises(Failed, match="unknown option deep"):
        lua.run("fs.watch(dir, {deep = true})")
    with pytest.raises(Failed, match="expected a function"):
        lua.run("fs.watch(dir, {}, 1)")


def test_closed_watcher_ends_its_loop_and_its_descriptor(lua):
    lua.run("collectgarbage() collectgarbage()")
    before = lua.server.fds()
    lua.run("w = fs.watch(dir)")
    with lua.server.connect() as client:
        lua.send(client, "for _ in w do end return 'ended'")
        lua.run("return fs.exists(dir)")
        lua.run("w:close() w:close()")
        assert lua.receive(client) == ["ended"]
    assert lua.run("return w:next()") == [None]
    lua.run("w = nil for i = 1, 20 do fs.watch(dir) end collectgarbage() collectgarbage()")
    wait_until(lambda: lua.server.fds() <= before, "all is closed")


def test_watchers_of_old_code_end_with_it(open_lua):
    lua = open_lua(app="fs.watch('.', function(e) last = e.name end)")
    wait_until(lambda: inotify_count(lua) == 1, "it watches")
    for _ in range(3):
        lua.server.signal(signal.SIGHUP)
        wait_until(lambda: lua.run("local before = told told = true return before") == [None], "new code serves")
    wait_until(lambda: inotify_count(lua) == 1, "one watcher is left")
    (lua.folder / "new").touch()
    wait_until(lambda: lua.run("return last") == ["./new"], "the new code is told")
