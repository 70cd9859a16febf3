"""A student's `.tflite` in tflite-runtime: the same scores, and an error for each failure."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from distill.students.edge import EdgeXS
from distill.students.unet import UNet
from edge.datasets.phantom.render import render
from edge.errors import BundleError, MissingDependencyError, UsageError
from edge.imaging.preprocess import to_input
from quantize.certify import tflite_legacy as old_runtime
from quantize.certify.parity import canonical_scores, engine_scores, images_tensor
from quantize.certify.tflite_legacy import ABSENT, VARIABLE, find_old_python, old_runtime_scores
from quantize.export.engines import export_engines
from quantize.graph.canonical import canonicalize
from quantize.qat.nncf import quantize_student

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from distill.students.base import Student

SIZE = 64
FRAME = np.zeros((1, SIZE, SIZE, 3), np.uint8)
needs_old_python = pytest.mark.skipif(find_old_python() is None, reason=ABSENT)


def hard_frames() -> NDArray[np.uint8]:
    """Noise, black, white, a checkerboard and the phantom."""
    noise = np.random.default_rng(5).integers(0, 256, (4, SIZE, SIZE, 3))
    flat = [np.full((SIZE, SIZE, 3), value) for value in (0, 255)]
    board = np.repeat((np.indices((SIZE, SIZE)).sum(0) % 2 * 255)[..., None], 3, axis=2)
    phantom = [to_input(render(seed).image, (SIZE, SIZE), bgr=False) for seed in range(4)]
    return np.stack([*noise, *flat, board, *phantom]).astype(np.uint8)


@needs_old_python
@pytest.mark.slow
@pytest.mark.parametrize(
    "student",
    [
        pytest.param(lambda: UNet(width=4), id="unet"),
        # Depthwise convolutions, padding, additions and resizes.
        pytest.param(lambda: EdgeXS(width=16), id="edge-xs"),
    ],
)
def test_scores_are_those_of_the_canonical_graph(student: Callable[[], Student]) -> None:
    torch.manual_seed(0)
    frames = hard_frames()
    plain = student().train()
    with torch.no_grad():
        for _ in range(30):
            plain(images_tensor(frames))  # BatchNorm learns what there is, so that scores vary
    plain.eval()
    canonical = canonicalize(
        quantize_student(plain, [image[None] for image in images_tensor(frames[:4])]), (SIZE, SIZE)
    )
    expected = canonical_scores(canonical, frames)
    assert len(np.unique(expected)) > 8, "scores that hardly vary would prove nothing"
    (tflite,) = (engine for engine in export_engines(canonical) if engine.runtime == "tflite")
    scores = old_runtime_scores(tflite.contents[0], frames, threads=1)
    assert scores is not None
    assert np.count_nonzero(scores != expected) == 0
    (floating,) = (
        e for e in export_engines(canonicalize(plain, (SIZE, SIZE))) if e.runtime == "tflite"
    )
    scores = old_runtime_scores(floating.contents[0], frames, threads=1)
    assert scores is not None
    assert np.abs(scores.astype(int) - engine_scores(floating, frames, threads=1)).max() <= 1


@needs_old_python
@pytest.mark.parametrize("damage", ["empty", "cut", "other"])
def test_a_file_that_is_no_model_is_an_error(
    damage: str, tiny_engine_files: dict[str, list[bytes]]
) -> None:
    (model,) = tiny_engine_files["tflite"]
    broken = {"empty": b"", "cut": model[: len(model) // 3], "other": b"not a model at all"}[damage]
    # The old runtime checks no file: cut short, it may as well take its process down.
    with pytest.raises(BundleError, match="tflite-runtime cannot run the model") as failed:
        old_runtime_scores(broken, FRAME)
    assert failed.value.got
    assert "INFO" not in failed.value.got


@needs_old_python
def test_too_long_is_an_error(tiny_engine_files: dict[str, list[bytes]]) -> None:
    with pytest.raises(BundleError, match="took too long"):
        old_runtime_scores(tiny_engine_files["tflite"][0], FRAME, timeout=0.01)


@pytest.mark.parametrize(
    "frames",
    [FRAME[0], FRAME[:0], FRAME.astype(np.float32), np.zeros((1, SIZE, SIZE, 4), np.uint8)],
    ids=["one", "none", "float", "four channels"],
)
def test_frames_that_are_none_are_refused(frames: NDArray[np.uint8]) -> None:
    with pytest.raises(UsageError, match="invalid frames"):
        old_runtime_scores(b"", frames)


def test_without_the_environment_there_is_nothing_and_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert old_runtime_scores(b"", FRAME) is None
    assert VARIABLE in ABSENT
    assert "make env" in ABSENT


def test_the_variable_comes_before_the_folder_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    beside = tmp_path / ".venv-tflite/bin/python"
    beside.parent.mkdir(parents=True)
    beside.touch()
    assert find_old_python() == beside
    monkeypatch.setenv(VARIABLE, sys.executable)
    assert str(find_old_python()) == sys.executable
    monkeypatch.setenv(VARIABLE, str(tmp_path / "python"))
    with pytest.raises(UsageError, match=VARIABLE):
        find_old_python()


def test_an_environment_with_another_package_is_refused(
    monkeypatch: pytest.MonkeyPatch, tiny_engine_files: dict[str, list[bytes]]
) -> None:
    monkeypatch.setenv(VARIABLE, sys.executable)
    with pytest.raises(MissingDependencyError, match="another package") as refused:
        old_runtime_scores(tiny_engine_files["tflite"][0], FRAME)
    assert refused.value.got == "ai-edge-litert"


def test_an_environment_without_the_project_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "bare/bin/python"))
    with pytest.raises(MissingDependencyError, match="No module named") as refused:
        old_runtime_scores(b"", FRAME)
    assert refused.value.hint == "make env"


def test_it_imports_no_torch() -> None:
    code = (
        f"import sys, {old_runtime.__name__}; "
        "assert not {'torch', 'tflite_runtime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
