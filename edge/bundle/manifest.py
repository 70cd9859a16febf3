"""The manifest of a bundle: everything that a device must know about a model.

Typed and strict: an unknown key, a missing key or a wrong type is an error. `SCHEMA_VERSION` rises with
every change that an older reader would misread.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edge.contracts import OperatingPoint

SCHEMA_VERSION = 2
Rule = Literal["full-frame", "view"]
"""What of a frame a student is shown: `edge.imaging.crop`."""
THRESHOLD = 0.5
"""Score from which a pixel belongs to the mask, where nothing else was chosen."""
RESEARCH_USE = "Research use only. Not a medical device; not for diagnosis or treatment."


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the manifest's records."""


class Input(Strict, frozen=True, kw_only=True):
    """How a frame becomes the engine's input.

    `resize` names the rule in `edge.imaging.preprocess`, `field_of_view` that in `edge.imaging.crop`; normalisation `(x - mean) / scale` is in the engine's graph
    and is recorded here for information.
    """

    height: int
    width: int
    colour: str = "RGB"
    layout: str = "NHWC"
    dtype: str = "uint8"
    resize: str = "stretch-antialiased"
    field_of_view: Rule = "full-frame"
    mean: float = 127.0
    scale: float = 128.0


class CurvePoint(Strict, frozen=True, kw_only=True):
    """A threshold on the validation frames.

    Attributes:
        threshold: Score from which a pixel belongs to the mask, 0 to 1.
        dice: Mean per image over the frames with a polyp.
        found: Of these, those where a kept region touches the polyp.
        flagged: Polyp-free frames with a kept region.
    """

    threshold: float
    dice: float
    found: int
    flagged: int


class Calibration(Strict, frozen=True, kw_only=True):
    """How threshold, least region and least peak were chosen; validation data alone took part.

    Attributes:
        rule: In words.
        engine: Whose scores they were.
        data: Data set -> frames with a polyp.
        negatives: Set -> frames without one.
        min_region: The least region that was chosen; it holds for all points.
        least_peak: The least peak that was chosen; likewise.
        best: The threshold of the highest Dice.
        chosen: The one that was chosen.
        curve: Others, to see how flat it is.
    """

    rule: str
    engine: str
    data: dict[str, int]
    negatives: dict[str, int]
    min_region: float
    least_peak: float = 0.0
    best: CurvePoint
    chosen: CurvePoint
    curve: list[CurvePoint]


class Output(Strict, frozen=True, kw_only=True):
    """What the engine's output means: polyp scores in units of 1/256.

    Attributes:
        threshold: Score from which a pixel belongs to the mask, 0 to 1.
        min_region: Smallest region that is kept, share of what is shown.
        least_peak: Score that a region reaches at its highest, or it is left out, 0 to 1.
        calibration: How the three were chosen; None where they are the usual ones.
    """

    height: int
    width: int
    meaning: str = "polyp score, uint8, 1/256"
    threshold: float = THRESHOLD
    min_region: float = 0.001
    least_peak: float = 0.0
    calibration: Calibration | None = None

    @property
    def point(self) -> OperatingPoint:
        """What turns scores into regions."""
        return OperatingPoint(self.threshold, self.min_region, self.least_peak)


class EngineEntry(Strict, frozen=True, kw_only=True):
    """One engine: a runtime, a precision and its files.

    Attributes:
        runtime: `openvino`, `tflite` or `onnx`.
        precision: `int8`, `f32`, or `bf16`: the files of the f32 engine, run by `openvino` in bfloat16.
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
    protocol: str = "B: per image at native mask size, raw scores at the threshold, bootstrap 95 % interval"


class ParityRow(Strict, frozen=True, kw_only=True):
    """Agreement of two steps of the way from the student to an engine on the same frames.

    Attributes:
        left: A step, such as `canonical int8`.
        right: Another one, such as `tflite int8`.
        on: What the frames are: `validation`, `golden` or `hard`.
        frames: How many.
        max_difference: Largest score difference, 1/256.
        mean_difference: Mean score difference, 1/256.
        mask_iou: Mean over the frames where either mask has at least 50 pixels; None where there is none.
        worst_iou: The least of them.
        worst_frame: Its name.
        dice_difference: Mean Dice of `right` less that of `left` on the frames with a polyp, at the size of the
            score maps; None where no masks are given.
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
