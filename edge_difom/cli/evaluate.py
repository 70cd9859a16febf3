"""`edge-difom evaluate`: accuracy on labeled images, by this project's protocol and PraNet's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.errors import UsageError
from edge_difom.cli import console, evaluate_delimit, evaluate_video, options
from edge_difom.cli.evaluation_tables import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.bundle.reader import Bundle
    from edge.datasets.negatives import CleanFrame
    from edge.datasets.public_sets import LabeledFrames
    from edge.evaluation.gallery import Gallery
    from edge.evaluation.metrics import EvaluationReport, Negatives


@click.command(
    "evaluate",
    cls=evaluate_video.ClipCommand,
    short_help="Measure Dice and IoU of a bundle or a run on labeled images.",
    epilog=console.examples(
        "edge-difom evaluate --bundle B --data DIR --engine openvino --json openvino.json",
        "edge-difom evaluate --bundle B --pairs RUN/splits.json --engine tflite",
        "edge-difom evaluate --bundle B --data DIR --negatives CLEAN --json new.json",
        "edge-difom evaluate --bundle B --data DIR --negatives CLEAN --report new.html --compare "
        "old.json",
        "edge-difom evaluate --bundle edge-s --data DIR --shifts --clean-frames 500 --report "
        "shifts.html",
        "edge-difom evaluate --bundle edge-s --video A.mp4 --boxes A.json --video B.mp4 --clean "
        "--report page.html",
        "edge-difom evaluate --run RUN --data DIR --json fp32.json",
        "edge-difom evaluate --detector student:RUN --delineator oracle --data DIR",
        "edge-difom evaluate --detector oracle --delineator sam:FOLDER --data DIR --json sam.json",
        "edge-difom evaluate --run RUN --data kvasir:TestDataset --report kvasir.html",
    ),
)
@options.bundle()
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run of `distill`, instead of a bundle: its best checkpoint, in FP32.",
)
@click.option(
    "--data",
    metavar="[SET:]DIR",
    help="Folder with images/ and masks/. For a public benchmark, put kvasir:, clinicdb:, "
    "colondb:, "
    "cvc300: or etis: before the folder of that set or of TestDataset.",
)
@click.option(
    "--names", type=click.Path(path_type=Path), help="File that lists the frames of --data to use."
)
@click.option(
    "--pairs",
    type=click.Path(path_type=Path),
    help="RUN/splits.json, to use the run's validation pairs and clean validation frames.",
)
@click.option(
    "--negatives",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Folder of further frames without a polyp, counted by folder and video sequence; "
    "repeatable.",
)
@evaluate_delimit.delimit_options
@options.engine()
@options.precision()
@options.threads()
@click.option(
    "--protocol",
    type=click.Choice(["b", "both"]),
    default="both",
    show_default=True,
    help="b: this project's protocol only; both: also report PraNet's protocol (A).",
)
@click.option(
    "--shifts",
    is_flag=True,
    help="Also measure under changes of color, light, optics, compression and screen, with the "
    "INT8 "
    "and f32 engines.",
)
@click.option(
    "--clean-frames",
    type=click.IntRange(min=1),
    metavar="N",
    help="Also count flagged frames among N clean phantoms, and among a polyp-free window of each "
    "frame that has one.",
)
@click.option(
    "--report",
    "report_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write an HTML page with figures, curves and frames. It contains patient images.",
)
@click.option(
    "--compare",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --report: an earlier --json record whose FROC curve is drawn for comparison.",
)
@console.json_option()
@evaluate_video.video_options
def command(
    bundle_path: Path | None,
    run: Path | None,
    data: str | None,
    names: Path | None,
    pairs: Path | None,
    negatives: tuple[Path, ...],
    detector: str | None,
    delineator: str | None,
    engine: str,
    precision: str,
    threads: int | None,
    protocol: str,
    shifts: bool,
    clean_frames: int | None,
    report_path: Path | None,
    compare: Path | None,
    json_path: str | None,
) -> None:
    """Report per-image Dice and IoU at native mask resolution.

    Polyp-free images are reported separately.
    """
    if clips := evaluate_video.clips_of(click.get_current_context()):
        others = {
            "--run": run,
            "--data": data,
            "--names": names,
            "--pairs": pairs,
            "--shifts": shifts,
            "--clean-frames": clean_frames,
            "--detector": detector,
            "--delineator": delineator,
        }
        evaluate_video.run(
            bundle_path,
            clips,
            [name for name, value in others.items() if value],
            engine=engine,
            threads=threads,
            precision=precision,
            report_path=report_path,
            json_path=json_path,
        )
        return
    import msgspec

    from edge.evaluation.evaluator import read_record

    if detector is None and delineator is None:
        _one_of("--bundle", bundle_path, "--run", run)
    _one_of("--data", data, "--pairs", pairs)
    if names is not None and data is None:
        raise UsageError(
            "--names selects frames of --data", expected="--data with --names", got="--pairs"
        )
    if detector is not None or delineator is not None:
        single = {
            "--bundle": bundle_path,
            "--run": run,
            "--shifts": shifts,
            "--clean-frames": clean_frames,
            "--compare": compare,
        }
        evaluate_delimit.run(
            detector,
            delineator,
            [name for name, value in single.items() if value],
            lambda: (_find(data, names, pairs), _find_clean(pairs, negatives)),
            data=data or str(pairs),
            engine=engine,
            threads=threads,
            precision=precision,
            report_path=report_path,
            json_path=json_path,
        )
        return
    if run is not None and (shifts or clean_frames):
        raise UsageError(
            "--shifts and --clean-frames need an engine", expected="--bundle", got="--run"
        )
    if compare is not None and report_path is None:
        raise UsageError("--compare draws a second curve", expected="--report with --compare")
    other = (compare.stem, read_record(compare)) if compare else None
    gallery = _gallery(run) if report_path else None
    keywords: dict[str, Any] = {
        "protocol_a": protocol == "both",
        "on_frame": gallery.add if gallery else None,
    }
    if run is not None:
        if engine != "auto":
            raise UsageError(
                "a run has no engine",
                expected="--run without --engine",
                hint="--bundle B --engine E",
            )
        from distill.train.evaluation import evaluate_run

        frames, free = _find(data, names, pairs), _find_clean(pairs, negatives)
        keywords |= {"clean": free, "dataset": frames.benchmark or _folder_name(data)}
        with console.progress(len(frames.pairs) + len(free), "images") as bar:
            keywords["done"] = lambda name: bar.update(1, name)
            report = evaluate_run(run, frames.pairs, **keywords)
        subject, follows = f"{run.name}, FP32", f"edge-difom qat {run} --bits 8"
        if report.confidence and "confidence" in report.confidence.by_confidence:
            # No engine has a confidence, so such a student is not quantized.
            follows = f"edge-difom distill --config {run}/resolved.yaml --set uncertainty=false"
    else:
        assert bundle_path is not None
        from edge.bundle.reader import Bundle
        from edge.evaluation.bundle import evaluate_bundle, evaluate_bundle_shifts

        bundle = Bundle.open(bundle_path)
        frames, free = _find(data, names, pairs), _find_clean(pairs, negatives)
        keywords |= {"clean": free, "dataset": frames.benchmark or _folder_name(data)}
        with console.progress(len(frames.pairs) + len(free), "images") as bar:
            keywords["done"] = lambda name: bar.update(1, name)
            report = evaluate_bundle(
                bundle,
                frames.pairs,
                engine=engine,
                threads=threads,
                precision=precision,
                **keywords,
            )
        if clean_frames:
            counts = _count_clean(
                bundle, frames, clean_frames, engine=engine, threads=threads, precision=precision
            )
            report = msgspec.structs.replace(report, clean=counts)
        if shifts:
            with console.progress(len(frames.pairs), "changed images") as bar:
                changed = evaluate_bundle_shifts(
                    bundle,
                    frames.pairs,
                    engine=engine,
                    threads=threads,
                    done=lambda name: bar.update(1, name),
                )
            report = msgspec.structs.replace(report, shifts=changed)
        subject = f"{bundle_path.name}, engine {engine}, {precision}"
        follows = f"edge-difom bench --bundle {console.quote(bundle_path)}"
    report = msgspec.structs.replace(report, benchmark=frames.benchmark, notes=list(frames.notes))
    show(report)
    if json_path:
        console.write_json(json_path, report)
        if json_path != "-":
            console.made(json_path)
    if report_path and gallery:
        _write_page(report_path, report, gallery, subject, data or str(pairs), run, other)
    console.next_command(follows)


def _count_clean(
    bundle: Bundle, frames: LabeledFrames, count: int, **options: Any
) -> dict[str, Negatives]:
    """Count flagged frames among clean phantoms and polyp-free windows of the data."""
    from edge.datasets.negatives import phantom_negatives, polyp_free_crops
    from edge.evaluation.bundle import count_clean

    sets = {
        "phantom": phantom_negatives(count),
        "polyp-free windows": polyp_free_crops(frames.pairs),
    }
    with console.progress(count + len(frames.pairs), "clean frames") as bar:
        return {
            name: count_clean(bundle, images, done=lambda name: bar.update(1, name), **options)
            for name, images in sets.items()
        }


def _gallery(run: Path | None) -> Gallery:
    from edge.evaluation.gallery import Gallery
    from edge.evaluation.page import require_extras

    require_extras()
    if run is None:
        return Gallery()
    from distill.train.rounds import round_drawings

    return Gallery(round_drawings(run))


def _write_page(
    path: Path,
    report: EvaluationReport,
    gallery: Gallery,
    subject: str,
    data: str,
    run: Path | None,
    compare: tuple[str, EvaluationReport] | None,
) -> None:
    from edge.evaluation.page import evaluation_page, read_metrics
    from edge.util.files import PRIVATE_FILE, atomic_write

    metrics = read_metrics(run) if run else []
    page = evaluation_page(
        report, gallery, subject=subject, data=data, metrics=metrics, compare=compare
    )
    atomic_write(path, page, mode=PRIVATE_FILE)
    console.made(path)
    console.say("The page contains patient images and must not leave this machine.")


def _find(data: str | None, names: Path | None, pairs: Path | None) -> LabeledFrames:
    from edge.datasets.public_sets import LabeledFrames, find_labeled
    from edge.evaluation.run_splits import read_splits

    if pairs is not None:
        return LabeledFrames(read_splits(pairs))
    assert data is not None
    return find_labeled(data, names)


def _find_clean(pairs: Path | None, negatives: Sequence[Path]) -> list[CleanFrame]:
    """Return the clean validation frames of a run and those of folders."""
    from edge.datasets.negatives import clean_frames
    from edge.evaluation.run_splits import read_clean_splits

    return [*(read_clean_splits(pairs) if pairs else []), *clean_frames(negatives)]


def _folder_name(data: str | None) -> str:
    """Return the name of a data set from its folder; for a split's folder, its parent's name."""
    if data is None:
        return "given"
    folder = Path(data).resolve()
    return folder.parent.name if folder.name in ("train", "validation", "test") else folder.name


def _one_of(first: str, a: object, second: str, b: object) -> None:
    if (a is None) == (b is None):
        raise UsageError(
            f"give {first} or {second}",
            expected="one of the two",
            got="neither" if a is None else "both",
            hint="edge-difom evaluate --help",
        )
