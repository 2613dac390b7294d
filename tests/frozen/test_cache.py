"""Where the file unpacks itself, and what it does when that place is odd. Every start works, or says what to do."""

import fcntl
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest
from frozen.one_file import APP, entries, start, worked
from heart_server import wait_until


@pytest.fixture
def only_root():
    """Some tests give files to another user."""
    if os.geteuid() != 0:
        pytest.skip("root is needed to give files away")


# ---- Which place ------------------------------------------------------------------------------------------------


def test_heart_cache_comes_first(tmp_path, cache):
    assert worked(start("version", HEART_CACHE=cache, HOME=tmp_path, XDG_CACHE_HOME=tmp_path / "xdg"))
    assert len(entries(cache)) == 1
    assert os.listdir(tmp_path) == ["cache"]


def test_cache_directory_of_a_service(tmp_path):
    """systemd may give several."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert worked(start("version", CACHE_DIRECTORY=f"{first}:{second}", HOME=tmp_path))
    assert len(entries(first)) == 1
    assert not second.exists()


def test_xdg_cache_home(tmp_path):
    assert worked(start("version", XDG_CACHE_HOME=tmp_path / "xdg", HOME=tmp_path))
    assert len(entries(tmp_path / "xdg/heart")) == 1


def test_home(tmp_path):
    assert worked(start("version", HOME=tmp_path))
    assert len(entries(tmp_path / ".cache/heart")) == 1


def test_relative_cache_begins_at_the_working_directory(tmp_path, binary):
    result = subprocess.run([binary, "version"], cwd=tmp_path, env={"HEART_CACHE": "here"}, capture_output=True)
    assert result.returncode == 0
    assert len(entries(tmp_path / "here")) == 1


def test_path_with_spaces_and_other_letters(tmp_path):
    cache = tmp_path / "a folder: ä;$HOME %s"
    for libc in ("host", "own"):
        assert worked(start("version", HEART_CACHE=cache, HEART_LIBC=libc))
    assert len(entries(cache)) == 2


def test_path_that_is_too_long_falls_back(root):
    long = "/tmp/" + "/".join(["x" * 200] * 20)
    assert "too long; using /tmp/heart-0" in falls_back(root().run("version", HEART_CACHE=long))


def test_home_of_another_user_is_left_alone(tmp_path, root, only_root):
    """As sudo may leave it."""
    made = root()
    (made.folder / "home").mkdir()
    os.chown(made.folder / "home", 1234, 1234)
    assert worked(made.run("version", HOME="/home"))
    assert os.listdir(made.folder / "home") == []
    assert len(entries(made.folder / f"tmp/heart-{os.geteuid()}")) == 1


def test_empty_heart_cache_is_none(root):
    result = root().run("version", HEART_CACHE="", XDG_CACHE_HOME="/proc/none")
    assert worked(result)
    assert result.stderr == ""


def test_no_variable_at_all(root):
    made = root()
    assert worked(made.run("version"))
    assert [path.name for path in (made.folder / "tmp").iterdir()] == ["heart-0"]


# ---- Places that will not do ------------------------------------------------------------------------------------


def falls_back(result):
    """HEART_CACHE was named but not used: it works, and one line says why."""
    assert worked(result), result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("heart: HEART_CACHE: /")
    return result.stderr


def test_read_only_cache_falls_back(root):
    made = root("mkdir -p ro; mount -t tmpfs -o ro,mode=700 none ro")
    assert "Read-only file system; using /tmp/heart-0" in falls_back(made.run("version", HEART_CACHE="/ro"))


def test_noexec_cache_falls_back(root):
    made = root("mkdir -p cache; mount -t tmpfs -o noexec,mode=700 none cache")
    assert "is mounted noexec" in falls_back(made.run("version", HEART_CACHE="/cache"))


@pytest.mark.parametrize("size", ["100k", "8m", "20m"])
def test_full_cache_falls_back(root, size):
    made = root(f"mkdir -p cache; mount -t tmpfs -o size={size},mode=700 none cache")
    assert "No space left on device" in falls_back(made.run("version", HEART_CACHE="/cache"))


def test_nothing_is_left_in_a_full_cache(root):
    made = root("mkdir -p cache; mount -t tmpfs -o size=8m,mode=700 none cache; trap 'ls -A cache > seen' EXIT")
    command = made.command(HEART_CACHE="/cache")
    command[-2] = command[-2].replace("exec ", "")  # so that the shell sees what is left
    subprocess.run([*command, "version"], check=True, capture_output=True)
    assert (made.folder / "seen").read_text() == ""


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o722])
def test_cache_that_others_may_write_into_falls_back(root, mode):
    made = root()
    (made.folder / "cache").mkdir()
    (made.folder / "cache").chmod(mode)
    assert "others may write into it" in falls_back(made.run("version", HEART_CACHE="/cache"))


def test_cache_like_tmp_gets_a_private_folder_in_it(root):
    made = root()
    (made.folder / "cache").mkdir()
    (made.folder / "cache").chmod(0o1777)
    result = made.run("version", HEART_CACHE="/cache")
    assert worked(result)
    assert result.stderr == ""
    assert len(entries(made.folder / "cache/heart-0")) == 1


def test_cache_of_another_user_falls_back(root, only_root):
    made = root()
    (made.folder / "cache").mkdir(0o700)
    os.chown(made.folder / "cache", 1234, 1234)
    assert "belongs to somebody else" in falls_back(made.run("version", HEART_CACHE="/cache"))


def test_file_in_place_of_the_cache_falls_back(root):
    made = root()
    made.write("cache", "a file")
    falls_back(made.run("version", HEART_CACHE="/cache"))


def test_hostile_name_in_tmp_is_not_used(root):
    """Anybody can make /tmp/heart-0 before us: a symbolic link, a file, or a folder of theirs."""
    made = root("mkdir -p var/tmp")
    elsewhere = made.folder / "elsewhere"
    elsewhere.mkdir()
    (made.folder / "tmp/heart-0").symlink_to("/elsewhere")
    assert worked(made.run("version"))
    assert os.listdir(elsewhere) == []
    assert len(entries(made.folder / "var/tmp/heart-0")) == 1


def test_folder_of_somebody_else_in_tmp_is_not_used(root, only_root):
    made = root("mkdir -p var/tmp")
    (made.folder / "tmp/heart-0").mkdir(0o755)
    os.chown(made.folder / "tmp/heart-0", 1234, 1234)
    assert worked(made.run("version"))
    assert len(entries(made.folder / "var/tmp/heart-0")) == 1


def test_tmp_where_anybody_may_rename_is_not_used(root):
    """What was checked there could be another folder when it is run."""
    made = root("mkdir -p var/tmp")
    (made.folder / "tmp").chmod(0o777)
    assert worked(made.run("version"))
    assert len(entries(made.folder / "var/tmp/heart-0")) == 1


def test_folder_of_the_file_is_the_last_resort(root):
    made = root("rmdir tmp")
    assert worked(made.run("version"))
    assert len(entries(made.folder / ".heart-0")) == 1


def test_no_place_at_all_says_what_to_do(root):
    made = root("mount -t tmpfs -o noexec none tmp; mount -t tmpfs -o size=1m none var; mkdir var/tmp; touch .heart-0")
    (made.folder / "var").mkdir()
    result = made.run("version", HEART_CACHE="/proc/none")
    assert result.returncode == 127
    assert "no place to unpack" in result.stderr
    assert "/proc/none: No such file or directory" in result.stderr
    assert "/tmp/heart-0: is mounted noexec" in result.stderr
    assert "/var/tmp/heart-0: No space left on device" in result.stderr
    assert "/.heart-0: is no directory" in result.stderr
    assert result.stderr.endswith("set HEART_CACHE to a directory of your own from which programs may be started\n")


def test_no_proc_says_so(root):
    made = root("umount -l proc")
    result = made.run("version")
    assert result.returncode == 127
    assert result.stderr == "heart: /proc is needed, and is not mounted\n"


# ---- Entries ----------------------------------------------------------------------------------------------------


@pytest.fixture
def entry(cache):
    """The only entry of the cache, made by a first start."""
    assert worked(start("version", HEART_CACHE=cache))
    return cache / entries(cache)[0]


def inode(path):
    return path.stat().st_ino


def test_second_start_uses_the_entry(cache, entry):
    before = inode(entry)
    assert worked(start("version", HEART_CACHE=cache))
    assert inode(entry) == before


def test_entry_in_a_read_only_cache_is_used(root):
    made = root("mount --bind tmp tmp")
    assert worked(made.run("version"))
    made.mounts = "mount --bind tmp tmp; mount -o remount,bind,ro tmp"
    result = made.run("version", HEART_CACHE="/tmp/heart-0")
    assert worked(result)
    assert result.stderr == ""


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def damage_empty(path):
    path.write_bytes(b"")


def damage_mode(path):
    path.chmod(0o666)


def damage_link(path):
    moved = path.with_name("moved")
    path.rename(moved)
    path.symlink_to(moved)


def damage_folder(path):
    path.unlink()
    path.mkdir()


DAMAGE = (damage_truncate, damage_empty, damage_mode, damage_link, damage_folder, os.unlink)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", ["heart", "_internal/modules.zip"])
def test_damaged_entry_is_made_anew(cache, entry, damage, name):
    before = inode(entry)
    damage(entry / name)
    assert worked(start("version", HEART_CACHE=cache))
    assert inode(entry) != before
    assert os.listdir(cache) == [entry.name]


def files_are_checked(cache, entry, paths):
    for path in paths:
        before = inode(entry)
        damage_truncate(entry / path)
        assert worked(start("version", HEART_CACHE=cache)), path
        assert inode(entry) != before, path


def paths_inside(entry):
    """The files of an entry, relative to it."""
    return sorted(p.relative_to(entry) for p in entry.rglob("*") if p.is_file())


def test_file_of_every_kind_is_checked(cache, entry):
    """One for each folder and suffix: every damage costs unpacking all of them."""
    kinds = {(path.parent, path.suffix): path for path in paths_inside(entry)}
    files_are_checked(cache, entry, kinds.values())


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_every_file_is_checked(cache, entry):
    files_are_checked(cache, entry, paths_inside(entry))


def test_folder_in_an_entry_that_others_may_write_into_is_made_anew(cache, entry):
    before = inode(entry)
    (entry / "_internal/heartc").chmod(0o777)
    assert worked(start("version", HEART_CACHE=cache))
    assert inode(entry) != before


def test_entry_of_another_user_is_made_anew(cache, entry, only_root):
    os.chown(entry / "heart", 1234, 1234)
    assert worked(start("version", HEART_CACHE=cache))
    assert (entry / "heart").stat().st_uid == 0


def test_moved_cache_gets_its_loader_path_again(cache, tmp_path):
    """With our own C library the program names its loader by an absolute path."""
    assert worked(start("version", HEART_CACHE=cache, HEART_LIBC="own"))
    moved = tmp_path / "moved"
    shutil.move(cache, moved)
    result = start("version", HEART_CACHE=moved, HEART_LIBC="own")
    assert worked(result)
    assert result.stderr == ""


def test_file_in_place_of_the_entry_is_replaced(cache, entry):
    shutil.rmtree(entry)
    entry.write_text("not a folder")
    assert worked(start("version", HEART_CACHE=cache))
    assert entry.is_dir()


def test_link_in_place_of_the_entry_is_replaced(cache, entry, tmp_path):
    moved = tmp_path / "moved"
    entry.rename(moved)
    entry.symlink_to(moved)
    assert worked(start("version", HEART_CACHE=cache))
    assert not entry.is_symlink()
    assert moved.is_dir()


# ---- Two at once ------------------------------------------------------------------------------------------------


def at_once(count, action):
    """Run `action` in threads that begin together; their results."""
    barrier, results = threading.Barrier(count), [None] * count

    def one(i):
        barrier.wait()
        results[i] = action(i)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_first_starts_at_once_all_work_and_leave_one_entry(cache):
    results = at_once(8, lambda _: start("version", HEART_CACHE=cache))
    assert all(worked(result) and not result.stderr for result in results)
    assert os.listdir(cache) == entries(cache)
    assert len(entries(cache)) == 1


def test_entry_that_somebody_has_locked_is_no_hang(cache, entry):
    """Anybody who may read a folder may lock it."""
    fd = os.open(entry, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert worked(start("version", HEART_CACHE=cache))
    finally:
        os.close(fd)


def test_repairs_at_once_all_work(cache, entry):
    damage_truncate(entry / "_internal/modules.zip")
    results = at_once(6, lambda _: start("version", HEART_CACHE=cache))
    assert all(map(worked, results))
    assert os.listdir(cache) == [entry.name]


def test_killed_first_starts_leave_nothing_that_hurts(cache, binary):
    for delay in (0.005, 0.02, 0.04, 0.08):
        process = subprocess.Popen([binary, "version"], env={"HEART_CACHE": str(cache)}, stdout=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait()
        assert worked(start("version", HEART_CACHE=cache))
    assert len(entries(cache)) == 1


# ---- Pruning ----------------------------------------------------------------------------------------------------

OLD = "0123456789abcdef" * 2 + "-host"


def old_folder(path, age=3600):
    (path / "_internal/deep").mkdir(parents=True)
    (path / "_internal/deep/file").write_text("old")
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.mark.parametrize("name", [OLD, OLD.replace("host", "own"), ".new-1-2", ".old-1-2"])
def test_old_entry_is_pruned_by_the_next_first_start(cache, name):
    cache.mkdir(0o700)
    old_folder(cache / name)
    assert worked(start("version", HEART_CACHE=cache))
    assert not (cache / name).exists()
    assert len(entries(cache)) == 1


@pytest.mark.parametrize("name", ["notes", "0123", OLD + "x", ".new"])
def test_what_is_not_ours_is_never_pruned(cache, name):
    cache.mkdir(0o700)
    old_folder(cache / name)
    assert worked(start("version", HEART_CACHE=cache))
    assert (cache / name / "_internal/deep/file").exists()


def test_unpacking_of_another_process_is_not_pruned(cache):
    cache.mkdir(0o700)
    old_folder(cache / ".new-1-2", age=0)
    assert worked(start("version", HEART_CACHE=cache))
    assert (cache / ".new-1-2").exists()


def test_entry_in_use_is_not_pruned(frozen, cache):
    """A server of an older version runs on while a newer one is started for the first time."""
    server = frozen(APP)
    used, other = cache / entries(cache)[0], cache / OLD
    used.rename(other)
    assert worked(start("version", HEART_CACHE=cache))
    assert (other / "heart").exists()
    assert server.get().text == "served"
    server.stop()
    shutil.rmtree(used)
    assert worked(start("version", HEART_CACHE=cache))
    assert not other.exists()


def test_entry_stays_in_use_when_the_server_was_asked_to_reload(frozen, cache):
    server = frozen(APP)
    server.signal(signal.SIGHUP)
    server.wait_log("reloaded")
    fds = [os.readlink(fd) for fd in os.scandir(f"/proc/{server.pid}/fd")]
    assert str(cache / entries(cache)[0]) in fds
    wait_until(lambda: server.get().text == "served", "an answer")
