"""Engines of a checkpoint that another program wrote: the state dict of any student."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from distill.data.batches import to_tensor
from distill.run_folder import load_checkpoint
from distill.students.build import build_student
from edge.datasets.pairs import find_images, read_image
from edge.errors import DataError, TrainingError, UsageError
from edge.imaging.preprocess import to_input
from quantize.export.engines import export_engines
from quantize.graph.canonical import canonicalize
from quantize.qat.nncf import quantize_student, refuse_nonfinite

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from torch import Tensor

    from distill.students.build import Student
    from quantize.export.engines import ExportedEngine

NESTED = ("student", "state_dict", "model", "model_state_dict", "net")
"""Keys under which training programs store the weights next to other values."""
MIN_CALIBRATION = 4
MAX_CALIBRATION = 64


def load_student_file(path: Path, name: str) -> Student:
    """Load a student from a file of weights.

    Args:
        path: A file that `torch.save` wrote: a state dict, or a mapping that holds one under a key
            of `NESTED`. A prefix that all keys share, such as `module.`, is removed.
        name: One of `distill.students.build.STUDENTS`.

    Raises:
        UsageError: The student is unknown.
        TrainingError: The file is missing or damaged, or holds no weights, weights of a different
            network, NaN or infinity.
    """
    student = build_student(name, pretrained=False)
    found = _weights(load_checkpoint(path), path)
    wanted = student.state_dict()
    prefix = _shared_prefix(list(found), list(wanted))
    found = {key.removeprefix(prefix): value for key, value in found.items()}
    problems = [f"{key} is missing" for key in wanted if key not in found]
    problems += [f"unexpected key {key}" for key in found if key not in wanted]
    problems += [
        f"{key} is {tuple(found[key].shape)} instead of {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in found and found[key].shape != value.shape
    ]
    if problems:
        raise TrainingError(
            f"{path} does not hold the weights of {name}",
            expected=f"the {len(wanted)} tensors of its state dict",
            got="; ".join(problems[:3])
            + (f"; {len(problems) - 3} more" if len(problems) > 3 else ""),
            hint="name the student that it was trained as: --student",
        )
    student.load_state_dict(found)
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
            f"--size {size} does not fit {name}",
            expected=f"a positive multiple of {student.divisor}",
        )
    engines: list[ExportedEngine] = []
    if precision in ("int8", "all"):
        if calibration is None:
            raise UsageError(
                "INT8 engines of a checkpoint need pictures to calibrate on",
                expected="--calibrate DIR",
                hint="--calibrate DIR with training pictures, or --precision f32",
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


def _weights(state: dict[str, Any], path: Path) -> dict[str, Tensor]:
    for key in NESTED:
        if isinstance(state.get(key), dict):
            state = state[key]
            break
    found = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    if not found:
        raise TrainingError(
            f"{path} holds no weights",
            expected=f"a state dict, or one under {', '.join(NESTED)}",
            got=", ".join(map(str, list(state)[:5])) or "nothing",
        )
    return found


def _shared_prefix(found: list[str], wanted: list[str]) -> str:
    """Return the prefix, whole parts only, that all names found share and the wanted ones lack."""
    first = found[0].split(".")[0] + "."
    shared = all(key.startswith(first) for key in found)
    return first if shared and not all(key.startswith(first) for key in wanted) else ""
