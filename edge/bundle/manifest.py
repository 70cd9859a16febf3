"""The manifest of a bundle: everything that a device must know about a model.

Typed and strict: an unknown key, a missing key or a wrong type is an error. `SCHEMA_VERSION` rises
with every change that an older reader would misread.
"""

from __future__ import annotations

import msgspec

from edge.frame import DEFAULT_OPERATING_POINT, FieldOfView, OperatingPoint

SCHEMA_VERSION = 2
RESEARCH_USE = "Research use only. Not a medical device; not for diagnosis or treatment."


_STORED = {"min_peak": "least_peak"}
"""Python name -> key in the manifest, where the two differ."""


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the manifest's records."""


class Input(Strict, frozen=True, kw_only=True):
    """How a frame becomes the engine's input.

    `resize` names the rule in `edge.imaging.preprocess`, `field_of_view` that in
    `edge.imaging.crop`; normalisation `(x - mean) / scale` is in the engine's graph and is recorded
    here for information.
    """

    height: int
    width: int
    colour: str = "RGB"
    layout: str = "NHWC"
    dtype: str = "uint8"
    resize: str = "stretch-antialiased"
    field_of_view: FieldOfView = "full-frame"
    mean: float = 127.0
    scale: float = 128.0


class FrocPoint(Strict, frozen=True, kw_only=True, rename=_STORED):
    """One point of the FROC curve: what is found and what is flagged from a least peak on.

    Attributes:
        min_peak: Score that a kept region reaches at its highest, 0 to 1.
        overlapped: Share of the polyps on which a kept region has a pixel; None without any polyp.
        matched: Share of the polyps that a kept region outlines
            (`edge.evaluation.findings.MATCH_IOU`); None without any.
        false_regions: Kept regions that show no polyp, mean per frame over all frames.
        flagged: Share of the clean frames that are flagged; None without any.
    """

    min_peak: float
    overlapped: float | None
    matched: float | None
    false_regions: float
    flagged: float | None


class Proportion(Strict, frozen=True, kw_only=True):
    """How many of how many.

    Attributes:
        n: All of them.
        count: Those that were found or flagged.
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
        min_region: Smallest region that is kept; None for that of the calibration.
        min_peak: Score that a kept region reaches at its highest; None for that of the
            calibration.
    """

    threshold: float
    dice: float
    found: int
    flagged: int
    min_region: float | None = None
    min_peak: float | None = None


class Calibration(Strict, frozen=True, kw_only=True, rename=_STORED):
    """How threshold, least region and least peak were chosen; validation data alone took part.

    Attributes:
        rule: The rule of the choice, in words.
        engine: Engine whose scores took part.
        data: Data set -> frames with a polyp.
        negatives: Data set -> frames without one.
        min_region: The least region that was chosen; it holds for every point that states no other.
        min_peak: The least peak that was chosen; it holds for every point that states no other.
        best: The point of the highest Dice.
        chosen: The point that was chosen.
        curve: Other thresholds, to see how flat the choice is.
        specificity: Share of the clean frames that was to stay unflagged; None in a bundle made
            without such a wish.
        reached: Share that stays unflagged at the chosen point, balanced as `rule` says; None
            without clean frames.
        found_by_set: Data set -> frames with a polyp, and those on which it was found.
        flagged_by_set: Data set -> clean frames, and those that were flagged.
        flagged_by_sequence: `data set/sequence` -> clean frames, and those that were flagged.
        froc: The FROC curve over the least peak, at the chosen threshold and least region.
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
        """Least region and least peak of a point."""
        return (
            self.min_region if point.min_region is None else point.min_region,
            self.min_peak if point.min_peak is None else point.min_peak,
        )

    @property
    def fell_short(self) -> bool:
        """Whether no candidate left as many clean frames unflagged as was wanted."""
        return (
            self.specificity is not None
            and self.reached is not None
            and self.reached < self.specificity
        )


class Output(Strict, frozen=True, kw_only=True, rename=_STORED):
    """What the engine's output means: polyp scores in units of 1/256.

    Attributes:
        threshold: Score from which a pixel belongs to the mask, 0 to 1.
        min_region: Smallest region that is kept, share of what is shown.
        min_peak: Score that a region reaches at its highest, or it is left out, 0 to 1.
        calibration: How the three were chosen; None where they are the usual ones.
    """

    height: int
    width: int
    meaning: str = "polyp score, uint8, 1/256"
    threshold: float = DEFAULT_OPERATING_POINT.threshold
    min_region: float = DEFAULT_OPERATING_POINT.min_region
    min_peak: float = DEFAULT_OPERATING_POINT.min_peak
    calibration: Calibration | None = None

    @property
    def point(self) -> OperatingPoint:
        """What turns scores into regions."""
        return OperatingPoint(self.threshold, self.min_region, self.min_peak)


class EngineEntry(Strict, frozen=True, kw_only=True):
    """One engine: a runtime, a precision and its files.

    Attributes:
        runtime: `openvino`, `tflite` or `onnx`.
        precision: `int8`, `f32`, or `bf16`: the files of the f32 engine, run by `openvino` in
            bfloat16.
        files: Paths inside the bundle, the model file first.
        min_version: Least version of the runtime.
        architectures: `platform.machine()` values it was built for.
        float_ops: Operations that the runtime leaves in float.
    """

    runtime: str
    precision: str
    files: list[str]
    min_version: str
    architectures: list[str] = msgspec.field(default_factory=lambda: ["x86_64", "aarch64"])
    float_ops: list[str] = []


class Golden(Strict, frozen=True, kw_only=True):
    """A frame and the scores that the quantized student gave for it.

    `frame` is an RGB PNG at the input size, `scores` a grey PNG of the uint8 score map.
    """

    frame: str
    scores: str


class GoldenSet(Strict, frozen=True, kw_only=True):
    """The golden frames and how far an engine may stray from them.

    Attributes:
        min_iou: Least mask IoU on a frame whose expected mask has at least 50 pixels.
        max_mean_difference: Largest mean score difference of a frame, in 1/256.
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
    """Agreement of two steps of the way from the student to an engine on the same frames.

    Attributes:
        left: A step, such as `canonical int8`.
        right: Another one, such as `tflite int8`.
        on: What the frames are: `validation`, `golden` or `hard`.
        frames: How many.
        max_difference: Largest score difference, 1/256.
        mean_difference: Mean score difference, 1/256.
        mask_iou: Mean over the frames where either mask has at least 50 pixels; None where there is
            none.
        worst_iou: The least of them.
        worst_frame: Its name.
        dice_difference: Mean Dice of `right` less that of `left` on the frames with a polyp, at the
            size of the score maps; None where no masks are given.
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


class Provenance(Strict, frozen=True, kw_only=True):
    """Where the student comes from."""

    student: str
    teachers: list[str]
    recipe: str
    data: dict[str, str]
    versions: dict[str, str]
    seed: int
    created: str


class Manifest(Strict, frozen=True, kw_only=True):
    """The whole manifest (`manifest.json`)."""

    schema_version: int
    name: str
    intended_use: str
    licence: str
    input: Input
    output: Output
    engines: list[EngineEntry]
    golden: GoldenSet
    parity: list[ParityRow]
    accuracy: list[Accuracy]
    provenance: Provenance
    files: dict[str, str]
    """Path inside the bundle -> SHA-256, every file but the manifest."""
