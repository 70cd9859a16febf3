"""What runs on a device opens no socket to anywhere: neither it nor a process that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge.sinks.jsonl import read_frame_lines
from firmware_bridge.fleet.slots.store import open_store
from firmware_bridge.fleet.trust import trust_store
from firmware_bridge.fleet.trust.client import first_trust
from firmware_bridge.fleet.trust.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
GUARD = """
import socket, sys

def guard(event, arguments):
    if not event.startswith("socket."):
        return
    family = arguments[1] if event == "socket.__new__" else getattr(arguments[0], "family", None)
    if family != socket.AF_UNIX:
        with open({log!r}, "a") as file:
            file.write(event + " " + repr(arguments) + "\\n")
        raise RuntimeError("a socket on a device: " + event)

sys.addaudithook(guard)
"""
"""Runs at the start of every Python process that finds it; children too."""


@pytest.fixture
def offline(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python with the guard; the log of sockets must stay away."""
    log = tmp_path / "sockets.txt"
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD.format(log=str(log)))

    def run(*arguments: object, sockets: bool = False) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join([str(tmp_path / "guard"), str(ROOT)])
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": paths},
        )
        assert log.exists() == sockets, log.read_text()
        return done

    return run


@pytest.mark.slow
@pytest.mark.row(
    45,
    "install with its self-test, verify and run in processes that any socket but a local one ends",
)
def test_a_device_opens_no_socket(
    offline: Callable[..., subprocess.CompletedProcess[str]],
    publisher: Any,
    tiny_bundle: Path,
    tmp_path: Path,
) -> None:
    from datetime import datetime, timezone

    publish(tiny_bundle, publisher.repository, publisher.keys, datetime.now(timezone.utc))
    state = tmp_path / "state"
    state.mkdir()
    trust_store.save(state, first_trust(publisher.root.read_bytes()))
    edge = ("-m", "edge_difom")

    def call(*arguments: object) -> None:
        done = offline(*edge, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    call("device", "install", publisher.repository, "--state", state, "--max-latency-ms", 100000)
    path = open_store(state).current()
    call("verify", "--bundle", path)
    call(
        "run",
        "--source",
        "synthetic:?width=320&height=240&frames=5&live=0",
        "--bundle",
        path,
        "--sink",
        f"jsonl:{tmp_path}/f.jsonl",
    )
    call("device", "status", "--state", state)
    assert len(read_frame_lines(tmp_path / "f.jsonl")) == 5


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket()",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import socket; a, b = socket.socketpair(); a.close(); "
        "b.close(); socket.create_connection(('127.0.0.1', 9))",
        "import urllib3.util.connection, sys; sys.exit(1)",
    ],
)
def test_the_guard_ends_what_opens_a_socket(
    code: str, offline: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert offline("-c", code, sockets=True).returncode != 0


def test_the_guard_lets_local_sockets_be(
    offline: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    assert offline("-c", "import socket; socket.socket(socket.AF_UNIX).close()").returncode == 0
