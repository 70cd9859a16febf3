"""The software on a stick is checked before anything of it runs."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical
from tuf.api.metadata import TargetFile, Targets

from edge.errors import UsageError
from firmware_bridge.fleet.system import check_stick
from firmware_bridge.fleet.system.check_stick import StickError, check
from firmware_bridge.fleet.trust import publishing
from firmware_bridge.fleet.trust import repository as files
from firmware_bridge.fleet.trust.roles import DAYS, ONLINE
from firmware_bridge.fleet.trust.stick import publish_system

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

WHEEL = "edge_difom-1.0+test-py3-none-any.whl"
LIST = "requirements-x86_64-3.11.txt"
NAMES = ["check_stick.py", WHEEL, "install.sh", "numpy-2-py3-none-any.whl", LIST]


class Stick:
    """A publisher's repository with a bundle and software, and a machine that installs it."""

    def __init__(self, publisher: Any, folder: Path) -> None:
        self.publisher, self.folder, self.count = publisher, folder, 0
        self.path, self.metadata = publisher.repository, publisher.repository / "metadata"
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        (self.wheels / WHEEL).write_bytes(b"ours")
        (self.wheels / "numpy-2-py3-none-any.whl").write_bytes(b"numpy")
        (self.wheels / LIST).write_bytes(b"numpy==2 --hash=sha256:0")
        publisher.publish(b"first")
        self.publish()

    def publish(self) -> None:
        publish_system(self.wheels, self.path, self.publisher.keys, self.publisher.now)

    def check(self, root: Path | None = None, **later: int) -> Path:
        """Where the machine has its copies."""
        self.count += 1
        out = self.folder / f"out-{self.count}"
        out.mkdir()
        now = self.publisher.now + timedelta(**later)
        check(root or self.publisher.root, self.path, out, self.folder / "seen.json", now)
        return out

    def target(self, name: str) -> Path:
        (found,) = Path(self.path, "targets", "system").glob(f"*.{name}")
        return found


@pytest.fixture
def stick(publisher: Any, tmp_path: Path) -> Stick:
    return Stick(publisher, tmp_path)


def test_what_was_signed_is_copied(stick: Stick) -> None:
    out = stick.check()
    assert sorted(path.name for path in out.iterdir()) == NAMES
    assert (out / WHEEL).read_bytes() == b"ours"
    system = Path(check_stick.__file__).parent
    for name in ("install.sh", "check_stick.py"):
        assert (out / name).read_bytes() == (system / name).read_bytes()


def test_bundles_install_from_the_same_stick(stick: Stick, tmp_path: Path) -> None:
    from firmware_bridge.fleet.trust import trust_store
    from firmware_bridge.fleet.trust.client import first_trust
    from tests.support.slot_operations import bring, model, start

    device = tmp_path / "device"
    device.mkdir()
    trust_store.save(device, first_trust(stick.publisher.root.read_bytes()))
    bring(stick.path, device)
    assert model(start(device)[1]) == "first"


def test_new_software_replaces_the_old(stick: Stick) -> None:
    (stick.wheels / "numpy-2-py3-none-any.whl").rename(stick.wheels / "numpy-3-py3-none-any.whl")
    (stick.wheels / WHEEL).write_bytes(b"newer")
    stick.publish()
    out = stick.check()
    assert (out / WHEEL).read_bytes() == b"newer"
    assert not (out / "numpy-2-py3-none-any.whl").exists()
    assert len(list((stick.path / "targets" / "system").iterdir())) == 5
    stick.publisher.publish(b"second")
    assert (stick.check() / WHEEL).read_bytes() == b"newer"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", ["byte", "longer", "shorter", "link", "folder", "gone"])
def test_any_changed_file_is_refused(stick: Stick, tmp_path: Path, name: str, change: str) -> None:
    path = stick.target(name)
    data = path.read_bytes()
    if change == "byte":
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    elif change == "longer":
        path.write_bytes(data + b"\n")
    elif change == "shorter":
        path.write_bytes(data[:-1])
    else:
        path.unlink()
        if change == "link":
            (tmp_path / "elsewhere").write_bytes(data)
            path.symlink_to(tmp_path / "elsewhere")
        elif change == "folder":
            path.mkdir()
    with pytest.raises(StickError):
        stick.check()
    assert not (tmp_path / "seen.json").exists()


def test_another_publisher_is_refused(stick: Stick, make_publisher: Any, tmp_path: Path) -> None:
    other = make_publisher(tmp_path / "other")
    with pytest.raises(StickError, match="not signed by a publisher"):
        stick.check(other.root)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_changed_metadata_are_refused(stick: Stick, role: str) -> None:
    path = max(stick.metadata.glob(f"*{role}.json"))
    document = json.loads(path.read_bytes())
    document["signed"]["expires"] = "2039-01-01T00:00:00Z"
    path.write_text(json.dumps(document))
    with pytest.raises(StickError, match=r"not signed|another hash"):
        stick.check()


def test_a_key_counts_once(stick: Stick) -> None:
    """Two names of one key are one signature."""
    document = json.loads((stick.metadata / "timestamp.json").read_bytes())
    root = json.loads(stick.publisher.root.read_bytes())["signed"]
    assert check_stick.signed_by(document, root, "timestamp")
    (keyid,) = root["roles"]["timestamp"]["keyids"]
    root["keys"]["twin"] = root["keys"][keyid]
    root["roles"]["timestamp"] = {"keyids": [keyid, "twin"], "threshold": 2}
    document["signatures"].append({**document["signatures"][0], "keyid": "twin"})
    assert not check_stick.signed_by(document, root, "timestamp")
    root["roles"]["timestamp"]["threshold"] = 0
    assert not check_stick.signed_by(document, root, "timestamp")


@pytest.mark.parametrize("days", [91, 366])
def test_an_expired_stick_is_refused(stick: Stick, days: int) -> None:
    with pytest.raises(StickError, match="expired"):
        stick.check(days=days)


def test_an_older_stick_is_refused(stick: Stick, tmp_path: Path) -> None:
    old = shutil.copytree(stick.path, tmp_path / "old")
    (stick.wheels / WHEEL).write_bytes(b"newer")
    stick.publish()
    stick.check()
    shutil.rmtree(stick.path)
    shutil.copytree(old, stick.path)
    with pytest.raises(StickError, match="older than what this machine has seen"):
        stick.check()


def test_rotated_keys_are_followed_and_revoked_ones_are_not(stick: Stick, tmp_path: Path) -> None:
    publisher = stick.publisher
    stolen = Path(shutil.copytree(publisher.keys, tmp_path / "stolen"))
    before = Path(shutil.copytree(stick.path, tmp_path / "before"))
    publishing.rotate(
        publisher.repository, publisher.keys, ["root", "targets"], [b"secret"], publisher.now
    )
    stick.check()
    (stick.wheels / WHEEL).write_bytes(b"evil")
    publish_system(stick.wheels, before, stolen, publisher.now)
    stick.path, stick.metadata = before, before / "metadata"
    for _ in range(4):  # newer than what was seen
        publish_system(stick.wheels, before, stolen, publisher.now)
    with pytest.raises(StickError, match="not signed by a publisher"):
        stick.check()


def test_a_repository_of_bundles_alone_installs_nothing(publisher: Any, tmp_path: Path) -> None:
    publisher.publish(b"first")
    (tmp_path / "out").mkdir()
    with pytest.raises(StickError, match="only bundles"):
        check(
            *(publisher.root, publisher.repository, tmp_path / "out", tmp_path / "seen"),
            publisher.now,
        )


@pytest.mark.parametrize("content", [b"", b"[" * 50_000, b"{}", b"\xff", b'{"signed": 1}'])
@pytest.mark.parametrize("name", ["timestamp.json", "2.root.json"])
def test_metadata_that_are_none_are_refused(stick: Stick, name: str, content: bytes) -> None:
    (stick.metadata / name).write_bytes(content)
    with pytest.raises(StickError):
        stick.check()


def test_endless_metadata_are_refused(stick: Stick) -> None:
    (stick.metadata / "timestamp.json").write_bytes(b" " * 16_385)
    with pytest.raises(StickError, match="more than 16384 bytes"):
        stick.check()


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(_VALUES)
def test_the_canonical_form_is_that_of_the_signer(value: Any) -> None:
    assert check_stick.canonical(value) == encode_canonical(value)


def test_the_script_needs_python_alone(stick: Stick, tmp_path: Path) -> None:
    source = Path(check_stick.__file__)
    roots = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add((node.module or "").split(".")[0])
    assert roots <= sys.stdlib_module_names
    script, out = tmp_path / "check_stick.py", tmp_path / "out"
    shutil.copyfile(source, script)
    out.mkdir()
    clock = "import datetime, runpy, sys; sys.argv = sys.argv[1:]\n"
    clock += "class Then(datetime.datetime):\n    now = classmethod(lambda cls, zone: cls("
    clock += "2031, 5, 2, tzinfo=zone))\n"
    clock += "datetime.datetime = Then; runpy.run_path(sys.argv[0], run_name='__main__')"
    given_paths = [str(stick.publisher.root), str(stick.path), str(out), str(tmp_path / "seen")]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-S", "-c", clock, str(script), *given_paths],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"]},
        )

    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 files" in done.stdout
    stick.target(WHEEL).write_bytes(b"evil")
    shutil.rmtree(out)
    out.mkdir()
    done = run()
    assert done.returncode == 4
    assert "cannot be trusted" in done.stderr
    assert "nothing of it was run" in done.stderr


def test_the_command_signs_a_stick(stick: Stick, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from edge_difom.cli.main import group

    given = ["bundle", "stick", str(stick.wheels), "--repository", str(stick.path)]
    done = CliRunner().invoke(group, [*given, "--keys", str(stick.publisher.keys)])
    assert done.exit_code == 0, done.output
    assert "5 files" in done.output
    system = Path(check_stick.__file__).parent
    for name in ("install.sh", "check_stick.py"):
        assert f"bring by another way: {system / name}" in done.output
    assert {path.name for path in stick.path.iterdir()} == {"metadata", "targets"}


@pytest.mark.parametrize("more", ["notes.txt", "sdist.tar.gz", "folder"])
def test_a_folder_with_anything_but_wheels_is_refused(stick: Stick, more: str) -> None:
    if more == "folder":
        (stick.wheels / more).mkdir()
    else:
        (stick.wheels / more).touch()
    with pytest.raises(UsageError, match="not a folder of wheels") as caught:
        stick.publish()
    assert more in caught.value.got


def test_install_sh_goes_on_with_what_was_signed(stick: Stick, tmp_path: Path) -> None:
    """The whole way, with programs that record how they are called."""
    tools, log, home = tmp_path / "tools", tmp_path / "calls", tmp_path / "home"
    tools.mkdir()
    fake = f'#!/bin/sh\necho "$(basename "$0") $*" >>{log}\n'
    for name in ("systemctl", "systemd-sysusers", "systemd-tmpfiles", "udevadm"):
        (tools / name).write_text(fake + "exit 3\n")
    (tools / "id").write_text("#!/bin/sh\necho 0\n")
    (tools / "tool").write_text(fake)
    real = f'exec {sys.executable} "$@"'
    (tools / "python3").write_text(
        fake + f"case $3 in venv) mkdir -p {home}/bin; for p in python edge-difom; "
        f"do cp {tools}/tool {home}/bin/$p; done;; *) {real};; esac\n"
    )
    for path in tools.iterdir():
        path.chmod(0o755)
    system = Path(check_stick.__file__).parent
    changed = (system / "install.sh").read_text().replace("/opt/edge-difom", str(home))
    changed = changed.replace("/var/lib/edge-difom-provision", str(tmp_path / "var"))
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "install.sh").write_text(changed)
    later = (system / "check_stick.py").read_text()
    later = later.replace("datetime.now(timezone.utc)", "datetime(2031, 5, 2, tzinfo=timezone.utc)")
    (trusted / "check_stick.py").write_text(later)

    def run(root: Path, place: Path = trusted) -> subprocess.CompletedProcess[str]:
        log.unlink(missing_ok=True)
        return subprocess.run(
            ["sh", str(place / "install.sh"), str(stick.path), "--dry-run"],
            capture_output=True,
            text=True,
            check=False,
            cwd=stick.path,
            env={
                "PATH": f"{tools}:{os.environ['PATH']}",
                "TMPDIR": str(tmp_path / "copies"),
                "ROOT": str(root),
            },
        )

    (tmp_path / "copies").mkdir()
    for name in ("venv", "ensurepip", "hashlib"):  # root's folder may be the stick
        sign = f"open({str(tmp_path / 'imported')!r}, 'w')"
        (stick.path / f"{name}.py").write_text(sign)
    # The signed install.sh writes where a test may: it is the changed one that is signed.
    entry = stick.target("install.sh")
    targets = files.latest(stick.path, Targets)
    assert targets is not None
    data = changed.encode()
    targets.targets["system/install.sh"] = TargetFile.from_data(
        "system/install.sh", data, ["sha256"]
    )
    entry.with_name(f"{hashlib.sha256(data).hexdigest()}.install.sh").write_bytes(data)
    keys, root = stick.publisher.keys, files.newest_root(stick.path, stick.publisher.keys)
    signers = {role: files.load_signers(keys, role, root) for role in ONLINE}
    files.write(stick.path, keys, targets, signers, stick.publisher.now, DAYS)

    done = run(stick.publisher.root)
    assert done.returncode == 0, done.stderr
    calls = log.read_text().splitlines()
    assert f"edge-difom device provision --python {home}/bin/python --dry-run" in calls
    (pip,) = [call for call in calls if "-m pip" in call]
    assert "--no-index" in pip
    assert "--only-binary :all:" in pip
    assert str(stick.path) not in pip, "from the copies, never from the stick"
    assert not list((tmp_path / "copies").iterdir()), "the copies are gone"
    assert not (tmp_path / "imported").exists(), "nothing of the stick is imported"

    stick.target(WHEEL).write_bytes(b"evil")
    done = run(stick.publisher.root)
    assert done.returncode == 4
    assert "cannot be trusted" in done.stderr
    assert not [call for call in log.read_text().splitlines() if "-m pip" in call]
    assert not list((tmp_path / "copies").iterdir())
    shutil.copytree(trusted, stick.path / "scripts")
    on_stick = run(stick.publisher.root, stick.path / "scripts")
    assert on_stick.returncode == 2
    assert "lies on the stick that it would check" in on_stick.stderr
    done = run(tmp_path / "no-root.json")
    assert done.returncode == 2
    assert "from a place that you trust" in done.stderr
