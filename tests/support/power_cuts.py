"""Copy an ext4 image at random moments of an installation, as after a power cut, and check it.

Arguments: repository, its root metadata, scratch folder, seed, number of cuts, `flush` or
`no-flush`. Needs root and loop devices. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from edge.bundle.reader import Bundle
from edge.engines.runtimes import Runtime
from edge.engines.selftest import SelfTest
from edge.errors import UsageError
from firmware_bridge.fleet.slots.audit import AuditLog
from firmware_bridge.fleet.slots.install import install
from firmware_bridge.fleet.slots.store import SlotStore
from firmware_bridge.fleet.trust import trust_store
from firmware_bridge.fleet.trust.client import first_trust

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST, SECOND, ROOT, SCRATCH = map(Path, sys.argv[1:5])
SEED, CUTS, FLUSH = int(sys.argv[5]), int(sys.argv[6]), sys.argv[7] == "flush"
NOW = datetime(2031, 5, 2, tzinfo=timezone.utc)
EVENTS = {"open", "os.chmod", "os.mkdir", "os.remove", "os.rename", "fcntl.flock", "os.fsync"}
IMAGE_MB = 24


@contextmanager
def mounted(image: Path) -> Iterator[Path]:
    """The image's files; data reaches it when it is flushed, or after the kernel's 30 s."""
    place = SCRATCH / "mounted"
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop,commit=1", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def bring(repository: Path, folder: Path) -> None:
    install(
        str(repository),
        folder,
        now=lambda: NOW,
        runtimes={"openvino": Runtime(package="openvino", version="2026.1")},
        architecture="x86_64",
        check=lambda _: SelfTest(ok=True),
    )


def start(folder: Path) -> tuple[SlotStore, Path | None]:
    store = SlotStore(folder, now=lambda: NOW)
    return store, store.current()


def prove(folder: Path) -> None:
    store, path = start(folder)
    assert path is not None
    store.mark_good(path)


def update(folder: Path) -> None:
    """What is cut: an installation beside a proven bundle, its first start and its proof."""
    bring(SECOND, folder)
    prove(folder)


class Cutter:
    """Copies the image before chosen file events."""

    def __init__(self) -> None:
        self.seen, self.moments = 0, frozenset[int]()
        self.image: Path | None = None
        flush = os.fsync

        def fsync(fd: int) -> None:
            sys.audit("os.fsync", fd)  # Python tells of no flush by itself
            if FLUSH:
                flush(fd)

        os.fsync = fsync  # type: ignore[assignment]  # of files by number alone
        sys.addaudithook(self.hook)

    def hook(self, event: str, _: tuple[object, ...]) -> None:
        if self.image is None or event not in EVENTS:
            return
        image, self.image = self.image, None  # the copy's own events do not count
        self.seen += 1
        if self.seen in self.moments:
            shutil.copyfile(image, SCRATCH / f"cut{self.seen}.img")
        self.image = image

    def count(self, image: Path, moments: frozenset[int], work: Callable[[], None]) -> int:
        self.seen, self.moments, self.image = 0, moments, image
        try:
            work()
        finally:
            self.image = None
        return self.seen


def look(folder: Path) -> str:
    """Return the bundle after the cut; it must be whole, with an intact log and free to update."""
    _, path = start(folder)
    if path is None:
        return "none"
    bundle = Bundle.open(path)
    assert set(bundle.verify_hashes().values()) == {"ok"}
    text = bundle.read("model.xml")[:6].decode()
    report = AuditLog(folder).verify()
    assert report.ok, report.problems
    with suppress(UsageError):  # it is installed already
        bring(SECOND, folder)
    assert start(folder)[1] is not None
    return text


def make_image() -> Path:
    image = SCRATCH / "disk.img"
    with image.open("wb") as file:
        file.truncate(IMAGE_MB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    return image


def first_bundle(place: Path) -> Path:
    folder = place / "state"
    folder.mkdir()
    trust_store.save(folder, first_trust(ROOT.read_bytes()))
    bring(FIRST, folder)
    prove(folder)
    return folder


def main() -> None:
    """Count the moments once, then cut at some of them."""
    cutter = Cutter()
    with mounted(make_image()) as place:
        folder = first_bundle(place)
        moments = cutter.count(SCRATCH, frozenset(), lambda: update(folder))
    chosen = frozenset(random.Random(SEED).sample(range(1, moments + 1), CUTS))
    image = make_image()
    with mounted(image) as place:
        folder = first_bundle(place)
        cutter.count(image, chosen, lambda: update(folder))
        shutil.copyfile(image, SCRATCH / "end.img")
    outcomes: Counter[str] = Counter()
    for cut in sorted(SCRATCH.glob("cut*.img")):
        with mounted(cut) as place:
            outcomes[look(place / "state")] += 1
        cut.unlink()
    with mounted(SCRATCH / "end.img") as place:
        end = look(place / "state")
    json.dump(
        {"moments": moments, "cuts": outcomes.total(), "found": outcomes, "end": end}, sys.stdout
    )


main()
