"""What the demo is asked for and what it found."""

from __future__ import annotations

import msgspec

from edge.bundle.manifest import ParityRow  # noqa: TC001 - msgspec reads the annotations


class DemoSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of everything; the defaults keep the demo under six minutes on two cores.

    Attributes:
        student: Name of the student.
        train: Phantom frames to train on.
        validation: Phantom frames with a polyp to validate on.
        negatives: Polyp-free phantom frames to count false alarms on.
        size: Height and width of the student's input.
        epochs: Passes of the distillation.
        qat_epochs: Passes of the quantization-aware fine-tuning.
        clip_frames: Frames of the clip that is run.
        bench_seconds: Time measured per engine.
        pretrained: Start the student's encoder from ImageNet weights.
        seed: Of the phantom and the training.
    """

    student: str = "edge-s"
    train: int = 160
    validation: int = 32
    negatives: int = 16
    size: int = 224
    epochs: int = 5
    qat_epochs: int = 1
    clip_frames: int = 150
    bench_seconds: float = 8.0
    pretrained: bool = True
    seed: int = 7


class DemoSummary(msgspec.Struct, frozen=True, kw_only=True):
    """`summary.json`.

    Attributes:
        dice: `f32` (the student in torch), `openvino` and `tflite` -> mean Dice on the validation frames.
        dice_ci95: Likewise, bootstrap 95 % interval.
        negatives: Engine -> polyp-free frames seen and flagged.
        parity_iou: Mean mask IoU of the two engines over the validation frames.
        parity: Every step of the way from the student to the engines.
        latency_ms: Engine -> percentiles with 99 % confidence, None where the samples are too few.
        latency_valid: Engine -> None, or why the measurement is not valid.
        run: Frames of the clip, frames with a mask, frames per second.
        bundle_bytes: Size of the bundle.
        seconds: Stage -> seconds.
        device: Where it ran.
        versions: With what.
    """

    dice: dict[str, float | None]
    dice_ci95: dict[str, tuple[float, float] | None]
    negatives: dict[str, dict[str, int]]
    parity_iou: float | None
    parity: list[ParityRow]
    latency_ms: dict[str, dict[str, float | None]]
    latency_valid: dict[str, str | None]
    run: dict[str, float]
    bundle_bytes: int
    seconds: dict[str, float]
    device: str
    versions: dict[str, str]
