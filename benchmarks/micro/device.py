"""Overhead of the device besides inference: per frame, at start, and in memory."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from benchmarks.micro.engines import SIZE, THREADS, student_files, timed_ms
from benchmarks.micro.screens import screens, shown
from benchmarks.record import Comparison, Goal, Side, compare, interleave
from edge import __version__
from edge.bench.measure.stream import phantom_images
from edge.bundle import manifest
from edge.bundle.reader import write_bundle
from edge.datasets.phantom.render import render
from edge.engines.open import open_engine_files
from edge.errors import ParityError
from edge.frame import Frame, Stage
from edge.imaging.crop import cut
from edge.imaging.preprocess import to_input
from edge.pipeline.analysis import analyze
from edge.sinks.jsonl import read_frame_lines
from edge.util.host import read_text
from edge_difom.cli.main import VERBS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.frame import FieldOfView, ImageU8

_FRAME = (1080, 1920)
_MAX_RESIZE_DIFFERENCE = 1.5
_WARM_ROUNDS = 3
_MEMORY_ROUNDS = 5
_SPIN_SECONDS = 0.02
"""Time after which the threads of an idle engine sleep."""
_STEADY_FRAMES = 5
"""Number of consecutive frames; the first one wakes the processor and is left out."""
_LOOK_SECONDS = 0.02
_IMPORTS = "import time, click, cv2, msgspec, numpy, openvino; openvino.Core(); time.sleep(0.2)"


class Recorded:
    """An engine that returns given scores at once.

    The cost of postprocessing depends on the shape of the mask, and an untrained student's mask is
    noise. Besides, the threads of a real engine spin for a while after an inference, and their CPU
    time is not that of the other stages.
    """

    input_buffer = None

    name = "recorded"

    def __init__(self, size: tuple[int, int], scores: ImageU8) -> None:
        self.input_size, self._scores = size, scores

    def infer(self, image: ImageU8) -> ImageU8:  # noqa: ARG002 - the answer is recorded
        """Return the recorded scores."""
        return self._scores

    def settings(self) -> dict[str, object]:
        """Return no settings."""
        return {}

    def close(self) -> None:
        """Do nothing: no resource is held."""


def frame_cost(rounds: int, *, size: tuple[int, int] = SIZE, bound: float = 1.2) -> Comparison:
    """Compare the CPU time around inference of a 1080p frame with inference alone, edge-s in INT8.

    Args:
        rounds: Number of frames.
        size: Height and width of the engine's input.
        bound: Promised CPU milliseconds.
    """
    return _around(phantom_images(_FRAME), "full-frame", rounds, size, bound)


def screen_cost(rounds: int, *, size: tuple[int, int] = SIZE, bound: float = 1.2) -> Comparison:
    """Run `frame_cost` on a processor's screen; the student gets the field of view."""
    return _around(screens(_FRAME), "view", rounds, size, bound)


def _around(
    images: list[ImageU8], rule: FieldOfView, rounds: int, size: tuple[int, int], bound: float
) -> Comparison:
    mask = render(0, polyp=True).mask
    view, part = shown(images[0], rule)
    check = check_resize(cut(images[0], part), size)
    engine = open_engine_files(
        "openvino", student_files("edge-s", size)["openvino", "int8"], THREADS
    )
    prepared = to_input(images[0], size, bgr=True)
    shape = engine.infer(prepared).shape
    scores = cv2.resize(mask.astype(np.uint8) * 255, shape[::-1], interpolation=cv2.INTER_AREA)
    recorded = Recorded(size, cast("ImageU8", scores))
    described = untrained_manifest(size, shape, rule=rule)
    frames = itertools.cycle(images)

    def around() -> float:
        time.sleep(_SPIN_SECONDS)
        durations = []
        for _ in range(_STEADY_FRAMES):
            frame = Frame(0, next(frames), 0)
            analyze(frame, recorded, described, view=view, clock=time.process_time_ns)
            spans = [frame.stamps[stage] for stage in (Stage.PREPROCESS, Stage.POSTPROCESS)]
            durations.append(sum(end - begin for begin, end in spans) / 1e6)
        return float(np.mean(durations[1:]))

    try:
        interleave(around, lambda: timed_ms(engine, prepared), rounds=_WARM_ROUNDS)
        cost, inference = interleave(around, lambda: timed_ms(engine, prepared), rounds=rounds)
        left = Side(what="preprocess + postprocess, CPU", samples=cost)
        goal = Goal(what="CPU ms of preprocess + postprocess", value=left.median, bound=bound)
        right = Side(what="inference alone, edge-s INT8", samples=inference)
        settings = engine.settings()
        about = {"frame": _FRAME, "part": part, "engine": settings}
        return compare(left, right, check=check, unit="ms", goal=goal, **about)
    finally:
        engine.close()


def help_time(rounds: int, *, bound: float = 250.0) -> Comparison:
    """Compare the wall time of `edge-difom --help` with that of a Python that does nothing."""
    help_text = _output([sys.executable, "-m", "edge_difom", "--help"])
    if lost := [verb for verb in VERBS if f"  {verb} " not in help_text]:
        raise ParityError(
            "--help does not list every verb", expected=", ".join(VERBS), got=f"no {lost}"
        )
    took, empty = interleave(
        lambda: _wall_ms([sys.executable, "-m", "edge_difom", "--help"]),
        lambda: _wall_ms([sys.executable, "-c", "pass"]),
        rounds=rounds,
    )
    left = Side(what="edge-difom --help", samples=took)
    goal = Goal(what="ms of --help", value=left.median, bound=bound)
    right = Side(what="python -c pass", samples=empty)
    return compare(left, right, check=f"lists all {len(VERBS)} verbs", unit="ms", goal=goal)


def import_time(rounds: int, *, bound: float = 50.0) -> Comparison:
    """Compare the time of `import edge_difom` in a fresh process with that of `import json`."""
    loaded = _output([sys.executable, "-c", "import sys, edge_difom; print(*sys.modules)"]).split()
    if heavy := {"torch", "cv2", "numpy", "openvino", "click"} & set(loaded):
        raise ParityError("import edge_difom loads a heavy module", got=", ".join(sorted(heavy)))
    took, other = interleave(
        lambda: _import_ms("edge_difom"), lambda: _import_ms("json"), rounds=rounds
    )
    left = Side(what="import edge_difom", samples=took)
    goal = Goal(what="ms of import edge_difom", value=left.median, bound=bound)
    right = Side(what="import json", samples=other)
    return compare(left, right, check="loads no heavy module", unit="ms", goal=goal)


def device_memory(
    rounds: int, *, size: tuple[int, int] = SIZE, frames: int = 90, bound: float = 300.0
) -> Comparison:
    """Compare the peak memory of `edge-difom run` on a 1080p clip with that of its imports.

    The process of the student is included; shared memory counts once.
    """
    with tempfile.TemporaryDirectory() as folder:
        bundle, clip, log = (Path(folder) / name for name in ("bundle", "clip.mp4", "frames.jsonl"))
        write_untrained(bundle, size)
        write_clip(clip, frames)
        command = [
            *(
                sys.executable,
                "-m",
                "edge_difom",
                "run",
                "--source",
                f"file:{clip}",
                "--bundle",
                str(bundle),
            ),
            *("--engine", "openvino", "--sink", f"jsonl:{log}", "--force"),
        ]
        _output(command)
        if (written := len(read_frame_lines(log))) != frames:
            raise ParityError("run lost frames", expected=f"{frames} lines", got=f"{written}")
        used, imports = interleave(
            lambda: _peak_mib(command),
            lambda: _peak_mib([sys.executable, "-c", _IMPORTS]),
            rounds=min(rounds, _MEMORY_ROUNDS),
        )
    left = Side(what="edge-difom run", samples=used)
    goal = Goal(what="MiB of the device process", value=max(used), bound=bound)
    right = Side(what="its imports alone", samples=imports)
    return compare(
        left, right, check=f"{frames} frames in, {frames} lines out", unit="MiB", goal=goal
    )


def write_clip(path: Path, frames: int) -> None:
    """Write a clip of 1080p frames of the phantom."""
    images = phantom_images(_FRAME)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, _FRAME[::-1])
    for number in range(frames):
        writer.write(images[number % len(images)])
    writer.release()


def check_resize(image: ImageU8, size: tuple[int, int]) -> str:
    """Check that the engine's input is close to an area resize, the slow antialiased reference."""
    area = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)[..., ::-1]
    difference = float(np.abs(to_input(image, size, bgr=True).astype(float) - area).mean())
    if difference > _MAX_RESIZE_DIFFERENCE:
        raise ParityError(
            "the resize differs from an area resize",
            expected=f"mean difference of at most {_MAX_RESIZE_DIFFERENCE} gray levels",
            got=f"{difference:.2f}",
        )
    return f"mean difference to an area resize {difference:.2f} gray levels"


def write_untrained(out: Path, size: tuple[int, int]) -> None:
    """Write a bundle of an untrained edge-s in INT8 for OpenVINO."""
    names = ["engines/openvino/model.xml", "engines/openvino/model.bin"]
    files = student_files("edge-s", size)["openvino", "int8"]
    engine = open_engine_files("openvino", files, THREADS)
    shape = engine.infer(np.zeros((*size, 3), np.uint8)).shape
    engine.close()
    entry = manifest.EngineEntry(
        runtime="openvino", precision="int8", files=names, min_version="2025.2"
    )
    write_bundle(
        out, untrained_manifest(size, shape, [entry]), dict(zip(names, files, strict=True))
    )


def untrained_manifest(
    size: tuple[int, int],
    output: tuple[int, ...],
    engines: Sequence[manifest.EngineEntry] = (),
    rule: FieldOfView = "full-frame",
) -> manifest.Manifest:
    """Make the manifest of a bundle whose student was never trained."""
    return manifest.Manifest(
        schema_version=manifest.SCHEMA_VERSION,
        name="untrained",
        intended_use=manifest.RESEARCH_USE,
        license="Apache-2.0",
        input=manifest.Input(height=size[0], width=size[1], field_of_view=rule),
        output=manifest.Output(height=output[0], width=output[1]),
        engines=list(engines),
        golden=manifest.GoldenSet(frames=[]),
        parity=[],
        accuracy=[],
        provenance=manifest.Provenance(
            student="edge-s",
            teachers=[],
            recipe="none",
            data={},
            versions={"edge-difom": __version__},
            seed=0,
            created="",
        ),
        files={},
    )


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ParityError(
            f"{' '.join(command)} fails", expected="exit code 0", got=done.stderr.strip()
        )
    return done.stdout


def _wall_ms(command: list[str]) -> float:
    begin = time.perf_counter_ns()
    subprocess.run(command, capture_output=True, check=True)
    return (time.perf_counter_ns() - begin) / 1e6


def _import_ms(module: str) -> float:
    """Measure the time that a fresh process takes to import a module."""
    code = f"import time; b = time.perf_counter(); import {module}; print(time.perf_counter() - b)"
    return 1e3 * float(_output([sys.executable, "-c", code]))


def _peak_mib(command: list[str]) -> float:
    """Measure the peak memory of a command and its children in MiB; shared memory counts once."""
    highest = 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            highest = max(highest, sum(_pss_mib(pid) for pid in _family(process.pid)))
            time.sleep(_LOOK_SECONDS)
    if process.returncode:
        raise ParityError(
            f"{' '.join(command)} fails", expected="exit code 0", got=f"{process.returncode}"
        )
    return highest


def _family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        pids += [one for child in (read_text(task) or "").split() for one in _family(int(child))]
    return pids


def _pss_mib(pid: int) -> float:
    """Return the memory of a process in MiB with its share of shared pages; 0 after its end."""
    for line in (read_text(f"/proc/{pid}/smaps_rollup") or "").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
