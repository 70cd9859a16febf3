"""Write the engines and `report.json` of a quantization, and refuse one that lost too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.errors import AccuracyError
from edge.evaluation.evaluator import evaluated_files
from edge.frame import DEFAULT_OPERATING_POINT
from edge.record_header import make_header
from edge.util.files import sha256, write_json
from edge.util.progress import silent
from quantize.certify.accuracy import F32, QAT, SMALL_RECALL, score_engine, score_student
from quantize.certify.gate import judge
from quantize.certify.parity import PARITY_FRAMES, FrameSet, parity_rows
from quantize.certify.sensitivity import layer_sqnr
from quantize.export.engines import ExportedEngine, export_engines
from quantize.graph.canonical import canonicalize
from quantize.qat.low_bits import PAIR_BITS
from quantize.runs.record import (
    EngineRow,
    QatReport,
    Start,
    WeightBits,
    read_report,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from distill.data.image_store import ImageStore
    from edge.datasets.negatives import CleanFrame
    from edge.datasets.pairs import Pair
    from edge.record_header import RecordHeader
    from edge.util.progress import Reporter
    from quantize.runs.folder import QuantizedRun

SQNR_FRAMES = 8
WORST_LAYERS = 10
NAMED_LAYERS = 3
SQNR = (
    "10 log10 of signal over rounding noise at the output of each convolution, given the exact "
    "input: layer by layer"
)


def write_report(
    quantized: QuantizedRun,
    pairs: Sequence[Pair],
    store: ImageStore,
    start: Start,
    progress: Reporter = silent,
    *,
    clean: Sequence[CleanFrame] = (),
) -> QatReport:
    """Write the engines, `parity.json` and `report.json` of a quantized run.

    Args:
        quantized: A run from `load_quantized`.
        pairs: Validation images and masks.
        store: The same images at the input size.
        start: The baseline.
        progress: Shows how many frames are scored.
        clean: Validation frames without a polyp.
    """
    path, source = quantized.path, quantized.source
    engines = export_engines(quantized.canonical)
    all_engines = [
        *engines,
        *export_engines(canonicalize(source.student, quantized.canonical.size)),
    ]
    for engine in all_engines:
        engine.write(path)
    # Clean frames follow the labeled ones in the store; they have no masks to agree on.
    spread = slice(None, len(pairs), -(-len(pairs) // PARITY_FRAMES))
    names = [pair.name for pair in pairs[spread]]
    frame_set = FrameSet("validation", store.images[spread], names, store.masks[spread] >= 128)
    parity = parity_rows(
        source.student, quantized.model, quantized.canonical, all_engines, frame_set
    )
    write_json(path / "parity.json", parity)
    with progress((len(engines) + 2) * (len(pairs) + len(clean)), "score") as bar:

        def done(_: str) -> None:
            bar.update()

        accuracy = [
            score_student(F32, source.student, source.config, pairs, done, clean=clean),
            start.accuracy,
            score_student(QAT, quantized.model, source.config, pairs, done, clean=clean),
            *(score_engine(engine, source.config, pairs, done, clean=clean) for engine in engines),
        ]
    layers = layer_sqnr(quantized.model, store.images[:: -(-len(store) // SQNR_FRAMES)])
    low = sorted(layer.name for layer in layers if layer.bits < PAIR_BITS)
    weights = WeightBits(low=quantized.config.bits, layers=low, of=len(layers))
    report = QatReport(
        student=source.config.student.network,
        epochs=quantized.config.epochs,
        best_epoch=int(quantized.metrics["epoch"]),
        dice_val={"f32": source.metrics["dice_val"], "quantized": quantized.metrics["dice_val"]},
        calibration_images=start.images,
        distillation=_distillation(quantized, start),
        weights=weights,
        emulation=weights.emulation,
        accuracy=accuracy,
        small_recall=SMALL_RECALL,
        gate=judge(
            accuracy,
            max_drop=quantized.config.max_drop,
            max_small_drop=quantized.config.max_small_drop,
        ),
        engines=[_engine_row(engine, weights) for engine in all_engines],
        sqnr=SQNR,
        layers=layers[:WORST_LAYERS],
        parity=parity,
        header=_header(quantized, pairs, clean),
    )
    write_json(path / "report.json", report)
    return report


def refuse_breach(report: QatReport, quantized: QuantizedRun) -> None:
    """Raise AccuracyError if INT8 lost more than allowed; names the worst layers and remedies."""
    if not report.gate.breaches:
        return
    config = quantized.config
    worst = ", ".join(
        f"{layer.name} ({layer.kind}, {layer.bits} bits, {layer.sqnr_db:.1f} dB)"
        for layer in report.layers[:NAMED_LAYERS]
        if layer.sqnr_db is not None
    )
    ways = [f"epochs={max(5, 2 * config.epochs)}"]
    if report.best_epoch < config.epochs:
        ways.append(f"lr={config.lr / 3:g}")
    if report.calibration_images == config.calibration:
        ways.append(f"calibration={2 * config.calibration}")
    if not config.distill_weight and _taught(quantized):
        ways.append(f"distill_weight={quantized.source.config.loss.distill_weight or 0.2:g}")
    if config.bits < 8:
        ways.append("bits=8, or layers without the worst ones")
    raise AccuracyError(
        "INT8 lost more accuracy than was allowed; everything was written",
        expected=f"at most {report.gate.max_drop:g} of Dice and {report.gate.max_small_drop:g} of "
        "the recall of small polyps lost against f32",
        got="; ".join(report.gate.breaches) + f"; lowest signal to rounding noise: {worst}",
        hint=f"quantize again with {' | '.join(ways)}",
        code="gate-" + ("both" if len(report.gate.limits) > 1 else report.gate.limits[0]),
    )


def judge_again(path: Path, *, max_drop: float | None, max_small_drop: float | None) -> QatReport:
    """Judge a quantization by other limits from its record, without scoring or training anything.

    Args:
        path: RUN/qat8 or RUN/qat4, whose `report.json` is rewritten.
        max_drop: Dice that INT8 may lose; None keeps the limit.
        max_small_drop: Recall of small polyps that INT8 may lose; None keeps the limit.

    Raises:
        TrainingError: The record cannot be read.
    """
    report = read_report(path)
    gate = judge(
        report.accuracy,
        max_drop=report.gate.max_drop if max_drop is None else max_drop,
        max_small_drop=report.gate.max_small_drop if max_small_drop is None else max_small_drop,
    )
    report = msgspec.structs.replace(report, gate=gate)
    write_json(path / "report.json", report)
    return report


def _header(
    quantized: QuantizedRun, pairs: Sequence[Pair], clean: Sequence[CleanFrame]
) -> RecordHeader:
    files = evaluated_files(pairs, clean)
    header = make_header(data="validation split", files=files, run=quantized.source.path)
    return msgspec.structs.replace(
        header,
        digest=sha256(quantized.path / "checkpoints" / "best.pt"),
        precision="int8",
        threshold=DEFAULT_OPERATING_POINT.threshold,
    )


def _taught(quantized: QuantizedRun) -> bool:
    """Return whether the distillation had a term that fine-tuning can keep on."""
    config = quantized.source.config
    return config.loss.recipe == "difom" and bool(
        config.teachers.specs or config.teachers.task_specs
    )


def _distillation(quantized: QuantizedRun, start: Start) -> str:
    config, source = quantized.config, quantized.source.config
    if not config.distill_weight:
        return ""
    teachers, task_teachers = source.teachers.specs, source.teachers.task_specs
    terms = [f"{config.distill_weight:g} x {', '.join(teachers)}"] if teachers else []
    if task_teachers:
        terms.append(f"{source.loss.cwd_weight:g} x the logits of {' and '.join(task_teachers)}")
    return f"distillation kept on: {' and '.join(terms)}; heads: {start.heads}"


def _engine_row(engine: ExportedEngine, weights: WeightBits) -> EngineRow:
    executes = "float" if engine.precision == "f32" else "8-bit integers"
    if engine.precision == "int8" and weights.layers:
        executes += f" ({weights.low}-bit weights emulated)"
    return EngineRow(
        runtime=engine.runtime,
        precision=engine.precision,
        bytes=sum(len(content) for content in engine.contents),
        executes=executes,
        float_ops=engine.float_ops,
    )
