"""`python -m benchmarks.studies.smoothing`: what smoothing over time costs in polyps and spares in false alarms.

A detector runs over frames in order once; each setting is then applied to what it found. With `--bundle` the detector is
a student. Without one it is made up (`benchmarks.studies.simulated_detector`): what comes out then tells settings apart under that
process, and nothing about a student.

Truth is a clip's `.boxes.json` (a list of boxes for each frame, as corners), the masks of a data folder with
`sequences.json`, or the phantom's own.
"""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import numpy as np

from benchmarks.studies.clips import draw_clip, link, read_clip, read_sequences
from benchmarks.studies.simulated_detector import Mistakes, scores_of
from edge.bundle.manifest import Manifest, Output
from edge.contracts import Frame, Result
from edge.errors import DataError, EdgeDifomError
from edge.imaging.postprocess import mask_area, regions
from edge.pipeline.analysis import analyse
from edge.pipeline.frame_guard import FrameGuard
from edge.pipeline.smoothing import LINK, Smoother, Smoothing, overlap
from edge.util.host import Device, read_device, versions
from edge_difom.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.studies.clips import Clip
    from edge.contracts import Box, Engine

SETTINGS = {
    "none": Smoothing(seen=1, of=1, least_ms=0, gap=0),
    **{
        f"{seen} of {of}": Smoothing(seen=seen, of=of, least_ms=0)
        for seen, of in ((2, 3), (3, 5), (4, 6), (5, 7), (7, 9))
    },
    **{f"4 of 6, {least} ms": Smoothing(seen=4, of=6, least_ms=least) for least in (100, 130, 200, 300)},
    "4 of 6, 130 ms, gap 0": Smoothing(seen=4, of=6, least_ms=130, gap=0),
    "4 of 6, 130 ms, gap 30": Smoothing(seen=4, of=6, least_ms=130, gap=30),
    "scores 1/2": Smoothing(seen=1, of=1, least_ms=0, gap=0, weight=128),
    "scores 1/4": Smoothing(seen=1, of=1, least_ms=0, gap=0, weight=64),
    "4 of 6, 130 ms, scores 1/2": Smoothing(seen=4, of=6, least_ms=130, weight=128),
}
"""Name -> setting."""

LASTING_MS = (0, 100, 500)
"""Least durations of the false alarms that are counted."""

_SAME_GAP = 10
"""Frames without a true box after which it is another polyp."""
_LEAST_VISIBLE_MS = 400.0
"""Time for which a polyp is to be seen to count as one."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One setting on all clips.

    Attributes:
        setting: Its name.
        smoothing: What it sets.
        delay_ms: Delay that it adds where a polyp is found on every frame, at 30 and at 60 frames a second.
        polyps: Share of the polyps, of those to be seen for 400 ms at least, that were shown on at least one frame.
        frames: Share of the frames with a polyp on which one was shown.
        first_ms: Median time from a polyp's first frame to the first on which it is shown; None where none is.
        false_per_minute: Least duration in ms -> runs of false regions that lasted so long, for each minute.
    """

    setting: str
    smoothing: dict[str, float]
    delay_ms: tuple[float, float]
    polyps: float
    frames: float
    first_ms: float | None
    false_per_minute: dict[str, float]


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at by what, and the settings.

    Attributes:
        detector: The student, or the process of the made-up one.
        clips: Name, frames and frames per second of each.
        polyps: How many there are.
        minutes: How long all clips are.
        rows: One for each setting.
        device: The machine.
        versions: Software.
    """

    detector: dict[str, Any]
    clips: list[tuple[str, int, float]]
    polyps: int
    minutes: float
    rows: list[Row]
    device: Device
    versions: dict[str, str | None]


@click.command(
    epilog=console.examples(
        "python -m benchmarks.studies.smoothing --bundle B --video clip.mp4",
        "python -m benchmarks.studies.smoothing --video clip.mp4 --data DIR --phantom 20 --out smoothing.json",
    )
)
@click.option(
    "--bundle", type=click.Path(path_type=Path), metavar="B", help="A student, not a made-up detector."
)
@click.option("--engine", default="auto", show_default=True)
@click.option("--video", "videos", multiple=True, type=click.Path(path_type=Path), metavar="CLIP")
@click.option("--data", "folders", multiple=True, type=click.Path(path_type=Path), metavar="DIR")
@click.option("--phantom", default=0, metavar="N", help="Clips of the phantom, 20 s each.")
@click.option(
    "--fps", default=30.0, show_default=True, help="Of the phantom and of sequences of a data folder."
)
@click.option(
    "--per-minute", default=10.0, show_default=True, help="False positives of the made-up detector."
)
@click.option("--seeds", default=5, show_default=True, help="Runs of the made-up detector over each clip.")
@click.option("--out", "json_path", metavar="FILE", help="Write the study as JSON.")
def command(
    bundle: Path | None,
    engine: str,
    videos: tuple[Path, ...],
    folders: tuple[Path, ...],
    phantom: int,
    fps: float,
    per_minute: float,
    seeds: int,
    json_path: str | None,
) -> None:
    """Compare settings of the smoothing on frames in order."""
    clips = [read_clip(path) for path in videos]
    clips += [clip for folder in folders for clip in read_sequences(folder, fps)]
    clips += [draw_clip(seed, fps) for seed in range(phantom)]
    if bundle is None:
        mistakes = Mistakes(per_minute=per_minute)
        made_up = [(clip, made_up_results(clip, seed, mistakes)) for clip in clips for seed in range(seeds)]
        study = compare(made_up, {"made up": str(mistakes), "seeds": seeds})
    else:
        study = _with_student(bundle, engine, clips)
    rows = [
        [
            row.setting,
            f"{row.delay_ms[0]:.0f}/{row.delay_ms[1]:.0f}",
            f"{row.polyps:.3f}",
            f"{row.frames:.3f}",
            row.first_ms,
            *row.false_per_minute.values(),
        ]
        for row in study.rows
    ]
    false = [f"false/min >= {least} ms" for least in LASTING_MS]
    console.table(["setting", "ms at 30/60", "polyps", "frames", "first ms", *false], rows)
    if json_path:
        console.write_json(json_path, study)
        console.made(json_path)


def compare(
    runs: Sequence[tuple[Clip, Iterator[Result]]], detector: dict[str, Any], output: Output | None = None
) -> Study:
    """Apply every setting to what a detector found.

    Args:
        runs: Clips and what was found on each of their frames.
        detector: What it is.
        output: Threshold and least region.

    Raises:
        DataError: There is no clip.
    """
    output = output or Output(height=0, width=0)
    if not runs:
        raise DataError("no frames are given", expected="--video, --data or --phantom")
    counts = {name: _Count() for name in SETTINGS}
    for clip, found in runs:
        results = list(found)
        for name, settings in SETTINGS.items():
            smoother = Smoother(settings, lambda: output)
            blank = np.zeros((*clip.frame_size, 3), np.uint8)
            shown = [
                smoother.apply(Frame(number, blank, round(number * 1e9 / clip.fps)), result)
                for number, result in enumerate(results)
            ]
            counts[name].add(clip, [[region.box for region in result.regions] for result in shown])
    minutes = sum(len(clip.truth) / clip.fps for clip, _ in runs) / 60
    return Study(
        detector=detector,
        clips=[(clip.name, len(clip.truth), clip.fps) for clip, _ in runs],
        polyps=counts["none"].polyps,
        minutes=minutes,
        rows=[counts[name].row(name, settings, minutes) for name, settings in SETTINGS.items()],
        device=read_device(),
        versions=versions(),
    )


def _with_student(path: Path, engine: str, clips: Sequence[Clip]) -> Study:
    """Compare the settings on what a student finds."""
    from edge.bundle.reader import Bundle
    from edge.engines.open import open_engine

    bundle = Bundle.open(path)
    with closing(open_engine(bundle, engine)) as student:
        runs = [(clip, _looks(clip, student, bundle.manifest)) for clip in clips]
        described = {"bundle": bundle.manifest.name, "engine": student.name, **student.settings()}
        return compare(runs, described, bundle.manifest.output)


def made_up_results(clip: Clip, seed: int, mistakes: Mistakes | None = None) -> Iterator[Result]:
    """What the made-up detector finds on each frame of a clip, which it sees whole."""
    output = Output(height=0, width=0)
    for scores in scores_of(
        clip.truth, clip.frame_size, fps=clip.fps, mistakes=mistakes or Mistakes(), seed=seed
    ):
        found = regions(scores, clip.frame_size, output.point)
        yield Result(scores.copy(), found, mask_area(found), None)


def _looks(clip: Clip, student: Engine, manifest: Manifest) -> Iterator[Result]:
    """What a student finds on each frame of a clip, shown as on the device."""
    guard = FrameGuard(clip.fps)
    for number, image in enumerate(clip.images()):
        frame = Frame(number, image, round(number * 1e9 / clip.fps))
        result = analyse(frame, student, manifest, view=guard.judge(frame).view)
        yield replace(result, scores=None if result.scores is None else result.scores.copy())


class _Count:
    """What one setting showed and did not show."""

    def __init__(self) -> None:
        self.polyps = self._shown = self._frames = self._hit_frames = 0
        self._first_ms: list[float] = []
        self._false_ms: list[float] = []

    def add(self, clip: Clip, shown: list[list[Box]]) -> None:
        """Count one clip."""
        hits = [
            [any(overlap(true, box) >= LINK for box in boxes) for true in trues]
            for trues, boxes in zip(clip.truth, shown, strict=True)
        ]
        for track in link(clip.truth, gap=_SAME_GAP, jumps=True):
            if (track[-1][0] - track[0][0] + 1) * 1000 / clip.fps < _LEAST_VISIBLE_MS:
                continue
            found = [number for number, index in track if hits[number][index]]
            self.polyps += 1
            self._shown += bool(found)
            if found:
                self._first_ms.append((found[0] - track[0][0]) * 1000 / clip.fps)
        self._frames += sum(bool(trues) for trues in clip.truth)
        self._hit_frames += sum(any(hit) for hit in hits)
        false = [
            [box for box in boxes if not any(overlap(box, true) > 0 for true in trues)]
            for trues, boxes in zip(clip.truth, shown, strict=True)
        ]
        self._false_ms += [len({number for number, _ in run}) * 1000 / clip.fps for run in link(false, gap=0)]

    def row(self, name: str, settings: Smoothing, minutes: float) -> Row:
        """All clips together."""
        return Row(
            setting=name,
            smoothing={key: getattr(settings, key) for key in settings.__dataclass_fields__},
            delay_ms=(settings.delay_ms(30.0), settings.delay_ms(60.0)),
            polyps=self._shown / max(1, self.polyps),
            frames=self._hit_frames / max(1, self._frames),
            first_ms=float(np.median(self._first_ms)) if self._first_ms else None,
            false_per_minute={
                str(least): sum(lasted >= least for lasted in self._false_ms) / minutes
                for least in LASTING_MS
            },
        )


if __name__ == "__main__":
    try:
        command()
    except EdgeDifomError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
