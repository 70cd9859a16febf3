"""Every state in which a power cut may leave stills and journal; run by a test.

Arguments: operation, scratch folder, `flush` or `no-flush`. Prints one line of JSON, as
`tests.support.disk_states` does, whose model of a disk is used.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.stills.files import read_still, write_still
from edge.stills.folder import claim, stills_in
from edge.stills.keeper import StillKeeper
from edge.util.append_file import LineFile
from tests.support.disk_states import Disk, record, write
from tests.support.stills import still

if TYPE_CHECKING:
    from collections.abc import Callable

THEN = datetime(2031, 5, 1, 12, tzinfo=timezone.utc)
NAMES = [f"still-20310501T12000{number}Z-0badcafe-{number}" for number in range(4)]
SIZE = (20, 28)

LINES, SYNC_EVERY, KEEP = 17, 4, 3
LINE_BYTES = 20
MAX_BYTES = 6 * LINE_BYTES


def line(number: int) -> bytes:
    return f'{{"seq": {number:>10}}}'.encode().ljust(LINE_BYTES - 1) + b"\n"


def keep_one(disk: Disk) -> None:
    """A further still; once it is reported it is there."""
    write_still(still(SIZE), disk.root / NAMES[1])
    disk.promise = 1


def expire(disk: Disk) -> None:
    """The keeper removes a still that is too old when it starts."""
    keeper = StillKeeper(disk.root, max_days=1, date=lambda: THEN + timedelta(days=9))
    keeper.close()


def write_lines(disk: Disk) -> None:
    """A journal of several files; what was synced is there, less what was rotated away."""

    def written(handle: int, data: bytes) -> int:
        count = os.write(handle, data)
        disk.note()
        return count

    file = LineFile(disk.root / "journal.jsonl", max_bytes=MAX_BYTES, keep=KEEP, write=written)
    file.open()
    for number in range(1, LINES + 1):
        file.append(line(number))
        if number % SYNC_EVERY == 0:
            file.sync()
            disk.promise = number
    file.close()


def look_at_stills(folder: Path, promised: int) -> str:
    """Each still is whole, no rest is left, and another one can be kept."""
    folder.chmod(0o700)
    os.close(claim(folder, "still"))
    found = stills_in(folder, "still")
    assert found == sorted(folder.iterdir()), "a rest is left"
    for path in found:
        expected = still(SIZE)
        np.testing.assert_array_equal(read_still(path).image, expected.image)
    assert promised == 0 or folder / NAMES[1] in found, "a still that was reported is gone"
    write_still(still(SIZE), folder / NAMES[3])
    return str(len(found))


def look_at_journal(folder: Path, promised: int) -> str:
    """No line is missing between others, none is lost that was synced, and it goes on."""
    path = folder / "journal.jsonl"
    files = [path.with_name(f"{path.name}.{number}") for number in range(KEEP, 0, -1)]
    held = [data for file in (*files, path) if file.exists() for data in [file.read_bytes()]]
    numbers = []
    for data in held:
        *whole, _ = data.split(b"\n")  # the last line of a file may be torn
        numbers += [int(json.loads(one)["seq"]) for one in whole]
    assert numbers == list(range(numbers[0], numbers[-1] + 1)) if numbers else True, numbers
    assert max(numbers, default=0) >= promised, f"line {promised} was synced, {numbers} are there"
    file = LineFile(path, max_bytes=1 << 20, keep=KEEP)
    file.open()
    file.append(line(99))
    file.close()
    assert path.read_bytes().splitlines()[-1] + b"\n" == line(99)
    return "all" if numbers and numbers[-1] == LINES else "some"


def main(operation: str, scratch: str, flush: str) -> None:
    folder = Path(scratch) / "kept"
    folder.mkdir(mode=0o700)
    work: Callable[[Disk], None]
    if operation == "journal":
        work, look = write_lines, look_at_journal
    else:
        write_still(still(SIZE), folder / NAMES[0])
        work, look = {"still": keep_one, "expire": expire}[operation], look_at_stills
    disk = record(folder, work, flush=flush == "flush")
    found: dict[str, int] = {}
    wrong: list[str] = []
    for digest, tree in disk.states.items():
        shutil.rmtree(folder)
        write(tree, folder)
        try:
            outcome = look(folder, disk.promised[digest])
            found[outcome] = found.get(outcome, 0) + 1
        except Exception as error:  # noqa: BLE001 - each is told
            wrong.append(f"{type(error).__name__}: {error}; {sorted(tree)}"[:2000])
    json.dump(
        {"moments": disk.moments, "states": len(disk.states), "found": found, "wrong": wrong},
        sys.stdout,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
