"""`python -m benchmarks.studies.smoothing`: compare settings of temporal smoothing.

The comparison shows how many polyps smoothing costs and how many false events it avoids. A detector
runs over clips once; each setting is then applied to its output and evaluated as by `edge-difom
evaluate --video`. With `--bundle` the detector is a student. Without it, the detector is simulated
(`benchmarks.studies.simulated_detector`) and runs over the phantom: the figures then compare
settings under that process and say nothing about a student.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import msgspec

from benchmarks.studies.clips import draw_clip, read_burned, write_sequences
from benchmarks.studies.simulated_detector import Mistakes, scores_of
from edge.bundle.manifest import Output
from edge.clip_evaluation.figures import ShownClip, clip_figures, view_figures
from edge.clip_evaluation.records import EventRate  # noqa: TC001 - a field of the record
from edge.clip_evaluation.run import Look, Watched, survey_clip, watch_clip
from edge.errors import DataError, UsageError
from edge.frame import Result
from edge.imaging.postprocess import UNITS, mask_area, regions
from edge.pipeline.smoothing import Smoothing
from edge.util.host import Device, read_device, versions
from edge_difom.cli import console
from edge_difom.cli.evaluate_video import ClipCommand, clips_of, video_options
from edge_difom.cli.main import run_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.studies.clips import PhantomClip
    from edge.clip_evaluation.run import ClipTruth

SETTINGS = {
    "none": Smoothing(seen=1, of=1, least_ms=0, gap=0),
    **{
        f"{seen} of {of}": Smoothing(seen=seen, of=of, least_ms=0)
        for seen, of in ((2, 3), (3, 5), (4, 6), (5, 7), (7, 9))
    },
    **{
        f"{seen} of {of}, {least} ms": Smoothing(seen=seen, of=of, least_ms=least)
        for seen, of, least in (
            (2, 3, 130),
            (3, 5, 130),
            (4, 6, 100),
            (4, 6, 130),
            (4, 6, 200),
            (4, 6, 300),
            (5, 7, 200),
            (7, 9, 300),
            (4, 6, 500),
        )
    },
    **{
        f"4 of 6, 130 ms, gap {gap}": Smoothing(seen=4, of=6, least_ms=130, gap=gap)
        for gap in (0, 2, 5, 30)
    },
    "scores 1/2": Smoothing(seen=1, of=1, least_ms=0, gap=0, weight=128),
    "scores 1/4": Smoothing(seen=1, of=1, least_ms=0, gap=0, weight=64),
    "4 of 6, 130 ms, scores 1/2": Smoothing(seen=4, of=6, least_ms=130, weight=128),
}
"""Maps names to settings."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One setting on all clips, with the figures of `edge.clip_evaluation.records.ViewFigures`.

    Attributes:
        setting: Name of the setting.
        smoothing: The setting.
        delay_ms: Added delay if a polyp is found on every frame, at 30 and at 60 frames a second.
        polyps_found: Polyp appearances that were shown on at least one frame.
        first_s_median: Median seconds from a polyp's first frame to the first frame on which it is
            shown.
        share_hit: Share of the frames with a box on which a shown region overlaps one.
        share_false: Share of all frames on which a shown region overlaps no box.
        false_frames: The frames that this counts, by clip.
        flickers_per_minute: How often per minute a shown region disappeared for less than 500 ms.
        event_rates: False events per minute for each minimum duration.
        all_events: False events of any duration.
    """

    setting: str
    smoothing: dict[str, float]
    delay_ms: tuple[float, float]
    polyps_found: int
    first_s_median: float | None
    share_hit: float | None
    share_false: float | None
    false_frames: dict[str, int]
    flickers_per_minute: float | None
    event_rates: list[EventRate]
    all_events: int


class ClipRow(msgspec.Struct, frozen=True, kw_only=True):
    """One clip: its truth, frames and seconds, and the frames that were not judged."""

    name: str
    truth: str
    frames: int
    seconds: float
    not_judged: dict[str, int]


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """Compared settings, the detector and the clips.

    Attributes:
        detector: The student, or the process of the simulated detector.
        clips: Each clip, once for each seed of the simulated detector.
        polyps: Polyp appearances with a judged frame.
        minutes: Judged minutes of all clips.
        rows: One row for each setting.
        device: The machine.
        versions: Software versions.
    """

    detector: dict[str, Any]
    clips: list[ClipRow]
    polyps: int
    minutes: float
    rows: list[Row]
    device: Device
    versions: dict[str, str | None]


_CALL = "python -m benchmarks.studies.smoothing"


@click.command(
    cls=ClipCommand,
    epilog=console.examples(
        f"{_CALL} --bundle edge-s --video A.mp4 --boxes A.json --video B.mp4 --clean",
        f"{_CALL} --bundle edge-s --sequences DIR --fps 25 --out smoothing.json",
        f"{_CALL} --phantom 20 --seeds 5 --out smoothing.json",
    ),
)
@click.option(
    "--bundle", type=console.BUNDLE, help="Student to use instead of the simulated detector."
)
@click.option("--engine", default="auto", show_default=True, help="Engine of the bundle.")
@click.option(
    "--sequences",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Clean pictures named SEQUENCE_FRAME; each sequence is a clip at --fps.",
)
@click.option(
    "--burned",
    "burned",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="CLIP",
    help="Clip with boxes burned in as blue outlines, judged up to the last one. The student sees "
    "them, so that only the order of the settings counts.",
)
@click.option(
    "--phantom", default=0, metavar="N", help="Clips of the phantom, 20 s each, without --bundle."
)
@click.option(
    "--fps", default=30.0, show_default=True, help="Frame rate of the phantom and of --sequences."
)
@click.option(
    "--per-minute",
    default=10.0,
    show_default=True,
    help="False positives of the simulated detector.",
)
@click.option(
    "--seeds", default=5, show_default=True, help="Runs of the simulated detector over each clip."
)
@click.option("--out", "json_path", metavar="FILE", help="Write the study as JSON.")
@video_options
@click.pass_context
def command(
    context: click.Context,
    bundle: Path | None,
    engine: str,
    folders: tuple[Path, ...],
    burned: tuple[Path, ...],
    phantom: int,
    fps: float,
    per_minute: float,
    seeds: int,
    json_path: str | None,
) -> None:
    """Compare settings of the smoothing on clips."""
    clips = clips_of(context)
    if bundle is None:
        if clips or folders or burned:
            raise UsageError("real clips need a student", expected="--bundle B", got="no bundle")
        mistakes = Mistakes(per_minute=per_minute)
        clips_drawn = [draw_clip(seed, fps) for seed in range(phantom)]
        watched = [made_up(clip, seed, mistakes) for clip in clips_drawn for seed in range(seeds)]
        study = compare(
            watched, {"made up": str(mistakes), "seeds": seeds}, Output(height=0, width=0)
        )
    else:
        if phantom:
            raise UsageError("the phantom is for the simulated detector", expected="no --bundle")
        with TemporaryDirectory() as folder:
            out = Path(folder)
            for number, sequences in enumerate(folders):
                (out / str(number)).mkdir()
                clips += write_sequences(sequences, fps, out / str(number))
            clips += [read_burned(clip, out) for clip in burned]
            study = _with_student(bundle, engine, clips)
    _show(study)
    if json_path:
        console.write_json(json_path, study)
        console.made(json_path)


def compare(clips: Sequence[Watched], detector: dict[str, Any], output: Output) -> Study:
    """Apply every setting to the output of a detector.

    Args:
        clips: Clips with the detector's output and score maps on each frame.
        detector: Description of the detector.
        output: Threshold and minimum region.

    Raises:
        DataError: There are no clips.
    """
    if not clips:
        raise DataError("no frames are given", expected="--video, --sequences or --phantom")
    plain = [ShownClip(clip.name, clip.kind, *[clip.shown(None)] * 2) for clip in clips]
    rows = []
    for name, setting in SETTINGS.items():
        shown = [(clip.name, clip.shown(setting, output)) for clip in clips]
        view = view_figures(shown)
        false_frames = {one[0]: view_figures([one]).false_frames for one in shown}
        rows.append(
            Row(
                setting=name,
                smoothing=asdict(setting),
                delay_ms=(setting.delay_ms(30.0), setting.delay_ms(60.0)),
                polyps_found=view.polyps_found,
                first_s_median=view.first_s_median,
                share_hit=view.share_hit,
                share_false=view.share_false,
                false_frames={name: count for name, count in false_frames.items() if count},
                flickers_per_minute=view.flickers_per_minute,
                event_rates=view.event_rates,
                all_events=len(view.false_events),
            )
        )
    total = clip_figures("all clips", plain)
    return Study(
        detector=detector,
        clips=[
            ClipRow(
                name=one.name,
                truth=one.truth,
                frames=one.frames,
                seconds=one.seconds,
                not_judged=one.not_judged,
            )
            for one in (clip_figures(clip.name, [clip]) for clip in plain)
        ],
        polyps=total.polyps - total.polyps_not_judged,
        minutes=total.judged_minutes,
        rows=rows,
        device=read_device(),
        versions=versions(),
    )


def made_up(clip: PhantomClip, seed: int, mistakes: Mistakes | None = None) -> Watched:
    """Return the output of the simulated detector on each frame of a clip, which it sees whole."""
    point = Output(height=0, width=0).point
    looks = []
    for number, scores in enumerate(
        scores_of(clip.truth, clip.size, fps=clip.fps, mistakes=mistakes or Mistakes(), seed=seed)
    ):
        found_regions = regions(scores, clip.size, point)
        result = Result(scores.copy(), found_regions, mask_area(found_regions), None)
        looks.append(Look(round(number * 1e9 / clip.fps), result, float(scores.max()) / UNITS))
    return Watched(clip.name, "boxes", clip.size, clip.truth, looks)


def _with_student(path: Path, engine: str, clips: Sequence[ClipTruth]) -> Study:
    """Compare the settings on the output of a student."""
    from edge.bundle.reader import Bundle
    from edge.engines.open import open_engine

    bundle = Bundle.open(path)
    surveys = [survey_clip(clip) for clip in clips]
    with (
        closing(open_engine(bundle, engine)) as student,
        console.progress(sum(len(survey.truth) for survey in surveys), "frames") as bar,
    ):
        watched = [
            watch_clip(
                survey, student, bundle.manifest, keep_scores=True, done=lambda: bar.update(1)
            )
            for survey in surveys
        ]
        described = {"bundle": bundle.manifest.name, "engine": student.name, **student.settings()}
    return compare(watched, described, bundle.manifest.output)


def _show(study: Study) -> None:
    console.say(
        f"{len(study.clips)} clips, {study.minutes:.3g} judged minutes, {study.polyps} polyps"
    )
    least = [f">= {rate.least_s:g} s" for rate in study.rows[0].event_rates]
    console.table(
        [
            "setting",
            "ms at 30/60",
            "found",
            "first s",
            "frames hit",
            "false",
            "flicker/min",
            "events",
            *least,
        ],
        [
            [
                row.setting,
                f"{row.delay_ms[0]:.0f}/{row.delay_ms[1]:.0f}",
                row.polyps_found,
                row.first_s_median,
                row.share_hit,
                row.share_false,
                row.flickers_per_minute,
                row.all_events,
                *(rate.events for rate in row.event_rates),
            ]
            for row in study.rows
        ],
    )


if __name__ == "__main__":
    run_program(command)
