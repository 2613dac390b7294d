"""heart.v1.fs: every function, and how each fails."""

import os
import resource
import stat
import subprocess
from pathlib import Path

import pytest
from bundles import Bundle, write_files
from snippets import Failed

ROOT_USER = os.geteuid() == 0
BUNDLED = """
local fs, json, app = require("heart.v1.fs"), require("heart.v1.json"), require("heart.v1")
app.get("/", function(ctx)
  local names, kinds = fs.list("data")
  local file = assert(fs.open("data/a.txt"))
  local first = file:read()
  local s = fs.stat("data/a.txt")
  return ctx.json({
    fs.read("data/a.txt"), first, file:read("a"), names, kinds, s.size, s.kind, fs.stat("data").kind,
    fs.exists("data/a.txt"), fs.exists("data/none"), (select(3, fs.read("data/none"))),
    (select(3, fs.read("data/a.txt", 3))), fs.copy("data/a.txt", "copy"), fs.read("copy"),
    (select(3, fs.write("data/a.txt", "x"))), (select(3, fs.open("data/a.txt", "r+"))),
    (select(3, fs.list("none"))),
  })
end)
"""


def failure(path, reason, code):
    return [None, f"{path}: {reason}", code]


# ---- Whole files -------------------------------------------------------------------------------------------


def test_what_was_written_is_read(lua):
    data = bytes(range(256)) * 10
    assert lua.run("return fs.write(dir .. '/a', v.data)", data=data) == [True]
    assert (lua.dir / "a").read_bytes() == data
    assert lua.one("return fs.read(dir .. '/a')").encode("latin-1") == data


def test_large_file_is_written_and_read(lua):
    size = 5_000_003
    lua.run("text = ('0123456789'):rep(v.size / 10 + 1):sub(1, v.size)", size=size)
    assert lua.run("return fs.write(dir .. '/a', text)") == [True]
    assert (lua.dir / "a").read_bytes() == (b"0123456789" * (size // 10 + 1))[:size]
    assert lua.run("return fs.read(dir .. '/a') == text") == [True]


def test_write_truncates_and_append_does_not(lua):
    lua.run("fs.write(dir .. '/a', 'a long text') fs.write(dir .. '/a', 1) fs.write(dir .. '/a', 2, {append = true})")
    assert (lua.dir / "a").read_text() == "12"


@pytest.mark.parametrize("options", ["{mode = '640'}", "{mode = '640', atomic = true}"])
def test_mode_of_a_written_file_is_exact(lua, options):
    lua.run(f"assert(fs.write(dir .. '/a', '', {options}))")
    assert stat.S_IMODE((lua.dir / "a").stat().st_mode) == 0o640


def test_atomic_write_keeps_the_mode_and_leaves_nothing_else(lua):
    path = lua.dir / "a"
    path.write_text("old")
    path.chmod(0o751)
    inode = path.stat().st_ino
    with path.open() as reader:
        assert lua.run("return fs.write(dir .. '/a', 'new', {atomic = true})") == [True]
        assert reader.read() == "old"
    assert path.read_text() == "new" and path.stat().st_ino != inode
    assert stat.S_IMODE(path.stat().st_mode) == 0o751
    assert os.listdir(lua.dir) == ["a"]


def test_atomic_write_of_a_new_file_follows_the_umask(lua):
    lua.run("assert(fs.write(dir .. '/a', '', {atomic = true}))")
    lua.run("assert(fs.write(dir .. '/b', ''))")
    assert (lua.dir / "a").stat().st_mode == (lua.dir / "b").stat().st_mode


def test_atomic_write_through_a_link_replaces_its_target(lua):
    (lua.dir / "real").write_text("old")
    (lua.dir / "link").symlink_to("real")
    lua.run("assert(fs.write(dir .. '/link', 'new', {atomic = true}))")
    assert (lua.dir / "link").is_symlink() and (lua.dir / "real").read_text() == "new"


def test_read_refuses_more_than_was_asked_for(lua):
    (lua.dir / "a").write_bytes(b"12345")
    assert lua.run("return fs.read(dir .. '/a', 5)") == ["12345"]
    assert lua.run("return fs.read(dir .. '/a', 4)") == failure(lua.dir / "a", "File too large", "EFBIG")


def test_read_of_a_file_without_a_size(lua):
    assert "Linux" in lua.one("return fs.read('/proc/version')")
    assert lua.run("return fs.read('/dev/zero', 100000)")[2] == "EFBIG"


@pytest.mark.parametrize("call", ["read(p)", "open(p)", "stat(p)", "lstat(p)", "list(p)", "remove(p)", "readlink(p)"])
def test_missing_file_fails(lua, call):
    assert lua.run(f"local p = dir .. '/none' return fs.{call}") == failure(
        lua.dir / "none", "No such file or directory", "ENOENT"
    )


@pytest.mark.parametrize("call", ["realpath(p)", "chmod(p, '600')", "rename(p, dir .. '/b')", "copy(p, dir .. '/b')"])
def test_missing_file_fails_in_calls_that_change(lua, call):
    assert lua.run(f"local p = dir .. '/none' return fs.{call}") == failure(
        lua.dir / "none", "No such file or directory", "ENOENT"
    )


@pytest.mark.parametrize("call", ["read(p)", "write(p, '')", "open(p)", "open(p, 'w')", "copy(p, p .. '2')"])
def test_folder_is_no_file(lua, call):
    assert lua.run(f"local p = dir return fs.{call}") == failure(lua.dir, "Is a directory", "EISDIR")


def test_path_with_a_nul_is_none(lua):
    assert lua.run("return fs.read('a\\0b')")[2] == "EINVAL"
    assert lua.run("return fs.rename(dir .. '/a', 'a\\0b')")[2] == "EINVAL"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("fs.write('a')", "write: expected a string, got nil"),
        ("fs.write('a', '', {apend = true})", "write: unknown option apend"),
        ("fs.write('a', '', {append = 1})", "write: append: expected a boolean, got number"),
        ("fs.write('a', '', {append = true, atomic = true})", "exclude each other"),
        ("fs.write('a', '', {mode = '8'})", "expected permission bits"),
        ("fs.open('a', 'q')", "expected a mode such as r"),
        ("fs.chmod('a')", "expected permission bits"),
        ("fs.read()", "string expected"),
        ("fs.read('a', -1)", "expected a number of bytes"),
        ("assert(fs.open(dir .. '/a', 'w')):read('x')", 'expected a number, "l", "L" or "a", got x'),
    ],
)
def test_wrong_argument_raises(lua, code, message):
    with pytest.raises(Failed, match=message):
        lua.run(code)


@pytest.mark.skipif(not ROOT_USER, reason="a file system must be mounted")
def test_full_disk_fails(lua):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", lua.dir], check=True)
    try:
        path = lua.dir / "a"
        assert lua.run("return fs.write(dir .. '/a', ('x'):rep(2 ^ 21))") == failure(
            path, "No space left on device", "ENOSPC"
        )
        path.unlink()
        assert lua.run("return fs.write(dir .. '/a', ('x'):rep(2 ^ 21), {atomic = true})")[2] == "ENOSPC"
        assert os.listdir(lua.dir) == []
        assert lua.run("local f = fs.open(dir .. '/a', 'w') return f:write(('x'):rep(2 ^ 21))")[2] == "ENOSPC"
        assert lua.run("return fs.copy('/dev/zero', dir .. '/b')")[2] == "ENOSPC"
    finally:
        lua.run("collectgarbage() collectgarbage()")
        subprocess.run(["umount", "-l", lua.dir], check=True)


# ---- Open files --------------------------------------------------------------------------------------------


def test_file_is_read_by_lines_bytes_and_whole(lua):
    (lua.dir / "a").write_text("one\ntwo\n\nlast")
    code = "local f = assert(fs.open(dir .. '/a')) local function r(...) return (f:read(...)) end return "
    assert lua.run(code + "r(), r('*l'), r('L'), r('l'), r()") == ["one", "two", "\n", "last", None]
    assert lua.run(code + "r(2), r(0), r(100), r(1), r(0)") == ["on", "", "e\ntwo\n\nlast", None, None]
    assert lua.run(code + "r('L'), r('a'), r('a'), r('l')") == ["one\n", "two\n\nlast", "", None]


def test_lines_longer_than_the_read_ahead(lua):
    lines = ["x" * 200_000, "", "y" * 65535, "z" * 65536, "end"]
    (lua.dir / "a").write_text("\n".join(lines))
    code = "local t = {} for line in assert(fs.open(dir .. '/a')):lines() do t[#t + 1] = line end return t"
    assert lua.one(code) == lines


def test_many_bytes_are_read_piece_by_piece(lua):
    data = os.urandom(300_000)
    (lua.dir / "a").write_bytes(data)
    code = """
      local f, t = assert(fs.open(dir .. '/a')), {}
      for _, n in ipairs({10, 70000, 5, 100000, 200000}) do t[#t + 1] = f:read(n) end
      return table.concat(t), f:read(1)
    """
    text, after = lua.run(code)
    assert text.encode("latin-1") == data and after is None


def test_lines_raise_when_reading_fails(lua):
    with pytest.raises(Failed, match="Bad file descriptor"):
        lua.run("local f = fs.open(dir .. '/a', 'w') for _ in f:lines() do end")


def test_reading_and_writing_share_the_place(lua):
    (lua.dir / "a").write_text("0123456789")
    code = """
      local f = assert(fs.open(dir .. '/a', 'r+'))
      local first, place = f:read(3), f:seek()
      assert(f:write('x', 'y'))
      return first, place, f:read(2), f:seek('end', -1), f:read('a'), f:seek('set'), f:read('a')
    """
    assert lua.run(code) == ["012", 3, "56", 9, "9", 0, "012xy56789"]


def test_file_grows_and_shrinks(lua):
    code = """
      local f = assert(fs.open(dir .. '/a', 'w+'))
      assert(f:write(1, 'b', 2.5))
      local size = f:stat().size
      assert(f:sync() and f:truncate(2))
      return size, f:stat().kind, f:seek('set', 0), f:read('a'), f:close()
    """
    assert lua.run(code) == [5, "file", 0, "1b", True]


def test_append_writes_at_the_end(lua):
    (lua.dir / "a").write_text("123")
    lua.run("local f = fs.open(dir .. '/a', 'a+') f:read(1) f:seek('set', 0) f:write('4') f:close()")
    assert (lua.dir / "a").read_text() == "1234"


def test_exclusive_open_fails_if_it_exists(lua):
    assert lua.run("return fs.open(dir .. '/a', 'wx') ~= nil") == [True]
    assert lua.run("return fs.open(dir .. '/a', 'wx')")[2] == "EEXIST"


def test_closed_file_fails(lua):
    code = "local f = fs.open(dir .. '/a', 'w+') f:write('x') f:close() return "
    for call in ("f:read()", "f:write('')", "f:seek()", "f:sync()", "f:stat()", "f:close()"):
        assert lua.run(code + call) == failure(lua.dir / "a", "Bad file descriptor", "EBADF")


def test_seek_of_a_pipe_fails(lua):
    os.mkfifo(lua.dir / "fifo")
    assert lua.run("local f = fs.open(dir .. '/fifo', 'r+') return f:seek('set', 1)")[2] == "ESPIPE"


def test_iterators_of_two_files_do_not_disturb_each_other(lua):
    (lua.dir / "a").write_text("1\n2\n")
    (lua.dir / "b").write_text("3\n4\n")
    code = """
      local a, b, t = fs.open(dir .. '/a'):lines(), fs.open(dir .. '/b'):lines(), {}
      for line in a do t[#t + 1] = line t[#t + 1] = b() end
      return table.concat(t)
    """
    assert lua.run(code) == ["1324"]


# ---- Names and attributes ----------------------------------------------------------------------------------


def test_stat_says_what_the_system_says(lua):
    (lua.dir / "a").write_text("12345")
    (lua.dir / "a").chmod(0o604)
    (lua.dir / "link").symlink_to("a")
    found, link = lua.run("return fs.stat(dir .. '/link'), fs.lstat(dir .. '/link')")
    real = (lua.dir / "a").stat()
    assert (found["kind"], found["size"], found["mode"], found["inode"]) == ("file", 5, 0o604, real.st_ino)
    assert abs(found["mtime"] - real.st_mtime) < 1e-3 and found["uid"] == real.st_uid
    assert link["kind"] == "link"


def test_kinds(lua):
    os.mkfifo(lua.dir / "fifo")
    (lua.dir / "folder").mkdir()
    (lua.dir / "file").touch()
    (lua.dir / "link").symlink_to("nowhere")
    names, kinds = lua.run("return fs.list(dir)")
    assert names == ["fifo", "file", "folder", "link"]
    assert kinds == {"fifo": "fifo", "file": "file", "folder": "directory", "link": "link"}
    assert lua.one("return fs.stat('/dev/null').kind") == "character device"


def test_exists(lua):
    (lua.dir / "a").touch()
    assert lua.run(
        "return fs.exists(dir), fs.exists(dir .. '/a'), fs.exists(dir .. '/b'), fs.exists(dir .. '/a/b')"
    ) == [
        True,
        True,
        False,
        False,
    ]


def test_list_of_many_names_is_in_order(lua):
    names = [f"{i * 7919 % 5000:05d}" for i in range(5000)]
    for name in names:
        (lua.dir / name).touch()
    assert lua.run("return fs.list(dir)")[0] == sorted(names)
    assert lua.run("return fs.remove(dir .. '/', {recursive = true}), fs.exists(dir)") == [True, False]
    lua.dir.mkdir()


def test_list_of_an_empty_folder(lua):
    assert lua.run("return #fs.list(dir)") == [0]


def test_mkdir(lua):
    assert lua.run("return fs.mkdir(dir .. '/a', {mode = '700'}), fs.stat(dir .. '/a').mode") == [True, 0o700]
    assert lua.run("return fs.mkdir(dir .. '/a')")[2] == "EEXIST"
    assert lua.run("return fs.mkdir(dir .. '/b/c')")[2] == "ENOENT"
    assert lua.run("return fs.mkdir(dir .. '/b/c//d/', {parents = true}), fs.exists(dir .. '/b/c/d')") == [True, True]
    assert lua.run("return fs.mkdir(dir .. '/b/c/d', {parents = true})") == [True]
    (lua.dir / "file").touch()
    assert lua.run("return fs.mkdir(dir .. '/file', {parents = true})")[2] == "EEXIST"
    assert lua.run("return fs.mkdir(dir .. '/file/x', {parents = true})")[2] == "ENOTDIR"


def test_remove(lua):
    (lua.dir / "file").touch()
    (lua.dir / "folder").mkdir()
    (lua.dir / "folder" / "x").touch()
    (lua.dir / "link").symlink_to("folder")
    code = "return fs.remove(dir .. '/file'), fs.remove(dir .. '/link', {recursive = true})"
    assert lua.run(code) == [True, True]
    assert lua.run("return fs.remove(dir .. '/folder')")[2] == "ENOTEMPTY"
    assert (lua.dir / "folder" / "x").exists()


def test_recursive_remove_takes_the_tree_and_no_target_of_a_link(lua):
    (lua.dir / "keep").mkdir()
    (lua.dir / "keep" / "x").touch()
    tree = lua.dir / "tree"
    for i in range(3):
        for k in range(3):
            (tree / f"{i}" / f"{k}" / "deep").mkdir(parents=True)
            (tree / f"{i}" / f"{k}" / "file").touch()
            (tree / f"{i}" / f"{k}" / "deep" / "link").symlink_to(lua.dir / "keep")
    assert lua.run("return fs.remove(dir .. '/tree', {recursive = true})") == [True]
    assert sorted(os.listdir(lua.dir)) == ["keep"] and (lua.dir / "keep" / "x").exists()


def test_recursive_remove_of_a_deep_tree(lua):
    """Deeper than any path may be long, and than there are descriptors for."""
    at = os.open(lua.dir, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deep", dir_fd=at)
        below = os.open("deep", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    assert lua.run("return fs.remove(dir .. '/deep', {recursive = true})") == [True]
    assert os.listdir(lua.dir) == []


def test_rename_copy_and_links(lua):
    (lua.dir / "a").write_text("text")
    (lua.dir / "a").chmod(0o711)
    assert lua.run("return fs.copy(dir .. '/a', dir .. '/b'), fs.stat(dir .. '/b').mode") == [True, 0o711]
    assert lua.run("return fs.copy(dir .. '/a', dir .. '/a')")[2] == "EINVAL"
    assert (lua.dir / "a").read_text() == "text"
    (lua.dir / "long").write_text("something longer")
    assert lua.run("return fs.copy(dir .. '/a', dir .. '/long'), fs.read(dir .. '/long')") == [True, "text"]
    assert lua.run("return fs.copy('/proc/version', dir .. '/v'), fs.stat(dir .. '/v').size > 10") == [True, True]
    assert lua.run("return fs.rename(dir .. '/a', dir .. '/b'), fs.exists(dir .. '/a')") == [True, False]
    assert lua.run("return fs.symlink('b', dir .. '/l'), fs.readlink(dir .. '/l')") == [True, "b"]
    assert lua.run("return fs.symlink('b', dir .. '/l')") == failure(lua.dir / "l", "File exists", "EEXIST")
    assert lua.run("return fs.realpath(dir .. '/./l')") == [str((lua.dir / "b").resolve())]
    assert lua.run("return fs.readlink(dir .. '/b')")[2] == "EINVAL"


def test_large_file_is_copied(lua):
    data = os.urandom(1 << 20) * 20
    (lua.dir / "a").write_bytes(data)
    assert lua.run("return fs.copy(dir .. '/a', dir .. '/b')") == [True]
    assert (lua.dir / "b").read_bytes() == data


def test_chmod(lua):
    (lua.dir / "a").touch()
    for mode, wanted in (("'604'", 0o604), (0o644, 0o644), ("'4755'", 0o4755)):
        assert lua.run(f"return fs.chmod(dir .. '/a', {mode})") == [True]
        assert stat.S_IMODE((lua.dir / "a").stat().st_mode) == wanted


def test_temporary_files_are_new_and_private(lua):
    code = "local f, path = fs.temp_file({dir = dir, prefix = 'p-', suffix = '.txt'}) f:write('x') return path"
    paths = [Path(lua.one(code)) for _ in range(3)]
    assert len(set(paths)) == 3
    for path in paths:
        assert path.parent == lua.dir and path.name.startswith("p-") and path.suffix == ".txt"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.read_text() == "x"
    folder = Path(lua.one("return fs.temp_dir({dir = dir})"))
    assert folder.is_dir() and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert lua.run("return fs.temp_file({dir = dir .. '/none'})")[2] == "ENOENT"
    assert lua.run("return fs.temp_dir({dir = dir .. '/none'})")[2] == "ENOENT"


# ---- Everywhere --------------------------------------------------------------------------------------------


def test_files_while_the_script_loads(open_lua):
    lua = open_lua(app="assert(fs.write('made', 'at start')) loaded = fs.read('made')")
    assert lua.run("return loaded") == ["at start"]


def test_inside_coroutines_pcall_and_iterators(lua):
    (lua.dir / "a").write_text("1\n2\n")
    code = """
      local out = {}
      local co = coroutine.wrap(function() for line in fs.open(dir .. '/a'):lines() do coroutine.yield(line) end end)
      for line in co do out[#out + 1] = line end
      local ok, text = pcall(fs.read, dir .. '/a')
      return out, ok, text
    """
    assert lua.run(code) == [["1", "2"], True, "1\n2\n"]


def test_without_descriptors_calls_fail_and_recover(open_lua):
    lua = open_lua(limits={resource.RLIMIT_NOFILE: 48})
    code = """
      local held, err, code = {}, nil, nil
      for i = 1, 60 do
        held[i], err, code = fs.open('main.lua')
        if not held[i] then break end
      end
      local reading = select(3, fs.read('main.lua'))
      for _, f in ipairs(held) do f:close() end
      return #held > 5, err, code, reading, #fs.read('main.lua') > 10
    """
    assert lua.run(code) == [True, "main.lua: Too many open files", "EMFILE", "EMFILE", True]


def test_files_of_the_application_in_the_executable(tmp_path):
    """Reading goes there first, as with io.open; writing goes to the disk."""
    files = {"main.lua": BUNDLED, "data/a.txt": "one\ntwo\n", "data/sub/b.txt": "b"}
    bundle = Bundle(write_files(tmp_path / "app", files), tmp_path / "shop")
    with bundle.server() as server:
        assert server.get("/").json == [
            *("one\ntwo\n", "one", "two\n", ["a.txt", "sub"], {"a.txt": "file", "sub": "directory"}),
            *(8, "file", "directory", True, False, "ENOENT", "EFBIG", True, "one\ntwo\n", "ENOENT", "ENOENT", "ENOENT"),
        ]
