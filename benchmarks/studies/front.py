"""`python -m benchmarks.studies.front`: how fast variants of the edge students are, in one run.

Each variant is exported in INT8 by the canonical graph and measured in OpenVINO, in turn with all
others and with a stack of dense convolutions, whose speed is the engine's own INT8 peak on this
machine. The students are untrained: latency does not depend on what they have learned. Their
BatchNorm statistics are those of frames of the phantom, so that all maps have usable ranges.

The study says nothing about accuracy. A variant that it shows to be fast enough is worth a training
(`distill/configs/edge-s-fused.yaml`).
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec
import numpy as np

from benchmarks.micro.engines import RUNTIMES, THREADS, pictures
from benchmarks.record import interleave, ratio_with_interval
from edge.bench.measure.dense import dense_files, dense_work
from edge.bench.measure.environment import EnvironmentGuard
from edge.engines.open import open_engine_files
from edge.errors import ParityError, UsageError
from edge.util.host import Device, read_device, versions
from edge_difom.cli import console
from edge_difom.cli.main import run_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.contracts import Engine
    from edge.frame import ImageU8

PARTS = (
    "",
    "plain",
    "fused",
    "fused-x8",
    "patch",
    "fpn8",
    "plain+fpn8",
    "fused+fpn8",
    "fused-x8+fpn8",
)
"""Variants of each base; the first is the base itself."""
VARIED = ("edge-s", "edge-xs")
"""Bases of which every variant is measured by default; of others, the base alone."""
SIZES = {"edge-s": 256, "edge-xs": 192, "edge-l": 320}
"""Base -> height and width of its input, as `edge-s`, `edge-xs` and `edge-m` configure them."""
PEAK_SHARE, TIME_SHARE = 0.45, 2 / 3
"""What a variant has to reach, one or the other: share of the dense peak, time of its base."""
DENSE = "dense"
RUNTIME = "openvino"
"""What is timed; the scores of all of `RUNTIMES` are checked."""
RUNS_A_ROUND = 20
"""Inferences of an engine per round; their median is the sample."""
_WARM_RUNS = 3
_SETTLING_PASSES = 8
_MAX_UNITS = 1.0
"""Largest difference of the engine's scores to the canonical graph's, in 1/256."""


class FrontRow(msgspec.Struct, frozen=True, kw_only=True):
    """One variant.

    Attributes:
        network: Name for `build_student`; `dense` is the stack of convolutions.
        size: Height and width of the input.
        parameters: Number of parameters.
        macs: Multiply-accumulates of an inference.
        samples: Milliseconds of an inference, one median for each round.
        ms: Their median.
        giga_operations_per_second: Two for each multiply-accumulate.
        share_of_peak: The same over that of the dense stack.
        base: Variant that it is compared with.
        ratio: Median over that of the base.
        ratio_ci95: Paired bootstrap interval of the ratio over the rounds.
    """

    network: str
    size: int
    parameters: int
    macs: int
    samples: list[float]
    ms: float
    giga_operations_per_second: float
    share_of_peak: float
    base: str
    ratio: float
    ratio_ci95: tuple[float, float]

    @property
    def reached(self) -> bool:
        """Whether it is dense or fast enough to be worth a training."""
        return self.share_of_peak >= PEAK_SHARE or self.ratio_ci95[1] <= TIME_SHARE


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """All variants, measured in turn on one machine.

    Attributes:
        front_rows: The variants and the dense stack.
        engine: Settings of the engine.
        check: The correctness check that was passed before anything was timed.
        rounds: Rounds of measurements.
        valid: Whether the environment guard saw no disturbance.
        reason: Disturbance that it saw.
        device: The machine.
        versions: Versions of the software.
        created: UTC, ISO 8601.
    """

    front_rows: list[FrontRow]
    engine: dict[str, Any]
    check: str
    rounds: int
    valid: bool
    reason: str | None
    device: Device
    versions: dict[str, str | None]
    created: str


@click.command(
    epilog=console.examples(
        "python -m benchmarks.studies.front --rounds 60 --out front.json",
        "python -m benchmarks.studies.front edge-s edge-s+fused --threads 1",
    )
)
@click.argument("networks", nargs=-1, metavar="[STUDENT]...")
@click.option("--size", type=int, help="Height and width of every input, instead of each base's.")
@click.option("--threads", default=THREADS, show_default=True, help="CPU threads of the engine.")
@click.option(
    "--rounds", type=click.IntRange(min=2), default=30, show_default=True, help="Measurements."
)
@click.option("--out", "json_path", metavar="FILE", help="Write the study as JSON.")
def command(
    networks: tuple[str, ...], size: int | None, threads: int, rounds: int, json_path: str | None
) -> None:
    """Measure how fast variants of the edge students are beside the engine's dense peak."""
    chosen = networks or tuple(
        "+".join(filter(None, (base, parts)))
        for base in SIZES
        for parts in (PARTS if base in VARIED else PARTS[:1])
    )
    study = measure_front(chosen, rounds=rounds, threads=threads, size=size)
    _show(study)
    if json_path:
        console.write_json(json_path, study)
        console.made(json_path)


def measure_front(
    networks: Sequence[str],
    *,
    rounds: int,
    threads: int = THREADS,
    size: int | None = None,
    runs: int = RUNS_A_ROUND,
) -> Front:
    """Measure variants in turn.

    Args:
        networks: Names for `build_student`; each is compared with the first one of its base.
        rounds: Measurements of each.
        threads: CPU threads of the engine.
        size: Height and width of every input; None for those of the bases.
        runs: Inferences per round.

    Raises:
        UsageError: A base has no size of its own and none is given.
        ParityError: An engine does not compute what the canonical graph computes, or not in INT8.
    """
    from distill.students.build import student_size

    sides = {network: size or _size_of(network) for network in networks}
    largest = max(sides.values())
    with ExitStack() as stack, EnvironmentGuard() as guard:
        engines: dict[str, Engine] = {}
        work = {}
        for network, side in sides.items():
            student = settled(network, side)
            work[network] = student_size(student, side)
            engines[network] = stack.enter_context(closing(checked_engine(student, side, threads)))
        dense = dense_files(RUNTIME, "int8", (largest, largest))
        engines[DENSE] = stack.enter_context(closing(open_engine_files(RUNTIME, dense, threads)))
        frames = {name: pictures(engine.input_size)[0] for name, engine in engines.items()}
        measured = {
            name: partial(typical_ms, engine, frames[name], 1 if name == DENSE else runs)
            for name, engine in engines.items()
        }
        interleave(*measured.values(), rounds=_WARM_RUNS)
        samples = dict(zip(measured, interleave(*measured.values(), rounds=rounds), strict=True))
        settings = engines[networks[0]].settings()
    macs = {network: student.macs for network, student in work.items()}
    macs[DENSE] = round(dense_work((largest, largest)).giga_operations / 2 * 1e9)
    speeds = {name: 2 * macs[name] / np.median(times) / 1e6 for name, times in samples.items()}
    bases = {network: _first_of(networks, network) for network in networks} | {DENSE: DENSE}
    rows = []
    for name, times in samples.items():
        ratio, interval = ratio_with_interval(times, samples[bases[name]])
        rows.append(
            FrontRow(
                network=name,
                size=sides.get(name, largest),
                parameters=work[name].parameters if name in work else 0,
                macs=macs[name],
                samples=times,
                ms=float(np.median(times)),
                giga_operations_per_second=float(speeds[name]),
                share_of_peak=float(speeds[name] / speeds[DENSE]),
                base=bases[name],
                ratio=ratio,
                ratio_ci95=interval,
            )
        )
    return Front(
        front_rows=rows,
        engine=settings,
        check=f"scores in {' and '.join(RUNTIMES)} within {_MAX_UNITS:g}/256 of the canonical "
        "graph's; executed in INT8",
        rounds=rounds,
        valid=guard.verdict.valid,
        reason=guard.verdict.reason,
        device=read_device(),
        versions=versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def settled(network: str, side: int) -> Any:
    """An untrained student in evaluation mode whose BatchNorms have seen frames of the phantom.

    Args:
        network: Name for `build_student`.
        side: Height and width of the frames.
    """
    import torch

    from distill.data.tensors import to_tensor
    from distill.students.build import build_student

    torch.manual_seed(0)
    student = build_student(network, pretrained=False).train()
    frames = to_tensor(np.stack(pictures((side, side))))
    with torch.no_grad():
        for _ in range(_SETTLING_PASSES):
            student(frames)
    return student.eval()


def checked_engine(student: Any, side: int, threads: int) -> Engine:
    """Quantize and export a student, and open its engine once its scores have been checked.

    Raises:
        ParityError: The engine computes something else, or not in INT8.
    """
    from quantize.certify.parity import canonical_scores, engine_scores, images_tensor
    from quantize.export.engines import export_engines
    from quantize.graph.canonical import canonicalize
    from quantize.qat.nncf import quantize_student

    size = (side, side)
    frames = np.stack(pictures(size))
    graph = canonicalize(quantize_student(student, list(images_tensor(frames).split(1))), size)
    exported = {one.runtime: one for one in export_engines(graph)}
    wanted = canonical_scores(graph, frames)
    for runtime in RUNTIMES:
        scores = engine_scores(exported[runtime], frames, threads=threads)
        difference = float(np.abs(scores.astype(float) - wanted).max())
        if difference > _MAX_UNITS:
            raise ParityError(
                f"{runtime} does not compute what the canonical graph computes",
                expected=f"scores within {_MAX_UNITS:g}/256",
                got=f"{difference:g}/256",
            )
    engine = open_engine_files(RUNTIME, exported[RUNTIME].contents, threads)
    if (executed := engine.settings()["precision"]) != "int8":
        engine.close()
        raise ParityError("an engine does not run in INT8", expected="int8", got=f"{executed}")
    return engine


def typical_ms(engine: Engine, image: ImageU8, runs: int) -> float:
    """Median milliseconds of some inferences."""
    times = []
    for _ in range(runs):
        begin = time.perf_counter_ns()
        engine.infer(image)
        times.append((time.perf_counter_ns() - begin) / 1e6)
    return float(np.median(times))


def _size_of(network: str) -> int:
    base = network.partition("+")[0]
    if base not in SIZES:
        raise UsageError(f"{base} has no input size of its own", expected="a size for all")
    return SIZES[base]


def _first_of(networks: Sequence[str], network: str) -> str:
    """The first network with the same base."""
    base = network.partition("+")[0]
    return next(other for other in networks if other.partition("+")[0] == base)


def _show(study: Front) -> None:
    console.say("VALID" if study.valid else f"INVALID: {study.reason}")
    console.say(f"check: {study.check}")
    console.table(
        ["student", "size", "M params", "MMAC", "ms", "of the peak", "over base", "95 %", "enough"],
        [
            [
                row.network,
                row.size,
                f"{row.parameters / 1e6:.2f}",
                f"{row.macs / 1e6:.0f}",
                f"{row.ms:.2f}",
                f"{row.share_of_peak:.0%}",
                f"{row.ratio:.3f}",
                f"{row.ratio_ci95[0]:.3f} to {row.ratio_ci95[1]:.3f}",
                "yes" if row.reached and row.network != DENSE else "",
            ]
            for row in study.front_rows
        ],
    )


if __name__ == "__main__":
    run_program(command)
