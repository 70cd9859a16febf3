"""Run an engine over a clip as `edge-difom run` does, and keep what it found on each frame.

A clip is inferred once, through the device's own frame loop with its guard, crop and postprocessing
and without smoothing. What smoothing shows of it is computed afterwards, for any number of
settings.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge.bundle.header import bundle_header
from edge.clip_evaluation.events import ShownFrame, durations_ns
from edge.clip_evaluation.figures import ShownClip, clip_figures
from edge.clip_evaluation.records import VideoReport
from edge.clip_evaluation.truth import read_truth
from edge.errors import DataError
from edge.frame import Frame
from edge.imaging.postprocess import UNITS
from edge.pipeline.frame_guard import FrameGuard
from edge.pipeline.loop import FrameLoop
from edge.pipeline.smoothing import Smoother, Smoothing
from edge.sources.clip import ClipSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from edge.bundle.manifest import Manifest, Output
    from edge.bundle.reader import Bundle
    from edge.clip_evaluation.truth import Boxes, TruthKind
    from edge.contracts import Engine
    from edge.frame import Result
    from edge.status import Status


class ClipTruth(NamedTuple):
    """A clip and the location of its truth.

    Attributes:
        clip: The video file.
        kind: Kind of `path`.
        path: File of boxes or folder of masks; None for a clean clip.
    """

    clip: Path
    kind: TruthKind
    path: Path | None


class Survey(NamedTuple):
    """Everything that must be known about a clip before it is run.

    Attributes:
        source: The clip and the location of its truth.
        size: Height and width of the frames.
        truth: True boxes of each frame.
    """

    source: ClipTruth
    size: tuple[int, int]
    truth: list[Boxes]


class Look(NamedTuple):
    """The result of one frame.

    Attributes:
        at_ns: Stamp in the clip, nanoseconds.
        result: Regions before smoothing; with scores only if requested.
        peak: Highest score of the frame, 0 to 1; None if the frame was not judged.
    """

    at_ns: int
    result: Result
    peak: float | None


class Watched(NamedTuple):
    """A clip with its truth and the result of each frame.

    Attributes:
        name: File name of the clip.
        kind: Kind of its truth.
        size: Height and width of the frames.
        truth: True boxes of each frame.
        looks: Result of each frame.
    """

    name: str
    kind: TruthKind
    size: tuple[int, int]
    truth: Sequence[Boxes]
    looks: Sequence[Look]

    def shown(self, smoothing: Smoothing | None, output: Output | None = None) -> list[ShownFrame]:
        """Return what is shown under a setting of the smoothing.

        Args:
            smoothing: The setting; None shows everything that was found.
            output: Threshold and minimum region, for a setting that smooths score maps.
        """
        results = [look.result for look in self.looks]
        if smoothing is not None:
            smoother = Smoother(smoothing, None if output is None else lambda: output)
            blank = np.zeros((*self.size, 3), np.uint8)
            results = [
                smoother.apply(Frame(number, blank, look.at_ns), look.result)
                for number, look in enumerate(self.looks)
            ]
        return [
            ShownFrame(
                look.at_ns,
                truth,
                tuple(region.box for region in (*result.regions, *result.boxes)),
                "" if result.reason is None else str(result.reason.kind),
                tuple(region.score for region in (*result.regions, *result.boxes)),
            )
            for look, truth, result in zip(self.looks, self.truth, results, strict=True)
        ]

    def shown_both(self, smoothing: Smoothing) -> ShownClip:
        """Return what is shown with a setting of the smoothing, and without."""
        return ShownClip(self.name, self.kind, self.shown(smoothing), self.shown(None))


def survey_clip(source: ClipTruth) -> Survey:
    """Read a clip once without an engine, so that its truth is checked before the long run.

    Raises:
        SourceError: The clip cannot be read.
        DataError: The frames differ in size or are too far apart, or the truth does not fit.
    """
    stamps, sizes = [], set()
    with ClipSource(source.clip, own_stamps=True) as frames:
        while (frame := frames.read()) is not None:
            stamps.append(frame.captured_ns)
            sizes.add((frame.image.shape[0], frame.image.shape[1]))
    if len(sizes) > 1:
        raise DataError(f"the frames of {source.clip} differ in size", got=f"{sorted(sizes)}")
    try:
        durations_ns(stamps)
    except DataError as error:
        raise DataError(
            f"{source.clip}: {error.what}", expected="a video", got=str(error)
        ) from error
    (size,) = sizes
    return Survey(source, size, read_truth(source.kind, source.path, len(stamps), size))


def watch_clip(
    survey: Survey,
    engine: Engine,
    manifest: Manifest,
    *,
    keep_scores: bool = False,
    done: Callable[[], None] | None = None,
) -> Watched:
    """Run an engine over a clip.

    Frames are dated by their own stamps, so that guard and smoothing see the pace of the recording.

    Args:
        survey: The clip.
        engine: The student; the caller closes it.
        manifest: Manifest of its bundle.
        keep_scores: Keep the score maps, for settings that smooth them.
        done: Called after each frame.

    Raises:
        SourceError: The clip cannot be read.
        DataError: The number of frames differs from that of the survey.
    """
    recorder = _Recorder(keep_scores)
    loop = FrameLoop(
        source=ClipSource(survey.source.clip, own_stamps=True),
        engine=engine,
        manifest=lambda: manifest,
        sinks=(recorder,),
        guard=FrameGuard(),
        on_frame=None if done is None else lambda *_: done(),
    )
    loop.run()
    name = survey.source.clip.name
    if len(recorder.looks) != len(survey.truth):
        raise DataError(
            f"{survey.source.clip} changed while it was evaluated",
            expected=f"{len(survey.truth)} frames",
            got=f"{len(recorder.looks)}",
        )
    return Watched(name, survey.source.kind, survey.size, survey.truth, recorder.looks)


@dataclass
class _Recorder:
    """The sink that keeps what was found on each frame."""

    keep_scores: bool
    looks: list[Look] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def write(self, frame: Frame, result: Result) -> None:
        """Keep one frame; the engine's score map is valid until its next call only."""
        scores = result.scores if result.reason is None else None
        peak = None if scores is None else float(scores.max()) / UNITS
        scores_kept = scores.copy() if scores is not None and self.keep_scores else None
        self.looks.append(Look(frame.captured_ns, replace(result, scores=scores_kept), peak))

    def outputs(self) -> list[Path]:
        """No files: what was found stays in memory."""
        return []

    def notify(self, status: Status) -> None:
        """Ignore the status: each result carries its own reason."""


def evaluate_video(
    bundle: Bundle,
    surveys: Sequence[Survey],
    *,
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "int8",
    done: Callable[[str], None] | None = None,
) -> tuple[VideoReport, list[Watched]]:
    """Evaluate an engine of a bundle on clips, with the device's smoothing and without.

    Args:
        bundle: An open bundle.
        surveys: The clips, from `survey_clip`.
        engine: `openvino`, `tflite`, `onnx` or `auto`.
        threads: CPU threads; None for every core.
        precision: `int8`, `f32`, `bf16` or `f16`.
        done: Called with the name of the clip after each frame.

    Returns:
        The record, and what was found on each frame for the page.

    Raises:
        SourceError: A clip cannot be read.
        DataError: There is no clip, or one changed since it was surveyed.
        BundleError: The engine does not verify or cannot run on this machine.
        UsageError: The bundle has no such engine.
        MissingDependencyError: The engine's runtime is not installed.
    """
    from edge.inference.isolated import open_isolated

    manifest, smoothing = bundle.manifest, Smoothing()
    with closing(open_isolated(bundle, engine, threads=threads, precision=precision)) as student:
        watched = []
        for survey in surveys:
            tell = None if done is None else partial(done, survey.source.clip.name)
            watched.append(watch_clip(survey, student, manifest, done=tell))
        name, settings = student.name, student.settings()
    clips = [clip.shown_both(smoothing) for clip in watched]
    report = VideoReport(
        bundle=manifest.name,
        engine=name,
        settings=settings,
        threshold=manifest.output.threshold,
        smoothing=asdict(smoothing),
        total=clip_figures("all clips", clips),
        clips=[clip_figures(clip.name, [clip]) for clip in clips],
        header=bundle_header(
            bundle,
            engine=name,
            precision=precision,
            data=", ".join(clip.name for clip in clips),
            files=[survey.source.clip for survey in surveys],
        ),
    )
    return report, watched
