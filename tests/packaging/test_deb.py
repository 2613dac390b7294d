"""`make deb`: what the package holds, and its life in a clean Debian: installed, run, upgraded, removed, purged."""

import re
import shlex
import sys

import debian_root
import pytest
from heart_server import ROOT, free_port, need, run

from heartc import __version__, config

pytestmark = pytest.mark.timeout(400)  # a Debian root is made once

# What Debian's own tools change and keep: the user, their logs and states.
KEPT = re.compile(
    r"(etc/(passwd|shadow|group|gshadow)-?|etc/\.pwd\.lock|var/log/dpkg\.log|var/lib/(dpkg|systemd)/.*|var/cache/ldconfig/.*)"
)


@pytest.fixture(scope="module")
def package():
    """What `make deb` has left."""
    return debian_root.package()


@pytest.fixture(scope="module")
def tree(package, tmp_path_factory):
    """Its files and its control files, unpacked."""
    folder = tmp_path_factory.mktemp("deb")
    run(need("dpkg-deb", "dpkg"), "--raw-extract", package, folder / "tree", timeout=60)
    return folder / "tree"


@pytest.fixture
def root(tmp_path):
    return debian_root.unpack(debian_root.BASE, tmp_path)


def configuration(tree):
    return (tree / "etc/heart/heart.conf").read_text()


def test_control_names_version_and_architecture(package):
    fields = run("dpkg-deb", "--field", package, "Package", "Version", "Architecture").stdout
    arch = run("dpkg", "--print-architecture").stdout.strip()
    assert fields == f"Package: heart\nVersion: {__version__}\nArchitecture: {arch}\n"
    assert package.name == f"heart_{__version__}_{arch}.deb"


def test_same_files_give_the_same_bytes(package, tmp_path):
    """Also with another umask, time zone and language."""
    words = [sys.executable, str(ROOT / "packaging/deb/build.py"), str(tmp_path)]
    shell = f"umask 077; TZ=Asia/Tokyo LC_ALL=C.UTF-8 exec {shlex.join(words)}"
    run("sh", "-c", shell, timeout=100)
    assert (tmp_path / package.name).read_bytes() == package.read_bytes()


def test_lintian_finds_nothing(package):
    lintian = need("lintian", "lintian")
    result = run(lintian, "--allow-root", "--fail-on", "error,warning", package, check=False, timeout=110)
    assert (result.returncode, result.stdout) == (0, "")


def test_every_option_is_in_the_configuration_with_a_value_that_is_accepted(tree, tmp_path, monkeypatch):
    lines = re.findall(r"^#?([A-Z_]+)=(.*)$", configuration(tree), re.MULTILINE)
    assert {name for name, _ in lines} == {"HEART_SCRIPT"} | {option.env for option in config.OPTIONS if option.env}
    for name, value in lines:
        monkeypatch.setenv(name, value)
    (tmp_path / "main.lua").touch()
    settings = config.read_options([str(tmp_path / "main.lua")])
    assert settings.max_body_size == 4 << 20
    assert settings.listen == ["0.0.0.0:3333"]


def test_every_option_is_commented_out(tree):
    assert re.findall(r"^[^#\n]+", configuration(tree), re.MULTILINE) == [
        "HEART_SCRIPT=/usr/share/heart/welcome/main.lua"
    ]


def test_copyright_names_everything_that_is_inside(tree):
    text = (tree / "usr/share/doc/heart/copyright").read_text()
    table = (ROOT / "heartc/licenses.txt").read_text()
    names = [line.split(" | ")[0] for line in table.splitlines() if not line.startswith("#")]
    assert len(names) > 20
    told = " ".join(re.findall(r"^Comment: (.*)$", text, re.MULTILINE)) + " Heart"
    assert [name for name in names if name not in told] == []


def test_scripts_are_sound(tree):
    for name in ("postinst", "prerm", "postrm"):
        script = tree / "DEBIAN" / name
        assert script.stat().st_mode & 0o777 == 0o755
        assert "\nset -e\n" in script.read_text()
        run("sh", "-n", script)


def start_words(root):
    """The command of heart.service, with its variables as systemd would fill them in."""
    text = (root / "usr/lib/systemd/system/heart.service").read_text()
    command = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)[1]
    script = re.search(r"^HEART_SCRIPT=(.*)$", (root / "etc/heart/heart.conf").read_text(), re.MULTILINE)[1]
    return shlex.split(command.replace("${HEART_SCRIPT}", script))


def test_installed_package_runs_and_leaves_nothing_when_purged(root, package):
    before = debian_root.files(root)
    debian_root.install(root, package)
    assert debian_root.do(root, "id", "--user", "--name", "heart").stdout == "heart\n"
    assert not list((root / "etc/systemd/system").rglob("heart*")), "installing enables nothing"
    assert debian_root.do(root, "heart", "version", HEART_CACHE="/tmp").stdout.startswith(f"heart {__version__}")

    port = free_port()
    for folder in ("cache", "lib"):  # as StateDirectory and CacheDirectory are
        debian_root.do(root, "install", "-d", "-m", "700", "-o", "heart", f"/var/{folder}/heart")
    variables = {"CACHE_DIRECTORY": "/var/cache/heart", "HEART_LISTEN": f"127.0.0.1:{port}"}
    with debian_root.running(root, *start_words(root), user="heart:heart", **variables) as process:
        assert process.stderr.readline() == f"listening on http://127.0.0.1:{port}\n"
        page = run(need("curl", "curl"), "-sS", f"http://127.0.0.1:{port}/").stdout
        assert "<title>Heart is running</title>" in page
    assert list((root / "var/cache/heart").iterdir()), "heart has unpacked itself where the unit says"

    (root / "var/lib/heart/note").write_text("kept")
    debian_root.do(root, "dpkg", "--remove", "heart")
    assert not (root / "usr/bin/heart").exists()
    assert (root / "etc/heart/heart.conf").exists() and (root / "var/lib/heart/note").exists()
    debian_root.do(root, "dpkg", "--purge", "heart")
    after = debian_root.files(root)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {name for name in changed if not KEPT.fullmatch(name) and not name.startswith("tmp/")} == set()
    assert not [name for name in changed if "heart" in name and not name.startswith("tmp/")]


def test_upgrade_keeps_what_the_admin_has_written(root, package):
    """dpkg runs the same scripts once more; a changed configuration stays."""
    debian_root.install(root, package)
    file = root / "etc/heart/heart.conf"
    file.write_text(file.read_text() + "LOG_LEVEL=warn\n")
    debian_root.install(root, package)
    assert file.read_text().endswith("LOG_LEVEL=warn\n")
    assert debian_root.do(root, "dpkg", "--verify", "heart", check=False).stdout.split() == [
        "??5??????",
        "c",
        str(file)[len(str(root)) :],
    ]


def test_removed_package_can_be_installed_again(root, package):
    debian_root.install(root, package)
    debian_root.do(root, "dpkg", "--remove", "heart")
    debian_root.install(root, package)
    assert not list((root / "etc/systemd/system").rglob("heart*")), "no mask is left"


def test_package_needs_nothing_that_is_not_in_debian(root, package):
    """dpkg refuses to configure it where a dependency is missing; the root has only what Depends names."""
    debian_root.install(root, package)
    status = debian_root.do(root, "dpkg-query", "--show", "--showformat", "${db:Status-Status}", "heart").stdout
    assert status == "installed"
