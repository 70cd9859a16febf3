"""Bundles in the package: a folder placed there ships, and `--bundle` accepts its name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge.bundle.shipped import default_bundle, find_bundle, shipped_bundles
from edge_difom.cli.main import main
from firmware_bridge.fleet.slots import store
from firmware_bridge.fleet.slots.store import installed_state

if TYPE_CHECKING:
    from collections.abc import Callable

PHANTOM = "synthetic:?width=96&height=64&frames=2&live=0"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for the package's own folder; there is nothing in it."""
    monkeypatch.setattr("edge.bundle.shipped.files", lambda _: tmp_path / "package")
    monkeypatch.setattr(store, "DEFAULT_STATE", tmp_path / "state")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "package" / "bundles"


@pytest.fixture
def ship(folder: Path, tiny_bundle: Path) -> Callable[[str], Path]:
    """Drops the tiny bundle in under a name."""
    return lambda name: Path(shutil.copytree(tiny_bundle, folder / name))


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_folder_that_is_dropped_in_is_shipped(ship: Callable[[str], Path], folder: Path) -> None:
    assert shipped_bundles() == {}
    assert default_bundle() is None
    small, usual = ship("edge-xs"), ship("edge-s")
    (folder / "notes").mkdir()
    assert shipped_bundles() == {"edge-s": usual, "edge-xs": small}
    assert default_bundle() == usual
    assert find_bundle("edge-xs") == small


def test_the_working_folder_comes_before_shipped_bundles(
    ship: Callable[[str], Path],
) -> None:
    """What lies in the working folder comes before a shipped bundle."""
    shipped = ship("edge-s")
    assert find_bundle("edge-s") == shipped
    Path("edge-s").mkdir()
    assert find_bundle("edge-s") == Path("edge-s")
    assert find_bundle("elsewhere/edge-s") == Path("elsewhere/edge-s")


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify", "--engine", "tflite", "--bundle"],
        ["bundle", "show"],
        ["device", "fit", "--bundle"],
        ["run", "--source", PHANTOM, "--engine", "tflite", "--bundle"],
        ["doctor", "--bundle"],
    ],
)
def test_commands_take_the_name_of_a_shipped_bundle(
    arguments: list[str], ship: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments, "edge-xs") in ((0,) if arguments[0] == "doctor" else (4,))
    ship("edge-xs")
    capsys.readouterr()
    assert call(*arguments, "edge-xs") == 0
    assert "does not exist" not in capsys.readouterr().out


def test_an_unknown_name_is_answered_with_those_that_are_shipped(
    ship: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    ship("edge-s"), ship("edge-xs")
    assert call("verify", "--bundle", "edge-m") == 4
    assert "comes with the package: edge-s | edge-xs" in capsys.readouterr().err


def test_without_a_bundle_edge_s_runs(
    ship: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    ship("edge-xs")
    assert call("run", "--source", PHANTOM) == 2
    text = capsys.readouterr().err
    assert "this package ships no edge-s" in text
    assert "or edge-xs" in text
    assert "edge-difom demo --out demo" in text
    path = ship("edge-s")
    assert call("run", "--source", PHANTOM, "--engine", "tflite") == 0
    assert f"edge-difom bench --bundle {path}" in capsys.readouterr().out


def test_an_installed_bundle_precedes_the_shipped_one(
    ship: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ship("edge-s")
    state = tmp_path / "state"
    state.mkdir()
    assert installed_state() is None, "a folder in which nothing was ever installed"
    (state / "state.json").write_text('{"format": 1, "slots": {}}')
    assert call("run", "--source", "synthetic:?width=96&height=64&fps=60", "--frames", 1) == 0
    out = capsys.readouterr().out
    assert f"using the bundle installed in {state}" in out
    assert f"next: edge-difom device status --state {state}" in out
    assert (
        call("run", "--source", PHANTOM, "--frames", 1, "--bundle", "edge-s", "--engine", "tflite")
        == 0
    )
    assert "using the bundle" not in capsys.readouterr().out


def test_doctor_names_the_default_bundle(ship: Callable[[str], Path], tmp_path: Path) -> None:
    record = tmp_path / "doctor.json"
    assert call("doctor", "--json", record) == 0
    assert json.loads(record.read_text())["default_bundle"] is None
    path = ship("edge-s")
    assert call("doctor", "--json", record) == 0
    report = json.loads(record.read_text())
    assert report["default_bundle"] == str(path)
    assert {probe["engine"] for probe in report["precisions"]} >= {"openvino", "tflite"}
