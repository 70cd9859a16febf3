"""The runtime under its shipped unit in a booted systemd: permissions, limits and watchdog."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.fleet.system.provision import HIDDEN
from firmware_bridge.fleet.trust.publishing import publish

ROOT = Path(__file__).parents[3]
LONGEST_S = 400
GROUPS = [Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")]


@pytest.mark.booted
@pytest.mark.row(
    45, "sockets of every family from inside the running service's sandbox, by a booted systemd"
)
@pytest.mark.row(24, "SIGSTOP of the service's main process under a booted systemd")
def test_the_runtime_under_its_unit(publisher: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    group = next((path for path in GROUPS if (path / "cgroup.procs").exists()), None)
    may = os.geteuid() == 0 and group is not None and os.access(group, os.W_OK)
    if (
        not may
        or subprocess.run(["unshare", "--pid", "--fork", "--mount", "true"], check=False).returncode
    ):
        pytest.skip("needs root, namespaces and a writable cgroup 2")
    if any(Path(sys.executable).is_relative_to(folder) for folder in HIDDEN):
        pytest.skip(f"needs a checkout outside {', '.join(HIDDEN)}, which the unit cannot see")
    publish(tiny_bundle, publisher.repository, publisher.keys, datetime.now(timezone.utc))
    report, log = tmp_path / "report.json", tmp_path / "log"
    arguments = (
        sys.executable,
        ROOT / "tests/support/booted_runtime.py",
        publisher.repository,
        publisher.root,
        report,
    )
    subprocess.run(
        ["sh", str(ROOT / "tests/support/booted.sh"), str(LONGEST_S), *map(str, arguments)],
        check=True,
        env=os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "LOG": str(log)},
    )
    assert report.exists(), log.read_text() if log.exists() else "systemd did not start"
    content = json.loads(report.read_text())
    assert content["started"] == {"ActiveState": "active", "Type": "notify"}
    probe = content["probe"]
    assert probe["interfaces"] == ["lo"]
    # EAFNOSUPPORT by RestrictAddressFamilies=, EROFS by ProtectSystem=, EPERM by the device list.
    assert [probe[family] for family in ("inet", "inet6", "packet", "netlink")] == [
        "OSError 97"
    ] * 4
    assert [probe[folder] for folder in ("etc", "usr")] == ["OSError 30"] * 2
    assert probe["kmsg"].startswith("PermissionError")
    assert probe["null"] == ""
    assert probe["user"] != 0
    assert int(probe["capabilities"], 16) == 0
    assert probe["core"] == 0
    assert content["metrics"] == "edge-difom:edge-difom-metrics 640"
    assert content["overlay"] == "600"
    assert content["another_process"]
    # `failed` where a busy machine did not end it within the unit's three seconds.
    assert content["stopped"] in ("inactive", "failed")
