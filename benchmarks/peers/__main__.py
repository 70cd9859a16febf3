"""`python -m benchmarks.peers`: compare this project with others on the same student.

Each peer runs in a separate process; all run in turn on whole 1080p frames. Ours ends with contours
in frame coordinates, openvino-model-api's with a mask of the frame, ultralytics' with the output of
its own model and pipeline. Inference alone in OpenVINO, onnxruntime and LiteRT is the lower limit
of each runtime.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
import numpy as np

from benchmarks.micro.engines import FILED, SIZE, THREADS, student_files
from benchmarks.peers.checks import FRAME, check_peer, dice_of
from benchmarks.peers.process import KINDS, Kind, Worker, environments_folder, interpreter
from benchmarks.record import interleave, ratio_with_interval
from edge.bench.measure.environment import EnvironmentGuard
from edge.bench.measure.stream import phantom_images
from edge.datasets.pairs import Pair, find_pairs
from edge.errors import ParityError, UsageError
from edge.imaging.preprocess import to_input
from edge.util.host import Device, read_device, versions
from edge_difom.cli import console
from edge_difom.cli.main import run_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.micro.engines import Files

_WARM_ROUNDS = 3


class PeerRow(msgspec.Struct, frozen=True, kw_only=True):
    """Measurements of one peer.

    Attributes:
        name: Name of the peer.
        what: Work that is timed.
        facts: Version and precision, as the peer reports them.
        check: The correctness check that was passed before anything was timed.
        dice: Mean Dice over the labeled images at native size; None without images, or if the peer
            finds no polyps.
        wall_ms: One value per round, in order.
        cpu_ms: CPU milliseconds of the whole process, one value per round.
        wall_ratio: Median wall time over that of the first peer.
        wall_ratio_ci95: Paired 95 % bootstrap interval of that ratio.
        cpu_ratio: Median CPU time over that of the first peer.
        cpu_ratio_ci95: Paired 95 % bootstrap interval of that ratio.
    """

    name: str
    what: str
    facts: dict[str, str]
    check: str
    dice: float | None
    wall_ms: list[float]
    cpu_ms: list[float]
    wall_ratio: float
    wall_ratio_ci95: tuple[float, float]
    cpu_ratio: float
    cpu_ratio_ci95: tuple[float, float]


class PeersReport(msgspec.Struct, frozen=True, kw_only=True):
    """All peers of one run.

    Attributes:
        valid: Whether the environment guard saw no disturbance; the peers are separate processes,
            so their CPU time counts as ours.
        reason: Disturbance that the guard saw.
        rows: Measured peers.
        missing: Maps each peer that was left out to the reason.
        student: Student that all peers except ultralytics run.
        images: Number of labeled images that the peers were scored on.
        size: Height and width of its input.
        threads: Threads of every engine.
        device: The machine.
        versions: Software versions of this environment.
        created: UTC, ISO 8601.
    """

    valid: bool
    reason: str | None
    rows: list[PeerRow]
    missing: dict[str, str]
    student: str
    images: int
    size: tuple[int, int]
    threads: int
    device: Device
    versions: dict[str, str | None]
    created: str


def run_peers(
    *,
    rounds: int,
    environments: Path,
    files: Files,
    student: str,
    size: tuple[int, int],
    pairs: Sequence[Pair] = (),
    threads: int = THREADS,
    kinds: Sequence[Kind] = KINDS,
) -> PeersReport:
    """Start every peer, check its output, and time the peers in turn.

    Args:
        rounds: Number of frames of each peer.
        environments: Folder that `tools/make-env-peers.sh` filled.
        files: Engines of the student.
        student: Description of the student for the report.
        size: Height and width of its input.
        pairs: Labeled images on which each peer that finds polyps is scored.
        threads: Threads of every engine.
        kinds: Peers to run; the others are compared with the first.

    Raises:
        ParityError: A peer computes different results, or the first one is missing.
    """
    missing: dict[str, str] = {}
    checks: list[str] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        write_inputs(folder, files, size)
        workers: list[Worker] = []
        for kind in kinds:
            python = interpreter(environments, kind)
            if python is None:
                missing[kind.name] = (
                    f"its environment is missing: sh tools/make-env-peers.sh {environments}"
                )
            else:
                workers.append(stack.enter_context(Worker(kind, python, folder, threads)))
        if not workers or workers[0].kind != kinds[0]:
            raise ParityError(
                f"{kinds[0].name} is missing", got=missing.get(kinds[0].name, "no peer")
            )
        reference = workers[0].last_output()
        assert reference is not None
        checks = [check_peer(worker.kind, worker.last_output(), reference) for worker in workers]
        dice = [dice_of(worker, pairs) for worker in workers]
        sides = [worker.frame for worker in workers]
        interleave(*sides, rounds=_WARM_ROUNDS)
        for worker in workers:
            worker.cpu_ms.clear()
        with EnvironmentGuard() as guard:
            walls = interleave(*sides, rounds=rounds)
    rows = []
    for worker, wall, check, peer_dice in zip(workers, walls, checks, dice, strict=True):
        ratio, interval = ratio_with_interval(wall, walls[0])
        cpu, cpu_interval = ratio_with_interval(worker.cpu_ms, workers[0].cpu_ms)
        rows.append(
            PeerRow(
                name=worker.kind.name,
                what=worker.kind.what,
                facts=worker.facts,
                check=check,
                dice=peer_dice,
                wall_ms=wall,
                cpu_ms=worker.cpu_ms,
                wall_ratio=ratio,
                wall_ratio_ci95=interval,
                cpu_ratio=cpu,
                cpu_ratio_ci95=cpu_interval,
            )
        )
    # The guard counts every process except this one; the peers' use is not a disturbance.
    verdict = guard.verdict_without(sum(sum(row.cpu_ms) for row in rows) / 1e3)
    return PeersReport(
        valid=verdict.valid,
        reason=verdict.reason,
        rows=rows,
        missing=missing,
        student=student,
        images=len(pairs),
        size=size,
        threads=threads,
        device=read_device(),
        versions=versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def write_inputs(folder: Path, files: Files, size: tuple[int, int]) -> None:
    """Write frames, a prepared input, and every engine's files as `RUNTIME-PRECISION-NUMBER`."""
    for (runtime, precision), contents in files.items():
        for number, content in enumerate(contents):
            (folder / f"{runtime}-{precision}-{number}").write_bytes(content)
    images = phantom_images(FRAME)
    np.save(folder / "frames.npy", np.stack(images))
    np.save(folder / "prepared.npy", to_input(images[0], size, bgr=True)[None])


def engines_of(run: Path) -> tuple[Files, tuple[int, int]]:
    """Return all engines of a quantized run, and the size of their input."""
    from distill.run_folder import load_config
    from quantize.runs.folder import exported_engines

    size = load_config(run).data.size
    files = {
        (engine.runtime, engine.precision): engine.contents
        for engine in exported_engines(run, "all")
        if engine.runtime in FILED
    }
    return files, (size, size)


@click.command(
    epilog=console.examples(
        "python -m benchmarks.peers",
        "python -m benchmarks.peers --rounds 100 --run RUN --data DIR/validation --out peers.json",
        "python -m benchmarks.peers --only edge-difom --only OpenVINO",
    )
)
@click.option(
    "--rounds",
    type=click.IntRange(min=2),
    default=30,
    show_default=True,
    help="Frames of each peer.",
)
@click.option("--threads", type=click.IntRange(min=1), default=THREADS, show_default=True)
@click.option(
    "--run",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Run with a quantized student that all peers use; by default an untrained edge-s.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="With --run: images and masks to score it on.",
)
@click.option(
    "--only",
    multiple=True,
    help="Prefix of the names of peers to run beside the first; repeatable.",
)
@click.option("--out", "json_path", metavar="FILE", help="Write the report as JSON.")
def command(
    rounds: int,
    threads: int,
    run: Path | None,
    data: Path | None,
    only: tuple[str, ...],
    json_path: str | None,
) -> None:
    """Measure whole-frame and CPU cost of this project and of others, interleaved.

    `sh tools/make-env-peers.sh` makes the environments.
    """
    kinds = [kind for kind in KINDS if not only or kind == KINDS[0] or kind.name.startswith(only)]
    if only and len(kinds) < 2:
        raise UsageError("no peer of that name", expected=", ".join(kind.name for kind in KINDS))
    if data and not run:
        raise UsageError(
            "--data needs a trained student", hint="--run RUN, quantized by `edge-difom qat`"
        )
    files, size = engines_of(run) if run else (student_files("edge-s", SIZE), SIZE)
    report = run_peers(
        rounds=rounds,
        environments=environments_folder(),
        files=files,
        student=f"the student of {run.name}" if run else "edge-s, untrained",
        size=size,
        pairs=find_pairs(data) if data else [],
        threads=threads,
        kinds=kinds,
    )
    console.say("VALID" if report.valid else f"INVALID: {report.reason}")
    console.table(
        [
            "peer",
            "what",
            "median ms",
            "over the first",
            "CPU ms",
            "over the first",
            "Dice",
            "check",
        ],
        [
            [
                row.name,
                row.what,
                float(np.median(row.wall_ms)),
                row.wall_ratio,
                float(np.median(row.cpu_ms)),
                row.cpu_ratio,
                row.dice,
                row.check,
            ]
            for row in report.rows
        ],
    )
    for name, why in report.missing.items():
        console.say(f"left out: {name}: {why}")
    if json_path:
        console.write_json(json_path, report)
        console.made(json_path)


if __name__ == "__main__":
    run_program(command)
