"""The whole way by commands: keys, publication, trust, installation, starts, rollback, log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edge.bundle.reader import write_bundle
from edge_difom.cli import main as cli
from firmware_bridge.fleet.slots.audit import LOG
from firmware_bridge.fleet.slots.signal import SignalLock
from firmware_bridge.fleet.slots.store import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from edge.bundle.manifest import Manifest


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command with `--state` where it has one; gives its output."""

    def run(*arguments: object, code: int = 0) -> str:
        words = [str(argument) for argument in arguments]
        if words[0] == "device":
            words += ["--state", str(tmp_path / "state")]
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        captured = capsys.readouterr()
        assert ended.value.code == code, captured.out + captured.err
        assert "Traceback" not in captured.err
        return captured.out + captured.err

    return run


@pytest.fixture
def repository(tmp_path: Path, tiny_bundle: Path, call: Any) -> Path:
    """A repository with the tiny bundle, and a device that trusts its publisher."""
    (tmp_path / "passphrase").write_text("correct horse\n")
    keys, folder = tmp_path / "keys", tmp_path / "stick"
    text = call("bundle", "keygen", keys, "--passphrase-file", tmp_path / "passphrase")
    assert "keep offline" in text
    text = call("bundle", "publish", tiny_bundle, "--repository", folder, "--keys", keys)
    assert "tiny 1" in text
    assert f"next: edge-difom device install {folder}" in text
    assert "root key" in call("device", "trust", keys / "1.root.json")
    return folder


@pytest.mark.slow
@pytest.mark.row(38, "a bundle whose golden frames no engine gives, through every command")
def test_the_whole_way(
    repository: Path, tmp_path: Path, tiny_parts: tuple[Manifest, dict[str, bytes]], call: Any
) -> None:
    state = tmp_path / "state"
    assert "installed: tiny 1" in call(
        "device", "install", repository, "--max-latency-ms", "100000"
    )
    assert "trial" in call("device", "status")
    store = open_store(state)
    path = store.current()
    assert path is not None
    assert "verified" in call("verify", "--bundle", path, "--engine", "openvino")
    store.mark_good(path)
    assert "active" in call("device", "status")
    assert "is installed already" in call("device", "install", repository, code=2)

    manifest, files = tiny_parts
    scores = cv2.imencode(".png", np.full((16, 16), 200, np.uint8))[1].tobytes()
    bad = write_bundle(tmp_path / "bad", manifest, files | {"golden/0.scores.png": scores}).path
    call("bundle", "publish", bad, "--repository", repository, "--keys", tmp_path / "keys")
    assert "fails its self-test" in call(
        "device", "install", repository, "--max-latency-ms", "100000", code=5
    )
    assert open_store(state).current() == path
    call("device", "status", "--json", tmp_path / "status.json")
    report = json.loads((tmp_path / "status.json").read_bytes())
    assert [slot["role"] for slot in report["slots"]] == ["active", "empty"]
    assert report["bad"][0]["version"] == 2
    assert "install-failed" in call("device", "status")


def test_status_finds_a_log_that_was_tampered_with(
    repository: Path, tmp_path: Path, call: Any
) -> None:
    call("device", "status")
    log = tmp_path / "state" / LOG
    log.write_bytes(log.read_bytes().replace(b"trusted", b"Trusted"))
    assert "the log was tampered with" in call("device", "status", code=4)


def test_nothing_is_installed_under_a_signal(repository: Path, tmp_path: Path, call: Any) -> None:
    with SignalLock(tmp_path / "state") as signal:
        assert signal.present(True)
        assert "a signal is present" in call("device", "install", repository, code=11)
        assert "nothing can be installed now" in call("device", "status")


def test_another_publisher_is_trusted_only_by_force(
    repository: Path, tmp_path: Path, call: Any
) -> None:
    call("bundle", "keygen", tmp_path / "others", "--passphrase-file", tmp_path / "passphrase")
    root = tmp_path / "others" / "1.root.json"
    assert "already trusts a publisher" in call("device", "trust", root, code=2)
    call("device", "trust", root, "--replace")
    assert "cannot be trusted" in call("device", "install", repository, code=4)
    assert "cannot be read" in call("device", "trust", tmp_path / "nowhere", "--replace", code=2)
    assert "cannot be trusted" in call(
        "device", "trust", tmp_path / "passphrase", "--replace", code=4
    )


def test_keys_are_changed_and_times_renewed_by_a_command(
    repository: Path, tmp_path: Path, call: Any
) -> None:
    keys = tmp_path / "keys"
    common = ("--repository", repository, "--keys", keys)
    assert "timestamp" in call("bundle", "sign", *common, "--expires", "timestamp=30")
    secret = ("--passphrase-file", tmp_path / "passphrase")
    assert "2.root.json" in call(
        "bundle", "sign", *common, "--rotate", "root", "--rotate", "targets", *secret
    )
    assert "3.root.json" in call("bundle", "sign", *common, "--renew-root", *secret)
    (tmp_path / "wrong").write_text("battery staple\n")
    assert "cannot be used" in call(
        "bundle", "sign", *common, "--renew-root", "--passphrase-file", tmp_path / "wrong", code=2
    )
    (tmp_path / "empty").write_text("\n")
    assert "contains no passphrase" in call(
        "bundle", "keygen", tmp_path / "k", "--passphrase-file", tmp_path / "empty", code=2
    )


def test_the_passphrase_is_asked_for(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from edge_difom.cli.bundle_sign import keygen

    done = CliRunner().invoke(keygen, [str(tmp_path / "keys")], input="secret\nsecret\n")
    assert done.exit_code == 0, done.output
    assert "secret" not in done.output.replace("root key", "")
    assert b"ENCRYPTED" in (tmp_path / "keys" / "root.pem").read_bytes()


def test_keys_with_a_threshold(tmp_path: Path, call: Any) -> None:
    (tmp_path / "secret").write_text("secret\n")
    secret = ("--passphrase-file", tmp_path / "secret")
    keys = tmp_path / "keys"
    text = call("bundle", "keygen", keys, *secret, "--threshold", "root=2/3")
    assert [line for line in text.splitlines() if line.startswith("keep offline")] == [
        f"keep offline: {keys / f'root-{number}.pem'}" for number in (1, 2, 3)
    ]
    assert "invalid threshold" in call(
        "bundle", "keygen", tmp_path / "k", *secret, "--threshold", "root=3/2", code=2
    )
    common = ("--repository", tmp_path / "r", "--keys", keys)
    assert "--rotate targets" in call(
        "bundle", "sign", *common, "--threshold", "targets=2", *secret, code=2
    )


def test_rollback_and_gc_tell_what_is_missing(tmp_path: Path, call: Any) -> None:
    for verb in ("rollback", "gc", "status"):
        assert "does not exist" in call("device", verb, code=4)
    (tmp_path / "state").mkdir()
    assert "no bundle to return to" in call("device", "rollback", code=2)
    assert "next:" in call("device", "gc")
    (tmp_path / "state" / "state.json").write_text("{")
    assert "cannot be read" in call("device", "rollback", code=4)
    call("device", "gc", "--reset")
    assert "empty" in call("device", "status")
