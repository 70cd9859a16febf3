"""A disk that cannot read the sectors of a model, by the kernel's device mapper."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from edge.bundle.reader import Bundle
from edge.engines.open import open_engine
from edge.errors import MachineError
from edge.util.files import sha256
from firmware_bridge.fleet.slots import state
from firmware_bridge.fleet.slots.state import SlotBundle, SlotState
from firmware_bridge.fleet.slots.store import SlotStore
from tests.support.signed_slots import Signer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.vm

BLOCK, SECTOR = 4096, 512


def call(*command: str | Path, text: str | None = None) -> str:
    return subprocess.run(
        [*map(str, command)], input=text, capture_output=True, text=True, check=True
    ).stdout.strip()


class Disk(NamedTuple):
    """An ext4 file system on a mapped device."""

    mounted: Path
    image: Path
    device: str
    sectors: int

    def spoil(self, name: str) -> None:
        """Let every sector of a file fail from now on; nothing of it stays in memory."""
        blocks = sorted(map(int, call("debugfs", "-R", f"blocks /{name}", self.image).split()))
        assert blocks
        per_block, table, at = BLOCK // SECTOR, [], 0
        for block in blocks:
            begin = block * per_block
            if begin > at:
                table.append(f"{at} {begin - at} linear {self.device} {at}")
            table.append(f"{begin} {per_block} error")
            at = begin + per_block
        table.append(f"{at} {self.sectors - at} linear {self.device} {at}")
        call("sync")
        call("dmsetup", "load", "disk", text="\n".join(table))
        call("dmsetup", "resume", "disk")
        Path("/proc/sys/vm/drop_caches").write_text("3")


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[Path], Disk]]:
    """`make_disk(folder)`: a disk that holds the folder's files, mounted; one for each test."""
    for module in ("loop", "ext4", "dm-mod"):
        call("modprobe", module)
    image, mounted = tmp_path / "image", tmp_path / "mounted"
    sectors = (32 << 20) // SECTOR

    def make(folder: Path) -> Disk:
        with image.open("wb") as file:
            file.truncate(sectors * SECTOR)
        call("mkfs.ext4", "-q", "-b", str(BLOCK), "-d", folder, image)
        device = call("losetup", "--find", "--show", image)
        call("dmsetup", "create", "disk", text=f"0 {sectors} linear {device} 0")
        call("dmsetup", "mknodes")
        mounted.mkdir()
        call("mount", "/dev/mapper/disk", mounted)
        return Disk(mounted, image, device, sectors)

    yield make
    for command in (["umount", str(mounted)], ["dmsetup", "remove", "disk"], ["losetup", "-D"]):
        subprocess.run(command, check=False)


def verify(bundle: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "edge_difom",
        "verify",
        "--bundle",
        str(bundle),
        "--engine",
        "tflite",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.row(41, "sectors of the model fail under ext4 (dm-error)")
def test_a_model_on_bad_sectors_is_refused_and_named(
    tiny_bundle: Path, make_disk: Callable[[Path], Disk]
) -> None:
    disk = make_disk(tiny_bundle)
    assert verify(disk.mounted).returncode == 0
    name = "engines/tflite/model.tflite"
    disk.spoil(name)
    with pytest.raises(OSError, match="Input/output error"):
        (disk.mounted / name).read_bytes()
    with pytest.raises(MachineError, match="Input/output error"):
        open_engine(Bundle.open(disk.mounted), "tflite")
    ended = verify(disk.mounted)
    assert ended.returncode == 11
    assert name in ended.stderr


@pytest.mark.row(41, "sectors of a slot's bundle fail under ext4 (dm-error)")
def test_a_slot_on_bad_sectors_is_bad_and_the_other_one_is_used(
    tmp_path: Path, make_disk: Callable[[Path], Disk]
) -> None:
    device_folder, slots, publisher = tmp_path / "device", {}, Signer()
    publisher.trusted_by(device_folder)
    for number, slot in enumerate("ab", 1):
        packed = device_folder / "slots" / slot / f"{number}.difom"
        packed.parent.mkdir(parents=True)
        packed.write_bytes(bytes([number]) * 3 * BLOCK)
        slots[slot] = SlotBundle(
            file=packed.name, sha256=sha256(packed), size=packed.stat().st_size, name="polyps",
            version=number,
            manifest="0" * 64, good=True,
        )  # fmt: skip
        publisher.sign(device_folder, slot, slots[slot])
    state.save(device_folder, SlotState(slots=slots, active="b", floor={"polyps": 2}))
    disk = make_disk(device_folder)
    assert SlotStore(disk.mounted).current() == disk.mounted / "slots/b/2.difom"
    disk.spoil("slots/b/2.difom")
    store = SlotStore(disk.mounted)
    assert store.current() == disk.mounted / "slots/a/1.difom"
    assert store.previous() is None
    assert [record.event for record in store.audit.records()][:1] == ["unreadable"]
    assert set(state.load(disk.mounted).slots) == {"a", "b"}, "the medium may come back"
