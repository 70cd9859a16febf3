"""The bundle of a start: a trial with counted starts, the active one, the previous, or none."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge.errors import BundleError, UsageError
from edge.util.extras import resolve
from edge.util.files import sha256
from firmware_bridge.fleet.slots import state
from firmware_bridge.fleet.slots.audit import AuditLog
from firmware_bridge.fleet.slots.state import Held, State
from firmware_bridge.fleet.slots.status import examine
from firmware_bridge.fleet.slots.store import SlotStore

if TYPE_CHECKING:
    from edge.contracts import BundleStore


class Device:
    """A state folder whose slots are filled by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, slot: str, version: int, *, good: bool = False) -> Held:
        path = self.folder / "slots" / slot / f"{version}.difom"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"bundle {version}".encode())
        return Held(
            file=path.name,
            sha256=sha256(path),
            size=path.stat().st_size,
            name="polyps",
            version=version,
            manifest="0" * 64,
            good=good,
        )

    def start(self) -> SlotStore:
        return SlotStore(self.folder)

    def version(self) -> int | None:
        path = self.start().current()
        return int(path.stem) if path else None

    def events(self) -> list[str]:
        log = AuditLog(self.folder)
        assert log.verify().ok
        return [record.event for record in log.records()]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """Version 1 is good in slot a, version 2 on trial in slot b."""
    made = Device(tmp_path)
    now = State(slots={"a": made.put("a", 1, good=True)}, active="a", floor={"polyps": 1})
    state.save(tmp_path, now.installed("b", made.put("b", 2)))
    return made


def test_the_store_is_what_the_runtime_asks_for(device: Device) -> None:
    store: BundleStore = resolve("firmware_bridge.fleet.slots.store:open_store")(device.folder)
    current, previous = store.current(), store.previous()
    assert current is not None
    assert previous is not None
    assert (current.name, previous.name) == ("2.difom", "1.difom")


def test_one_start_counts_one_try_however_often_it_asks(device: Device) -> None:
    store = device.start()
    assert store.current() == store.current() == device.folder / "slots/b/2.difom"
    trial = state.load(device.folder).trial
    assert trial is not None
    assert trial.tries == 1


@pytest.mark.row(38, "a trial whose starts never come to a clean running period")
def test_a_trial_that_never_proves_itself_is_rolled_back(device: Device) -> None:
    assert [device.version() for _ in range(4)] == [2, 2, 1, 1]
    assert device.events() == ["trial-started", "trial-started", "rolled-back"]
    (bad,) = state.load(device.folder).bad
    assert (bad.version, bad.reason) == (2, "2 starts without a clean running period")


def test_a_try_is_counted_before_the_bundle_is_handed_out(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("firmware_bridge.durable.write", full)
    assert device.version() == 1
    monkeypatch.undo()
    assert device.version() == 2


@pytest.mark.row(38, "a golden test that fails at the runtime's start: mark_bad")
@pytest.mark.row(17, "the runtime gives a bundle up: mark_bad")
@pytest.mark.row(20, "the runtime gives a bundle up: mark_bad")
def test_a_bundle_that_is_marked_bad_is_never_used_again(device: Device) -> None:
    store = device.start()
    path = store.current()
    assert path is not None
    store.mark_bad(path, "golden frames beyond tolerance")
    assert store.current() == device.folder / "slots/a/1.difom"
    assert store.previous() is None
    assert device.version() == 1
    assert device.events() == ["trial-started", "marked-bad", "rolled-back"]


@pytest.mark.row(39, "both slots marked bad, one after the other")
def test_both_slots_bad_is_no_bundle(device: Device) -> None:
    store = device.start()
    for _ in range(2):
        path = store.current()
        assert path is not None
        store.mark_bad(path, "scores that are not numbers")
    assert store.current() is None
    assert store.previous() is None
    assert device.version() is None
    assert device.events()[-2:] == ["no-bundle", "no-bundle"]
    assert state.load(device.folder).active is None


@pytest.mark.row(39, "both slots' files damaged on the disk")
def test_both_slots_damaged_is_no_bundle(device: Device) -> None:
    for path in device.folder.glob("slots/*/*"):
        path.write_bytes(b"x" * path.stat().st_size)
    assert device.version() is None
    assert device.events() == ["rolled-back", "damaged", "no-bundle"]
    assert state.load(device.folder).bad == []


@pytest.mark.row(41, "a read error of the model's file, by the error that the kernel gives")
@pytest.mark.parametrize("slot", ["a", "b"])
def test_a_read_error_is_a_bad_slot(
    device: Device, slot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(path: Path) -> str:
        if path.parent.name == slot:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return sha256(path)

    monkeypatch.setattr("firmware_bridge.fleet.slots.store.sha256", digest)
    store = device.start()
    current = store.current()
    assert current is not None
    assert current.parent.name == {"a": "b", "b": "a"}[slot]
    assert store.previous() is None


@pytest.mark.row(41, "a model's file that is gone, cut short or changed")
@pytest.mark.parametrize("change", ["gone", "cut", "changed", "a folder"])
def test_a_damaged_file_is_a_bad_slot(device: Device, change: str) -> None:
    path = device.folder / "slots/b/2.difom"
    data = path.read_bytes()
    path.unlink()
    if change == "a folder":
        path.mkdir()
    elif change != "gone":
        path.write_bytes(data[:-1] if change == "cut" else data[:-1] + b"x")
    assert device.version() == 1
    assert device.events() == ["rolled-back"]


def test_a_trial_becomes_active_and_the_one_before_stays_behind(device: Device) -> None:
    store = device.start()
    path = store.current()
    assert path is not None
    store.mark_good(path)
    store.mark_good(path)
    now = state.load(device.folder)
    assert (now.active, now.trial, now.slots["b"].good) == ("b", None, True)
    assert device.events() == ["trial-started", "marked-good"]
    store.mark_bad(path, "three crashes in a minute")
    assert store.current() == device.folder / "slots/a/1.difom"
    assert device.version() == 1


def test_a_bundle_that_is_gone_cannot_be_marked(device: Device) -> None:
    store = device.start()
    store.mark_good(device.folder / "slots/b/0.difom")
    store.mark_bad(device.folder / "slots/b/0.difom", "late")
    assert device.events() == ["bad-unknown"]
    assert store.current() == device.folder / "slots/b/2.difom"


@pytest.mark.row(42, "a state folder that cannot be written: no lock, no state, no log")
def test_a_read_only_disk_runs_the_good_bundle(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def read_only(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if set(mode) & set("wa+"):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", read_only)
    store = device.start()
    current = store.current()
    assert current == device.folder / "slots/a/1.difom"
    store.mark_good(current)
    store.mark_bad(current, "three crashes in a minute")
    assert store.current() is None
    monkeypatch.undo()
    assert device.version() == 2


@pytest.mark.row(40, "a full disk under state and log")
def test_a_full_disk_loses_records_and_no_bundle(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    store = device.start()
    current = store.current()
    assert current == device.folder / "slots/a/1.difom"
    store.mark_bad(current, "three crashes in a minute")
    assert store.current() is None


def test_a_rollback_by_hand_gives_the_trial_up_and_then_changes_slots(device: Device) -> None:
    assert device.start().roll_back().version == 1
    assert device.version() == 1
    with pytest.raises(UsageError, match="no bundle to return to"):
        device.start().roll_back()
    now = state.load(device.folder)
    state.save(device.folder, now.installed("b", device.put("b", 3)).proven("b"))
    assert device.version() == 3
    assert [device.start().roll_back().version for _ in range(3)] == [1, 3, 1]
    assert device.version() == 1
    assert state.load(device.folder).floor == {"polyps": 3}


def test_collecting_keeps_what_a_slot_names(device: Device) -> None:
    rest = [
        device.folder / name
        for name in ("slots/a/0.difom", "slots/b/.3.difom.part", ".state.json.abc")
    ]
    for path in rest:
        path.write_bytes(b"rest")
    assert device.start().collect() == sorted(rest)
    assert device.start().collect() == []
    assert device.version() == 2


DAMAGES = [
    b"",
    b"{}x",
    b'{"format":2}',
    b'{"active":"\xb2"}',
    b'{"slots":{"c":{}}}',
    b'{"active":"a"}',
    b'{"trial":{"slot":"../x","tries":2}}',
    b'{"slots":{"a":{"file":"../../x.difom","sha256":"","size":1,"name":"","version":1,"manifest":""}},"active":"a"}',
]


@pytest.mark.row(39, "a state file that cannot be read")
@pytest.mark.parametrize("content", DAMAGES)
def test_a_state_that_cannot_be_read_is_no_bundle_and_can_be_reset(
    device: Device, content: bytes
) -> None:
    (device.folder / state.STATE).write_bytes(content)
    store = device.start()
    assert store.current() is None
    with pytest.raises(BundleError, match=r"state\.json cannot be read"):
        store.roll_back()
    assert any("state.json" in problem for problem in examine(device.folder).problems)
    store.reset()
    assert device.version() is None
    assert (device.folder / "state.damaged").read_bytes() == content
    assert examine(device.folder).problems == []


def test_status_changes_nothing(device: Device) -> None:
    before = {path: path.read_bytes() for path in device.folder.rglob("*") if path.is_file()}
    report = examine(device.folder)
    assert [(slot.slot, slot.role, slot.version, slot.tries, slot.ok) for slot in report.slots] == [
        ("a", "active", 1, None, True),
        ("b", "trial", 2, 2, True),
    ]
    assert {
        path: path.read_bytes() for path in device.folder.rglob("*") if path.is_file()
    } == before
    (device.folder / "slots/a/1.difom").write_bytes(b"x")
    assert examine(device.folder).problems == ["slot a is damaged"]
