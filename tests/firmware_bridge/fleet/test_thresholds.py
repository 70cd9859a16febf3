"""Roles that need several keys, and what becomes of lost and stolen ones."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from edge.errors import UsageError
from firmware_bridge.fleet.trust import key_files, publishing
from firmware_bridge.fleet.trust.roles import quorums_of
from tests.support.tuf_devices import Both


@pytest.fixture
def both(publisher: Any, tmp_path: Path) -> Both:
    publisher.publish(b"first")
    return Both(publisher, tmp_path / "device")


def take_out(keys: Path, *names: str) -> dict[str, bytes]:
    """Key files leave the folder, as they lie with other people."""
    contents = {name: (keys / name).read_bytes() for name in names}
    for name in names:
        (keys / name).unlink()
    return contents


@pytest.fixture
def shared(make_publisher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Both:
    """A publisher whose root needs two of three keys, and whose targets need both of two."""
    make = publishing.create_keys
    monkeypatch.setattr(
        publishing,
        "create_keys",
        lambda keys, secrets, now: make(
            keys, secrets, now, quorums=quorums_of(["root=2/3", "targets=2"])
        ),
    )
    publisher = make_publisher(tmp_path / "shared")
    publisher.publish(b"first")
    return Both(publisher, tmp_path / "device")


def test_metadata_below_the_threshold_are_refused(
    shared: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = shared.publisher.keys
    assert sorted(path.name for path in keys.glob("*.pem")) == [
        *("root-1.pem", "root-2.pem", "root-3.pem", "snapshot.pem"),
        *("targets-1.pem", "targets-2.pem", "timestamp.pem"),
    ]
    assert shared.refresh() == 1
    away = take_out(keys, "targets-2.pem")
    with pytest.raises(UsageError, match="too few targets keys") as caught:
        shared.publisher.publish(b"second")
    assert (caught.value.expected, caught.value.got) == ("2 of 2", "1")
    monkeypatch.setattr(
        "firmware_bridge.fleet.trust.repository.load_signers",
        lambda keys, role, *_: [key_files.load(key_files.key_paths(keys, role)[0])],
    )
    shared.publisher.publish(b"second")
    assert shared.refresh() is None, "one thief of one key publishes nothing"
    monkeypatch.undo()
    for name, data in away.items():
        (keys / name).write_bytes(data)
    shared.publisher.publish(b"third")
    assert shared.refresh() == 3


def test_a_drill_with_a_lost_root_key(shared: Both) -> None:
    """One of three custodians is gone: the two others make three new keys, and devices follow."""
    publisher = shared.publisher
    assert shared.refresh() == 1
    take_out(publisher.keys, "root-2.pem")
    rotate = (publisher.repository, publisher.keys)
    publishing.rotate(*rotate, ["root", "targets"], [b"secret"], publisher.now)
    assert shared.refresh() == 1
    root = json.loads(shared.trusted.root)["signed"]
    assert (root["version"], root["roles"]["root"]["threshold"]) == (2, 2)
    assert len(root["roles"]["root"]["keyids"]) == 3
    publisher.publish(b"second")
    assert shared.refresh() == 2
    contents = take_out(publisher.keys, "root-1.pem", "root-3.pem")
    with pytest.raises(UsageError, match="too few root keys"):
        publishing.rotate(*rotate, ["timestamp"], [b"secret"], publisher.now)
    (publisher.keys / "root-3.pem").write_bytes(contents["root-3.pem"])
    publishing.rotate(*rotate, ["timestamp"], [b"secret"], publisher.now)
    assert shared.refresh() == 2
    assert Both(publisher, shared.folder / "fresh").refresh() == 2


def test_two_stolen_keys_of_the_old_root_make_no_new_one(shared: Both) -> None:
    """Two stolen root keys of the old root do not make a new one."""
    publisher = shared.publisher
    stolen = Path(shutil.copytree(publisher.keys, publisher.folder / "stolen"))
    away = Path(shutil.copytree(publisher.repository, publisher.folder / "away"))
    publishing.rotate(publisher.repository, publisher.keys, ["root"], [b"secret"], publisher.now)
    assert shared.refresh() == 1
    for _ in range(2):  # the second one is where the device looks for the next root
        publishing.rotate(away, stolen, ["targets"], [b"secret"], publisher.now)
    shutil.rmtree(publisher.repository)
    shutil.copytree(away, publisher.repository)
    assert shared.refresh() is None


def test_thresholds_may_rise_with_new_keys(both: Both) -> None:
    publisher = both.publisher
    assert both.refresh() == 1
    publishing.rotate(
        publisher.repository,
        publisher.keys,
        ["root", "targets"],
        [b"secret"],
        publisher.now,
        new_passphrases=[b"one", b"two", b"three"],
        quorums=quorums_of(["root=2/3", "targets=2/2"]),
    )
    assert both.refresh() == 1
    publisher.publish(b"second")
    assert both.refresh() == 2
    with pytest.raises(UsageError, match="cannot be used"):
        publishing.rotate(publisher.repository, publisher.keys, [], [b"one"], publisher.now)
    take_out(publisher.keys, "root-1.pem")
    publishing.rotate(publisher.repository, publisher.keys, [], [b"three", b"two"], publisher.now)
    assert both.refresh() == 2


@pytest.mark.parametrize(
    "text",
    ["root", "root=0", "root=2/1", "root=17", "mirrors=1", "root=1/2/3", "root=-1", "root=x"],
)
def test_a_threshold_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="invalid threshold"):
        quorums_of([text])


def test_each_root_key_may_have_its_passphrase(tmp_path: Path) -> None:
    now = datetime(2031, 5, 1, tzinfo=timezone.utc)
    quorums = quorums_of(["root=2/3"])
    with pytest.raises(UsageError, match="number of passphrases"):
        publishing.create_keys(tmp_path / "a", [b"one", b"two"], now, quorums=quorums)
    publishing.create_keys(tmp_path / "b", [b"1", b"2", b"3"], now, quorums=quorums)
    for number in (1, 2, 3):
        path = tmp_path / "b" / f"root-{number}.pem"
        key_files.load(path, str(number).encode())
        with pytest.raises(UsageError):
            key_files.load(path, str(number + 1).encode())
