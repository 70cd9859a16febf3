"""What a booted systemd makes of the runtime's unit; run by `booted.sh`, as root.

Arguments: packed repository, its root metadata, and the file for the report, which is JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from edge_difom.cli.main import group

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY, TRUSTED, REPORT = map(Path, sys.argv[1:4])
UNIT = "edge-difom"
RUN = Path("/run")
OUT = RUN / "out"
"""What the service printed."""
PYTHON = RUN / "edge-difom-test/python"
PROBE = """
import json, os, pathlib, resource, socket, sys

def told(attempt):
    try:
        return str(attempt())
    except OSError as error:
        return type(error).__name__ + " " + str(error.errno)

def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.connect(address)

json.dump({
    "user": os.getuid(),
    "capabilities": pathlib.Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0],
    "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line],
    "inet": told(lambda: connect(socket.AF_INET, ("127.0.0.1", 9))),
    "inet6": told(lambda: connect(socket.AF_INET6, ("::1", 9))),
    "packet": told(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "netlink": told(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "etc": told(lambda: open("/etc/edge-difom/x", "w")),
    "usr": told(lambda: open("/usr/x", "w")),
    "kmsg": told(lambda: open("/dev/kmsg", "w")),
    "null": told(lambda: open("/dev/null").read()),
    "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
}, open("/run/edge-difom/probe.json", "w"))
"""


def call(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    text = OUT.read_text() if OUT.exists() else ""
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{text}"
    return done.stdout


def shown(unit: str, *names: str) -> dict[str, str]:
    lines = call("systemctl", "show", unit, *(f"--property={name}" for name in names)).splitlines()
    return dict(line.split("=", 1) for line in lines)


def until(true: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, (
            f"{what}: {shown(UNIT, 'ActiveState', 'SubState', 'Result', 'NRestarts')}"
        )
        time.sleep(0.05)
    return value


def prepare() -> None:
    # The services' Python: this one, and this checkout, which -I would not see.
    PYTHON.parent.mkdir(parents=True)
    PYTHON.write_text(
        f'#!/bin/sh\nshift\nPYTHONPATH={os.environ["PYTHONPATH"]} exec {sys.executable} "$@"\n'
    )
    PYTHON.chmod(0o755)
    done = CliRunner().invoke(group, ["device", "provision", "--python", str(PYTHON)])
    assert done.exit_code == 0, done.output
    Path("/etc/edge-difom/runtime.env").write_text(
        "SOURCE=synthetic:?width=320&height=240\nENGINE=tflite\nCART=\nOPTIONS=--no-guard\n"
    )
    probe = RUN / "probe.py"
    probe.write_text(PROBE)
    drop_in = Path(f"/etc/systemd/system/{UNIT}.service.d/test.conf")
    drop_in.parent.mkdir()
    # A checkout may lie under /home or /root, which an installation does not; a busy machine shares
    # its time; and what services usually wait for, the start of a whole system, does not come here.
    drop_in.write_text(
        "[Unit]\nDefaultDependencies=no\n"
        f"[Service]\nProtectHome=read-only\nNice=0\nExecStartPost={PYTHON} -I {probe}\n"
        f"StandardOutput=file:{OUT}\nStandardError=file:{OUT}\n"
    )
    call("systemd-sysusers")
    call("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/edge-difom.conf")
    stick = shutil.copytree(REPOSITORY, RUN / "stick")
    shutil.copy(TRUSTED, RUN / "1.root.json")
    call("chmod", "-R", "a+rX", stick, RUN / "1.root.json")
    as_user = ("runuser", "-u", "edge-difom", "--", PYTHON, "-I", "-m", "edge_difom", "device")
    call(*as_user, "trust", RUN / "1.root.json")
    call(*as_user, "install", stick, "--max-latency-ms", "100000")
    call("systemctl", "daemon-reload")


def main() -> dict[str, Any]:
    prepare()
    call("systemctl", "start", UNIT)
    report: dict[str, Any] = {"started": shown(UNIT, "ActiveState", "Type")}
    report["probe"] = json.loads((RUN / "edge-difom/probe.json").read_text())
    metrics = RUN / "edge-difom-metrics/edge-difom.prom"
    until(metrics.exists, "no metrics")
    until(lambda: "edge_difom_frames_total 0.0" not in metrics.read_text(), "no frame")
    report["metrics"] = f"{metrics.owner()}:{metrics.group()} {metrics.stat().st_mode & 0o777:o}"
    report["overlay"] = f"{(RUN / 'edge-difom/overlay').stat().st_mode & 0o777:o}"
    journal = Path("/var/log/edge-difom/journal.jsonl")
    until(lambda: '"running"' in journal.read_text(), "never RUNNING")

    pid = int(shown(UNIT, "MainPID")["MainPID"])
    before, began = int(shown(UNIT, "NRestarts")["NRestarts"]), time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    until(lambda: int(shown(UNIT, "NRestarts")["NRestarts"]) > before, "the watchdog did not act")
    report["watchdog_s"] = time.monotonic() - began
    until(lambda: shown(UNIT, "ActiveState")["ActiveState"] == "active", "not back")
    report["another_process"] = int(shown(UNIT, "MainPID")["MainPID"]) != pid

    call("systemctl", "stop", UNIT)
    report["stopped"] = shown(UNIT, "ActiveState")["ActiveState"]
    return report


if __name__ == "__main__":
    REPORT.write_text(json.dumps(main()))
