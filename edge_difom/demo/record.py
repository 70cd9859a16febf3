"""Settings and results of the demo."""

from __future__ import annotations

import msgspec

from edge.bundle.manifest import ParityRow  # noqa: TC001 - msgspec reads the annotations


class DemoSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the demo; the defaults keep it under six minutes on two cores.

    Attributes:
        student: Name of the student.
        train: Number of phantom frames to train on.
        validation: Number of phantom frames with a polyp to validate on.
        negatives: Number of polyp-free phantom frames to count false alarms on.
        size: Height and width of the student's input, in pixels.
        epochs: Training epochs of the distillation.
        qat_epochs: Epochs of quantization-aware fine-tuning.
        clip_frames: Number of frames of the clip.
        bench_seconds: Seconds to measure each engine for.
        pretrained: Start the student's encoder from ImageNet weights.
        seed: Random seed of the phantom and the training.
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
    """The record that the demo writes as `summary.json`.

    Attributes:
        dice: `f32` (the student in torch), `openvino` and `tflite` -> mean Dice on the validation
            frames.
        dice_ci95: Its bootstrap 95 % interval.
        negatives: Engine -> number of polyp-free frames, and of those flagged.
        parity_iou: Mean mask IoU of the two engines over the validation frames.
        parity: Comparison of each step from the student to the engines.
        latency_ms: Engine -> percentiles with 99 % confidence, None if there are too few samples.
        latency_valid: Engine -> None, or why the measurement is invalid.
        run: Frames of the clip, frames with a mask, frames per second.
        bundle_bytes: Size of the bundle in bytes.
        seconds: Step -> duration in seconds.
        device: CPU and number of cores.
        versions: Software -> version.
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
