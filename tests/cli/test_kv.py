"""`heart kv` on a database that nobody has open, and on Redis: every action, and errors that say what helps."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import time

import pytest
from heart_server import ROOT, heart, heart_command, heart_environment, need
from redis_server import RedisServer

from heartc import kv_care, kv_store
from heartc.kv_backend import SET

EVERY = bytes(range(256))


@pytest.fixture
def db(tmp_path):
    """A database with some records of every kind."""
    store = kv_store.Store(tmp_path / "db")
    later = time.time_ns() // 1_000_000 + 3_600_000
    writes = [(SET, b"user:%04d" % i, b"\0name %d" % i, 0, None) for i in range(1500)]
    writes += [(SET, b"\xff" + EVERY, b"\0" + EVERY, 0, None), (SET, b"number", b"\1\x07", later, None)]
    writes += [(SET, b"table", b"\1\x92\x01\x81\xa1a\xc3", 0, None), (SET, b"odd", b"\1\xcc\x05", 0, None)]
    store.commit([([], [], writes, True)])
    store.close()
    return tmp_path / "db"


def kv(*words, db=None, **more):
    """Run `heart kv`; it must work, and its output is returned."""
    result = heart("kv", *words, *(("--db", db) if db else ()), **more)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(*words, status=1, **more):
    """Run `heart kv`; it must fail in one line, which is returned."""
    result = heart("kv", *words, **more)
    assert result.returncode == status, (result.returncode, result.stdout, result.stderr)
    assert result.stderr.startswith("heart: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def contents(path):
    store = kv_store.Store(path, create=False)
    items, more = store.scan(b"", b"", 10_000)
    store.close()
    assert not more
    return {key: (expires, value) for key, _, expires, value in items}


# ---- Single keys ---------------------------------------------------------------------------------------------


def test_set_get_delete(tmp_path):
    db = tmp_path / "new"
    assert kv("set", "k", "some text", db=db) == ""
    assert kv("get", "k", db=db) == "some text\n"
    assert kv("delete", "k", db=db) == ""
    assert refused("get", "k", "--db", db) == "heart: k: no such key\n"
    assert refused("delete", "k", "--db", db) == "heart: k: no such key\n"


@pytest.mark.parametrize("text", ["5", "-2.5", "true", '{"a":[1,{"b":"c"}]}', "[]"])
def test_json_is_stored_typed_and_shown_as_json(tmp_path, text):
    kv("set", "k", "--json", "--", text, db=None, env={"DB_PATH": str(tmp_path / "new")})
    assert kv("get", "k", db=tmp_path / "new") == text + "\n"
    assert contents(tmp_path / "new")[b"k"][1][:1] == b"\1"


def test_value_may_come_from_the_standard_input(tmp_path):
    done = subprocess.run(
        [*heart_command(), "kv", "set", "k", "-", "--db", tmp_path / "new"], input=EVERY, env=heart_environment()
    )
    assert done.returncode == 0
    assert contents(tmp_path / "new") == {b"k": (0, b"\0" + EVERY)}


def test_ttl_ends_a_key(tmp_path):
    kv("set", "k", "v", "--ttl", "3600", db=tmp_path / "new")
    expires = contents(tmp_path / "new")[b"k"][0]
    assert 3_500_000 < expires - time.time_ns() // 1_000_000 <= 3_600_000


def test_key_that_is_no_text_is_shown_and_understood(db):
    name = kv("list", "--reverse", "--limit", "1", db=db).strip()
    assert name.startswith("base64:")
    command = [*heart_command(), "kv", "get", name, "--db", db]
    assert subprocess.run(command, capture_output=True, env=heart_environment()).stdout == EVERY + b"\n"


# ---- Many keys -----------------------------------------------------------------------------------------------


def test_list_and_count(db):
    assert kv("list", "user:000", db=db).split() == [f"user:000{i}" for i in range(10)]
    assert kv("list", "user:", "--reverse", "--limit", "2", db=db).split() == ["user:1499", "user:1498"]
    assert len(kv("list", db=db).splitlines()) == 1504
    assert kv("count", db=db) == "1504\n"
    assert kv("count", "user:1", db=db) == "500\n"
    assert json.loads(kv("list", "table", "--json", db=db)) == {"key": "table", "json": [1, {"a": True}]}


def test_delete_prefix(db):
    assert kv("delete", "--prefix", "user:1", db=db) == "500\n"
    assert kv("count", "user:", db=db) == "1000\n"


def test_export_and_import_keep_every_record(db, tmp_path):
    file = tmp_path / "all.jsonl"
    kv("export", file, db=db)
    assert json.loads(file.read_text().splitlines()[-1]) == {"records": 1504}
    assert file.stat().st_mode & 0o777 == 0o600
    kv("import", file, db=tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(db)
    kv("import", file, db=tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(db)


def test_export_of_a_prefix_through_a_pipe(db, tmp_path):
    out = kv("export", "--prefix", "user:14", db=db)
    assert len(out.splitlines()) == 101
    done = subprocess.run(
        [*heart_command(), "kv", "import", "--db", tmp_path / "copy"], input=out.encode(), env=heart_environment()
    )
    assert done.returncode == 0
    assert len(contents(tmp_path / "copy")) == 100


def test_export_whose_reader_leaves_ends_quietly(db):
    command = f"{' '.join(heart_command())} kv export --db {db} | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, env=heart_environment())
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    assert done.stdout.count(b"\n") == 1


def test_failed_import_says_how_to_go_on(db, tmp_path):
    lines = kv("export", "--prefix", "user:", db=db).splitlines()
    file = tmp_path / "some.jsonl"
    file.write_text("\n".join([*lines[:1200], "{broken", *lines[1200:]]) + "\n")
    message = refused("import", file, "--db", tmp_path / "copy")
    assert f"{file}:1201: no JSON" in message and "1200 records stored, --from-line 1201 goes on" in message
    file.write_text("\n".join(lines) + "\n")
    kv("import", file, "--from-line", "1201", db=tmp_path / "copy")
    assert len(contents(tmp_path / "copy")) == 1500


def test_import_of_an_export_that_was_cut_off_is_told(db, tmp_path):
    lines = kv("export", "--prefix", "user:14", db=db).splitlines()
    file = tmp_path / "some.jsonl"
    file.write_text("\n".join(lines[:50]) + "\n")
    result = heart("kv", "import", file, "--db", tmp_path / "copy")
    assert result.returncode == 0 and "may be cut off" in result.stderr
    file.write_text("\n".join(lines[:50] + lines[-1:]) + "\n")
    assert "some are missing" in refused("import", file, "--db", tmp_path / "copy")


def test_expired_records_are_not_imported(tmp_path):
    file = tmp_path / "old.jsonl"
    file.write_text('{"key":"a","value":"b","expires":1000}\n{"key":"c","value":"d"}\n{"records":2}\n')
    result = heart("kv", "import", file, "--db", tmp_path / "new")
    assert result.stderr == "1 record stored, 1 expired\n"
    assert set(contents(tmp_path / "new")) == {b"c"}


# ---- Care ----------------------------------------------------------------------------------------------------


def test_backup_and_restore_keep_every_record(db, tmp_path):
    before = contents(db)
    kv("backup", tmp_path / "copy", db=db)
    kv("delete", "--prefix", "user:", db=db)
    kv("restore", tmp_path / "copy", db=tmp_path / "back")
    assert contents(tmp_path / "back") == before
    assert (tmp_path / "back").stat().st_mode & 0o777 == 0o700
    assert not [name for name in os.listdir(db) if name.startswith(kv_care.CHECKPOINT)]


def test_backup_to_another_file_system_is_a_copy(db, tmp_path):
    if os.stat("/dev/shm").st_dev == os.stat(db).st_dev:
        pytest.skip("/dev/shm is the same file system")
    target = f"/dev/shm/heart-test-{os.getpid()}"
    try:
        kv("backup", target, db=db)
        assert contents(target) == contents(db)
    finally:
        subprocess.run(["rm", "-rf", target])


def test_backup_and_restore_overwrite_nothing(db, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    assert "exists already" in refused("backup", tmp_path / "there", "--db", db)
    kv("backup", tmp_path / "copy", db=db)
    assert "exists already" in refused("restore", tmp_path / "copy", "--db", tmp_path / "there")
    assert os.listdir(tmp_path / "there") == ["file"]


def test_restore_of_no_backup_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "there is no database" in refused("restore", tmp_path / "empty", "--db", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_check_of_a_good_database(db):
    result = heart("kv", "check", "--db", db)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == f"{db}: 1504 records, no problems\n"


def test_check_names_damaged_records_and_reads_on(db):
    store = kv_store.Store(db)
    batch = store.Batch(raw_mode=True)
    batch.put(b"duser:0007", b"\x63short")
    batch.put(b"duser:0100", store.db.get(b"duser:0100")[: kv_store.HEAD.size] + b"\x09what")
    store.write(lambda: batch)
    store.close()
    result = heart("kv", "check", "--db", db)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert "key b'user:0007' is damaged" in lines[0]
    assert "key b'user:0100' is of no type" in lines[1]
    assert "1504 records, 2 problems" in lines[2]


def flip(db, change=lambda data: data[:1000] + b"\x5a" * 64 + data[1064:]):
    """Damage the largest table of a database."""
    store = kv_store.Store(db)
    store.db.flush()
    store.db.compact_range(None, None)
    store.close()
    table = max(db.glob("*.sst"), key=lambda path: path.stat().st_size)
    table.write_bytes(change(table.read_bytes()))


def test_check_finds_a_damaged_block(db):
    flip(db)
    result = heart("kv", "check", "--db", db)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "orruption" in result.stderr or "damaged" in result.stderr


def test_damaged_log_is_told_by_whatever_opens_the_database(tmp_path):
    """Once: then the log is whole again, as far as it goes."""
    code = f"""
        import os
        from heartc import kv_store
        store = kv_store.Store({str(tmp_path / "db")!r})
        for i in range(100):
            store.commit([([], [], [(0, b"%03d" % i, b"\\0" + bytes(500), 0, None)], True)])
        os.kill(os.getpid(), 9)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT)
    log = next((tmp_path / "db").glob("*.log"))
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 0xFF
    log.write_bytes(data)
    shutil.copytree(tmp_path / "db", tmp_path / "other")
    counted = heart("kv", "count", "--db", tmp_path / "db")
    assert counted.returncode == 0 and 40 < int(counted.stdout) < 60
    assert re.match(r"heart: .* write-ahead log is damaged .* is kept in .*/damaged-log-", counted.stderr)
    assert (
        heart("kv", "check", "--db", tmp_path / "db").stderr
        == f"{tmp_path}/db: {int(counted.stdout)} records, no problems\n"
    )
    checked = heart("kv", "check", "--db", tmp_path / "other")
    assert checked.returncode == 1
    assert "is damaged" in checked.stderr and "1 problems" in checked.stderr
    kv("backup", tmp_path / "copy", db=tmp_path / "db")
    assert not list((tmp_path / "copy").glob("damaged-log-*"))


def test_restore_of_a_damaged_backup_is_refused(db, tmp_path):
    kv("backup", tmp_path / "copy", db=db)
    flip(tmp_path / "copy")
    assert "damaged" in refused("restore", tmp_path / "copy", "--db", tmp_path / "new").lower()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("change", [lambda file: file.write_bytes(b"\xff" * 200), os.unlink])
@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST"])
def test_advice_for_a_database_that_does_not_open_is_good(db, tmp_path, name, change):
    """What the message names helps, in the words that it says: restore a backup, or repair without one."""
    kv("backup", tmp_path / "copy", db=db)
    before = contents(db)
    (file,) = (file for file in db.iterdir() if file.name.startswith(name))
    change(file)
    for words in (("get", "user:0001"), ("check",)):
        message = refused(*words, "--db", db)
        assert f"heart kv restore BACKUP --db {db}" in message and f"heart kv repair FOLDER --db {db}" in message
    assert "repair" in refused("restore", db, "--db", tmp_path / "new")
    db.rename(tmp_path / "away")
    kv("restore", tmp_path / "copy", db=db)
    assert contents(db) == before
    shutil.rmtree(db)
    assert "1504 records, no problems" in heart("kv", "repair", tmp_path / "away", "--db", db).stderr
    assert contents(db) == before


def test_repair_leaves_out_what_can_not_be_read_and_the_damaged_folder_alone(db, tmp_path):
    flip(db)
    files = {file.name: file.read_bytes() for file in db.iterdir()}
    repaired = heart("kv", "repair", db, "--db", tmp_path / "new")
    assert "Traceback" not in repaired.stderr
    assert {file.name: file.read_bytes() for file in db.iterdir()} == files
    assert "exists already" in refused("repair", db, "--db", db)
    for folder in (tmp_path / "none", tmp_path):
        message = refused("repair", folder, "--db", tmp_path / "newer")
        assert message == f"heart: {folder}: there is no database; FOLDER is that of the damaged one\n"


def test_compact_gives_room_back(db):
    store = kv_store.Store(db)
    noise = os.urandom(8000)
    for n in range(20):
        store.commit([([], [], [(SET, b"big%d-%d" % (n, i), b"\0" + noise, 0, None) for i in range(100)], False)])
    store.close()

    def size():
        return sum(path.stat().st_size for path in db.glob("*.sst"))

    kv("compact", db=db)
    full = size()
    assert full > 10_000_000
    kv("delete", "--prefix", "big", db=db)
    kv("compact", db=db)
    assert size() < full / 4
    assert len(contents(db)) == 1504


# ---- Errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("gte", "k"), "ACTION: 'gte': expected one of get, set, delete"),
        (("get",), "KEY is missing: heart kv get KEY"),
        (("set", "k"), "VALUE is missing: heart kv set KEY VALUE"),
        (("get", "k", "l"), "l: one argument too many; expected heart kv get KEY"),
        (("delete",), "expected either KEY or --prefix PREFIX"),
        (("get", "k", "--ttl", "5"), "--ttl: is no option of heart kv get"),
        (("list", "--limit", "few"), "--limit: 'few': expected a whole number"),
        (("set", "k", "v", "--ttl", "-1"), "--ttl: '-1': expected a positive number of seconds"),
        (("set", "k", "{", "--json"), "VALUE: expected JSON"),
        (("get", "base64:%"), "KEY: 'base64:%': expected base64"),
        (("get", "k" * 4097), "KEY: has 4097 bytes; at most 4096"),
        (("import", "nothing.jsonl"), "nothing.jsonl: No such file"),
        (("list", "--kv", "http://host"), "--kv: 'http://host': expected redis://"),
        (("check", "--kv", "redis://host"), "is for a database on disk"),
        (("list", "--limti", "5"), "did you mean --limit?"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, tuple) else "",
)
def test_wrong_words_say_what_was_expected(tmp_path, words, expected):
    result = heart("kv", *words, cwd=tmp_path)
    assert expected in result.stderr
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_missing_database_is_not_made_by_looking(tmp_path):
    for words in (("get", "k"), ("list",), ("count",), ("export",), ("check",), ("compact",), ("backup", "x")):
        assert "there is no database" in refused(*words, "--db", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_database_that_another_process_holds_is_told_with_its_number(db):
    code = f"""
        import sys; sys.path.insert(0, {str(ROOT)!r})
        from heartc.kv_store import Store
        store = Store({str(db)!r})
        print("open", flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"open\n"
        assert f"process {holder.pid} has this database open" in refused("get", "k", "--db", db)
    finally:
        holder.communicate(b"")


def test_newer_format_is_told(db):
    store = kv_store.Store(db)
    batch = store.Batch(raw_mode=True)
    batch.put(kv_store.FORMAT_KEY, kv_store.WORD.pack(kv_store.FORMAT + 1))
    store.write(lambda: batch)
    store.close()
    assert "newer Heart" in refused("list", "--db", db)
    assert "newer Heart" in refused("restore", db, "--db", db.with_name("new"))


# ---- On a terminal, on Redis ---------------------------------------------------------------------------------


def on_terminal(*words):
    """What a terminal gets of `heart kv`, which tells every step."""
    code = "import heartc.kv_progress as p; p.PERIOD = 0; import sys; from heartc.__main__ import main; main()"
    command = shlex.join([sys.executable, "-c", code, "kv", *map(str, words)])
    environment = heart_environment() | {"HEART_KV": ""}
    script = need("script", "bsdutils")
    done = subprocess.run([script, "-qec", command, "/dev/null"], capture_output=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    return done.stdout.decode()


def test_terminal_gets_a_line_of_progress(db):
    shown = on_terminal("count", "--db", db)
    assert re.search(r"\r\033\[K█{13}░{7} 6\d% 1000 keys, 0 s", shown)
    assert shown.rstrip().endswith("1504")


def test_all_long_work_that_knows_its_end_has_a_bar(db, tmp_path):
    bar = re.compile(r"\r\033\[K(█*)(░*) +\d+% (\d+ \w+)")
    works = {
        ("export", tmp_path / "all.jsonl"): "1504 records",
        ("import", tmp_path / "all.jsonl"): "500 records",
        ("check",): "1000 records",
        ("compact",): "1 parts",
        ("backup", tmp_path / "copy"): "1000 records",
    }
    for words, step in works.items():
        found = bar.findall(on_terminal(*words, "--db", db))
        assert step in [text for _, _, text in found], (words, found)
        assert all(len(full + rest) == 20 for full, rest, _ in found)
    restored = bar.findall(on_terminal("restore", tmp_path / "copy", "--db", tmp_path / "new"))
    assert {text.split()[1] for _, _, text in restored} == {"records", "files"}


def test_work_whose_end_nobody_knows_has_a_wheel(db):
    assert re.search("[◐◓◑◒] 1000 keys, 0 s", on_terminal("count", "user:", "--db", db))
    assert "◐" not in on_terminal("count", "--db", db)


def test_redis_takes_what_a_database_gives(db, tmp_path):
    with RedisServer() as server:
        lines = kv("export", db=db)
        (tmp_path / "all.jsonl").write_text(lines)
        kv("import", tmp_path / "all.jsonl", "--kv", server.url)
        assert kv("count", "--kv", server.url) == "1504\n"
        assert kv("get", "user:0042", env={"HEART_KV": server.url}) == "name 42\n"
        assert kv("delete", "--prefix", "user:", "--kv", server.url) == "1500\n"
        kv("set", "k", "v", "--kv", server.url)
        kv("delete", "k", "--kv", server.url)
        assert kv("list", "--kv", server.url).split()[:3] == ["number", "odd", "table"]
