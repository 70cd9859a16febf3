"""Ends a process at its k-th file event, for every k, and looks at what it left; run by a test.

Arguments: operation, state folder to begin with, repository, scratch folder. Prints one line of
JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

from edge.errors import UsageError
from firmware_bridge.fleet.slots.audit import AuditLog
from firmware_bridge.fleet.slots.store import SlotStore
from firmware_bridge.fleet.trust import client
from tests.support.forked import in_process
from tests.support.slot_operations import NOW, bring, model, operations, start

EVENTS = {
    "open", "os.chmod", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate",
    "tempfile.mkstemp",
    "fcntl.flock", "os.fsync",
}  # fmt: skip
CRASHED = 42
IMPORTED = client  # before the first fork, so that no import is a point
OPERATION, BEGIN, REPOSITORY, SCRATCH = sys.argv[1], *map(Path, sys.argv[2:5])


def fsync(fd: object) -> None:
    """Replaces `os.fsync`, which has no audit event; only the process dies, not the machine."""
    sys.audit("os.fsync", fd)


OPERATIONS = operations(REPOSITORY)


def crash_at(k: int, folder: Path) -> None:
    """Run the operation up to its k-th file event."""
    count = 0

    def hook(event: str, _: tuple[object, ...]) -> None:
        nonlocal count
        if event in EVENTS:
            count += 1
            if count == k:
                os._exit(CRASHED)

    sys.addaudithook(hook)
    OPERATIONS[OPERATION](folder)


def look(folder: Path, outcome: Path) -> None:
    """What a fresh process finds must be whole, and take the next installation."""
    outcome_text = model(start(folder)[1])
    report = AuditLog(folder).verify()
    assert report.ok, report.problems
    with suppress(UsageError):  # it is installed already
        bring(REPOSITORY, folder)
    after = model(start(folder)[1])
    assert after == "second" or OPERATION != "install", after
    SlotStore(folder, now=lambda: NOW).collect()
    hidden = [path for path in folder.rglob("*") if path.name.startswith(".")]
    assert not hidden, hidden
    assert AuditLog(folder).verify().ok
    outcome.write_text(outcome_text)


def look_after_bad(folder: Path, outcome: Path) -> None:
    """The same installation of a bundle that was marked bad, which was requested explicitly."""
    outcome.write_text(model(start(folder)[1]))
    report = AuditLog(folder).verify()
    assert report.ok, report.problems


def main() -> None:
    """Every point of the operation."""
    os.fsync = fsync
    outcomes: Counter[str] = Counter()
    check = look_after_bad if OPERATION == "mark_bad" else look
    k = 0
    while True:
        k += 1
        folder, outcome = SCRATCH / str(k), SCRATCH / f"{k}.txt"
        shutil.copytree(BEGIN, folder)
        ended = in_process(lambda k=k, folder=folder: crash_at(k, folder))  # type: ignore[misc]
        assert ended in (0, CRASHED), f"point {k}: ended with {ended}"
        failed = in_process(lambda folder=folder, outcome=outcome: check(folder, outcome))  # type: ignore[misc]
        assert not failed, f"point {k}"
        outcomes[outcome.read_text()] += 1
        shutil.rmtree(folder)
        if ended == 0:
            break
    json.dump({"points": k - 1, "found": outcomes}, sys.stdout)


main()
