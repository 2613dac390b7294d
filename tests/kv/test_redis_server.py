"""`heart serve --kv`: servers that share a store on Redis, what they hear of each other, what is said when it fails.
The API itself is tested in test_api.py and its neighbours."""

import pytest
from heart_server import Server, free_port, heart, wait_until
from redis_server import RedisCluster, RedisServer

APP = """
local app = require("heart.v1")
local kv = require("heart.v1.kv.disk")
local heard = {}
kv.watch("", function(event)
  heard[#heard + 1] = event.lost and "LOST" or event.key .. "=" .. tostring(event.value)
end)
app.get("/heard", function() return table.concat(heard, " ") end)
app.post("/run", function(ctx)
  local found = { assert(loadstring("local kv = ... " .. ctx.bytes()))(kv) }
  for i = 1, 4 do found[i] = tostring(found[i]) end
  return table.concat(found, " ")
end)
"""


@pytest.fixture(scope="module", params=["redis", "redis-cluster"])
def url(request):
    with RedisServer() if request.param == "redis" else RedisCluster(replicas=0) as place:
        yield place.url


def run(server, code):
    response = server.post("/run", code.encode())
    assert response.status == 200, response.text
    return response.text


def test_servers_that_share_a_store_see_and_hear_each_other(url):
    with Server(APP, "--kv", url) as one, Server(APP, "--kv", url) as two:
        for server in (one, two):
            run(server, "return kv.get('x')")
        assert run(one, "return kv.set('{t}k', 'first')").startswith("true")
        assert run(two, "return kv.get('{t}k')").startswith("first")
        run(two, "return kv.set('{t}k', 5)")
        run(one, "return kv.delete('{t}k')")
        for server in (one, two):
            wait_until(lambda s=server: s.get("/heard").text.count("{t}k") == 3, lambda s=server: s.get("/heard").text)
            assert server.get("/heard").text == "{t}k=first {t}k=5 {t}k=nil"


def test_counters_of_two_servers_lose_nothing(url):
    add = """
      for _ = 1, 100 do
        assert(kv.transaction(function(store) store.set('{c}n', (store.fetch('{c}n') or 0) + 1) end, {retries = 1000}))
        assert(kv.incr('{c}m', 1, 0))
      end"""
    with Server(APP, "--kv", url) as one, Server(APP, "--kv", url) as two:
        with one.connect(timeout=60) as first, two.connect(timeout=60) as second:
            for client in (first, second):
                client.request("POST", "/run", body=add.encode())
            assert [client.response().status for client in (first, second)] == [200, 200]
        assert run(one, "return kv.fetch('{c}n'), kv.fetch('{c}m')").split()[0] == "200"
        assert run(two, "return kv.fetch('{c}m')").split()[0] == "200"


def test_failing_server_is_an_error_of_the_call_and_no_end():
    with RedisServer() as place:
        with Server(APP, "--kv", place.url) as server:
            run(server, "return kv.set('k', 'v')")
            place.kill()
            assert run(server, "return kv.set('k', 'w')").startswith(f"nil {place.url}: 127.0.0.1:{place.port}: ")
            place.start()
            wait_until(lambda: run(server, "return kv.set('k', 'x')").startswith("true"), "the store is back")
            assert "LOST" in wait_until(lambda: "LOST" in (text := server.get("/heard").text) and text, "the loss")


def test_server_without_its_store_does_not_start(tmp_path):
    (tmp_path / "main.lua").write_text(APP)
    port = free_port()
    result = heart("serve", tmp_path / "main.lua", "--port", "0", "--kv", f"redis://:secret@127.0.0.1:{port}")
    assert result.returncode == 1
    assert result.stderr == f"heart: redis://127.0.0.1:{port}: 127.0.0.1:{port}: Connection refused\n"


@pytest.mark.parametrize("url", ["http://host", "redis://", "host:6379"])
def test_wrong_url_is_told(tmp_path, url):
    (tmp_path / "main.lua").write_text(APP)
    result = heart("serve", tmp_path / "main.lua", "--kv", url)
    assert result.returncode == 2
    assert f"--kv: {url!r}: expected redis://" in result.stderr


def test_heart_kv_works_on_a_database_that_a_server_has_open(tmp_path):
    db = tmp_path / "db"
    with Server(APP, "--db", db) as server:
        run(server, "return kv.set('a', 'one')")
        assert heart("kv", "get", "a", "--db", db).stdout == "one\n"
        assert heart("kv", "set", "a", "two", "--db", db).returncode == 0
        assert run(server, "return kv.get('a')").startswith("two"), "the cache knows"
        wait_until(lambda: server.get("/heard").text == "a=one a=two", lambda: server.get("/heard").text)
        backup = heart("kv", "backup", tmp_path / "copy", "--db", db)
        assert backup.returncode == 0 and "1 record, all readable" in backup.stderr
        restore = heart("kv", "restore", tmp_path / "copy", "--db", db)
        assert restore.returncode == 1 and "stop it" in restore.stderr
    assert not (db / "admin.sock").exists()
    assert heart("kv", "get", "a", "--db", db).stdout == "two\n"
