"""Installed bundles are signed, suitable, complete and working; refusals keep the active slot."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from edge.bundle.manifest import EngineEntry
from edge.engines.runtimes import Runtime
from edge.engines.selftest import SelfTest
from edge.errors import (
    BundleError,
    BusyError,
    EdgeDifomError,
    LatencyError,
    MachineError,
    MissingDependencyError,
    ParityError,
    UsageError,
)
from firmware_bridge import durable
from firmware_bridge.fleet.slots import state
from firmware_bridge.fleet.slots.audit import AuditLog
from firmware_bridge.fleet.slots.install import install
from firmware_bridge.fleet.slots.signal import SignalLock
from firmware_bridge.fleet.slots.store import SlotStore
from firmware_bridge.fleet.trust import trust_store
from firmware_bridge.fleet.trust.client import first_trust

if TYPE_CHECKING:
    from pathlib import Path

HERE = {"openvino": Runtime(package="openvino", version="2026.1")}


class Device:
    """A state folder that trusts a publisher, and a clock."""

    def __init__(self, folder: Path, publisher: Any) -> None:
        self.folder, self.publisher, self.now = folder, publisher, publisher.now
        folder.mkdir()
        trust_store.save(folder, first_trust(publisher.root.read_bytes()))

    def install(self, **options: Any) -> state.SlotBundle:
        defaults: dict[str, Any] = {
            "check": lambda _: SelfTest(ok=True),
            "runtimes": HERE,
            "architecture": "x86_64",
        }
        return install(
            str(self.publisher.repository),
            self.folder,
            now=lambda: self.now,
            **(defaults | options),
        )

    def start(self) -> tuple[SlotStore, bytes | None]:
        """A start of the runtime: its store, and the model that it would run."""
        from edge.bundle.reader import Bundle

        store = SlotStore(self.folder, now=lambda: self.now)
        path = store.current()
        return store, Bundle.open(path).read("model.xml") if path else None

    def prove(self) -> None:
        store, _ = self.start()
        path = store.current()
        assert path is not None
        store.mark_good(path)

    def events(self) -> list[str]:
        log = AuditLog(self.folder)
        assert log.verify().ok
        return [record.event for record in log.records()]

    def slots(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in [*(self.folder / "slots").rglob("*"), self.folder / state.STATE]
            if path.is_file()
        }


@pytest.fixture
def device(publisher: Any, tmp_path: Path) -> Device:
    """A device on which version 1 proved itself."""
    publisher.publish(b"first")
    device_made = Device(tmp_path / "device", publisher)
    device_made.install()
    device_made.prove()
    return device_made


def refused(device: Device, error: type[EdgeDifomError], match: str, **options: Any) -> None:
    """An installation ends in an error, is in the log, and has changed nothing."""
    before = device.slots()
    with pytest.raises(error, match=match):
        device.install(**options)
    assert device.slots() == before
    assert device.events()[-1] in ("refused", "install-failed")
    assert device.start()[1] == b"first"


def test_a_new_bundle_is_on_trial_and_then_active(device: Device) -> None:
    device.publisher.publish(b"second")
    installed = device.install()
    assert (installed.name, installed.version, installed.good) == ("polyps", 2, False)
    store, model = device.start()
    assert model == b"second"
    previous = store.previous()
    assert previous is not None
    assert previous.parent.name == "a"
    device.prove()
    now = state.load(device.folder)
    assert (now.active, now.trial) == ("b", None)
    assert device.start()[1] == b"second"
    assert device.events()[-5:] == [
        "install-begins",
        "installed",
        "trial-started",
        "trial-started",
        "marked-good",
    ]


@pytest.mark.row(34, "a byte flipped, at several places of the packed bundle")
@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_tampered_bundle_is_refused(device: Device, place: int) -> None:
    file = device.publisher.publish(b"second").file
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    refused(device, BundleError, "does not match its signature")


@pytest.mark.row(34, "the packed bundle cut short, emptied, made longer, or gone")
@pytest.mark.parametrize("change", ["cut", "empty", "longer", "gone", "link", "pipe"])
def test_a_truncated_bundle_is_refused(device: Device, change: str, tmp_path: Path) -> None:
    file = device.publisher.publish(b"second").file
    data = file.read_bytes()
    file.unlink()
    if change == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        file.symlink_to(tmp_path / "elsewhere")
    elif change == "pipe":
        os.mkfifo(file)
    elif change != "gone":
        file.write_bytes({"cut": data[:-1], "empty": b"", "longer": data + b"x"}[change])
    refused(device, BundleError, "does not match its signature|cannot be read")


@pytest.mark.row(34, "a bundle that was signed although its own hashes do not hold")
def test_a_signed_bundle_that_does_not_hold_together_is_refused(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pack_damaged(bundle: Any, out: Path) -> Path:
        from edge.bundle.reader import pack

        pack(bundle, out)
        out.write_bytes(out.read_bytes().replace(b"second", b"sECond"))
        return out

    monkeypatch.setattr("firmware_bridge.fleet.trust.publishing.pack", pack_damaged)
    device.publisher.publish(b"second")
    refused(device, BundleError, "is inconsistent")


@pytest.mark.row(51, "a self-test that the machine does not let run")
def test_a_machine_that_cannot_test_a_bundle_bans_none(device: Device) -> None:
    device.publisher.publish(b"second")
    untested = SelfTest(ok=False, machine="Too many open files (EMFILE)")
    refused(device, MachineError, "could not be tested", check=lambda _: untested)
    assert state.load(device.folder).bad == []
    assert device.install().version == 2


def hostile_targets(device: Device, change: Any) -> None:
    """Publish a second version whose signed description is changed before it is signed."""
    from firmware_bridge.fleet.trust import repository

    real = repository.write

    def write(folder: Any, keys: Any, targets: Any, *rest: Any) -> Any:
        change(targets.targets)
        return real(folder, keys, targets, *rest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(repository, "write", write)
        device.publisher.publish(b"second")


def test_a_version_that_none_can_follow_is_refused(device: Device) -> None:
    def raise_version(targets: Any) -> None:
        targets["polyps.difom"].unrecognized_fields["custom"]["version"] = 10**40

    hostile_targets(device, raise_version)
    refused(device, BundleError, "version out of range")
    assert state.load(device.folder).floor == {"polyps": 1}
    with pytest.raises(UsageError, match="cannot have this version"):
        device.publisher.publish(b"third", name="others", version=10**40)


@pytest.mark.parametrize("name", ["a\0b", "a\x1b[2Jb", "../b", "a/b", "", ".b", "ä", "a" * 200])
def test_a_name_that_is_no_file_name_is_refused(device: Device, name: str) -> None:
    def rename(targets: Any) -> None:
        entry = targets.pop("polyps.difom")
        entry.path = f"{name}.difom"
        targets[entry.path] = entry

    hostile_targets(device, rename)
    refused(device, BundleError, "is not published as a bundle", target=name)


@pytest.mark.row(54, "a slot whose signed description is gone")
def test_a_slot_without_description_is_replaced(device: Device) -> None:
    """A slot without its description is replaced by the same version."""
    (description,) = device.folder.glob("slots/*/*.signed.json")
    with pytest.raises(UsageError, match="is installed already"):
        device.install()
    description.unlink()
    device.install()
    assert device.start()[1] == b"first"


def test_the_description_is_kept_while_its_bundle_is(device: Device) -> None:
    names = sorted(path.suffixes[-2:] for path in device.folder.glob("slots/*/*"))
    assert device.start()[0].collect() == []
    assert sorted(path.suffixes[-2:] for path in device.folder.glob("slots/*/*")) == names
    for version in (2, 3):
        device.publisher.publish(b"next", version=version)
        device.install()
        device.prove()
    device.start()[0].collect()
    assert len(list(device.folder.glob("slots/*/*"))) == 4


@pytest.mark.row(35, "the repository as it was before the last publication, put back")
def test_an_older_repository_is_refused(device: Device, tmp_path: Path) -> None:
    repository = device.publisher.repository
    shutil.copytree(repository, tmp_path / "old")
    device.publisher.publish(b"second")
    device.install()
    device.prove()
    shutil.rmtree(repository)
    shutil.copytree(tmp_path / "old", repository)
    with pytest.raises(
        BundleError, match=r"timestamp\.json is older than what this device has seen"
    ):
        device.install()
    assert device.start()[1] == b"second"


@pytest.mark.row(35, "an older version of the bundle, signed anew by the publisher's own keys")
def test_an_older_version_in_newer_metadata_is_refused(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.publisher.publish(b"third", version=3)
    device.install()
    device.prove()
    metadata = device.publisher.repository / "metadata"
    # The publisher begins anew under the same root, and counts its metadata on.
    for path in (device.publisher.repository / "targets").iterdir():
        path.unlink()
    monkeypatch.setattr(
        "firmware_bridge.fleet.trust.publishing.read_offer",
        lambda *_: type("O", (), {"version": 0}),
    )
    device.publisher.publish(b"second", version=2)
    assert len(list(metadata.glob("*.targets.json"))) == 3
    with pytest.raises(BundleError, match="polyps 2 is older than what was installed"):
        device.install()
    assert device.start()[1] == b"third"


@pytest.mark.row(35, "a repository of another publisher's keys")
def test_an_unknown_publisher_is_refused(
    device: Device, make_publisher: Any, tmp_path: Path
) -> None:
    other = make_publisher(tmp_path / "other")
    other.publish(b"other")
    other.publish(b"other still")
    shutil.rmtree(device.publisher.repository)
    shutil.copytree(other.repository, device.publisher.repository)
    refused(device, BundleError, "cannot be trusted")


@pytest.mark.row(35, "the device's clock past the expiry of each role")
@pytest.mark.parametrize("days", [91, 366, 1826])
def test_an_expired_repository_is_refused(device: Device, days: int) -> None:
    """An expired repository is refused and what is installed runs on."""
    device.publisher.publish(b"second")
    device.now += timedelta(days=days)
    refused(device, BundleError, "expired")


@pytest.mark.row(16, "the device's clock set back behind its last installation")
def test_a_clock_that_goes_back_makes_nothing_valid_again(device: Device) -> None:
    device.now += timedelta(days=80)
    device.publisher.publish(b"second", now=device.now)
    device.install()
    device.publisher.publish(b"third", now=device.publisher.now, days={
        "root": 1825, "targets": 60, "snapshot": 60, "timestamp": 60,
    })  # fmt: skip
    device.now = datetime(1970, 1, 1, tzinfo=timezone.utc)
    with pytest.raises(BundleError, match="expired"):
        device.install()


@pytest.mark.row(36, "metadata that tells of an engine for another processor")
def test_another_architecture_is_refused_before_anything_is_read(device: Device) -> None:
    only_arm = EngineEntry(
        runtime="openvino",
        precision="int8",
        files=["model.xml"],
        min_version="2025.2",
        architectures=["aarch64"],
    )
    device.publisher.publish(b"second", engines=[only_arm]).file.unlink()
    refused(device, MissingDependencyError, "cannot run on this machine")


@pytest.mark.row(36, "a runtime that is missing or too old")
@pytest.mark.parametrize("runtime", [None, Runtime(package="openvino", version="2025.1")])
def test_a_missing_or_old_runtime_is_refused_first(device: Device, runtime: Runtime | None) -> None:
    """A missing or old runtime is refused before anything is read."""
    device.publisher.publish(b"second").file.unlink()
    refused(device, MissingDependencyError, "cannot run", runtimes={"openvino": runtime})


@pytest.mark.row(36, "metadata that lies about the bundle's runtimes")
def test_a_bundle_that_is_not_what_was_offered_is_refused(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    from firmware_bridge.fleet.trust.offer import make_offer

    def lie(bundle: Any, version: int) -> Any:
        import msgspec

        return msgspec.structs.replace(make_offer(bundle, version), manifest="0" * 64)

    monkeypatch.setattr("firmware_bridge.fleet.trust.publishing.make_offer", lie)
    device.publisher.publish(b"second")
    refused(device, BundleError, "is inconsistent")


@pytest.mark.row(38, "a self-test that fails before the bundle is on trial")
def test_a_bundle_that_fails_its_self_test_is_refused(device: Device) -> None:
    """A bundle that fails its self test is refused and remembered."""
    device.publisher.publish(b"second")
    wrong = SelfTest(ok=False, problems=["openvino: 3 golden frames beyond tolerance"])
    with pytest.raises(ParityError, match="fails its self-test"):
        device.install(check=lambda _: wrong)
    assert device.start()[1] == b"first"
    assert device.events()[-1] == "install-failed"
    with pytest.raises(BundleError, match="was marked bad on this device"):
        device.install()
    assert device.install(again=True).version == 2
    assert state.load(device.folder).bad == []


def test_a_slow_bundle_is_refused_and_not_condemned(device: Device) -> None:
    device.publisher.publish(b"second")
    late = SelfTest(
        ok=False, late=True, problems=["openvino: 90.0 ms for an inference, at most 74 ms"]
    )
    refused(device, LatencyError, "too slow", check=lambda _: late)
    assert device.install().version == 2


def test_an_update_is_refused_while_a_signal_is_present(device: Device) -> None:
    device.publisher.publish(b"second")
    with SignalLock(device.folder) as signal:
        assert signal.present(True)
        refused(device, BusyError, "a signal is present")
        assert not signal.present(False)
        assert device.install().version == 2


def test_a_signal_that_comes_during_the_installation_ends_it(device: Device) -> None:
    device.publisher.publish(b"second")
    with SignalLock(device.folder) as signal:

        def check(path: Path) -> SelfTest:
            assert signal.present(True)
            return SelfTest(ok=True)

        refused(device, BusyError, "a signal is present", check=check)
    assert device.install().version == 2


def test_a_look_in_the_way_delays_the_signal_by_one_status(device: Device) -> None:
    with SignalLock(device.folder) as signal, (device.folder / "signal").open("w") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        assert not signal.present(True)
        fcntl.flock(look, fcntl.LOCK_UN)
        assert signal.present(True)


def test_one_installation_at_a_time(device: Device) -> None:
    device.publisher.publish(b"second")

    def check(path: Path) -> SelfTest:
        with pytest.raises(BusyError, match="another installation"):
            device.install()
        return SelfTest(ok=True)

    assert device.install(check=check).version == 2


@pytest.mark.row(40, "a disk without room for the bundle")
def test_a_full_disk_is_told_before_anything_is_written(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.publisher.publish(b"second")
    full = os.statvfs_result((4096, 4096, 100, 1, 1, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    refused(device, BusyError, "is full")


@pytest.mark.row(40, "a disk that is full before the bundle is written whole")
def test_a_disk_that_fills_up_is_told_and_changes_nothing(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.publisher.publish(b"second")
    real = durable.sync_file

    def full(file: Any) -> None:
        if str(file.name).endswith(".part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    monkeypatch.setattr(durable, "sync_file", full)
    refused(device, BusyError, "cannot be written")
    monkeypatch.undo()
    assert device.install().version == 2


def test_the_same_version_is_not_installed_twice(device: Device) -> None:
    refused(device, UsageError, "is installed already")


def test_a_device_that_trusts_nobody_installs_nothing(publisher: Any, tmp_path: Path) -> None:
    publisher.publish()
    with pytest.raises(BundleError, match="trusts no publisher yet"):
        install(str(publisher.repository), tmp_path / "device")


def test_several_bundles_in_one_repository_are_chosen_by_name(device: Device) -> None:
    device.publisher.publish(b"other", name="adenomas")
    refused(device, UsageError, "holds 2 bundles")
    refused(device, UsageError, "has no vessels", target="vessels")
    assert device.install(target="adenomas").name == "adenomas"


@pytest.mark.parametrize("source", ["https://example.org/x", "file://server/x", "nowhere"])
def test_a_source_that_is_no_folder_is_an_error(device: Device, source: str) -> None:
    with pytest.raises(EdgeDifomError, match=r"cannot be read by a device|is not a repository"):
        install(source, device.folder)


def test_a_file_address_is_a_folder(device: Device) -> None:
    device.publisher.publish(b"second")
    address = device.publisher.repository.resolve().as_uri()
    check = {"check": lambda _: SelfTest(ok=True), "runtimes": HERE, "now": lambda: device.now}
    assert install(address, device.folder, **check).version == 2  # type: ignore[arg-type]  # one dict for all


def test_what_an_interruption_left_is_removed(device: Device) -> None:
    rest = device.folder / "slots" / "b" / ".2-abc.difom.part"
    rest.parent.mkdir(exist_ok=True)
    rest.write_bytes(b"half")
    device.publisher.publish(b"second")
    device.install()
    assert not rest.exists()
    assert json.loads((device.folder / state.STATE).read_bytes())["trial"] == {
        "slot": "b",
        "tries": 2,
    }
