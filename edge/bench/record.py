"""The latency record: what `edge-difom bench` writes. Times are milliseconds."""

from __future__ import annotations

from typing import Any

import msgspec

# msgspec reads the annotations when a record is decoded.
from edge.device_info import Device  # noqa: TC001
from edge.manifest import Accuracy  # noqa: TC001


class WarmUp(msgspec.Struct, frozen=True, kw_only=True):
    """How the engine was brought to its steady state.

    Attributes:
        runs: Frames that were not counted.
        seconds: Their time.
        drift: Relative change of the rolling median at the end.
        settled: The drift fell below 2 % before the time allowed was over.
        shortened: A short run allowed less than the 2 s that the rule asks for.
    """

    runs: int
    seconds: float
    drift: float
    settled: bool
    shortened: bool


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of one stage; percentiles are plain quantiles, None below their least number of samples."""

    mean: float
    p50: float | None
    p99: float | None


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one engine.

    Attributes:
        samples: Frames counted.
        seconds: Time that they took.
        latency_ms: Early-stopping percentiles of the whole frame (`edge.bench.percentiles`).
        latency_empirical_ms: Plain quantiles of the same samples.
        stages_ms: Stage -> its milliseconds.
        first_inference_ms: The first inference after opening the engine, not counted above.
        warmup: The frames before the first that counted.
        inference_only_ms: The engine in a loop on one prepared input, nothing between, after the run.
        preprocess_postprocess_cpu_ms: CPU time per frame of the process in these two stages, after the run,
            OpenCV's threads included; a runtime whose threads spin on after an inference adds to it.
        rss_mb: Resident memory at the end, MiB, the measurement's own pictures and samples included.
        peak_rss_mb: The highest it was, compilation included.
    """

    samples: int
    seconds: float
    latency_ms: dict[str, float | None]
    latency_empirical_ms: dict[str, float | None]
    stages_ms: dict[str, Stage]
    first_inference_ms: float
    warmup: WarmUp
    inference_only_ms: Stage
    preprocess_postprocess_cpu_ms: float
    rss_mb: float | None
    peak_rss_mb: float | None


class BenchReport(Measurement, frozen=True, kw_only=True):
    """A latency record: the measurement, whether it can be believed, and what it was measured on.

    Attributes:
        valid: The environment guard saw nothing that spoils the run.
        reason: What it saw.
        unknown: What it could not read.
        publishable: Valid and at least 600 s long.
        notes: What a reader of the figures must know.
        other_cpu_per_core: CPU of other processes, share of each core.
        bundle: Name of the bundle.
        digest: Its digest.
        engine: `openvino`, `tflite` or `onnx`.
        frame_size: Height and width of the frames.
        compile_ms: Reading, hash check and compilation of the engine.
        settings: The engine's effective settings, and the harness's own.
        accuracy: The manifest's accuracy rows of this engine: speed without them is half a figure.
        device: The machine.
        versions: Software.
    """

    valid: bool
    reason: str | None
    unknown: list[str]
    publishable: bool
    notes: list[str]
    other_cpu_per_core: float | None
    bundle: str
    digest: str
    engine: str
    frame_size: tuple[int, int]
    compile_ms: float
    settings: dict[str, Any]
    accuracy: list[Accuracy]
    device: Device
    versions: dict[str, str | None]
