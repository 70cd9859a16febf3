"""A bundle from a quantized run: engines, golden frames, accuracy, parity, provenance and cards."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np

from distill.data.digests import data_digest
from distill.data.split_record import read_splits as read_run_splits
from distill.run_folder import training_versions
from edge.bundle.manifest import (
    RESEARCH_USE,
    SCHEMA_VERSION,
    Accuracy,
    AccuracyGate,
    Calibration,
    Golden,
    GoldenSet,
    Input,
    Manifest,
    Output,
    Provenance,
)
from edge.bundle.reader import Bundle, write_bundle
from edge.datasets.negatives import CleanFrame, clean_frames
from edge.datasets.pairs import read_pair
from edge.engines.open import open_engine_files
from edge.engines.scoring import score_image
from edge.errors import AccuracyError, UsageError
from edge.evaluation.evaluator import evaluate
from edge.evaluation.run_splits import read_clean_splits, read_splits
from edge.frame import DEFAULT_OPERATING_POINT
from edge.imaging.box_maps import mask_plane
from edge.imaging.crop import cut, seen_part
from edge.imaging.preprocess import to_input
from edge.util.files import refuse_existing
from quantize.bundle.card_facts import card_facts
from quantize.bundle.data_card import data_card
from quantize.bundle.model_card import model_card
from quantize.certify.gate import gate_record
from quantize.certify.golden import check_golden_scores, choose_golden
from quantize.certify.operating_point import SPECIFICITY, calibrate
from quantize.certify.parity import FrameSet, hard_frames, parity_rows
from quantize.export.engines import bf16_engine, export_engines
from quantize.graph.canonical import canonicalize
from quantize.runs.folder import load_quantized
from quantize.runs.record import read_report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distill.data.splits import Splits
    from edge.contracts import Engine
    from edge.datasets.pairs import Pair
    from edge.frame import FieldOfView, ImageU8
    from quantize.export.engines import ExportedEngine
    from quantize.runs.folder import QuantizedRun

logger = logging.getLogger(__name__)

LICENSE = "research use only (weights trained on research-only data)"
CERTIFIED_FRAMES = 256
"""Largest number of validation frames on which the steps are compared."""
EXTRA = ("f32", "bf16", "onnx")
"""Engines that `make_bundle` can add to the INT8 engines of OpenVINO and TFLite."""


def make_bundle(
    run: Path,
    out: Path,
    *,
    name: str | None = None,
    extra: Sequence[str] = (),
    pairs: Sequence[Pair] | None = None,
    calibrated: bool = False,
    negatives: Sequence[Path] = (),
    specificity: float = SPECIFICITY,
    accept: str | None = None,
    threads: int | None = None,
    force: bool = False,
) -> Bundle:
    """Write the bundle of a quantized run.

    Args:
        run: Folder of the distillation, or its `qat8`.
        out: Directory to write.
        name: Name of the bundle; by default student, size and the run's name.
        extra: Names from `EXTRA` of engines to add to the INT8 ones of OpenVINO and TFLite: `f32`
            (for every runtime of the bundle), `bf16` (OpenVINO), `onnx`.
        pairs: Images and masks that accuracy is measured on; by default the run's validation split.
        calibrated: Choose threshold, minimum region and minimum peak by
            `quantize.certify.candidates.RULE` from `pairs`, `negatives` and the run's clean
            validation frames, instead of using `DEFAULT_OPERATING_POINT`.
        negatives: Folders of further clean validation frames for that choice.
        specificity: Share of the clean frames that must stay unflagged, for that choice.
        accept: Why a failed accuracy gate is accepted; the reason is recorded in the bundle.
        threads: CPU threads of the engines while they are checked; None for every core.
        force: Replace an existing `out`.

    Raises:
        UsageError: `out` exists, the run was not quantized, `extra` has an unknown name, or
            `negatives` are given without `calibrated`.
        AccuracyError: The run's accuracy gate failed and nobody accepted that.
        ParityError: An engine disagrees with the canonical graph on a golden frame, or fewer than
            half of the golden frames give a mask. Nothing is written in that case.
        DataError: The validation images cannot be used, or the run's data have changed.
    """
    refuse_existing(out, force=force)
    if negatives and not calibrated:
        raise UsageError(
            "negatives are for the choice of a threshold",
            expected="a calibrated threshold with negatives",
            hint="also set calibrated, or leave the negatives out",
            code="negatives-need-calibration",
        )
    quantized = load_quantized(run)
    gate = _gate(quantized, accept)
    source, canonical = quantized.source, quantized.canonical
    plain = export_engines(canonicalize(source.student, canonical.size))
    exported = export_engines(canonical)
    engines = _chosen(exported, plain, extra)
    # Compare every engine that goes into the bundle or could have gone into it.
    compared = [*exported, *plain, *(engine for engine in engines if engine.precision == "bf16")]
    splits = read_run_splits(source.path / "splits.json")
    pairs = read_splits(source.path / "splits.json") if pairs is None else pairs
    rule = source.config.data.field_of_view
    calibration = None
    if calibrated:
        clean = _clean_frames(source.path, splits, negatives)
        calibration = _calibration(engines[0], pairs, clean, rule, threads, specificity)
    threshold = calibration.chosen.threshold if calibration else DEFAULT_OPERATING_POINT.threshold
    frames, scores = choose_golden(canonical, threshold=threshold)
    files = {
        path: content
        for engine in engines
        for path, content in zip(engine.paths, engine.contents, strict=True)
    }
    golden = []
    for number, (frame, expected) in enumerate(zip(frames, scores, strict=True)):
        entry = Golden(
            frame=f"golden/{number:02d}.frame.png", scores=f"golden/{number:02d}.scores.png"
        )
        files[entry.frame], files[entry.scores] = _png(frame[..., ::-1]), _png(expected)
        golden.append(entry)
    network, size = source.config.student.network, source.config.data.size
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=name or f"{network}-{size}-{source.path.resolve().name}",
        intended_use=RESEARCH_USE,
        license=LICENSE,
        input=Input(height=frames.shape[1], width=frames.shape[2], field_of_view=rule),
        output=_output((scores.shape[1], scores.shape[2]), canonical.planes, calibration),
        engines=[engine.entry() for engine in engines],
        golden=GoldenSet(frames=golden),
        parity=[],
        accuracy=[],
        provenance=_provenance(quantized, splits),
        gate=gate,
        files={},
    )
    check_golden_scores(manifest, exported, frames, scores, threads=threads)
    manifest = msgspec.structs.replace(
        manifest,
        parity=[
            row
            for frame_set in (
                _validation_frames(pairs, canonical.size, rule),
                FrameSet("golden", frames, [entry.frame for entry in golden]),
                hard_frames(canonical.size),
            )
            for row in parity_rows(
                source.student, quantized.model, canonical, compared, frame_set, threshold=threshold
            )
        ],
        accuracy=_accuracy(manifest, engines, pairs, threads),
    )
    config = quantized.config
    facts = card_facts(quantized, splits)
    card = model_card(manifest, bits=config.bits, layers=config.layers, facts=facts)
    files["MODEL_CARD.md"] = card.encode()
    files["DATA_CARD.md"] = data_card(manifest, facts.sets).encode()
    return write_bundle(out, manifest, files, force=force)


def _gate(quantized: QuantizedRun, accept: str | None) -> AccuracyGate | None:
    """Return the run's accuracy gate; None if the run has no report.

    Raises:
        AccuracyError: It failed and nobody accepted that.
    """
    if not (quantized.path / "report.json").exists():
        logger.warning("%s has no report: the bundle says nothing of a gate", quantized.path)
        return None
    report = read_report(quantized.path)
    failed = report.gate.verdict == "failed"
    if failed and not accept:
        raise AccuracyError(
            f"the accuracy gate of {quantized.path} failed",
            expected="INT8 within the allowed losses, or the reason why more is acceptable",
            got="; ".join(report.gate.breaches),
            hint="judge again by other limits, or accept it with a reason, which is recorded",
            code="gate-not-accepted",
        )
    return gate_record(
        report.accuracy,
        report.gate,
        small_recall=report.small_recall,
        accepted=accept if failed else None,
    )


def _chosen(
    exported: Sequence[ExportedEngine], plain: Sequence[ExportedEngine], extra: Sequence[str]
) -> list[ExportedEngine]:
    """Select the engines that go into the bundle."""
    unknown = sorted(set(extra) - set(EXTRA))
    if unknown:
        raise UsageError(f"no engine {unknown[0]!r} to add", expected=" | ".join(EXTRA))
    runtimes = {"openvino", "tflite"} | ({"onnx"} & set(extra))
    chosen = [engine for engine in exported if engine.runtime in runtimes]
    if "f32" in extra:
        chosen += [engine for engine in plain if engine.runtime in runtimes]
    if "bf16" in extra:
        chosen += [bf16_engine(engine) for engine in plain if engine.runtime == "openvino"]
    return chosen


def _accuracy(
    manifest: Manifest,
    engines: Sequence[ExportedEngine],
    pairs: Sequence[Pair],
    threads: int | None,
) -> list[Accuracy]:
    """Build one row per engine and data set; a pair's name is `data set/stem`."""
    datasets: dict[str, list[Pair]] = {}
    for pair in pairs:
        datasets.setdefault(
            pair.name.partition("/")[0] if "/" in pair.name else "given", []
        ).append(pair)
    rows = []
    for engine in engines:
        opened = open_engine_files(engine.runtime, engine.contents, threads, engine.precision)
        try:
            for dataset, members in datasets.items():
                report = evaluate(
                    members,
                    _scorer(opened, engine.planes),
                    point=manifest.output.point,
                    rule=manifest.input.field_of_view,
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


def _clean_frames(run: Path, splits: Splits, negatives: Sequence[Path]) -> list[CleanFrame]:
    """Collect the run's clean validation frames and those of further folders, each image once.

    An image that the student was trained on is left out with a warning.
    """
    recorded = read_clean_splits(run / "splits.json")
    recorded_paths = {frame.image.resolve() for frame in recorded}
    trained = {Path(sample.image).resolve() for sample in (*splits.train, *splits.clean_train)}
    supplied = clean_frames(negatives)
    further = [frame for frame in supplied if frame.image.resolve() not in trained | recorded_paths]
    learned = sum(frame.image.resolve() in trained for frame in supplied)
    if learned:
        logger.warning(
            "%d of %d clean frames were trained on; they do not choose the threshold",
            learned,
            len(supplied),
        )
    return recorded + further


def _calibration(
    engine: ExportedEngine,
    pairs: Sequence[Pair],
    clean: Sequence[CleanFrame],
    rule: FieldOfView,
    threads: int | None,
    specificity: float,
) -> Calibration:
    """Choose the operating point by one engine; the other INT8 engines have the same scores."""
    opened = open_engine_files(engine.runtime, engine.contents, threads, engine.precision)
    try:
        name = f"{engine.runtime} {engine.precision}"
        return calibrate(
            _scorer(opened, engine.planes),
            pairs,
            clean,
            engine=name,
            rule=rule,
            specificity=specificity,
        )
    finally:
        opened.close()


def _output(size: tuple[int, int], planes: int, calibration: Calibration | None) -> Output:
    plain = Output(height=size[0] // planes, width=size[1], boxes=planes > 1)
    if calibration is None:
        return plain
    return msgspec.structs.replace(
        plain,
        threshold=calibration.chosen.threshold,
        min_region=calibration.min_region,
        min_peak=calibration.min_peak,
        calibration=calibration,
    )


def _scorer(engine: Engine, planes: int) -> Callable[[ImageU8], ImageU8]:
    return lambda image: mask_plane(score_image(engine, image), planes)


def _validation_frames(pairs: Sequence[Pair], size: tuple[int, int], rule: FieldOfView) -> FrameSet:
    """Load all validation pairs at the input size, or `CERTIFIED_FRAMES` of them, evenly spread."""
    spread = pairs[:: -(-len(pairs) // CERTIFIED_FRAMES)]
    frames, masks = [], []
    for pair in spread:
        image, mask = read_pair(pair.image, pair.mask)
        part = seen_part(image, rule)
        frames.append(to_input(cut(image, part), size, bgr=False))
        mask_part = cut(mask, part).astype(np.uint8)
        masks.append(cv2.resize(mask_part, size[::-1], interpolation=cv2.INTER_NEAREST) > 0)
    return FrameSet("validation", np.stack(frames), [pair.name for pair in spread], np.stack(masks))


def _provenance(quantized: QuantizedRun, splits: Splits) -> Provenance:
    config = quantized.source.config
    samples = [
        *splits.train,
        *splits.validation,
        *splits.clean_train,
        *splits.clean_validation,
    ]
    return Provenance(
        student=config.student.network,
        teachers=config.taught_by,
        recipe=_recipe(quantized),
        data={
            dataset: data_digest([sample for sample in samples if sample.dataset == dataset])
            for dataset in sorted({sample.dataset for sample in samples})
        },
        versions=training_versions(),
        seed=config.run.seed,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def _recipe(quantized: QuantizedRun) -> str:
    """Describe in one line how the student was trained."""
    config = quantized.source.config
    parts: list[str] = [config.loss.recipe]
    if config.data.images:
        parts.append("teachers' maps without masks first")
    if config.student.start:
        parts.append(f"started from {Path(config.student.start).stem}")
    if averaged := [stage.name for stage in config.run.stages if stage.averaged]:
        parts.append(f"mean of {', '.join(averaged)}")
    best = int(quantized.metrics["epoch"])
    parts.append(f"qat{quantized.config.bits}, {quantized.config.epochs} epochs, best {best}")
    return "; ".join(parts)


def _png(image: ImageU8) -> bytes:
    return bytes(cv2.imencode(".png", image)[1].tobytes())
