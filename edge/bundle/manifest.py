"""The manifest of a bundle: everything that a device must know about a model.

Typed and strict: an unknown key, a missing key or a wrong type is an error. `SCHEMA_VERSION` rises
with every change that an older reader would misread.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edge.frame import DEFAULT_OPERATING_POINT, PLANES, FieldOfView, OperatingPoint

SCHEMA_VERSION = 2
RESEARCH_USE = "Research use only. Not a medical device; not for diagnosis or treatment."


_STORED = {"min_peak": "least_peak", "color": "colour", "license": "licence"}
"""Python name -> key in the manifest, if the two differ."""


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the manifest's records."""


class Input(Strict, frozen=True, kw_only=True, rename=_STORED):
    """How a frame becomes the engine's input.

    `resize` names a rule of `edge.imaging.preprocess` and `field_of_view` a rule of
    `edge.imaging.crop`. The normalization `(x - mean) / scale` is part of the engine's graph and is
    recorded here for information.
    """

    height: int
    width: int
    color: str = "RGB"
    layout: str = "NHWC"
    dtype: str = "uint8"
    resize: str = "stretch-antialiased"
    field_of_view: FieldOfView = "full-frame"
    mean: float = 127.0
    scale: float = 128.0


class FrocPoint(Strict, frozen=True, kw_only=True, rename=_STORED):
    """One point of the FROC curve: detection and false-positive rates at one minimum peak score.

    Attributes:
        min_peak: Minimum peak score of a kept region, 0 to 1.
        overlapped: Share of the polyps on which a kept region has a pixel; None without polyps.
        matched: Share of the polyps that a kept region outlines
            (`edge.evaluation.findings.MATCH_IOU`); None without polyps.
        false_regions: Kept regions that show no polyp, mean per frame over all frames.
        flagged: Share of the clean frames that are flagged; None without clean frames.
    """

    min_peak: float
    overlapped: float | None
    matched: float | None
    false_regions: float
    flagged: float | None


class Proportion(Strict, frozen=True, kw_only=True):
    """A count and its total.

    Attributes:
        n: Number of frames.
        count: Number of frames that were found or flagged.
    """

    n: int
    count: int


class CurvePoint(Strict, frozen=True, kw_only=True, rename=_STORED):
    """An operating point on the validation frames.

    Attributes:
        threshold: Score from which a pixel belongs to the mask, 0 to 1.
        dice: Mean per image over the frames with a polyp, as `Calibration.rule` balances it.
        found: Frames with a polyp on which a kept region touches it.
        flagged: Frames without a polyp that have a kept region.
        min_region: Smallest region that is kept; None if the calibration's value applies.
        min_peak: Minimum peak score of a kept region; None if the calibration's value applies.
    """

    threshold: float
    dice: float
    found: int
    flagged: int
    min_region: float | None = None
    min_peak: float | None = None


class Calibration(Strict, frozen=True, kw_only=True, rename=_STORED):
    """How threshold, minimum region and minimum peak were chosen, from validation data only.

    Attributes:
        rule: The rule of the choice, in words.
        engine: Engine whose scores were used.
        data: Data set -> number of frames with a polyp.
        negatives: Data set -> number of frames without a polyp.
        min_region: The chosen minimum region; it applies to every point that has none of its own.
        min_peak: The chosen minimum peak; it applies to every point that has none of its own.
        best: The point with the highest Dice.
        chosen: The point that was chosen.
        curve: Points at other thresholds, which show how flat the optimum is.
        specificity: Requested share of unflagged clean frames; None if the bundle was made without
            this request.
        reached: Share of clean frames that stay unflagged at the chosen point, balanced as `rule`
            says; None without clean frames.
        found_by_set: Data set -> frames with a polyp, and how many of them have it found.
        flagged_by_set: Data set -> clean frames, and how many of them are flagged.
        flagged_by_sequence: `data set/sequence` -> clean frames, and how many of them are flagged.
        froc: The FROC curve over the minimum peak, at the chosen threshold and minimum region.
    """

    rule: str
    engine: str
    data: dict[str, int]
    negatives: dict[str, int]
    min_region: float
    min_peak: float = 0.0
    best: CurvePoint
    chosen: CurvePoint
    curve: list[CurvePoint]
    specificity: float | None = None
    reached: float | None = None
    found_by_set: dict[str, Proportion] = {}
    flagged_by_set: dict[str, Proportion] = {}
    flagged_by_sequence: dict[str, Proportion] = {}
    froc: list[FrocPoint] = []

    def limits(self, point: CurvePoint) -> tuple[float, float]:
        """Return minimum region and minimum peak of a point."""
        return (
            self.min_region if point.min_region is None else point.min_region,
            self.min_peak if point.min_peak is None else point.min_peak,
        )

    @property
    def fell_short(self) -> bool:
        """Whether no candidate reached the requested specificity."""
        return (
            self.specificity is not None
            and self.reached is not None
            and self.reached < self.specificity
        )


class Output(Strict, frozen=True, kw_only=True, rename=_STORED):
    """What the engine's output means: polyp scores in units of 1/256.

    Attributes:
        height: Rows of the score map.
        width: Columns of the score map.
        threshold: Score from which a pixel belongs to the mask, 0 to 1.
        min_region: Smallest region that is kept, as a share of the analyzed area.
        min_peak: Minimum peak score of a kept region, 0 to 1.
        calibration: How the three were chosen; None if they are the defaults.
    """

    height: int
    width: int
    meaning: str = "polyp score, uint8, 1/256"
    threshold: float = DEFAULT_OPERATING_POINT.threshold
    min_region: float = DEFAULT_OPERATING_POINT.min_region
    min_peak: float = DEFAULT_OPERATING_POINT.min_peak
    calibration: Calibration | None = None
    boxes: bool = False
    """Whether the maps of a detection head are below the score map (`edge.imaging.box_maps`)."""

    @property
    def planes(self) -> int:
        """Number of maps below one another in the engine's output."""
        return PLANES if self.boxes else 1

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the engine's output."""
        return self.planes * self.height, self.width

    @property
    def point(self) -> OperatingPoint:
        """The operating point that turns scores into regions."""
        return OperatingPoint(self.threshold, self.min_region, self.min_peak)


class EngineEntry(Strict, frozen=True, kw_only=True):
    """One engine: a runtime, a precision and its files.

    Attributes:
        runtime: `openvino`, `tflite` or `onnx`.
        precision: `int8`, `f32`, `bf16` or `f16`; `bf16` uses the files of the f32 engine and lets
            `openvino` run them in bfloat16, `f16` has a file of its own for `onnx`.
        files: Paths inside the bundle, the model file first.
        min_version: Minimum version of the runtime.
        architectures: Values of `platform.machine()` that the engine was built for.
        float_ops: Operations that the runtime executes in float.
    """

    runtime: str
    precision: str
    files: list[str]
    min_version: str
    architectures: list[str] = msgspec.field(default_factory=lambda: ["x86_64", "aarch64"])
    float_ops: list[str] = []


class Golden(Strict, frozen=True, kw_only=True):
    """A frame and the quantized student's scores for it.

    `frame` is an RGB PNG at the input size, `scores` a gray PNG of the uint8 score map.
    """

    frame: str
    scores: str


class GoldenSet(Strict, frozen=True, kw_only=True):
    """The golden frames and the tolerance for engines.

    Attributes:
        min_iou: Minimum mask IoU on a frame whose expected mask has at least 50 pixels.
        max_mean_difference: Maximum mean score difference of a frame, in 1/256.
    """

    frames: list[Golden]
    min_iou: float = 0.98
    max_mean_difference: float = 1.0


class Accuracy(Strict, frozen=True, kw_only=True):
    """Accuracy of one engine on one data set, protocol B."""

    dataset: str
    engine: str
    n: int
    dice: float
    iou: float
    dice_ci95: tuple[float, float]
    negatives: int = 0
    flagged: int = 0
    protocol: str = (
        "B: per image at native mask size, raw scores at the threshold, bootstrap 95 % interval"
    )


class ParityRow(Strict, frozen=True, kw_only=True):
    """Agreement on the same frames of two steps between the student and an engine.

    Attributes:
        left: The first step, such as `canonical int8`.
        right: The second step, such as `tflite int8`.
        on: Kind of the frames: `validation`, `golden` or `hard`.
        frames: Number of frames.
        max_difference: Largest score difference, 1/256.
        mean_difference: Mean score difference, 1/256.
        mask_iou: Mean IoU over the frames in which one of the masks has at least 50 pixels; None
            without such frames.
        worst_iou: The lowest IoU of these frames.
        worst_frame: Name of the frame with the lowest IoU.
        dice_difference: Mean Dice of `right` minus that of `left` on the frames with a polyp, at
            the size of the score maps; None without true masks.
    """

    left: str
    right: str
    on: str
    frames: int
    max_difference: float
    mean_difference: float
    mask_iou: float | None
    worst_iou: float | None
    worst_frame: str | None
    dice_difference: float | None


class StepAccuracy(Strict, frozen=True, kw_only=True):
    """One step from the float student to an engine, at threshold 0.5 on the validation frames.

    Attributes:
        step: `f32`, `ptq` (calibrated), `qat`, or an engine's runtime and precision.
        n: Number of frames with a polyp.
        dice: Mean Dice over them; None if there are none.
        dice_ci95: Bootstrap 95 % interval of that mean.
        small: Number of frames with a small polyp.
        small_found: Number of those on which part of the polyp was found.
        small_ci95: Wilson's 95 % interval of that share; None without small polyps.
        clean: Number of frames without a polyp.
        flagged: Number of those that were flagged.
    """

    step: str
    n: int
    dice: float | None
    dice_ci95: tuple[float, float] | None
    small: int
    small_found: int
    small_ci95: tuple[float, float] | None
    clean: int
    flagged: int


Verdict = Literal["passed", "undecided", "failed"]


class AccuracyGate(Strict, frozen=True, kw_only=True):
    """What INT8 lost against FP32, and whether that was allowed.

    Attributes:
        verdict: `failed` if a loss certainly exceeds its limit, `undecided` if one may.
        max_drop: Dice that INT8 may lose.
        max_small_drop: Recall of small polyps that INT8 may lose.
        breaches: One line for each loss that exceeds its limit.
        undecided: One line for each loss that may exceed its limit.
        notes: What was not judged, and why.
        steps: The figures.
        small_recall: Definition of the recall of small polyps.
        accepted: Why a failed gate was accepted; None if it did not fail.
    """

    verdict: Verdict
    max_drop: float
    max_small_drop: float
    breaches: list[str]
    undecided: list[str]
    notes: list[str]
    steps: list[StepAccuracy]
    small_recall: str
    accepted: str | None = None


class Provenance(Strict, frozen=True, kw_only=True):
    """Origin of the student.

    Attributes:
        student: Its network.
        teachers: Networks that taught it.
        recipe: How it was trained, in one line.
        data: Data set -> digest of its frames.
        versions: Software -> version when the training began.
        seed: Seed of the training.
        created: When the bundle was made.
        training: When, where, by which command and from which commit the training began; empty in
            bundles of older versions. Folders are left out of the command.
        configuration: Settings of the training that differ from the defaults, without folders.
    """

    student: str
    teachers: list[str]
    recipe: str
    data: dict[str, str]
    versions: dict[str, str]
    seed: int
    created: str
    training: dict[str, str] = {}
    configuration: dict[str, str] = {}


class Manifest(Strict, frozen=True, kw_only=True, rename=_STORED):
    """The whole manifest (`manifest.json`)."""

    schema_version: int
    name: str
    intended_use: str
    license: str
    input: Input
    output: Output
    engines: list[EngineEntry]
    golden: GoldenSet
    parity: list[ParityRow]
    accuracy: list[Accuracy]
    provenance: Provenance
    gate: AccuracyGate | None = None
    """The accuracy gate; None in bundles that were made without one."""
    files: dict[str, str]
    """Path inside the bundle -> SHA-256 of every file except the manifest."""
