"""Every state in which a power cut may leave the disk during an operation; run by a test.

Arguments: operation, state folder to begin with, repository, scratch folder, `flush` or `no-flush`.
Prints one line of JSON.

What is written, renamed or removed reaches the disk only when its file or folder is flushed; before
that each change may be there or not, whatever the order (as in Pillai et al., All File Systems Are
Not Created Equal, OSDI 2014, without the promises that single file systems make). Before each file
event of the operation the folder is copied, which gives the versions of each file and folder since
its last flush; a state of the disk has one version of each.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import random
import shutil
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import UsageError
from firmware_bridge.fleet.slots.audit import AuditLog
from firmware_bridge.fleet.trust import client
from tests.support.slot_operations import bring, model, operations, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

EVENTS = {
    *("open", "os.chmod", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"),
    *("os.fsync", "tempfile.mkstemp"),
}
IMPORTED = client  # before the first event, so that no import is one
MOST = 1 << 14
"""States of one moment; more would be a lack of flushes in itself."""

_SAMPLE = 20
"""States of one moment that are taken where nothing is flushed, and too many are possible."""

Entries = dict[str, int]
Tree = dict[str, bytes | None]
"""Path -> content of a file, None for a folder."""


class Disk:
    """Versions of each file and folder below a root since its last flush.

    Attributes:
        states: Digest -> tree of every state that a power cut may leave.
        moments: Number of file events.
        promise: What the operation has promised by now to keep, as a number.
        promised: Digest of a state -> the highest promise at a moment that may leave it.
    """

    def __init__(self, root: Path, *, flush: bool = True) -> None:
        self.root, self.states, self.moments = root, dict[str, Tree](), 0
        self.promise, self.promised = 0, dict[str, int]()
        self._flush, self._random = flush, random.Random(1)
        self._names: dict[int, int] = {}
        self._count = itertools.count()
        self._folders: dict[int, list[Entries]] = {}
        self._files: dict[int, list[bytes]] = {}
        self._look(fresh=True)
        self._root = self._names[root.stat().st_ino]

    def note(self, flushed: int | None = None) -> None:
        """Take all states of this moment; then one file or folder is flushed, by its inode."""
        self.moments += 1
        self._look()
        for tree in self._possible():
            digest_input = repr(sorted(tree.items())).encode()
            digest = hashlib.sha256(digest_input).hexdigest()
            self.states.setdefault(digest, tree)
            # What was promised when the power was cut holds, the highest promise of all moments.
            self.promised[digest] = max(self.promised.get(digest, 0), self.promise)
        if self._flush and flushed in self._names:
            name = self._names[flushed]
            for versions in (self._folders, self._files):
                if name in versions:
                    versions[name] = versions[name][-1:]  # type: ignore[assignment]

    def _look(self, *, fresh: bool = False) -> None:
        """Add what has changed; numbers of inodes are used again, so that each has a name."""
        by_inode: dict[int, Path] = {self.root.stat().st_ino: self.root}
        by_inode |= {path.lstat().st_ino: path for path in self.root.rglob("*")}
        self._names = {inode: name for inode, name in self._names.items() if inode in by_inode}
        for inode in by_inode:
            self._names.setdefault(inode, next(self._count))
        for inode, path in by_inode.items():
            name = self._names[inode]
            if path.is_dir():
                entries = {
                    child.name: self._names[child.lstat().st_ino] for child in path.iterdir()
                }
                versions = self._folders.setdefault(name, [entries if fresh else {}])
                if versions[-1] != entries:
                    versions.append(entries)
            else:
                data = path.read_bytes()
                contents = self._files.setdefault(name, [data if fresh else b""])
                if contents[-1] != data:
                    contents.append(data)

    def _possible(self) -> Iterator[Tree]:
        """Yield one tree for each choice of versions."""
        folders = {name: versions for name, versions in self._folders.items() if len(versions) > 1}
        files = {
            name: _torn(versions) for name, versions in self._files.items() if len(versions) > 1
        }
        count = math.prod([len(versions) for versions in folders.values()])
        count *= math.prod([len(versions) for versions in files.values()])
        assert count <= MOST or not self._flush, f"{count} states at moment {self.moments}"
        if count <= MOST:
            pairs: Iterable[tuple[Sequence[Entries], Sequence[bytes]]] = itertools.product(
                itertools.product(*folders.values()), itertools.product(*files.values())
            )
        else:
            pairs = (
                (
                    [self._random.choice(versions) for versions in folders.values()],
                    [self._random.choice(versions) for versions in files.values()],
                )
                for _ in range(_SAMPLE)
            )
        for chosen, contents in pairs:
            entries = {name: versions[-1] for name, versions in self._folders.items()}
            entries |= dict(zip(folders, chosen, strict=True))
            contents_by_name = {name: versions[-1] for name, versions in self._files.items()}
            contents_by_name |= dict(zip(files, contents, strict=True))
            tree: Tree = {}
            _fill(tree, "", self._root, entries, contents_by_name)
            yield tree


def _torn(versions: list[bytes]) -> list[bytes]:
    """Return the contents that a file may have: any version, or a part of the last one."""
    before, last = versions[0], versions[-1]
    if last.startswith(before):
        torn = last[: (len(before) + len(last)) // 2]
    else:
        torn = last[: len(last) // 2]
    return list(dict.fromkeys([*versions, torn]))


def _fill(
    tree: Tree, place: str, name: int, folders: dict[int, Entries], files: dict[int, bytes]
) -> None:
    for entry, child in folders[name].items():
        path = f"{place}{entry}"
        if child in folders:
            tree[path] = None
            _fill(tree, f"{path}/", child, folders, files)
        else:
            tree[path] = files[child]


def record(folder: Path, work: Callable[[Disk], object], *, flush: bool) -> Disk:
    """Run an operation and return what the disk may have held meanwhile.

    The operation may call `note` where bytes are written without an event.
    """
    disk, busy = Disk(folder, flush=flush), True

    def note(flushed: int | None = None) -> None:
        nonlocal busy
        if not busy:
            busy = True  # looking has events of its own
            disk.note(flushed)
            busy = False

    def fsync(fd: int) -> None:
        note(os.fstat(fd).st_ino)

    os.fsync = os.fdatasync = fsync  # type: ignore[assignment]
    sys.addaudithook(lambda event, _: note() if event in EVENTS else None)
    busy = False
    work(disk)
    note()
    busy = True
    return disk


def write(tree: Tree, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, data in sorted(tree.items()):
        if data is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(data)


def look(folder: Path, repository: Path, operation: str) -> str:
    """What the next start finds must be whole, with an intact log, and take an installation."""
    text = model(start(folder)[1])
    report = AuditLog(folder).verify()
    assert report.ok, report.problems
    if operation != "mark_bad":
        with suppress(UsageError):  # it is installed already
            bring(repository, folder)
        model(start(folder)[1])
        assert AuditLog(folder).verify().ok
    return text


def main(operation: str, begin: str, repository: str, scratch: str, flush: str) -> None:
    """Record the operation, then look at each state."""
    folder, source = Path(scratch) / "device", Path(repository)
    shutil.copytree(begin, folder)
    work = operations(source)[operation]
    disk = record(folder, lambda disk: work(disk.root), flush=flush == "flush")
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    for tree in disk.states.values():
        write(tree, folder)
        try:
            outcomes[look(folder, source, operation)] += 1
        except Exception as error:  # noqa: BLE001 - each is told
            wrong.append(f"{type(error).__name__}: {error}; {sorted(tree)}"[:2000])
    json.dump(
        {"moments": disk.moments, "states": len(disk.states), "found": outcomes, "wrong": wrong},
        sys.stdout,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
