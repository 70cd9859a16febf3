"""A bundle from a quantized run: engines, golden frames, accuracy, parity, provenance and cards."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np

from distill.runs import versions
from distill.splits import Splits, data_digest
from edge.backends import open_engine_files
from edge.bundle import Bundle, write_bundle
from edge.errors import ParityError
from edge.evaluate import evaluate, read_splits
from edge.files import refuse_existing
from edge.manifest import (
    RESEARCH_USE,
    SCHEMA_VERSION,
    Accuracy,
    Golden,
    GoldenSet,
    Input,
    Manifest,
    Output,
    Provenance,
)
from edge.pairs import read_pair
from edge.phantom import render
from edge.preprocess import to_input
from edge.verify import compare
from quantize.canonical import canonicalize
from quantize.cards import data_card, model_card
from quantize.export import export_engines
from quantize.parity import FrameSet, canonical_scores, engine_scores, hard_frames, parity_rows
from quantize.runs import load_quantized

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge.pairs import Pair
    from edge.types import Engine, ImageU8
    from quantize.canonical import Canonical
    from quantize.export import ExportedEngine
    from quantize.runs import QuantizedRun

LICENCE = "research use only (weights trained on research-only data)"
CERTIFIED_FRAMES = 256
"""Validation frames that the steps are compared on at most."""
GOLDEN_FRAMES = 8
GOLDEN_SEEDS = 96
LEAST_AREA, MOST_AREA = 0.005, 0.5
"""A golden frame tells something when its mask covers this share of the image."""


def make_bundle(
    run: Path,
    out: Path,
    *,
    name: str | None = None,
    with_f32: bool = False,
    pairs: Sequence[Pair] | None = None,
    threads: int | None = None,
    force: bool = False,
) -> Bundle:
    """Write the bundle of a quantized run.

    Args:
        run: Folder of the distillation, or its `qat8`.
        out: Directory to write.
        name: Of the bundle; by default student, size and the run's name.
        with_f32: Put the f32 engines beside the INT8 ones.
        pairs: Images and masks to state the accuracy on; by default the run's validation split.
        threads: CPU threads of the engines while they are checked; None for every core.
        force: Replace what is there.

    Raises:
        UsageError: `out` exists, or the run was not quantized.
        ParityError: An engine disagrees with the canonical graph on a golden frame, or fewer than half of the
            golden frames give a mask. Nothing is written then.
        DataError: The validation images cannot be used.
    """
    refuse_existing(out, force=force)
    quantized = load_quantized(run)
    source, canonical = quantized.source, quantized.canonical
    plain = export_engines(canonicalize(source.student, canonical.size))
    whole = export_engines(canonical)
    engines = whole + plain if with_f32 else whole
    splits = msgspec.json.decode((source.path / "splits.json").read_bytes(), type=Splits)
    frames, scores = choose_golden(canonical)
    files = {
        path: content
        for engine in engines
        for path, content in zip(engine.paths, engine.contents, strict=True)
    }
    golden = []
    for number, (frame, expected) in enumerate(zip(frames, scores, strict=True)):
        entry = Golden(frame=f"golden/{number:02d}.frame.png", scores=f"golden/{number:02d}.scores.png")
        files[entry.frame], files[entry.scores] = _png(frame[..., ::-1]), _png(expected)
        golden.append(entry)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=name or f"{source.config.student}-{source.config.size}-{source.path.resolve().name}",
        intended_use=RESEARCH_USE,
        licence=LICENCE,
        input=Input(height=frames.shape[1], width=frames.shape[2]),
        output=Output(height=scores.shape[1], width=scores.shape[2]),
        engines=[engine.entry() for engine in engines],
        golden=GoldenSet(frames=golden),
        parity=[],
        accuracy=[],
        provenance=_provenance(quantized, splits),
        files={},
    )
    check_golden(manifest, engines, frames, scores, threads=threads)
    pairs = read_splits(source.path / "splits.json") if pairs is None else pairs
    manifest = msgspec.structs.replace(
        manifest,
        parity=[
            row
            for given in (
                _validation_frames(pairs, canonical.size),
                FrameSet("golden", frames, [entry.frame for entry in golden]),
                hard_frames(canonical.size),
            )
            for row in parity_rows(source.student, quantized.model, canonical, whole + plain, given)
        ],
        accuracy=_accuracy(manifest, engines, pairs, threads),
    )
    files["MODEL_CARD.md"] = model_card(manifest).encode()
    files["DATA_CARD.md"] = data_card(manifest, _counts(splits)).encode()
    return write_bundle(out, manifest, files, force=force)


def choose_golden(canonical: Canonical) -> tuple[ImageU8, ImageU8]:
    """Phantom frames and the canonical graph's scores, at least half of them with a mask.

    Frames are chosen by the area of their mask alone, in the order of their seeds, never by how well an engine
    agrees.

    Returns:
        (N, H, W, 3) uint8 RGB and (N, h, w) uint8.

    Raises:
        ParityError: The student finds masks on too few of the phantom's frames.
    """
    telling: list[tuple[ImageU8, ImageU8]] = []
    others: list[tuple[ImageU8, ImageU8]] = []
    half = GOLDEN_FRAMES // 2
    for seed in range(GOLDEN_SEEDS):
        frame = to_input(render(seed).image, canonical.size, bgr=False)
        scores = canonical_scores(canonical, frame[None])[0]
        fits = LEAST_AREA <= float((scores >= 128).mean()) <= MOST_AREA
        (telling if fits else others).append((frame, scores))
        if len(telling) >= half and len(telling) + min(len(others), half) >= GOLDEN_FRAMES:
            break
    chosen = telling[:GOLDEN_FRAMES]
    chosen += others[: min(len(chosen), GOLDEN_FRAMES - len(chosen))]
    if len(telling) < half:
        raise ParityError(
            f"the student gives a mask on only {len(telling)} of {GOLDEN_SEEDS} golden candidates",
            expected=f"at least {half} phantom frames whose mask covers {LEAST_AREA:.1%} to {MOST_AREA:.0%}",
            got=f"{len(telling)}; agreement on empty masks would prove nothing",
            mend="train longer, or add the phantom to the training data (edge-difom phantom --out DIR)",
        )
    return np.stack([frame for frame, _ in chosen]), np.stack([scores for _, scores in chosen])


def check_golden(
    manifest: Manifest,
    engines: Sequence[ExportedEngine],
    frames: ImageU8,
    scores: ImageU8,
    *,
    threads: int | None = None,
) -> None:
    """Run every INT8 engine on the golden frames.

    Raises:
        ParityError: An engine strays beyond the manifest's tolerance.
    """
    for engine in engines:
        if engine.precision != "int8":
            continue
        found = engine_scores(engine, frames, threads=threads)
        checks = [
            compare(golden.frame, got, wanted, manifest)
            for golden, got, wanted in zip(manifest.golden.frames, found, scores, strict=True)
        ]
        bad = [check for check in checks if not check.ok]
        if bad:
            worst = min(
                bad, key=lambda check: (check.iou if check.iou is not None else 0.0, -check.mean_difference)
            )
            raise ParityError(
                f"the {engine.runtime} engine disagrees with the student on {len(bad)} of {len(checks)} golden frames",
                expected=f"mask IoU >= {manifest.golden.min_iou}, mean difference <= "
                f"{manifest.golden.max_mean_difference}/256",
                got=f"{worst.frame}: mask IoU {worst.iou}, mean difference {worst.mean_difference:.2f}/256",
                mend="train longer: an undecided student turns rounding into masks",
            )


def _accuracy(
    manifest: Manifest, engines: Sequence[ExportedEngine], pairs: Sequence[Pair], threads: int | None
) -> list[Accuracy]:
    """One row per engine and data set; a pair's data set stands before the slash in its name."""
    datasets: dict[str, list[Pair]] = {}
    for pair in pairs:
        datasets.setdefault(pair.name.partition("/")[0] if "/" in pair.name else "given", []).append(pair)
    rows = []
    for engine in engines:
        opened = open_engine_files(engine.runtime, engine.contents, threads)
        try:
            for dataset, members in datasets.items():
                report = evaluate(
                    members,
                    _scorer(opened),
                    threshold=manifest.output.threshold,
                    min_region=manifest.output.min_region,
                )
                if report.dice is None or report.iou is None or report.dice_ci95 is None:
                    continue
                rows.append(
                    Accuracy(
                        dataset=f"{dataset} (validation split)",
                        engine=f"{engine.runtime} {engine.precision}",
                        n=report.n,
                        dice=report.dice,
                        iou=report.iou,
                        dice_ci95=report.dice_ci95,
                        negatives=report.negatives.n,
                        flagged=report.negatives.flagged,
                    )
                )
        finally:
            opened.close()
    return rows


def _scorer(engine: Engine) -> Callable[[ImageU8], ImageU8]:
    return lambda image: engine.infer(to_input(image, engine.input_size, bgr=False))


def _validation_frames(pairs: Sequence[Pair], size: tuple[int, int]) -> FrameSet:
    """All validation pairs up to `CERTIFIED_FRAMES`, else so many spread over them, at the input size."""
    spread = pairs[:: -(-len(pairs) // CERTIFIED_FRAMES)]
    frames, masks = [], []
    for pair in spread:
        image, mask = read_pair(pair.image, pair.mask)
        frames.append(to_input(image, size, bgr=False))
        masks.append(cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0)
    return FrameSet("validation", np.stack(frames), [pair.name for pair in spread], np.stack(masks))


def _provenance(quantized: QuantizedRun, splits: Splits) -> Provenance:
    config = quantized.source.config
    samples = [*splits.train, *splits.validation]
    return Provenance(
        student=config.student,
        teachers=list(config.teachers) if config.recipe != "none" else [],
        recipe=f"{config.recipe}; qat8, {quantized.config.epochs} epochs, best {int(quantized.metrics['epoch'])}",
        data={
            dataset: data_digest([sample for sample in samples if sample.dataset == dataset])
            for dataset in sorted({sample.dataset for sample in samples})
        },
        versions=versions(),
        seed=config.seed,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def _counts(splits: Splits) -> list[tuple[str, int, int]]:
    train = Counter(sample.dataset for sample in splits.train)
    validation = Counter(sample.dataset for sample in splits.validation)
    return [(name, train[name], validation[name]) for name in sorted(train | validation)]


def _png(image: ImageU8) -> bytes:
    return bytes(cv2.imencode(".png", image)[1].tobytes())
