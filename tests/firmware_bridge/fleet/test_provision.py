"""`edge-difom device provision` and its script: they write only what they report."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from edge.errors import DataError, UsageError
from edge_difom.cli.main import group
from firmware_bridge.fleet.system.provision import RECORD, Settings, apply, plan

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "firmware_bridge/fleet/system/install.sh"
PYTHON = "/opt/edge-difom/bin/python"
SETTINGS = Settings(python=PYTHON)
UNIT = "etc/systemd/system/edge-difom.service"
NOBODY = 65534


def provision(root: Path, *options: str) -> Any:
    arguments = ["device", "provision", "--root", str(root), "--python", PYTHON, *options]
    return CliRunner().invoke(group, arguments, catch_exceptions=True)


def files_of(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def test_a_dry_run_shows_everything_and_writes_nothing(tmp_path: Path) -> None:
    done = provision(tmp_path, "--dry-run")
    assert done.exit_code == 0
    assert not list(tmp_path.iterdir())
    assert f"+++ {tmp_path / UNIT}" in done.output
    assert "+PrivateNetwork=yes" in done.output
    early = "/usr/bin/env --ignore-signal=USR1,USR2"
    assert f"+ExecStart={early} {PYTHON} -I -m edge_difom run" in done.output


def test_files_are_written_once_and_the_next_commands_are_told(tmp_path: Path) -> None:
    first = provision(tmp_path)
    assert first.exit_code == 0
    assert "systemctl --root=" in first.output
    before = files_of(tmp_path)
    assert UNIT in before
    assert not any(re.search(rb"@[A-Z]+@", content) for content, _ in before.values())
    second = provision(tmp_path)
    assert second.exit_code == 0
    assert files_of(tmp_path) == before
    assert not re.search(r" (written|updated|replaced)$", second.output, re.MULTILINE)


def test_a_changed_file_is_kept_until_it_is_forced(tmp_path: Path) -> None:
    provision(tmp_path)
    text = (tmp_path / UNIT).read_text()
    (tmp_path / UNIT).write_text("[Service]\n")
    (tmp_path / "etc/edge-difom/runtime.env").write_text("CART=\n")
    result = provision(tmp_path)
    assert result.exit_code == 0
    assert "is kept; --force overwrites it" in result.output
    assert (tmp_path / UNIT).read_text() == "[Service]\n"
    assert (tmp_path / "etc/edge-difom/runtime.env").read_text() == "CART=\n"
    assert "replaced" in provision(tmp_path, "--force").output
    assert (tmp_path / UNIT).read_text() == text


def test_a_file_that_was_there_before_is_kept(tmp_path: Path) -> None:
    (tmp_path / UNIT).parent.mkdir(parents=True)
    (tmp_path / UNIT).symlink_to("/dev/null")  # a masked unit
    provision(tmp_path)
    assert (tmp_path / UNIT).is_symlink()


def test_a_later_version_updates_what_nobody_changed(tmp_path: Path) -> None:
    provision(tmp_path)
    changed = tmp_path / "etc/edge-difom/runtime.env"
    changed.write_text("CART=\n")
    later = Settings(python="/opt/later/bin/python")
    actions = {str(c.path.relative_to(tmp_path)): c.action for c in plan(tmp_path, later)}
    assert actions[UNIT] == "update"
    assert actions["etc/edge-difom/runtime.env"] == "keep"
    assert actions["etc/modules-load.d/edge-difom.conf"] == "same"
    apply(tmp_path, plan(tmp_path, later))
    assert " /opt/later/bin/python -I -m edge_difom run" in (tmp_path / UNIT).read_text()
    assert {c.action for c in plan(tmp_path, later)} == {"same", "keep"}


def test_without_the_right_nothing_is_written(tmp_path: Path) -> None:
    """As a user who may write a part of the files: the others stop it before the first."""
    writable = tmp_path / "root/etc/systemd/system"
    writable.mkdir(parents=True)
    for path in (tmp_path, *tmp_path.parents):
        if path.is_relative_to("/tmp") and path != Path("/tmp") and path.owner() == "root":
            path.chmod(path.stat().st_mode | 0o055)
    code = (
        "import sys; from pathlib import Path; from edge.errors import UsageError\n"
        "from firmware_bridge.fleet.system.provision import Settings, apply, plan\n"
        "root = Path(sys.argv[1])\n"
        "changes = plan(root, Settings(python='/bin/sh'))\n"
        "import os; os.geteuid() or os.setuid(65534)\n"
        "try:\n    apply(root, changes)\n"
        "except UsageError as error:\n    print(error)\n"
    )
    if os.geteuid() == 0:
        os.chown(writable, NOBODY, NOBODY)
    else:
        (tmp_path / "root/etc").chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "root")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    (tmp_path / "root/etc").chmod(0o755)
    assert "no permission to write" in done.stdout, done.stderr
    assert "hint:     run it as root" in done.stdout
    assert not [path for path in (tmp_path / "root").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"python": "/home/me/venv/bin/python"}, "could not see"),
        ({"python": "/root/venv/bin/python"}, "could not see"),
        ({"python": "python3"}, "absolute path"),
        ({"python": "/opt/a b/python"}, "absolute path"),
        ({"python": PYTHON, "cart": '*", RUN+="/bin/sh'}, "ID_PATH"),
        ({"python": PYTHON, "camera": "a\nb"}, "ID_PATH"),
    ],
)
def test_what_cannot_be_filled_in_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Settings(**options)


def test_a_record_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / RECORD).parent.mkdir(parents=True)
    (tmp_path / RECORD).write_text("{")
    with pytest.raises(DataError, match="record"):
        plan(tmp_path, SETTINGS)


def test_a_root_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        plan(tmp_path / "missing", SETTINGS)


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the script in a folder of the test, with programs that record how they are called."""
    tools = tmp_path / "tools"
    tools.mkdir()
    log = tmp_path / "calls"
    home = tmp_path / "home"
    fake = f'#!/bin/sh\necho "$(basename "$0") $*" >>{log}\n'
    for name in ("systemctl", "systemd-sysusers", "systemd-tmpfiles", "udevadm"):
        (tools / name).write_text(fake + "exit ${ACTIVE:-3}\n")
    (tools / "id").write_text('#!/bin/sh\necho "${WHO:-0}"\n')
    (tools / "python3").write_text(
        fake + f"case $3 in venv) mkdir -p {home}/bin; for p in python edge-difom; "
        f"do cp {tools}/tool {home}/bin/$p; done;; esac\n"
    )
    (tools / "tool").write_text(fake)
    for path in tools.iterdir():
        path.chmod(0o755)
    script = tmp_path / "install.sh"
    script.write_text(SCRIPT.read_text().replace("/opt/edge-difom", str(home)))

    def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        log.unlink(missing_ok=True)
        path = f"{tools}:{os.environ['PATH']}"
        return subprocess.run(
            ["sh", str(script), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": path, **env},
        )

    return run


def test_the_script_installs_and_provisions_and_may_run_again(
    install: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "edge_difom-1-py3-none-any.whl").touch()
    for fresh in (True, False):
        done = install(wheels, "--rauc", UNSIGNED="yes")
        assert done.returncode == 0, done.stderr
        calls = (tmp_path / "calls").read_text().splitlines()
        assert any("-m venv" in call for call in calls) is fresh
        pip, last = calls[-2:]
        assert "--no-index" in pip
        assert pip.endswith("edge-difom[openvino,metrics,window,cart,trust]")
        assert last == f"edge-difom device provision --python {tmp_path}/home/bin/python --rauc"


@pytest.mark.parametrize(
    ("wheels", "env", "code", "message"),
    [
        (None, {}, 2, "usage"),
        ("missing", {}, 2, "no folder"),
        ("empty", {"UNSIGNED": "yes"}, 2, "no edge_difom-"),
        ("wheels", {"UNSIGNED": ""}, 2, "is not signed"),
        ("wheels", {"WHO": "1000"}, 2, "rights of root"),
        ("wheels", {"ACTIVE": "0"}, 11, "in use on a patient"),
        ("wheels", {"PYTHON": "no-such-python"}, 8, "Python 3.10"),
    ],
)
def test_the_script_checks_before_it_writes(
    wheels: str | None,
    env: dict[str, str],
    code: int,
    message: str,
    install: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/edge_difom-1-py3-none-any.whl").touch()
    done = install(*([tmp_path / wheels] if wheels else []), **{"UNSIGNED": "yes"} | env)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert not (tmp_path / "home").exists()
