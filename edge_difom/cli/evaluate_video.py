"""`edge-difom evaluate --video`: count polyps found, false events and flicker on clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge.errors import UsageError
from edge_difom.cli import console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.clip_evaluation.records import ClipFigures, VideoReport
    from edge.clip_evaluation.run import ClipTruth

_CLIPS = "edge_difom.cli.evaluate_video.clips"
_FORM = "--video CLIP, followed by --boxes FILE, --masks DIR or --clean, for each clip"

F = TypeVar("F", bound="Callable[..., Any]")


class ClipCommand(click.Command):
    """A command whose `--video` options are each followed by the truth of that clip."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Let `evaluate compare A B` be `compare A B`."""
        if args[:1] == ["compare"]:
            from edge_difom.cli.compare import command

            return command.make_context(f"{info_name} compare", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options, and pair each clip with the truth that follows it.

        Raises:
            UsageError: A clip has no truth or two, or a truth follows no clip.
        """
        # The parser knows the order of different options, the context does not.
        values, _, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[_CLIPS] = _pair(values, [str(param.name) for param in order])
        return super().parse_args(ctx, args)


def video_options(command: F) -> F:
    """Add the options of clips; the command reads them through `clips_of`."""
    path = click.Path(path_type=Path)
    for option in (
        click.option(
            "--clean",
            count=True,
            expose_value=False,
            help="Truth of the preceding clip: it shows no polyp.",
        ),
        click.option(
            "--masks",
            type=path,
            multiple=True,
            expose_value=False,
            metavar="DIR",
            help="Truth of the preceding clip: one mask per frame, named by the frame's number at "
            "the end.",
        ),
        click.option(
            "--boxes",
            type=path,
            multiple=True,
            expose_value=False,
            metavar="FILE",
            help='Truth of the preceding clip: {"frames": {"0": [[x, y, width, height], ...], '
            "...}}.",
        ),
        click.option(
            "--video",
            type=path,
            multiple=True,
            expose_value=False,
            metavar="CLIP",
            help="Evaluate on a clip instead of images; followed by its truth: --boxes FILE, "
            "--masks DIR, or --clean if it shows no polyp. Several clips are summed.",
        ),
    ):
        command = option(command)
    return command


def clips_of(context: click.Context) -> list[ClipTruth]:
    """Return the clips of a command line and their truth."""
    clips: list[ClipTruth] = context.meta.get(_CLIPS, [])
    return clips


def run(
    bundle_path: Path | None,
    clips: Sequence[ClipTruth],
    unused: Sequence[str],
    *,
    engine: str,
    threads: int | None,
    precision: str,
    report_path: Path | None,
    json_path: str | None,
) -> None:
    """Evaluate a bundle on clips, and show and write the record.

    Args:
        bundle_path: The bundle.
        clips: The clips and their truth.
        unused: Given options that do not apply to clips.
        engine: As `edge.clip_evaluation.run.evaluate_video`.
        threads: CPU threads; None for every core.
        precision: `int8`, `f32`, `bf16` or `f16`.
        report_path: Page to write.
        json_path: Record to write.

    Raises:
        UsageError: There is no bundle, or an option does not apply.
    """
    if bundle_path is None or unused:
        raise UsageError(
            "--video evaluates a bundle on clips",
            expected="--bundle B " + _FORM,
            got=", ".join(unused) or "no --bundle",
            hint="edge-difom evaluate --help",
        )
    from edge.bundle.reader import Bundle
    from edge.clip_evaluation.page import require_extras, video_page
    from edge.clip_evaluation.run import evaluate_video, survey_clip
    from edge.util.files import PRIVATE_FILE, atomic_write

    if report_path:
        require_extras()
    bundle = Bundle.open(bundle_path)
    surveys = [survey_clip(clip) for clip in clips]
    with console.progress(sum(len(survey.truth) for survey in surveys), "frames") as bar:
        report, watched = evaluate_video(
            bundle,
            surveys,
            engine=engine,
            threads=threads,
            precision=precision,
            done=lambda name: bar.update(1, name),
        )
    _show(report)
    if json_path:
        console.write_json(json_path, report)
        if json_path != "-":
            console.made(json_path)
    if report_path:
        atomic_write(report_path, video_page(report, watched), mode=PRIVATE_FILE)
        console.made(report_path)
    console.next_command(
        f"edge-difom run --source file:{console.quote(clips[0].clip)} "
        f"--bundle {console.quote(bundle_path)} --view"
    )


def _pair(values: dict[str, Any], order: Sequence[str]) -> list[ClipTruth]:
    """Pair each clip with the one truth that follows it."""
    if "video" not in order:
        if "boxes" in order or "masks" in order or "clean" in order:
            raise UsageError("the truth of a clip is given without the clip", expected=_FORM)
        return []
    from edge.clip_evaluation.run import ClipTruth

    values_of = {name: iter(values.get(name) or ()) for name in ("video", "boxes", "masks")}
    pairs: list[tuple[Path, list[ClipTruth]]] = []
    for name in order:
        if name == "video":
            pairs.append((Path(next(values_of["video"])), []))
        elif name in ("boxes", "masks", "clean"):
            if not pairs:
                raise UsageError("the truth of a clip comes before the clip", expected=_FORM)
            clip, truths = pairs[-1]
            if name == "boxes":
                truths.append(ClipTruth(clip, "boxes", Path(next(values_of["boxes"]))))
            elif name == "masks":
                truths.append(ClipTruth(clip, "masks", Path(next(values_of["masks"]))))
            else:
                truths.append(ClipTruth(clip, "clean", None))
    for clip, truths in pairs:
        if len(truths) != 1:
            raise UsageError(
                f"the clip {clip} needs one truth",
                expected=_FORM,
                got="none" if not truths else "several",
            )
    return [truths[0] for _, truths in pairs]


def _show(report: VideoReport) -> None:
    rows: list[ClipFigures] = (
        [*report.clips, report.total] if len(report.clips) > 1 else report.clips
    )
    console.table(
        ["clip", "truth", "frames", "judged", "not judged", "judged min", "polyps", "none judged"],
        [
            [
                clip.name,
                clip.truth,
                clip.frames,
                clip.judged_frames,
                ", ".join(f"{kind} {count}" for kind, count in clip.not_judged.items()) or "0",
                clip.judged_minutes,
                clip.polyps,
                clip.polyps_not_judged,
            ]
            for clip in rows
        ],
    )
    views = [
        (clip.name, label, view)
        for clip in rows
        for label, view in (("on", clip.smoothed), ("off", clip.unsmoothed))
    ]
    console.table(
        [
            "clip",
            "smoothing",
            "found",
            "median s",
            "frames hit",
            "IoU >= .3",
            "false frames",
            "flicker/min",
        ],
        [
            [
                name,
                label,
                view.polyps_found,
                view.first_s_median,
                view.share_hit,
                view.share_hit_iou,
                view.share_false,
                view.flickers_per_minute,
            ]
            for name, label, view in views
        ],
    )
    console.table(
        [
            "clip",
            "smoothing",
            "true boxes",
            "shown",
            "IoU >= .5",
            "precision",
            "recall",
            "F1",
            "AP",
        ],
        [
            [
                name,
                label,
                boxes.true,
                boxes.proposed,
                boxes.right,
                boxes.precision,
                boxes.recall,
                boxes.f1,
                boxes.average_precision,
            ]
            for name, label, view in views
            if (boxes := view.boxes) is not None
        ],
    )
    console.table(
        ["clip", "smoothing", "false events", "events", "per minute", "95 % low", "high"],
        [
            [
                name,
                label,
                f">= {rate.least_s:g} s",
                rate.events,
                rate.per_minute,
                *(rate.ci95 or (None, None)),
            ]
            for name, label, view in views
            for rate in view.event_rates
        ],
    )
