"""Roles whose keys lie on PKCS#11 tokens, here tokens in software (SoftHSM)."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

import pytest

from edge.errors import BundleError, UsageError
from firmware_bridge.fleet.trust import publishing, tokens
from firmware_bridge.fleet.trust.roles import quorums_of
from tests.support.soft_tokens import PIN, library, make_tokens
from tests.support.tuf_devices import Both

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    library() is None or importlib.util.find_spec("pkcs11") is None,
    reason="needs SoftHSM (softhsm2) and python-pkcs11",
)


@pytest.fixture(scope="session")
def soft_tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two tokens with three keys each; the library reads its settings once in a process."""
    with pytest.MonkeyPatch.context() as patch:
        given = make_tokens(tmp_path_factory.mktemp("soft"), ["root", "online"], 3)
        for name, value in given.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def on_tokens(
    soft_tokens: None, make_publisher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Both:
    """A publisher whose root and targets keys are on tokens, two of each root key needed."""
    make = publishing.create_keys
    uris = {"root": ["hsm:1?label=root", "hsm:2?label=root"], "targets": ["hsm:1?label=online"]}
    monkeypatch.setattr(
        publishing,
        "create_keys",
        lambda keys, _, now: make(
            keys, [], now, quorums=quorums_of(["root=2"]), on_tokens=uris, pin=lambda _: PIN
        ),
    )
    publisher = make_publisher(tmp_path / "tokens")
    publisher.publish(b"first", pin=lambda _: PIN)
    return Both(publisher, tmp_path / "device")


def test_devices_take_what_tokens_signed(on_tokens: Both) -> None:
    keys = on_tokens.publisher.keys
    assert sorted(path.name for path in keys.iterdir()) == [
        *("1.root.json", "root-1.token.json", "root-2.token.json"),
        *("snapshot.pem", "targets.token.json", "timestamp.pem"),
    ]
    root = json.loads(on_tokens.root)["signed"]
    schemes = {
        role: [root["keys"][keyid]["scheme"] for keyid in held["keyids"]]
        for role, held in root["roles"].items()
    }
    assert schemes == {
        "root": ["ecdsa-sha2-nistp256"] * 2,
        "targets": ["ecdsa-sha2-nistp256"],
        "snapshot": ["ed25519"],
        "timestamp": ["ed25519"],
    }
    assert on_tokens.refresh() == 1
    on_tokens.publisher.publish(b"second", pin=lambda _: PIN)
    assert on_tokens.refresh() == 2


def test_an_installed_bundle_is_checked_against_a_key_on_a_token(on_tokens: Both) -> None:
    from firmware_bridge.fleet.trust.signed_target import read_signed_target

    metadata = (on_tokens.publisher.repository / "metadata" / "1.targets.json").read_bytes()
    root = on_tokens.root.decode()
    assert read_signed_target(metadata, "polyps", [root]).version == 1
    document = json.loads(metadata)
    document["signed"]["targets"]["polyps.difom"]["custom"]["version"] = 7
    with pytest.raises(BundleError, match="nobody whom this device trusts"):
        read_signed_target(json.dumps(document).encode(), "polyps", [root])


def test_a_drill_that_moves_keys_to_other_keys_of_tokens(on_tokens: Both) -> None:
    """The targets' key goes from one token's key to a file, the root's to another key."""
    publisher = on_tokens.publisher
    assert on_tokens.refresh() == 1
    rotate = (publisher.repository, publisher.keys)
    publishing.rotate(
        *rotate,
        ["root", "targets"],
        [],
        publisher.now,
        quorums=quorums_of(["root=2"]),
        on_tokens={
            "root": ["hsm:2?label=root", "hsm:3?label=root"],
            "targets": ["hsm:2?label=online"],
        },
        pin=lambda _: PIN,
    )
    assert on_tokens.refresh() == 1
    assert {path.name for path in publisher.keys.glob("*.token.json")} == {
        *("root-1.1.token.json", "root-2.1.token.json", "targets.1.token.json"),
        *("root-1.token.json", "root-2.token.json", "targets.token.json"),
    }
    publishing.rotate(*rotate, ["targets"], [], publisher.now, pin=lambda _: PIN)
    assert (publisher.keys / "targets.pem").exists()
    publisher.publish(b"second", pin=lambda _: PIN)
    assert on_tokens.refresh() == 2


@pytest.mark.parametrize(
    ("uri", "pin", "text"),
    [
        ("hsm:1?label=root", "0000", "PinIncorrect"),
        ("hsm:9?label=root", PIN, "could not find ECDSA"),
        ("hsm:1?label=lost", PIN, "No PKCS#11 token found"),
        ("hsm:1", PIN, "Multiple PKCS#11 tokens"),
        ("file:1", PIN, "file:1"),
        ("hsm:one", PIN, "hsm:one"),
        ("hsm:1?tag=root", PIN, "tag=root"),
    ],
)
def test_what_is_wrong_with_a_token_is_said(
    soft_tokens: None, tmp_path: Path, uri: str, pin: str, text: str
) -> None:
    with pytest.raises(UsageError) as caught:
        tokens.enroll(tmp_path / "root.token.json", uri, lambda _: pin)
    assert text in caught.value.got
    assert not list(tmp_path.iterdir())


def test_a_token_is_asked_for_its_pin(on_tokens: Both) -> None:
    with pytest.raises(UsageError, match="the token online needs its PIN"):
        on_tokens.publisher.publish(b"second")


def test_a_key_that_is_another_one_now_signs_nothing(on_tokens: Both) -> None:
    """The record's key is not the one on the token: found before anything is published."""
    path = on_tokens.publisher.keys / "targets.token.json"
    path.write_text(path.read_text().replace("hsm:1", "hsm:2"))
    with pytest.raises(UsageError, match="cannot be used") as caught:
        on_tokens.publisher.publish(b"second", pin=lambda _: PIN)
    assert "UnverifiedSignatureError" in caught.value.got
    assert on_tokens.refresh() == 1


def test_without_its_library_a_token_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYKCS11LIB", raising=False)
    with pytest.raises(UsageError, match="needs the PKCS#11 library"):
        tokens.enroll(tmp_path / "root.token.json", "hsm:1?label=root", lambda _: PIN)


def test_a_threshold_fits_the_keys_on_tokens(soft_tokens: None, tmp_path: Path) -> None:
    from datetime import datetime, timezone

    with pytest.raises(UsageError, match="1 keys of targets are on tokens"):
        publishing.create_keys(
            tmp_path / "keys",
            [b"secret"],
            datetime(2031, 5, 1, tzinfo=timezone.utc),
            quorums=quorums_of(["targets=2"]),
            on_tokens={"targets": ["hsm:1?label=online"]},
            pin=lambda _: PIN,
        )


def test_the_commands_take_keys_on_tokens(
    soft_tokens: None, publisher: Any, tmp_path: Path
) -> None:
    """Key generation, publication, rotation and attestation by the command line."""
    from click.testing import CliRunner

    from edge_difom.cli.main import group

    keys, repository, pin = tmp_path / "keys", tmp_path / "repository", tmp_path / "pin"
    pin.write_text(f"{PIN}\n")
    bundle = publisher.bundle(b"weights")

    def call(*arguments: object) -> str:
        done = CliRunner().invoke(group, [*map(str, arguments)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    held = ("--pin-file", pin)
    made = call(
        *("bundle", "keygen", keys, *held, "--threshold", "root=2"),
        *("--token", "root=hsm:1?label=root", "--token", "root=hsm:2?label=root"),
        *("--token", "targets=hsm:1?label=online"),
    )
    assert "root-1.token.json and its token" in made
    call("bundle", "publish", bundle, "--repository", repository, "--keys", keys, *held)
    rotated = ("bundle", "sign", "--repository", repository, "--keys", keys, *held)
    call(*rotated, "--rotate", "targets", "--token", "targets=hsm:3?label=online")
    call("bundle", "publish", bundle, "--repository", repository, "--keys", keys, *held)
    out = tmp_path / "out"
    call(
        *("bundle", "attest", bundle, "--keys", keys, "--out", out, *held),
        *("--token", "hsm:2?label=online"),
    )
    from edge.bundle.reader import Bundle
    from firmware_bridge.fleet.attest.check import check_attestations

    found = check_attestations(
        Bundle.open(bundle), sorted(out.iterdir()), keys / "attestation.pub.pem"
    )
    assert sorted(found.values()) == ["model signature", "provenance"]
    with pytest.raises(UsageError, match="invalid key on a token"):
        call("bundle", "keygen", tmp_path / "more", "--token", "mirrors=hsm:1", *held)
    with pytest.raises(UsageError, match="comes with new keys only"):
        call(*rotated, "--token", "targets=hsm:1?label=online")
