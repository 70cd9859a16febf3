"""Time the INT8 engines of the decoders and heads of related systems beside those of edge-s.

All engines of all networks run in turn in one process, so that a machine that drifts changes all of
them alike. The networks are edge-s with one part changed, untrained: speed does not depend on the
values of the weights. An engine is timed only after its scores have equaled those of its canonical
graph on phantom frames.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.micro.engines import SIZE, THREADS, pictures, timed_ms
from benchmarks.record import Comparison, Side, compare, interleave
from edge.engines.open import open_engine_files
from edge.errors import ParityError

if TYPE_CHECKING:
    from quantize.export.engines import ExportedEngine

BASELINE = "edge-s"
NETWORKS = {
    "emcad": "edge-s+emcad",
    "pld": "edge-s+pld",
    "rpca": "edge-s+rpca",
    "dynamic-head": "edge-s+dynamic-head",
    "detection": "edge-s+detection",
    "pranet-v2": "pranet-v2",
}
"""Name of a row -> its network, as `distill.students.build.build_student` takes it."""
RUNTIMES = ("openvino", "tflite")
RUNS_A_ROUND = 5
"""Inferences of an engine in a round; their median is the sample, because one is very short."""
_WARM_RUNS = 2


class Timed(NamedTuple):
    """What one run measured.

    Attributes:
        check: The check that all engines passed.
        samples: (row, runtime) -> milliseconds by round; the row of the baseline is `BASELINE`.
        settings: The engines' settings, and what is particular to each network.
    """

    check: str
    samples: dict[tuple[str, str], list[float]]
    settings: dict[str, object]


@cache
def measured(size: tuple[int, int], rounds: int) -> Timed:
    """Time all engines in turn.

    Args:
        size: Height and width of the input.
        rounds: Samples of each engine.

    Raises:
        ParityError: An engine's scores differ from its canonical graph's.
    """
    images = pictures(size)
    about: dict[str, object] = {}
    with ExitStack() as stack:
        opened = {}
        for row, network in ({BASELINE: BASELINE} | NETWORKS).items():
            found = int8_engines(network, size)
            about[row] = {
                "giga_macs": round(_giga_macs(network, size[0]), 3),
                "float_operations": {engine.runtime: engine.float_ops for engine in found},
            }
            for engine in found:
                opened[row, engine.runtime] = stack.enter_context(
                    closing(open_engine_files(engine.runtime, engine.contents, THREADS))
                )

        def sample(key: tuple[str, str]) -> float:
            return float(np.median([timed_ms(opened[key], images[0]) for _ in range(RUNS_A_ROUND)]))

        sides = {key: partial(sample, key) for key in opened}
        interleave(*sides.values(), rounds=_WARM_RUNS)
        samples = dict(zip(sides, interleave(*sides.values(), rounds=rounds), strict=True))
        settings = {f"{row} {runtime}": opened[row, runtime].settings() for row, runtime in opened}
    return Timed(
        f"scores of {len(opened)} INT8 engines equal those of their canonical graphs on "
        f"{len(images)} frames",
        samples,
        {"engines": settings, "networks": about, "size": size, "runs_a_round": RUNS_A_ROUND},
    )


def int8_engines(network: str, size: tuple[int, int]) -> list[ExportedEngine]:
    """Quantize and export an untrained network, and compare its engines with the canonical graph.

    Args:
        network: Name of the network.
        size: Height and width of the input.

    Raises:
        ParityError: An engine's scores differ from the canonical graph's.
    """
    import torch

    from distill.students.build import build_student
    from quantize.certify.parity import canonical_scores, engine_scores, images_tensor
    from quantize.export.engines import export_engines
    from quantize.graph.canonical import canonicalize
    from quantize.qat.nncf import quantize_student

    torch.manual_seed(0)
    student = build_student(network).eval().for_engines()
    frames = np.stack(pictures(size))
    canonical = canonicalize(
        quantize_student(student, [image[None] for image in images_tensor(frames)]), size
    )
    exported = [engine for engine in export_engines(canonical) if engine.runtime in RUNTIMES]
    expected = canonical_scores(canonical, frames).astype(int)
    for engine in exported:
        largest = int(np.abs(engine_scores(engine, frames) - expected).max())
        if largest:
            raise ParityError(
                f"{engine.runtime} does not compute the canonical graph of {network}",
                expected="equal scores",
                got=f"a difference of {largest}/256",
            )
    return exported


def _giga_macs(network: str, size: int) -> float:
    from distill.students.build import build_student, student_size

    return student_size(build_student(network, pretrained=False), size).macs / 1e9


def compare_decoder(
    row: str, runtime: str, rounds: int, *, size: tuple[int, int] = SIZE
) -> Comparison:
    """Compare a network's INT8 engine with that of edge-s.

    Args:
        row: A key of `NETWORKS`.
        runtime: One of `RUNTIMES`.
        rounds: Samples of each engine.
        size: Height and width of the input.

    Raises:
        ParityError: An engine's scores differ from its canonical graph's.
    """
    found = measured(size, rounds)
    left, right = (
        Side(what=f"{name} INT8, {runtime}", samples=found.samples[name, runtime])
        for name in (row, BASELINE)
    )
    return compare(left, right, check=found.check, unit="ms", goal=None, **found.settings)


def rows() -> list[tuple[str, str]]:
    """Every (row, runtime) that is timed."""
    return [(row, runtime) for row in NETWORKS for runtime in RUNTIMES]


emcad = partial(compare_decoder, "emcad", "openvino")
emcad_tflite = partial(compare_decoder, "emcad", "tflite")
pld = partial(compare_decoder, "pld", "openvino")
pld_tflite = partial(compare_decoder, "pld", "tflite")
rpca = partial(compare_decoder, "rpca", "openvino")
rpca_tflite = partial(compare_decoder, "rpca", "tflite")
dynamic_head = partial(compare_decoder, "dynamic-head", "openvino")
dynamic_head_tflite = partial(compare_decoder, "dynamic-head", "tflite")
detection = partial(compare_decoder, "detection", "openvino")
detection_tflite = partial(compare_decoder, "detection", "tflite")
pranet_v2 = partial(compare_decoder, "pranet-v2", "openvino")
pranet_v2_tflite = partial(compare_decoder, "pranet-v2", "tflite")
