"""Compare INT8 with f32 in the same engine, on untrained students.

Speed does not depend on the values of the weights, so no training is needed: NNCF calibrates the
student on phantom frames, and both precisions come from the same canonical graph. All engines of a
student run in turn, together with a stack of dense convolutions in INT8, whose speed represents the
peak of this machine with this engine.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.record import Comparison, Goal, Side, compare, interleave
from edge.datasets.phantom.render import render
from edge.engines.open import open_engine_files
from edge.errors import ParityError

if TYPE_CHECKING:
    from distill.students.build import Student
    from edge.contracts import Engine
    from edge.frame import ImageU8

THREADS = 2
SIZE = (256, 256)
"""Input size of the students in these comparisons, that of the shipped bundles."""
RUNTIMES = ("openvino", "tflite")
FILED = (*RUNTIMES, "onnx")
PRECISIONS = ("f32", "int8")
_CALIBRATION_FRAMES = 4
_WARM_RUNS = 3
_MAX_MEAN_DIFFERENCE = 8.0

Files = dict[tuple[str, str], list[bytes]]
"""Maps (runtime, precision) to the contents of an engine's files."""


@cache
def student_files(student: str, size: tuple[int, int]) -> Files:
    """Make the engines of an untrained student.

    Args:
        student: Name of a student, or `dense` for the stack of convolutions.
        size: Height and width of the input.
    """
    import torch

    from edge.imaging.preprocess import normalize
    from quantize.export.engines import export_engines
    from quantize.graph.canonical import canonicalize
    from quantize.qat.nncf import quantize_student

    torch.manual_seed(0)
    model = build(student).eval()
    frames = [
        torch.from_numpy(normalize(image).transpose(2, 0, 1)[None]) for image in pictures(size)
    ]
    graphs = [canonicalize(quantize_student(model, frames), size), canonicalize(model, size)]
    return {
        (engine.runtime, engine.precision): engine.contents
        for graph in graphs
        for engine in export_engines(graph)
        if engine.runtime in FILED
    }


def build(student: str) -> Student:
    """Build a student by name, or the dense stack."""
    from distill.students.build import build_student

    if student != "dense":
        return build_student(student)
    from benchmarks.micro.dense import DenseStack

    return DenseStack()


@cache
def giga_operations(student: str, size: int) -> float:
    """Return the multiplications and additions of one inference, in 10^9."""
    from distill.students.build import student_size

    return 2 * student_size(build(student), size).macs / 1e9


def pictures(size: tuple[int, int]) -> list[ImageU8]:
    """Return a few RGB frames of the phantom."""
    return [render(seed, size=size).image for seed in range(_CALIBRATION_FRAMES)]


@cache
def measured(
    student: str, size: tuple[int, int], rounds: int
) -> tuple[str, dict[tuple[str, str], list[float]], dict[str, object]]:
    """Time all engines of a student and the dense stack in turn.

    Returns:
        The check that was passed, milliseconds of each (runtime, precision) by round, and the
            engines' settings with the operations per second that each reached.

    Raises:
        ParityError: An engine does not run in its precision, or the precisions disagree.
    """
    with ExitStack() as stack:
        engines: dict[tuple[str, str], Engine] = {}
        for name, precisions in ((student, PRECISIONS), ("dense", PRECISIONS[1:])):
            for runtime in RUNTIMES:
                for precision in precisions:
                    files = student_files(name, size)[runtime, precision]
                    opened = stack.enter_context(
                        closing(open_engine_files(runtime, files, THREADS))
                    )
                    engines[runtime if name == "dense" else f"{name} {runtime}", precision] = opened
        images = pictures(size)
        checks = [
            _check(
                engines[f"{student} {runtime}", "f32"],
                engines[f"{student} {runtime}", "int8"],
                images,
            )
            for runtime in RUNTIMES
        ]
        sides = {key: partial(timed_ms, engine, images[0]) for key, engine in engines.items()}
        interleave(*sides.values(), rounds=_WARM_RUNS)
        times_of = dict(zip(sides, interleave(*sides.values(), rounds=rounds), strict=True))
        settings = {f"{key[0]} {key[1]}": engine.settings() for key, engine in engines.items()}
    reached = {
        key: giga_operations("dense" if key[0] in RUNTIMES else student, size[0])
        / float(np.median(times))
        * 1e3
        for key, times in times_of.items()
    }
    peak = max(reached[runtime, "int8"] for runtime in RUNTIMES)
    speeds = {
        f"{name} {precision}": {
            "giga_operations_per_second": round(value, 1),
            "share_of_int8_peak": round(value / peak, 3),
        }
        for (name, precision), value in reached.items()
    }  # fmt: skip
    times = {
        (runtime, p): times_of[f"{student} {runtime}", p]
        for runtime in RUNTIMES
        for p in PRECISIONS
    }
    return "; ".join(checks), times, {"engines": settings, "speeds": speeds, "size": size}


def _row(
    student: str, runtime: str, size: tuple[int, int], rounds: int, bound: float | None
) -> Comparison:
    check, times, settings = measured(student, size, rounds)
    left = Side(what=f"{student} f32, {runtime}", samples=times[runtime, "f32"])
    right = Side(what=f"{student} INT8, {runtime}", samples=times[runtime, "int8"])
    goal = None
    if bound is not None:
        goal = Goal(
            what=f"f32 over INT8 in {runtime}",
            value=left.median / right.median,
            bound=bound,
            at_least=True,
        )
    return compare(left, right, check=check, unit="ms", goal=goal, **settings)


def int8_unet(rounds: int, *, size: tuple[int, int] = SIZE, bound: float = 3.8) -> Comparison:
    """Compare f32 with INT8 for the U-Net in OpenVINO.

    The goal of `bound` holds for processors with integer dot products.
    """
    return _row("unet", "openvino", size, rounds, bound)


def int8_unet_tflite(
    rounds: int, *, size: tuple[int, int] = SIZE, bound: float = 3.2
) -> Comparison:
    """Compare f32 with INT8 for the U-Net in LiteRT."""
    return _row("unet", "tflite", size, rounds, bound)


def int8_edge_s(rounds: int, *, size: tuple[int, int] = SIZE) -> Comparison:
    """Compare f32 with INT8 for edge-s in OpenVINO, without a goal."""
    return _row("edge-s", "openvino", size, rounds, None)


def int8_edge_s_tflite(rounds: int, *, size: tuple[int, int] = SIZE) -> Comparison:
    """Compare f32 with INT8 for edge-s in LiteRT, without a goal."""
    return _row("edge-s", "tflite", size, rounds, None)


def _sizes(runtime: str, student: str, size: tuple[int, int], bound: float) -> Comparison:
    files = student_files(student, size)
    # The weights of an IR are a separate file; a TFLite model is one file.
    kib = {p: len(files[runtime, p][-1]) / 1024 for p in PRECISIONS}
    left, right = (
        Side(what=f"{student} {p}, {runtime}", samples=[kib[p]]) for p in ("int8", "f32")
    )
    goal = Goal(what=f"INT8 over f32, {runtime}", value=left.median / right.median, bound=bound)
    return compare(left, right, check="both files of one canonical student", unit="KiB", goal=goal)


def size_openvino(rounds: int, *, size: tuple[int, int] = SIZE, bound: float = 0.27) -> Comparison:
    """Compare the size of edge-s' INT8 `.bin` with the f32 one; it does not vary with `rounds`."""
    del rounds
    return _sizes("openvino", "edge-s", size, bound)


def size_tflite(rounds: int, *, size: tuple[int, int] = SIZE, bound: float = 0.27) -> Comparison:
    """Compare the size of edge-s' INT8 `.tflite` with the f32 one."""
    del rounds
    return _sizes("tflite", "edge-s", size, bound)


def timed_ms(engine: Engine, image: ImageU8) -> float:
    """Return the milliseconds of one inference."""
    begin = time.perf_counter_ns()
    engine.infer(image)
    return (time.perf_counter_ns() - begin) / 1e6


def _check(f32: Engine, int8: Engine, images: list[ImageU8]) -> str:
    """Check that both engines run in their precision and give nearly the same scores."""
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
    return (
        f"{f32.name} executed as f32 and int8; mean score difference {worst:.2f}/256 over "
        f"{len(images)} frames"
    )
