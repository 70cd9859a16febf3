"""Verification: hashes, golden frames, exit codes, and a record in every case."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest

from edge.bundle.manifest import GoldenSet, Manifest
from edge.bundle.reader import MANIFEST, Bundle, pack, write_bundle
from edge.engines import golden_check as verify
from edge.engines import open as backends
from edge.engines.golden_check import compare, verify_bundle
from edge.errors import BundleError, MissingDependencyError, ParityError, UsageError
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Parts = tuple[Manifest, dict[str, bytes]]


def status(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def png(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture
def disagreeing(tiny_parts: Parts, tmp_path: Path) -> Path:
    """A bundle whose hashes hold but whose golden scores are those of another model."""
    manifest, files = tiny_parts
    changed = files | {"golden/1.scores.png": png(np.full((16, 16), 130, np.uint8))}
    return write_bundle(tmp_path / "disagreeing", manifest, changed).path


def test_a_bundle_verifies_in_both_forms(tiny_bundle: Path, tmp_path: Path) -> None:
    for path in (tiny_bundle, pack(tiny_bundle, tmp_path / "t.difom")):
        report = verify_bundle(Bundle.open(path))
        assert report.ok
        assert report.problems == []
        assert [check.engine for check in report.engines] == ["openvino", "tflite", "onnx"]
        for check in report.engines:
            assert check.checked
            assert len(check.frames) == 3
            assert check.settings["version"]
            # The frame without a polyp has no mask to overlap.
            assert check.frames[2].iou is None
        report.raise_for_problems()


def test_the_command_writes_its_record(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "v.json"
    assert status("verify", "--bundle", tiny_bundle, "--json", out) == 0
    record = json.loads(out.read_text())
    assert record["ok"] is True
    assert record["digest"] == Bundle.open(tiny_bundle).digest
    assert set(record["files"].values()) == {"ok"}
    assert "next: edge-difom run" in capsys.readouterr().out


def test_one_engine_can_be_asked_for(tiny_bundle: Path) -> None:
    (check,) = verify_bundle(Bundle.open(tiny_bundle), ["tflite"]).engines
    assert check.engine == "tflite"
    with pytest.raises(UsageError, match="tensorrt"):
        verify_bundle(Bundle.open(tiny_bundle), ["tensorrt"])


def test_a_changed_byte_ends_with_4_and_is_recorded(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    model = copy / "engines/tflite/model.tflite"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    out = tmp_path / "v.json"
    assert status("verify", "--bundle", copy, "--json", out) == 4
    record = json.loads(out.read_text())
    assert record["ok"] is False
    assert record["files"]["engines/tflite/model.tflite"] == "changed"
    assert [check["ok"] for check in record["engines"]] == [True, False, True]
    with pytest.raises(BundleError, match=r"model\.tflite"):
        verify_bundle(Bundle.open(copy)).raise_for_problems()


def test_a_bundle_that_cannot_be_opened_is_recorded_too(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    with (copy / MANIFEST).open("ab") as file:
        file.write(b" ")
    out = tmp_path / "v.json"
    assert status("verify", "--bundle", copy, "--json", out) == 4
    record = json.loads(out.read_text())
    assert (record["ok"], record["digest"]) == (False, None)
    assert MANIFEST in record["problems"][0]


def test_disagreement_with_the_golden_frames_ends_with_5(disagreeing: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.json"
    assert status("verify", "--bundle", disagreeing, "--json", out) == 5
    record = json.loads(out.read_text())
    assert set(record["files"].values()) == {"ok"}
    assert [[frame["ok"] for frame in check["frames"]] for check in record["engines"]] == [
        [True, False, True]
    ] * 3
    with pytest.raises(ParityError, match=r"golden/1\.frame\.png"):
        verify_bundle(Bundle.open(disagreeing)).raise_for_problems()


def test_an_unlisted_file_is_reported_and_harmless(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    (copy / "notes.txt").write_text("x")
    assert status("verify", "--bundle", copy) == 0
    assert "unlisted: notes.txt" in capsys.readouterr().out


def test_a_golden_picture_of_another_size_is_an_error(tiny_parts: Parts, tmp_path: Path) -> None:
    manifest, files = tiny_parts
    changed = files | {"golden/0.scores.png": png(np.zeros((8, 8), np.uint8))}
    report = verify_bundle(write_bundle(tmp_path / "b", manifest, changed))
    assert not report.ok
    assert "16x16" not in report.problems[0]
    with pytest.raises(BundleError, match=r"golden/0\.scores\.png"):
        report.raise_for_problems()


def test_a_bundle_without_golden_frames_proves_nothing(tiny_parts: Parts, tmp_path: Path) -> None:
    manifest, files = tiny_parts
    bare = msgspec.structs.replace(manifest, golden=GoldenSet(frames=[]))
    with pytest.raises(BundleError, match="nothing to compare"):
        verify_bundle(write_bundle(tmp_path / "b", bare, files)).raise_for_problems()


def test_a_runtime_that_is_not_installed_is_passed_over(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime that is not installed is passed over unless asked for."""
    real = backends.open_engine

    def without(*names: str) -> None:
        def open_engine(bundle: Bundle, name: str) -> object:
            if name in names:
                raise MissingDependencyError(f"{name} is not installed")
            return real(bundle, name, threads=1)

        monkeypatch.setattr(verify, "open_engine", open_engine)

    bundle = Bundle.open(tiny_bundle)
    without("openvino")
    report = verify_bundle(bundle)
    assert report.ok
    assert [check.checked for check in report.engines] == [False, True, True]
    with pytest.raises(MissingDependencyError):
        verify_bundle(bundle, ["openvino"])
    without("openvino", "tflite", "onnx")
    with pytest.raises(MissingDependencyError, match="no engine"):
        verify_bundle(bundle)


def grid(rows: int, value: int = 200) -> NDArray[np.uint8]:
    scores = np.zeros((40, 40), np.uint8)
    scores[:rows, :20] = value
    return scores


@pytest.mark.parametrize(
    ("scores", "expected", "ok"),
    [
        (grid(20), grid(20), True),
        (grid(0), grid(0), True),
        (grid(20, 201), grid(20, 200), True),
        (grid(20, 210), grid(20, 200), False),  # mean difference 2.5
        (grid(20, 127), grid(20, 128), False),  # the mask is gone
        (grid(2, 127), grid(2, 128), True),  # a mask of 40 pixels is judged by its scores
        (grid(3, 127), grid(3, 128), False),  # one of 60 by its overlap
    ],
)
def test_tolerance(
    scores: NDArray[np.uint8], expected: NDArray[np.uint8], ok: bool, tiny_parts: Parts
) -> None:
    assert compare("frame", scores, expected, tiny_parts[0]).ok is ok


def test_comparison_counts(tiny_parts: Parts) -> None:
    check = compare("frame", grid(19), grid(20), tiny_parts[0])
    assert check.mask_pixels == 400
    assert check.iou == pytest.approx(0.95)
    assert check.max_difference == 200
    assert check.mean_difference == pytest.approx(20 * 200 / 1600)
