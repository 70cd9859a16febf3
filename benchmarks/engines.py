"""INT8 against f32 in the same engine, on students whose weights were never trained.

Speed does not depend on the values of the weights, so nothing has to be trained first: NNCF calibrates the
student on phantom frames, and both precisions come from the same canonical graph.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.record import Comparison, Goal, Side, compare, interleave
from edge.backends import open_engine_files
from edge.errors import ParityError
from edge.phantom import render

if TYPE_CHECKING:
    from edge.types import Engine, ImageU8

THREADS = 2
_CALIBRATION_FRAMES = 4
_WARM_RUNS = 3
_MAX_MEAN_DIFFERENCE = 8.0


class EngineFiles(NamedTuple):
    """Contents of a student's OpenVINO engines: `model.xml`, `model.bin`."""

    int8: tuple[bytes, bytes]
    f32: tuple[bytes, bytes]


@cache
def student_files(student: str, size: tuple[int, int]) -> EngineFiles:
    """The OpenVINO engines of a student without training.

    Args:
        student: Name of a student.
        size: Height and width of the input.
    """
    import torch

    from distill.students import build_student
    from edge.preprocess import normalise
    from quantize.canonical import canonicalize
    from quantize.nncf_qat import quantize_student
    from quantize.openvino_export import export_openvino

    torch.manual_seed(0)
    model = build_student(student).eval()
    frames = [torch.from_numpy(normalise(image).transpose(2, 0, 1)[None]) for image in pictures(size)]
    quantized = quantize_student(model, frames)
    return EngineFiles(
        int8=export_openvino(canonicalize(quantized, size)), f32=export_openvino(canonicalize(model, size))
    )


def pictures(size: tuple[int, int]) -> list[ImageU8]:
    """A few RGB frames of the phantom."""
    return [render(seed, size=size).image for seed in range(_CALIBRATION_FRAMES)]


def int8_unet(
    rounds: int, *, student: str = "unet", size: tuple[int, int] = (352, 352), bound: float = 3.0
) -> Comparison:
    """U-Net: f32 over INT8 in OpenVINO, promised at least `bound` on processors with integer dot products."""
    return _f32_over_int8(student, size, rounds, bound)


def int8_edge_s(rounds: int, *, size: tuple[int, int] = (352, 352)) -> Comparison:
    """edge-s: f32 over INT8 in OpenVINO, reported."""
    return _f32_over_int8("edge-s", size, rounds, None)


def _f32_over_int8(student: str, size: tuple[int, int], rounds: int, bound: float | None) -> Comparison:
    files = student_files(student, size)
    f32 = open_engine_files("openvino", list(files.f32), THREADS)
    int8 = open_engine_files("openvino", list(files.int8), THREADS)
    try:
        images = pictures(size)
        check = _check(f32, int8, images)
        slow, fast = interleave(
            lambda: timed_ms(f32, images[0]), lambda: timed_ms(int8, images[0]), rounds=rounds
        )
        left, right = (Side(what=f"{student} f32", samples=slow), Side(what=f"{student} INT8", samples=fast))
        goal = (
            Goal(what="f32 over INT8", value=left.median / right.median, bound=bound, at_least=True)
            if bound
            else None
        )
        return compare(
            left,
            right,
            check=check,
            unit="ms",
            goal=goal,
            f32=f32.settings(),
            int8=int8.settings(),
            size=size,
        )
    finally:
        f32.close()
        int8.close()


def timed_ms(engine: Engine, image: ImageU8) -> float:
    """Milliseconds of one inference."""
    begin = time.perf_counter_ns()
    engine.infer(image)
    return (time.perf_counter_ns() - begin) / 1e6


def _check(f32: Engine, int8: Engine, images: list[ImageU8]) -> str:
    """Both engines run in the precision that they stand for and give nearly the same scores; warms them up."""
    precisions = (f32.settings()["precision"], int8.settings()["precision"])
    if precisions != ("f32", "int8"):
        raise ParityError(
            "an engine does not run in its precision", expected="f32, int8", got=f"{precisions}"
        )
    differences = [
        float(np.abs(f32.infer(image).astype(float) - int8.infer(image)).mean()) for image in images
    ]
    worst = max(differences)
    if not worst <= _MAX_MEAN_DIFFERENCE:
        raise ParityError(
            "INT8 and f32 disagree",
            expected=f"mean score difference of at most {_MAX_MEAN_DIFFERENCE}/256",
            got=f"{worst:.2f}/256",
        )
    for _ in range(_WARM_RUNS):
        f32.infer(images[0])
        int8.infer(images[0])
    return f"executed as f32 and int8; mean score difference {worst:.2f}/256 over {len(images)} frames"
