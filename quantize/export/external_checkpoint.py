"""Engines of a checkpoint that another program wrote: the state dict of any student."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file

from distill.data.tensors import to_tensor
from distill.run_folder import load_checkpoint
from distill.students.build import build_student
from distill.weight_files import NESTED, explain_unreadable, find_weights, strip_wrappers
from edge.datasets.pairs import find_images, read_image
from edge.errors import DataError, TrainingError, UsageError
from edge.imaging.preprocess import to_input
from quantize.export.engines import export_engines
from quantize.graph.canonical import canonicalize
from quantize.qat.nncf import quantize_student, refuse_nonfinite
from quantize.runs.folder import MIN_CALIBRATION
from quantize.runs.training_only import refuse_training_only

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from distill.students.build import Student
    from quantize.export.engines import ExportedEngine

BATCH_COUNTER = "num_batches_tracked"
"""BatchNorm needs it only without a momentum, and every student has one."""
MAX_CALIBRATION = 64


def load_student_file(path: Path, name: str) -> Student:
    """Load a student from a file of weights.

    Args:
        path: A state dict that `torch.save` or safetensors wrote, which may be nested in other
            values as `distill.weight_files` describes. Counters of profilers and weights of other
            modules beside a wrapped student are left out; any precision is read as float32.
        name: One of `distill.students.build.STUDENTS`.

    Raises:
        UsageError: The student is unknown, or has a confidence.
        TrainingError: The file is missing or damaged, or holds no weights, weights of a different
            network, NaN or infinity.
    """
    refuse_training_only(name)
    student = build_student(name, pretrained=False).for_engines()
    weights = _weights(path)
    expected = student.state_dict()
    weights = strip_wrappers(weights, list(expected), path)
    counted = {key for key in expected if key.endswith(BATCH_COUNTER)}
    problems = [
        f"{key} is missing" for key in expected if key not in weights and key not in counted
    ]
    problems += [f"unexpected key {key}" for key in weights if key not in expected]
    problems += [
        f"{key} is {tuple(weights[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in weights and weights[key].shape != value.shape
    ]
    problems += [
        f"{key} holds {weights[key].dtype} instead of floating-point values"
        for key, value in expected.items()
        if key in weights and value.is_floating_point() and not weights[key].is_floating_point()
    ]
    if problems:
        raise TrainingError(
            f"{path} does not hold the weights of {name}",
            expected=f"the {len(expected)} tensors of its state dict",
            got="; ".join(problems[:3])
            + (f"; {len(problems) - 3} more" if len(problems) > 3 else ""),
            hint="name the student that it was trained as",
        )
    student.load_state_dict({key: expected[key] for key in counted} | weights)
    refuse_nonfinite(student)
    return student.eval()


def foreign_engines(
    path: Path, name: str, size: int, precision: str, calibration: Path | None
) -> list[ExportedEngine]:
    """Export engines of an external checkpoint; INT8 engines are calibrated, not fine-tuned.

    Args:
        path: File of weights for `load_student_file`.
        name: Name of the student.
        size: Height and width of the input in pixels; the input is `(rgb - 127) / 128`.
        precision: `int8`, `f32` or `all`.
        calibration: Folder of typical images that determine the INT8 ranges.

    Raises:
        UsageError: The student is unknown, the size does not fit it, or INT8 is wanted without
            images.
        TrainingError: `load_student_file` raises it.
        DataError: The images cannot be read or are too few.
    """
    student = load_student_file(path, name)
    if size < 1 or size % student.divisor:
        raise UsageError(
            f"size {size} does not fit {name}",
            expected=f"a positive multiple of {student.divisor}",
        )
    engines: list[ExportedEngine] = []
    if precision in ("int8", "all"):
        if calibration is None:
            raise UsageError(
                "INT8 engines of a checkpoint need pictures to calibrate on",
                expected="a folder of training images",
                hint="name such a folder, or export only f32",
                code="no-calibration-images",
            )
        samples = _samples(calibration, (size, size))
        engines += export_engines(canonicalize(quantize_student(student, samples), (size, size)))
    if precision in ("f32", "all"):
        engines += export_engines(canonicalize(student, (size, size)))
    return engines


def _samples(folder: Path, size: tuple[int, int]) -> list[Tensor]:
    paths = find_images(folder)
    if len(paths) < MIN_CALIBRATION:
        raise DataError(
            f"{folder} holds too few pictures to calibrate on",
            expected=f"at least {MIN_CALIBRATION}, better {MAX_CALIBRATION}",
            got=str(len(paths)),
        )
    spread = np.linspace(0, len(paths) - 1, min(MAX_CALIBRATION, len(paths))).astype(int)
    return [
        to_tensor(to_input(read_image(paths[index]), size, bgr=False)[None]) for index in spread
    ]


def _weights(path: Path) -> dict[str, Tensor]:
    state = _read_safetensors(path) if path.suffix == ".safetensors" else load_checkpoint(path)
    weights = find_weights(state, path)
    if not weights:
        raise TrainingError(
            f"{path} holds no weights",
            expected=f"a state dict, or one under {', '.join(NESTED)}",
            got=", ".join(map(str, list(state)[:5])) or "nothing",
        )
    return weights


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise TrainingError(f"no checkpoint {path}", expected="a file of weights") from None
    except (OSError, ValueError, SafetensorError) as error:
        reason, hint = explain_unreadable(path, error)
        raise TrainingError(
            f"{path} is not a readable checkpoint", expected="safetensors", got=reason, hint=hint
        ) from None
