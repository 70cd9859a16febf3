"""The bundle of a start: a trial with counted starts, the active one, the previous, or none."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from edge.bundle.shipped import default_bundle
from edge.errors import BundleError, BusyError, MachineError, UsageError
from edge.util.extras import resolve
from edge.util.files import locked, sha256
from firmware_bridge import durable
from firmware_bridge.fleet.slots import state
from firmware_bridge.fleet.slots.state import SlotState
from firmware_bridge.fleet.slots.status import examine
from firmware_bridge.fleet.trust import trust_store
from firmware_bridge.fleet.trust.folder import open_plain
from tests.support.signed_slots import Signer
from tests.support.slot_device import Device

if TYPE_CHECKING:
    from edge.contracts import BundleStore


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """Version 1 is good in slot a, version 2 on trial in slot b."""
    device_made = Device(tmp_path)
    now = SlotState(
        slots={"a": device_made.put("a", 1, good=True)}, active="a", floor={"polyps": 1}
    )
    state.save(tmp_path, now.installed("b", device_made.put("b", 2)))
    return device_made


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


@pytest.mark.row(38, "a trial whose starts end without a clean stop")
@pytest.mark.row(52, "starts of a trial that end without a clean stop")
def test_a_trial_whose_starts_do_not_end_is_rolled_back(device: Device) -> None:
    """A trial whose starts do not end is rolled back and not banned."""
    assert [device.version() for _ in range(4)] == [2, 2, 1, 1]
    assert device.events() == ["trial-started", "trial-started", "rolled-back"]
    assert device.reasons("rolled-back") == ["2 starts that did not end cleanly"]
    assert state.load(device.folder).bad == []


@pytest.mark.row(52, "starts of a trial without frames, each ended by the service manager")
def test_a_start_that_ends_cleanly_does_not_count(device: Device) -> None:
    for _ in range(4):
        store = device.start()
        path = store.current()
        assert path is not None
        assert path.name == "2.difom"
        store.refund(path)
        store.refund(path)
    assert device.events() == ["trial-started", "trial-refunded"] * 4
    trial = state.load(device.folder).trial
    assert trial is not None
    assert trial.tries == state.TRIES


def test_only_a_counted_start_is_refunded(device: Device) -> None:
    first = device.start().current()
    assert first is not None
    other = device.start()
    other.refund(first)
    assert device.events() == ["trial-started"], "this one counted nothing"


@pytest.mark.row(53, "no slot with a usable bundle")
def test_the_shipped_bundle_is_the_last_resort(device: Device, tmp_path: Path) -> None:
    for path in device.folder.glob("slots/*/*.difom"):
        path.unlink()
    store = device.start()
    assert (store.current(), store.previous()) == (None, None)
    assert store.fallback() == store.fallback() == default_bundle()
    assert device.events()[-2:] == ["no-bundle", "shipped-bundle"]
    assert "slot a: the file cannot be read" in store.trouble()
    assert store.digest(tmp_path) is None


SECRET = b"not what was signed"


@pytest.mark.row(54, "slot, state and description rewritten without a key")
@pytest.mark.parametrize("change", ["state", "description", "gone", "other name", "stranger"])
def test_a_slot_that_nobody_signed_is_not_run(device: Device, change: str) -> None:
    now = state.load(device.folder)
    path = device.folder / "slots/b/2.difom"
    path.write_bytes(SECRET)
    forged = msgspec.structs.replace(now.slots["b"], sha256=sha256(path), size=len(SECRET))
    description = device.folder / "slots/b/2.signed.json"
    if change == "description":
        text = description.read_text().replace(now.slots["b"].sha256, forged.sha256)
        description.write_text(text.replace('"length": 8', f'"length": {len(SECRET)}'))
    elif change == "gone":
        description.unlink()
    elif change == "other name":
        forged = msgspec.structs.replace(forged, name="others")
    elif change == "stranger":
        Signer().sign(device.folder, "b", forged)
    state.save(device.folder, msgspec.structs.replace(now, slots={**now.slots, "b": forged}))
    assert device.version() == 1
    assert device.events() == ["rolled-back"]
    assert state.load(device.folder).bad == []


def test_an_older_signed_bundle_under_a_newer_version_is_not_run(device: Device) -> None:
    """The state claims a version, which is signed as well."""
    now = state.load(device.folder)
    lying = msgspec.structs.replace(now.slots["b"], version=9)
    state.save(device.folder, msgspec.structs.replace(now, slots={**now.slots, "b": lying}))
    assert device.version() == 1


@pytest.mark.parametrize("rotation", [{"new_online": True}, {"new_online": True, "new_top": True}])
def test_what_was_installed_before_keys_were_changed_runs_on(
    device: Device, rotation: dict[str, bool]
) -> None:
    for _ in range(3):
        device.publisher.next_root(**rotation)
        device.publisher.trusted_by(device.folder)
    assert device.version() == 2
    device.put("b", 2)
    assert device.version() == 2, "signed by the new key"


@pytest.mark.row(54, "trusted root, slot and state rewritten without a key, under an anchor")
@pytest.mark.parametrize("rotations", [0, 2])
def test_an_anchor_outlives_a_root_that_was_replaced(
    device: Device,
    rotations: int,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    anchor = tmp_path_factory.mktemp("etc") / "root.json"
    monkeypatch.setattr(trust_store, "ANCHOR", anchor)
    monkeypatch.setattr(trust_store, "DEFAULT_STATE", device.folder)
    anchor.write_bytes(device.publisher.root)
    for _ in range(rotations):
        device.publisher.next_root(new_online=True, new_top=True)
        device.publisher.trusted_by(device.folder)
    store = device.start()
    path = store.current()
    assert path is not None
    assert path.name == "2.difom"
    store.refund(path)
    thief = Device(device.folder)
    now = state.load(device.folder)
    slots = {slot: thief.put(slot, number, good=True) for slot, number in (("a", 1), ("b", 2))}
    state.save(device.folder, msgspec.structs.replace(now, slots=slots))
    assert device.version() is None
    anchor.unlink()
    state.save(device.folder, msgspec.structs.replace(now, slots=slots))
    assert device.version() == 2, "without an anchor the root in the folder counts"


@pytest.mark.row(55, "a different process holds the lock of the state folder, or of its log")
@pytest.mark.parametrize("name", ["lock", "audit.lock"])
def test_a_lock_held_elsewhere_costs_a_record_and_no_bundle(
    device: Device, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is held elsewhere costs a record and no bundle."""
    monkeypatch.setattr(durable, "LOCK_WAIT_S", 0.2)
    monkeypatch.setattr("firmware_bridge.fleet.slots.store._SOON_S", 0.1)
    before = (device.folder / state.STATE).read_bytes()
    store = device.start()
    with locked(device.folder / name):
        path = store.current()
        assert path is not None
        if name == "lock":
            assert path.name == "1.difom", "no trial starts that cannot be counted"
            assert "lock is locked by a different process" in store.trouble()
            assert "records nothing" in store.trouble()
            assert (device.folder / state.STATE).read_bytes() == before
            with pytest.raises(BusyError):
                store.mark_good(path)
        store.refund(path)
        assert examine(device.folder).problems == []
    store.mark_good(path)
    assert store.trouble() == ""
    assert device.version() == 2


@pytest.mark.row(51, "no free file descriptor while the slots are read")
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_machine_that_cannot_read_the_slots_empties_none(
    device: Device, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (device.folder / state.STATE).read_bytes()
    store = device.start()

    def refuse(path: Path) -> Any:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("firmware_bridge.fleet.slots.slot_files.open_plain", refuse)
    for ask in (store.current, store.previous, store.current):
        with pytest.raises(MachineError):
            ask()
    monkeypatch.undo()
    assert (device.folder / state.STATE).read_bytes() == before
    assert store.current() == device.folder / "slots/b/2.difom"


@pytest.mark.row(51, "the state of the slots cannot be read for a while")
def test_a_state_that_cannot_be_read_is_not_empty(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state that the machine cannot read is not an empty one."""
    real = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == state.STATE:
            raise OSError(errno.EMFILE, "Too many open files", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    store = device.start()
    with pytest.raises(MachineError, match=r"state\.json"):
        store.current()
    monkeypatch.undo()
    assert store.current() == device.folder / "slots/b/2.difom"


def test_a_copy_that_was_exchanged_is_emptied_and_not_banned(device: Device) -> None:
    store = device.start()
    path = store.current()
    assert path is not None
    path.write_bytes(SECRET)
    store.mark_bad(path, "the manifest was changed after it was verified")
    assert store.current() == device.folder / "slots/a/1.difom"
    assert state.load(device.folder).bad == []
    assert device.events()[-2:] == ["damaged", "rolled-back"]


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
    for path in device.folder.glob("slots/*/*.difom"):
        path.write_bytes(b"x" * path.stat().st_size)
    assert device.version() is None
    assert device.events() == ["rolled-back", "damaged", "no-bundle"]
    assert state.load(device.folder).bad == []


@pytest.mark.row(41, "a read error of the model's file, by the error that the kernel gives")
@pytest.mark.parametrize("slot", ["a", "b"])
def test_a_read_error_is_a_bad_slot(
    device: Device, slot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: Path) -> Any:
        if path.parent.name == slot and path.suffix == ".difom":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return open_plain(path)

    monkeypatch.setattr("firmware_bridge.fleet.slots.slot_files._PAUSES_S", ())
    monkeypatch.setattr("firmware_bridge.fleet.slots.slot_files.open_plain", opened)
    before = state.load(device.folder)
    store = device.start()
    current = store.current()
    assert current is not None
    assert current.parent.name == {"a": "b", "b": "a"}[slot]
    assert store.previous() is None
    assert state.load(device.folder).slots == before.slots, "the medium may come back"


@pytest.mark.row(51, "neither slot's medium answers, and both come back")
def test_read_errors_of_both_slots_are_no_empty_slots(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: Path) -> Any:
        if path.suffix == ".difom":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return open_plain(path)

    monkeypatch.setattr("firmware_bridge.fleet.slots.slot_files._PAUSES_S", (0.001,))
    monkeypatch.setattr("firmware_bridge.fleet.slots.slot_files.open_plain", opened)
    store = device.start()
    with pytest.raises(MachineError, match="no slot of"):
        store.current()
    monkeypatch.undo()
    assert store.current() == device.folder / "slots/b/2.difom"


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


def test_a_rollback_by_hand_gives_the_trial_up_first(device: Device) -> None:
    """A rollback by hand gives the trial up and then changes slots."""
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
    b'{"slots":{"a":{"file":"../../x.difom","sha256":"","size":1,"name":"","version":1,'
    b'"manifest":""}},"active":"a"}',
]


@pytest.mark.row(39, "a state file that cannot be read")
@pytest.mark.parametrize("content", DAMAGES)
def test_a_damaged_state_is_no_bundle_and_can_be_reset(device: Device, content: bytes) -> None:
    """A state that cannot be read is no bundle and can be reset."""
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
    assert examine(device.folder).problems == ["slot a: the file is damaged"]
