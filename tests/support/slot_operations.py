"""What a device does with its slots, for programs that cut it short; bundles are never run."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edge.bundle.reader import Bundle
from edge.engines.runtimes import Runtime
from edge.engines.selftest import SelfTest
from firmware_bridge.fleet.slots.install import install
from firmware_bridge.fleet.slots.store import SlotStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime(2031, 5, 2, tzinfo=timezone.utc)


def bring(repository: Path, folder: Path) -> None:
    install(
        str(repository),
        folder,
        now=lambda: NOW,
        runtimes={"openvino": Runtime(package="openvino", version="2026.1")},
        architecture="x86_64",
        check=lambda _: SelfTest(ok=True),
    )


def start(folder: Path) -> tuple[SlotStore, Path]:
    store = SlotStore(folder, now=lambda: NOW)
    path = store.current()
    assert path is not None, "no bundle"
    return store, path


def model(path: Path) -> str:
    bundle = Bundle.open(path)
    assert set(bundle.verify_hashes().values()) == {"ok"}
    return bundle.read("model.xml").decode()


def mark_good(folder: Path) -> None:
    store, path = start(folder)
    store.mark_good(path)


def mark_bad(folder: Path) -> None:
    store, path = start(folder)
    store.mark_bad(path, "a test")


def end_cleanly(folder: Path) -> None:
    store, path = start(folder)
    store.refund(path)


def operations(repository: Path) -> dict[str, Callable[[Path], object]]:
    """Name -> operation on a state folder."""
    return {
        "install": lambda folder: bring(repository, folder),
        "trial": end_cleanly,
        "mark_good": mark_good,
        "mark_bad": mark_bad,
        "rollback": lambda folder: SlotStore(folder, now=lambda: NOW).roll_back(),
        "gc": lambda folder: SlotStore(folder, now=lambda: NOW).collect(),
    }
