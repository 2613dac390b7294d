"""Dockerfile.alpine: its last stage is built with dist/heart by buildah, without a registry, and run.

The build stage needs a base image: `make nightly` builds it on a Debian root that debootstrap makes.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from heart_server import PATIENCE, ROOT, Client, free_port, missing, need, run

DOCKERFILE = ROOT / "Dockerfile.alpine"
USER = 10001
MAX_SIZE = 12_000_000
APP = """
local app = require("heart.v1")
app.get("/", function(ctx) return "from the image" end)
app.get("/slow", function(ctx) app.sleep(1) return "finished" end)
"""


class Buildah:
    """buildah with a store of its own and without any registry."""

    def __init__(self, folder):
        if os.geteuid() != 0:
            pytest.skip("buildah's chroot isolation and unshare need root")
        program = need("buildah", "buildah")
        self.words = [program, "--root", folder / "store", "--runroot", folder / "run", "--storage-driver", "vfs"]

    def __call__(self, *args, timeout=100, **more):
        return run(*self.words, *args, timeout=timeout, **more).stdout.strip()

    def image(self, name, folder):
        """An image that holds the files of `folder` and nothing else."""
        container = self("from", "scratch")
        self("copy", "--quiet", container, folder, "/")
        self("commit", "--quiet", container, name)
        self("rm", container)

    def build(self, file, *args, context=ROOT, timeout=100):
        """Build a Dockerfile; the format is Docker's, since the other one knows no health check."""
        fixed = ("--isolation", "chroot", "--format", "docker", "--pull-never", "--tag", "heart", "--file", file)
        return self("bud", *fixed, *args, context, timeout=timeout)


def last_stage():
    """The last stage of the Dockerfile, with the arguments that are given before the first."""
    head, build, last = re.split(r"^(?=FROM )", DOCKERFILE.read_text(), flags=re.MULTILINE)
    assert " AS build\n" in build, f"{DOCKERFILE.name}: expected a build stage and a last one"
    return head + "FROM localhost/built AS build\n" + last


@pytest.fixture(scope="module")
def buildah(tmp_path_factory):
    return Buildah(tmp_path_factory.mktemp("buildah"))


@pytest.fixture(scope="module")
def container(buildah, tmp_path_factory):
    """A container of the image, made from dist/heart by the Dockerfile's last stage."""
    file = ROOT / "dist/heart"
    if not file.exists():
        missing("dist/heart", "gcc libzstd-dev, then `make binary`")
    folder = tmp_path_factory.mktemp("image")
    run(ROOT / "packaging/container/image.sh", file, folder / "image")
    shutil.move(folder / "image", folder / "root/image")
    buildah.image("localhost/built", folder / "root")
    (folder / "Dockerfile").write_text(last_stage())
    buildah.build(folder / "Dockerfile", context=folder)
    return buildah("from", "--pull-never", "localhost/heart")


@pytest.fixture(scope="module")
def config(buildah, container):
    return json.loads(buildah("inspect", "--type", "image", "localhost/heart"))["Docker"]["config"]


@pytest.fixture(scope="module")
def root(buildah, container):
    """The container's files."""
    return Path(buildah("mount", container))


@pytest.fixture
def app(tmp_path):
    """A folder with an application that everybody may read."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "main.lua").write_text(APP)
    for path in (tmp_path, *tmp_path.parents):
        if str(path).startswith("/tmp/"):
            path.chmod(0o755)
    return folder


class Container:
    """The image's command as a container engine runs it: process 1 of its own processes, with the image's user, folder
    and environment, /proc, /dev and nothing else of this machine but the folder `app` as /app."""

    def __init__(self, root, config, app):
        self.port = free_port()
        self.env = dict(item.split("=", 1) for item in config["Env"]) | {"PORT": str(self.port), "HOST": "127.0.0.1"}
        user, group = config["User"].split(":")
        for name in ("proc", "dev"):
            (root / name).mkdir(exist_ok=True)
        mounts = f"mount -t proc proc {root}/proc && mount --rbind /dev {root}/dev && mount --bind {app} {root}/app"
        enter = f"exec unshare --root={root} --wd={config['WorkingDir']} --setgid={group} --setuid={user}"
        self.words = ["unshare", "--pid", "--fork", "--mount", "sh", "-c", f'{mounts} && {enter} "$@"', "sh"]
        self.server = None
        self.command = config["Entrypoint"] + config["Cmd"]
        self.check = config["Healthcheck"]["Test"]

    def __enter__(self):
        self.server = subprocess.Popen(
            [*self.words, *self.command], env=self.env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        line = self.server.stderr.readline()
        assert line == f"listening on http://127.0.0.1:{self.port}\n", line + self.server.stderr.read()
        return self

    def __exit__(self, *_):
        if self.server.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.server.communicate(timeout=PATIENCE)

    @property
    def pid(self):
        """The server's process, seen from here."""
        return int(Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text())

    def status(self, name):
        """A line of the server's /proc/PID/status, as words."""
        return re.search(rf"^{name}:\s+(.*)$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)[1].split()

    def health(self):
        """Run the image's health check beside the server."""
        assert self.check[0] == "CMD"
        return run(*self.words, *self.check[1:], env=self.env, check=False)

    def connect(self):
        return Client(("127.0.0.1", self.port))


def test_image_has_the_cas_of_its_builder(root):
    """Whom TLS trusts; everybody may read it."""
    file = root / "etc/ssl/certs/ca-certificates.crt"
    assert file.read_bytes().count(b"BEGIN CERTIFICATE") > 10
    assert file.stat().st_mode & 0o444 == 0o444


def test_command_serves_the_mounted_application(root, config, app):
    with Container(root, config, app) as container, container.connect() as client:
        assert client.fetch().text == "from the image"


def test_server_is_process_one_and_not_root(root, config, app):
    with Container(root, config, app) as container:
        assert container.status("NSpid") == [str(container.pid), "1"]
        assert container.status("Uid") == [str(USER)] * 4
        assert container.status("Gid") == [str(USER)] * 4
        assert Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text() == ""


def test_health_check_tells_a_running_server_from_a_stopped_one(root, config, app):
    with Container(root, config, app) as container:
        result = container.health()
        assert (result.returncode, result.stderr) == (0, "")
        os.kill(container.pid, signal.SIGTERM)
        container.server.wait(PATIENCE)
        assert container.health().returncode == 1


def test_stop_signal_lets_requests_finish(root, config, app):
    with Container(root, config, app) as container, container.connect() as client:
        client.request(target="/slow")
        assert client.quiet(0.3), "answered before the signal"
        os.kill(container.pid, getattr(signal, config.get("StopSignal") or "SIGTERM"))
        assert client.response().text == "finished"
        assert container.server.wait(PATIENCE) == 0


def test_file_is_unpacked_into_the_cache_of_the_user(root, config, app):
    with Container(root, config, app):
        entries = [path for path in (root / "cache").iterdir() if path.is_dir()]
        assert entries
        assert {path.stat().st_uid for path in [root / "cache", root / "data", *entries]} == {USER}


def test_image_is_small(buildah, container):
    """Counted in a container that has never run."""
    fresh = buildah("from", "--pull-never", "localhost/heart")
    files = [path for path in Path(buildah("mount", fresh)).rglob("*") if path.is_file() and not path.is_symlink()]
    assert 1_000_000 < sum(path.stat().st_size for path in files) <= MAX_SIZE


def test_image_tells_ports_volume_and_health_check(config):
    assert list(config["ExposedPorts"]) == ["3333/tcp"]
    assert list(config["Volumes"]) == ["/data"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["Healthcheck"]["Test"] == ["CMD", "/usr/local/bin/heart", "health"]


def test_context_has_what_the_build_reads():
    """.dockerignore leaves everything out but what it names: the sources of packaging/build.py must be among it."""
    named = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    build = (ROOT / "packaging/build.py").read_text()
    sources = set(re.findall(r'"([^"]+)"', re.search(r"^SOURCES = \((.*?)\)", build, re.MULTILINE | re.DOTALL)[1]))
    assert len(sources) > 5
    assert sources | {"packaging"} <= named


@pytest.mark.nightly
@pytest.mark.timeout(1500)
def test_build_stage_on_debian(buildah, tmp_path):
    """The whole Dockerfile, on a Debian root: no registry can be asked for Alpine here."""
    debian = tmp_path / "debian"
    run(need("debootstrap", "debootstrap"), "--variant=minbase", "bookworm", debian, timeout=600)
    trusted = Path("/etc/ssl/certs/ca-certificates.crt")
    if trusted.exists():
        (debian / "etc/pip.conf").write_text("[global]\ncert = /etc/heart-trusted.crt\n")
        shutil.copy(trusted, debian / "etc/heart-trusted.crt")
    buildah.image("localhost/debian", debian)
    buildah.build(DOCKERFILE, "--build-arg", "BUILDER=localhost/debian", timeout=1200)
    fresh = buildah("from", "--pull-never", "localhost/heart")
    assert "LuaJIT" in buildah("run", "--isolation", "chroot", fresh, "--", "/usr/local/bin/heart", "version")
