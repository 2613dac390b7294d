"""heart.v1.http against nginx: files, compression, chunks, its limits and its errors, with and without TLS."""

import hashlib
import json
import os

import pytest
from certificates import Authority
from heart_server import free_port
from nginx_server import Nginx

HTTP = """
client_max_body_size 1m; types { text/plain txt; } keepalive_requests 3; large_client_header_buffers 2 1k;
"""
SERVER = """
listen 127.0.0.1:{secure} ssl; ssl_certificate {leaf.path}; ssl_certificate_key {leaf.key};
root {home}/files;
gzip on; gzip_types text/plain; gzip_min_length 100;
location /moved {{ return 301 /small.txt; }}
location /secure {{ return 307 https://localhost:{secure}/small.txt; }}
location /busy {{ return 503; }}
location /close {{ keepalive_timeout 0; return 200 closed; }}
location /auth {{ auth_basic x; auth_basic_user_file {home}/users; }}
location /store {{ dav_methods PUT DELETE; root {home}/files; }}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    """(http URL, https URL, folder)"""
    home = tmp_path_factory.mktemp("nginx")
    root = Authority(home)
    files = home / "files"
    (files / "store").mkdir(parents=True)
    (files / "small.txt").write_text("small")
    (files / "text.txt").write_text("a line that repeats itself\n" * 4000)
    (files / "large.bin").write_bytes(os.urandom(1 << 20) * 20)
    (home / "users").write_text("ann:{PLAIN}secret\n")
    secure, leaf = free_port(), root.issue("server", "DNS:localhost")
    with Nginx(SERVER.format(home=home, secure=secure, leaf=leaf), HTTP, folder=home) as server:
        yield server.url, f"https://localhost:{secure}", home


def show(lua, url, options=""):
    return json.loads(lua.text(f'return show(http.request({{ url = "{url}", {options} }}))'))


def test_files_come_whole_and_compressed(lua, nginx):
    url, _, home = nginx
    assert show(lua, f"{url}/small.txt")["body"] == "small"
    text = (home / "files/text.txt").read_text()
    assert show(lua, f"{url}/text.txt")["body"] == text
    assert show(lua, f"{url}/text.txt", "decompress = false")["body"] == text
    code = f'return http.get("{url}/text.txt").headers["content-encoding"]'
    assert lua.text(code) == "gzip"
    assert lua.text(f'return http.head("{url}/text.txt", {{ decompress = false }}).headers["Content-Length"]') == str(
        len(text)
    )


def test_large_file_is_streamed(lua, nginx):
    url, secure, home = nginx
    expected = hashlib.md5((home / "files/large.bin").read_bytes()).hexdigest()
    for place, options in ((url, ""), (secure, f', tls = {{ ca_file = "{home}/root.pem" }}')):
        code = f"""
          local r, parts = assert(http.get("{place}/large.bin", {{ stream = true {options} }})), {{}}
          for part in r.reader do parts[#parts + 1] = part end
          return table.concat(parts)
        """
        assert hashlib.md5(lua.run(code)).hexdigest() == expected


def test_connections_outlive_the_servers_limit_of_requests(lua, nginx):
    url, _, _ = nginx
    for _ in range(10):
        assert show(lua, f"{url}/small.txt")["status"] == 200
    assert show(lua, f"{url}/close")["body"] == "closed"


def test_redirects_lead_to_https(lua, nginx):
    url, secure, home = nginx
    assert show(lua, f"{url}/moved")["body"] == "small"
    found = show(lua, f"{url}/secure", f'tls = {{ ca_file = "{home}/root.pem" }}')
    assert (found["body"], found["url"]) == ("small", f"{secure}/small.txt")


def test_errors_are_responses(lua, nginx):
    url, secure, _ = nginx
    assert show(lua, f"{url}/none")["status"] == 404
    assert show(lua, f"{url}/busy", "retries = 1")["status"] == 503
    assert show(lua, f"{url}/small.txt", "method = 'DELETE'")["status"] == 405
    assert show(lua, f"{url}/store/x", "method = 'PUT', body = ('x'):rep(3000000), expect = true")["status"] == 413
    assert show(lua, f"{url}/small.txt", "headers = { X = ('x'):rep(9000) }")["status"] in (400, 431)
    plain_to_tls = secure.replace("https", "http").replace("localhost", "127.0.0.1")
    assert show(lua, plain_to_tls)["status"] == 400


def test_password_is_sent(lua, nginx):
    url, _, _ = nginx
    assert show(lua, f"{url}/auth")["status"] == 401
    assert show(lua, f"{url}/auth", "auth = { user = 'ann', password = 'wrong' }")["status"] == 401
    assert show(lua, f"{url}/auth", "auth = { user = 'ann', password = 'secret' }")["status"] == 404


def test_file_is_stored_and_deleted(lua, nginx):
    url, _, home = nginx
    code = f"""
      local n = 0
      return http.put("{url}/store/new", {{ body = function()
        n = n + 1
        return n <= 100 and ("x"):rep(1000) or nil
      end }}).status
    """
    assert lua.text(code) == "201"
    assert (home / "files/store/new").read_bytes() == b"x" * 100000
    assert show(lua, f"{url}/store/new", "method = 'DELETE'")["status"] == 204
