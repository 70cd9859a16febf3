"""Families of bundles that others sign, seen by a device of ours and by python-tuf's client."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.ngclient import Updater

from edge.errors import BundleError, UsageError
from firmware_bridge.fleet.trust import families, publishing, trust_store
from firmware_bridge.fleet.trust.client import first_trust, read_families, refresh
from firmware_bridge.fleet.trust.folder import open_folder
from firmware_bridge.fleet.trust.roles import Quorum
from tests.support.slot_operations import bring, model, start
from tests.support.tuf_devices import Files


class Ward:
    """A publisher who lets the family `ward` sign, and a device."""

    def __init__(self, publisher: Any, folder: Path) -> None:
        self.publisher, self.folder = publisher, folder
        self.repository, self.now = publisher.repository, publisher.now
        publisher.publish(b"ours")
        self.keys = folder / "ward"
        self.record = families.create_family(self.keys, "ward")
        self.delegate()
        self.trusted = first_trust(publisher.root.read_bytes())
        self.updater = folder / "updater"
        self.updater.mkdir()

    def delegate(self, record: Path | None = None) -> None:
        family = families.read_family(record or self.record)
        families.sign_delegation(self.repository, self.publisher.keys, self.now, family=family)

    def publish(self, weights: bytes, name: str = "ward-3", keys: Path | None = None) -> None:
        path = self.publisher.bundle(weights, name)
        publishing.publish(path, self.repository, keys or self.keys, self.now)

    def renew(self) -> None:
        publishing.renew(self.repository, self.publisher.keys, self.now)

    def ours(self, name: str, now: Any) -> int | None:
        source = open_folder(str(self.repository))

        def keep(trusted: Any) -> None:
            self.trusted = trusted

        known, targets = refresh(source.metadata, self.trusted, now, keep)
        if f"{name}.difom" in targets.targets:
            return int(targets.targets[f"{name}.difom"].custom["version"])
        for family in read_families(source.metadata, known, targets, now, f"{name}.difom"):
            if f"{name}.difom" in family.targets:
                return int(family.targets[f"{name}.difom"].custom["version"])
        return None

    def theirs(self, name: str, now: Any) -> int | None:
        with mock.patch("tuf.ngclient._internal.trusted_metadata_set.datetime") as clock:
            clock.datetime.now.return_value = now
            address = self.repository.resolve().as_uri()
            updater = Updater(
                str(self.updater),
                f"{address}/metadata/",
                str(self.updater),
                f"{address}/targets/",
                fetcher=Files(),
                bootstrap=self.publisher.root.read_bytes(),
            )
            found = updater.get_targetinfo(f"{name}.difom")
        return None if found is None else int(found.custom["version"])

    def version(self, name: str = "ward-3", **later: int) -> int | None:
        """What both devices are offered; an error of both is -1."""
        now = self.now + timedelta(**later)
        try:
            ours = self.ours(name, now)
        except BundleError:
            ours = -1
        try:
            theirs = self.theirs(name, now)
        except RepositoryError:
            theirs = -1
        assert ours == theirs
        return ours


@pytest.fixture
def ward(publisher: Any, tmp_path: Path) -> Ward:
    return Ward(publisher, tmp_path)


def test_devices_see_a_family_once_its_publisher_has_signed(ward: Ward) -> None:
    assert ward.version("polyps") == 1
    ward.publish(b"theirs")
    assert ward.version("polyps") == 1
    ward.renew()
    assert (ward.version(), ward.version("polyps")) == (1, 1)
    ward.publish(b"newer")
    assert ward.version() == 1
    ward.publisher.publish(b"ours again")
    assert (ward.version(), ward.version("polyps")) == (2, 2)


def test_a_device_installs_it_and_checks_it_at_every_start(ward: Ward, tmp_path: Path) -> None:
    from firmware_bridge.fleet.slots.install import install
    from firmware_bridge.fleet.slots.slot_files import metadata_path

    ward.publish(b"theirs")
    ward.renew()
    device = tmp_path / "device"
    device.mkdir()
    trust_store.save(device, ward.trusted)
    with pytest.raises(UsageError, match="holds 2 bundles") as caught:
        bring(ward.repository, device)
    assert caught.value.got == "polyps, ward-3"
    with mock.patch(
        "tests.support.slot_operations.install",
        lambda *given, **options: install(*given, target="ward-3", **options),
    ):
        bring(ward.repository, device)
    path = start(device)[1]
    assert model(path) == "theirs"
    signed = metadata_path(path)
    document = json.loads(signed.read_bytes())
    assert document["family"] == "ward"
    entry = document["delegated"]["signed"]["targets"]["ward-3.difom"]
    entry["custom"]["version"] = 2
    signed.write_text(json.dumps(document))
    with pytest.raises(AssertionError, match="no bundle"):
        start(device)


def test_a_family_signs_its_own_bundles_alone(ward: Ward) -> None:
    with pytest.raises(UsageError, match=r"does not sign polyps\.difom") as caught:
        ward.publish(b"evil", "polyps")
    assert caught.value.expected == "ward-*.difom"
    with mock.patch.object(families.FamilyRecord, "pattern", "*"):
        ward.publish(b"evil", "polyps")
    with pytest.raises(BundleError, match="names bundles of others"):
        ward.renew()
    assert ward.version("polyps") == 1


def test_what_others_let_through_is_refused_by_devices(ward: Ward) -> None:
    """A publisher's tool that does not look: the devices do."""
    with mock.patch.object(families.FamilyRecord, "pattern", "*"):
        ward.publish(b"evil", "other")
    with mock.patch("tuf.api.metadata.DelegatedRole.is_delegated_path", return_value=True):
        ward.renew()
    assert ward.version("other") is None
    assert ward.version("polyps") == 1


def test_another_key_signs_nothing(ward: Ward, tmp_path: Path) -> None:
    ward.publish(b"theirs")
    ward.renew()
    other = tmp_path / "thief"
    families.create_family(other, "ward")
    ward.publish(b"evil", keys=other)
    with pytest.raises(BundleError, match="cannot be taken over"):
        ward.renew()
    assert ward.version() == 1
    with mock.patch("tuf.api.metadata.Targets.verify_delegate"):
        ward.renew()
    assert ward.version() == -1
    assert ward.version("polyps") == 1


def test_a_drill_with_stolen_keys_of_a_family(ward: Ward, tmp_path: Path) -> None:
    ward.publish(b"theirs")
    ward.renew()
    assert ward.version() == 1
    stolen = Path(shutil.copytree(ward.keys, tmp_path / "stolen"))
    fresh = tmp_path / "fresh"
    record = families.create_family(fresh, "ward", quorum=Quorum(2, 2))
    ward.publish(b"again", keys=fresh)
    ward.delegate(record)
    assert ward.version() == 2
    ward.publish(b"evil", keys=stolen)
    with pytest.raises(BundleError, match="cannot be taken over"):
        ward.renew()
    (fresh / "ward-2.pem").unlink()
    with pytest.raises(UsageError, match="too few keys of the family"):
        ward.publish(b"more", keys=fresh)


def test_a_revoked_family_is_offered_no_more(ward: Ward) -> None:
    ward.publish(b"theirs")
    ward.renew()
    assert ward.version() == 1
    families.sign_delegation(ward.repository, ward.publisher.keys, ward.now, revoked="ward")
    assert ward.version() is None
    assert ward.version("polyps") == 1


def test_an_expired_family_holds_up_nobody_else(ward: Ward) -> None:
    ward.publish(b"theirs")
    ward.now += timedelta(days=300)
    ward.renew()
    assert (ward.version(), ward.version("polyps")) == (1, 1)
    assert ward.version(days=80) == -1
    assert ward.version("polyps", days=80) == 1


def test_an_older_version_of_a_family_is_refused(ward: Ward, tmp_path: Path) -> None:
    ward.publish(b"theirs")
    ward.renew()
    old = shutil.copytree(ward.repository, tmp_path / "old")
    ward.publish(b"newer")
    ward.renew()
    assert ward.version() == 2
    shutil.rmtree(ward.repository)
    shutil.copytree(old, ward.repository)
    assert ward.version() == -1


@pytest.mark.parametrize("name", ["", "root", "targets", "a/b", "a.b", "..", "a\0b", "*"])
def test_a_family_has_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="invalid name of a family"):
        families.create_family(tmp_path / "keys", name)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"name": "a", "threshold": 1, "keys": {}}'])
def test_a_record_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.family.json").write_text(content)
    with pytest.raises(UsageError, match="is not the record of a family"):
        families.read_family(tmp_path / "a.family.json")


def test_the_commands_delegate_and_revoke(publisher: Any, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from edge_difom.cli.main import group

    def call(*arguments: object) -> str:
        done = CliRunner().invoke(group, [*map(str, arguments)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    keys = tmp_path / "ward"
    given = ("--repository", publisher.repository, "--keys", publisher.keys)
    made = call("bundle", "keygen", keys, "--family", "ward", "--threshold", "ward=1/2")
    assert "ward.family.json" in made
    assert {path.name for path in keys.glob("*.pem")} == {"ward-1.pem", "ward-2.pem"}
    call("bundle", "delegate", keys / "ward.family.json", *given)
    bundle = publisher.bundle(b"theirs", "ward-3")
    call("bundle", "publish", bundle, "--repository", publisher.repository, "--keys", keys)
    call("bundle", "sign", *given)
    snapshot = max((publisher.repository / "metadata").glob("*.snapshot.json"))
    assert json.loads(snapshot.read_bytes())["signed"]["meta"]["ward.json"]["version"] == 1
    call("bundle", "delegate", "--revoke", "ward", *given)
    with pytest.raises(UsageError, match="delegated to or revoked"):
        call("bundle", "delegate", *given)
