"""What a device believes of a repository, compared with python-tuf's own client on every attack."""

from __future__ import annotations

import json
import os
import shutil
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, Timestamp

from edge.errors import BundleError, UsageError
from firmware_bridge.fleet.trust import key_files, publishing, trust_store
from firmware_bridge.fleet.trust.client import first_trust, refresh
from firmware_bridge.fleet.trust.folder import open_folder
from firmware_bridge.fleet.trust.roles import DAYS, days_of
from tests.support.tuf_devices import Both

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_bridge.fleet.trust.trust_store import Trusted


@pytest.fixture
def both(publisher: Any, tmp_path: Path) -> Both:
    publisher.publish(b"first")
    return Both(publisher, tmp_path / "theirs")


def keep(publisher: Any) -> Callable[[], None]:
    """Undoes what happens to the repository from now on."""
    copy = publisher.folder / "kept"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(publisher.repository, copy)

    def put_back() -> None:
        shutil.rmtree(publisher.repository)
        shutil.copytree(copy, publisher.repository)

    return put_back


def test_publications_are_followed(both: Both) -> None:
    assert both.refresh() == 1
    both.publisher.publish(b"second")
    assert both.refresh() == 2
    assert both.refresh() == 2
    both.publisher.publish(b"seventh", version=7)
    assert both.refresh() == 7


@pytest.mark.row(35, "the repository as it was before, put back")
def test_a_rollback_is_refused(both: Both) -> None:
    put_back = keep(both.publisher)
    both.publisher.publish(b"second")
    assert both.refresh() == 2
    put_back()
    assert both.refresh() is None
    both.publisher.publish(b"second")
    both.publisher.publish(b"third")
    assert both.refresh() == 3


@pytest.mark.row(35, "one file of metadata as it was before, put back")
@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json"])
def test_a_mix_of_old_and_new_is_refused(both: Both, name: str) -> None:
    folder = both.publisher.repository / "metadata"
    first = {"timestamp.json": "timestamp.json"}.get(name, f"1.{name}")
    old = (folder / first).read_bytes()
    both.publisher.publish(b"second")
    assert both.refresh() == 2
    both.publisher.publish(b"third")
    (folder / (name if name == first else f"3.{name}")).write_bytes(old)
    assert both.refresh() is None


@pytest.mark.row(35, "the device's clock past each role's expiry")
@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_each_role_expires(both: Both, role: str) -> None:
    days = {name: 10 if name == role else 3000 for name in DAYS}
    if role == "root":
        publishing.rotate(
            both.publisher.repository,
            both.publisher.keys,
            [],
            [b"secret"],
            both.publisher.now,
            days=days,
        )
    both.publisher.publish(b"second", days=days)
    assert both.refresh() == 2
    both.now += timedelta(days=9, hours=23)
    assert both.refresh() == 2
    both.now += timedelta(hours=1)
    assert both.refresh() is None


@pytest.mark.row(35, "metadata signed by a key that the root does not know")
@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_an_unknown_key_is_refused(both: Both, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = key_files.key_path(both.publisher.keys, role)
    path.unlink()
    key_files.generate(path)
    with pytest.raises(UsageError, match=f"is not a {role} key"):
        both.publisher.publish(b"second")
    monkeypatch.setattr(
        "firmware_bridge.fleet.trust.repository.load_signers",
        lambda keys, role, *_: [key_files.load(key_files.key_path(keys, role))],
    )
    both.publisher.publish(b"second")
    assert both.refresh() is None


@pytest.mark.parametrize(
    "roles", [["timestamp"], ["snapshot"], ["targets"], ["root"], list(DAYS), []]
)
def test_new_keys_are_followed_from_the_first_root_on(both: Both, roles: list[str]) -> None:
    assert both.refresh() == 1
    for _ in range(2):
        publishing.rotate(
            both.publisher.repository, both.publisher.keys, roles, [b"secret"], both.publisher.now
        )
        assert both.refresh() == 1
    both.publisher.publish(b"second")
    assert both.refresh() == 2
    assert json.loads(both.trusted.root)["signed"]["version"] == 3
    fresh = Both(both.publisher, both.folder / "fresh")
    assert fresh.refresh() == 2


@pytest.mark.row(35, "a root signed by a stranger, in the place of the next one")
def test_a_strangers_root_is_refused(both: Both, make_publisher: Any, tmp_path: Path) -> None:
    other = make_publisher(tmp_path / "other")
    other.publish(b"other")
    publishing.rotate(other.repository, other.keys, ["root"], [b"secret"], other.now)
    shutil.copy(other.repository / "metadata/2.root.json", both.publisher.repository / "metadata")
    assert both.refresh() is None


def test_a_stolen_timestamp_key_is_revoked(both: Both) -> None:
    """A thief raises the version; a new key makes a lower one acceptable (section 5.3.11)."""
    stolen = key_files.load(key_files.key_path(both.publisher.keys, "timestamp"))
    path = both.publisher.repository / "metadata" / "timestamp.json"
    document: Metadata[Timestamp] = Metadata.from_file(str(path))
    good = path.read_bytes()
    document.signed.version = 1000
    document.sign(stolen)
    path.write_bytes(document.to_bytes())
    assert both.refresh() == 1
    path.write_bytes(good)
    assert both.refresh() is None
    publishing.rotate(
        both.publisher.repository,
        both.publisher.keys,
        ["timestamp"],
        [b"secret"],
        both.publisher.now,
    )
    assert both.refresh() == 1


@pytest.mark.row(35, "keys revoked by a root that came beside an expired timestamp")
@pytest.mark.parametrize("broken", ["expired", "missing", "damaged"])
def test_a_revoked_key_stays_revoked_whatever_else_fails(both: Both, broken: str) -> None:
    publisher = both.publisher
    forgery = shutil.copytree(publisher.repository, publisher.folder / "forged")
    publishing.rotate(
        publisher.repository,
        publisher.keys,
        ["root", "timestamp", "snapshot", "targets"],
        [b"secret"],
        publisher.now,
    )
    timestamp = publisher.repository / "metadata" / "timestamp.json"
    if broken == "missing":
        timestamp.unlink()
    elif broken == "damaged":
        timestamp.write_bytes(timestamp.read_bytes()[:-9])
    else:
        both.now += timedelta(days=DAYS["timestamp"], seconds=1)
    assert both.refresh() is None
    shutil.rmtree(publisher.repository)
    shutil.copytree(forgery, publisher.repository)
    both.now = publisher.now
    assert both.refresh() is None


def test_each_verified_file_is_kept_before_the_next_one_is_read(both: Both) -> None:
    stored: list[Trusted] = []
    source = open_folder(str(both.publisher.repository))

    def read(name: str, largest: int) -> bytes | None:
        reads.append((name, len(stored)))
        return source.metadata(name, largest)

    reads: list[tuple[str, int]] = []
    trusted, _ = refresh(read, both.trusted, both.now, stored.append)
    assert reads == [
        ("2.root.json", 0),
        ("timestamp.json", 0),
        ("1.snapshot.json", 1),
        ("1.targets.json", 2),
    ]
    assert stored[-1] == trusted
    assert refresh(read, trusted, both.now, stored.append)[0] == trusted
    assert len(stored) == 3, "nothing changed"


@pytest.mark.row(34, "damage to any byte of the metadata")
@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_metadata_is_refused_or_changes_nothing(both: Both, data: st.DataObject) -> None:
    names = ["timestamp.json", "1.snapshot.json", "1.targets.json"]
    path = both.publisher.repository / "metadata" / data.draw(st.sampled_from(names))
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["set", "cut", "insert"]))
    changed = {
        "set": content[:place] + bytes([data.draw(st.integers(0, 255))]) + content[place + 1 :],
        "cut": content[:place],
        "insert": content[:place] + data.draw(st.binary(min_size=1, max_size=8)) + content[place:],
    }[kind]
    path.write_bytes(changed)
    shutil.rmtree(both.folder)
    try:
        # A new device each time: python-tuf does not read again what it knows.
        assert Both(both.publisher, both.folder).refresh() in (1, None)
    finally:
        path.write_bytes(content)


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_else_is_no_root(data: bytes) -> None:
    with pytest.raises(BundleError, match="cannot be trusted"):
        first_trust(data)


def test_deep_metadata_is_refused() -> None:
    for content in (b"[" * 200_000, b'{"signed":' * 100_000):
        with pytest.raises(BundleError):
            first_trust(content)


def test_a_root_that_its_own_keys_did_not_sign_is_refused(publisher: Any) -> None:
    document = json.loads(publisher.root.read_bytes())
    document["signed"]["expires"] = "2099-01-01T00:00:00Z"
    with pytest.raises(BundleError, match="UnsignedMetadataError"):
        first_trust(json.dumps(document).encode())
    with pytest.raises(BundleError):
        first_trust(
            (publisher.publish().file.parent.parent / "metadata/timestamp.json").read_bytes()
        )


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_metadata_without_end_is_refused(both: Both, name: str) -> None:
    path = both.publisher.repository / "metadata" / name
    with path.open("ab") as file:
        file.truncate(6_000_000)
    with pytest.raises(BundleError, match="too large"):
        both.ours()


@pytest.mark.parametrize("kind", ["gone", "link", "pipe"])
def test_metadata_that_is_no_file_is_refused(both: Both, kind: str, tmp_path: Path) -> None:
    path = both.publisher.repository / "metadata" / "1.targets.json"
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(BundleError, match=r"has no 1|cannot be read"):
        both.ours()


@pytest.mark.row(16, "the device's clock in 1970 and back")
def test_a_clock_that_goes_back_does_not_count(both: Both) -> None:
    assert both.ours() == 1
    both.now += timedelta(days=91)
    with pytest.raises(BundleError, match=r"timestamp\.json expired"):
        both.ours()
    both.now = datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert both.ours() == 1
    assert both.trusted.seen == int(both.publisher.now.timestamp())


def test_keys_are_private_and_the_root_has_a_passphrase(publisher: Any) -> None:
    """Keys belong to their owner alone, and the root has its passphrase."""
    for path in publisher.keys.glob("*.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"ENCRYPTED" in (publisher.keys / "root.pem").read_bytes()
    for wrong in (None, b"other"):
        with pytest.raises(UsageError, match="cannot be used"):
            key_files.load(publisher.keys / "root.pem", wrong)
    with pytest.raises(UsageError, match="exists already"):
        publishing.create_keys(publisher.keys, [b"secret"], publisher.now)
    with pytest.raises(UsageError, match="no passphrase"):
        publishing.create_keys(publisher.folder / "new", [b""], publisher.now)


def test_publishing_needs_no_root_key(publisher: Any) -> None:
    (publisher.keys / "root.pem").unlink()
    assert publisher.publish(b"first").version == 1
    assert publisher.publish(b"second").version == 2
    expires = publishing.renew(
        publisher.repository, publisher.keys, publisher.now + timedelta(days=60)
    )
    assert expires["timestamp"] == publisher.now + timedelta(days=150)


def test_a_version_rises(publisher: Any) -> None:
    publisher.publish(b"first", version=3)
    with pytest.raises(UsageError, match="already published with version 3"):
        publisher.publish(b"second", version=3)


def test_a_repository_has_one_publisher(
    publisher: Any, make_publisher: Any, tmp_path: Path
) -> None:
    publisher.publish(b"first")
    other = make_publisher(tmp_path / "other")
    with pytest.raises(UsageError, match="does not belong to the keys"):
        publishing.publish(other.bundle(b"x"), publisher.repository, other.keys, publisher.now)


def test_keys_left_behind_by_a_rotation_are_told(publisher: Any, tmp_path: Path) -> None:
    publisher.publish(b"first")
    shutil.copytree(publisher.keys, tmp_path / "old")
    publishing.rotate(publisher.repository, publisher.keys, ["targets"], [b"secret"], publisher.now)
    with pytest.raises(UsageError, match="is older than"):
        publishing.renew(publisher.repository, tmp_path / "old", publisher.now)


def test_old_bundles_are_removed_one_publication_later(publisher: Any) -> None:
    files = [publisher.publish(f"model {number}".encode()).file for number in range(4)]
    assert [file.exists() for file in files] == [False, False, True, True]


def test_a_copy_made_at_any_moment_of_a_publication_is_whole(both: Both, tmp_path: Path) -> None:
    """Before each rename and removal the folder is copied and read as a device does."""
    versions: list[int] = []
    repository = both.publisher.repository

    def copy_then(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(path: Path, *arguments: Any, **options: Any) -> Any:
            if repository in path.parents:
                there = shutil.copytree(repository, tmp_path / f"copy{len(versions)}")
                _, targets = refresh(
                    open_folder(str(there)).metadata,
                    first_trust(both.root),
                    both.now,
                    lambda _: None,
                )
                entry = targets.targets["polyps.difom"]
                with (there / "targets" / entry.get_prefixed_paths()[0]).open("rb") as file:
                    entry.verify_length_and_hashes(file)
                versions.append(entry.custom["version"])
            return change(path, *arguments, **options)

        return changed

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, copy_then(getattr(Path, name)))
        both.publisher.publish(b"second")
        both.publisher.publish(b"third")
    assert versions == sorted(versions)
    assert set(versions) == {1, 2, 3}


def test_days_until_expiry_are_checked() -> None:
    assert days_of(["timestamp=7"]) == DAYS | {"timestamp": 7}
    for text in ("timestamp", "timestamp=0", "timestamp=x", "someone=3", "root=1e3", "root=99999"):
        with pytest.raises(UsageError, match="invalid expiry"):
            days_of([text])


def test_what_is_believed_is_read_back(tmp_path: Path, publisher: Any) -> None:
    trusted = first_trust(publisher.root.read_bytes())
    trust_store.save(tmp_path, trusted)
    assert trust_store.load(tmp_path) == trusted
    (tmp_path / trust_store.TRUST).write_bytes(b"\xff")
    with pytest.raises(BundleError, match="trust the publisher again"):
        trust_store.load(tmp_path)
