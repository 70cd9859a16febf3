"""The latency report: what `edge-difom bench` makes of a record. Times are milliseconds unless a name says otherwise."""

from __future__ import annotations

from typing import Any

import msgspec

# msgspec reads the annotations when a report is decoded.
from edge.bench.report.profile_record import DeviceProfile, Work  # noqa: TC001
from edge.bundle.manifest import Accuracy, ParityRow  # noqa: TC001
from edge.util.host import Device  # noqa: TC001

REPORT_VERSION = 2


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


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One second of a run, for the time series.

    Attributes:
        at_s: End of the second, since the load began.
        frames: Frames that ended in it.
        p50_ms: Plain median of their latencies.
        max_ms: The longest.
        temperature_c: The hottest sensor; None where there is none.
        frequency_mhz: Mean over the processors.
        power_w: Of the board or the processor package.
        rss_mb: Resident memory, MiB.
    """

    at_s: float
    frames: int
    p50_ms: float
    max_ms: float
    temperature_c: float | None
    frequency_mhz: float | None
    power_w: float | None
    rss_mb: float | None


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured under one load.

    Attributes:
        load: `max`, or the frames per second at which pictures came.
        samples: Frames counted.
        seconds: Time that they took.
        fps: Frames done per second.
        dropped: Pictures that came while an older one was worked on, and were overwritten.
        valid: The environment guard saw nothing that spoils this load.
        reason: What it saw.
        unknown: What it could not read.
        other_cpu_per_core: CPU of other processes, share of each core.
        warmup: The frames before the first that counted.
        latency_ms: Early-stopping percentiles of the whole frame
            (`edge.bench.measure.percentiles`).
        latency_empirical_ms: Plain quantiles of the same samples.
        latency_ci95_ms: 95 % interval of those, bootstrap over whole seconds: neighbours are alike.
        stages_ms: Stage -> its milliseconds; they share their boundaries and sum to the whole.
        cpu_ms_per_frame: CPU time of this process, all threads, over the frames.
        rss_mb: Resident memory at the end, MiB, the measurement's own pictures and samples
            included.
        rss_growth_kib_per_frame: Its growth over the load, per frame.
        energy_mj_per_frame: Energy over the frames, millijoules, of the whole board or package,
            idle included.
        energy_source: The meter.
        retention: p50 of the last 60 s over that of the first 60 s; None under 120 s.
        series: One row per second.
        samples_us: The whole-frame latencies in order, microseconds.
    """

    load: str
    samples: int
    seconds: float
    fps: float
    dropped: int
    valid: bool
    reason: str | None
    unknown: list[str]
    other_cpu_per_core: float | None
    warmup: WarmUp
    latency_ms: dict[str, float | None]
    latency_empirical_ms: dict[str, float | None]
    latency_ci95_ms: dict[str, tuple[float, float] | None]
    stages_ms: dict[str, Stage]
    cpu_ms_per_frame: float
    rss_mb: float | None
    rss_growth_kib_per_frame: float | None
    energy_mj_per_frame: float | None
    energy_source: str | None
    retention: float | None
    series: list[Moment]
    samples_us: list[float]


class GoldenCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The measured engine on the bundle's golden frames.

    Attributes:
        frames: How many.
        ok: Each within the manifest's tolerance.
        worst_iou: Least mask IoU; None where no frame has a mask.
        mean_difference: Largest mean score difference of a frame, 1/256.
    """

    frames: int
    ok: bool
    worst_iou: float | None
    mean_difference: float


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """A latency run: whether it is valid, its figures, and the machine and bundle they are of.

    Attributes:
        version: Of this form.
        valid: No load was spoilt.
        reason: What spoilt one.
        unknown: What the environment guard could not read.
        complete: The run came to its end; False for the record of one that was killed.
        publishable: Valid, complete, and each load at least 600 s long.
        notes: What a reader of the figures must know.
        bundle: Name of the bundle.
        digest: Its digest.
        engine: `openvino`, `tflite` or `onnx`.
        precision: As the bundle names it; `settings` says what was executed.
        threads: That were asked for; None for the engine's own choice.
        frame_size: Height and width of the frames.
        compile_ms: Reading, hash check and compilation of the engine.
        first_inference_ms: The first inference after it.
        loads: One row per load, in the order in which they ran.
        inference_only_ms: The engine in a loop on one prepared input, nothing between, after the
            loads.
        preprocess_postprocess_cpu_ms: CPU time per frame of the process in these two stages, after
            the loads, OpenCV's threads included; a runtime whose threads spin on after an inference
            adds to it.
        peak_rss_mb: The highest that resident memory was, compilation included, MiB.
        settings: The engine's effective settings, and the harness's own.
        accuracy: Accuracy of this very engine: speed without it is half a figure.
        parity: The bundle's rows on this engine.
        golden: This engine on the golden frames, on this machine; None for an engine that has none.
        work: Operations of an inference; None where no file of the bundle tells.
        profile: What the machine reaches at best; None where it was not measured.
        machine: Governor, power mode and the like, as they were set.
        sensors_missing: Kinds of sensors that this machine does not show.
        device: The machine.
        versions: Software.
        command: That repeats the run.
        created: UTC, ISO 8601.
    """

    version: int = REPORT_VERSION
    valid: bool
    reason: str | None
    unknown: list[str]
    complete: bool
    publishable: bool
    notes: list[str]
    bundle: str
    digest: str
    engine: str
    precision: str
    threads: int | None
    frame_size: tuple[int, int]
    compile_ms: float
    first_inference_ms: float
    loads: list[LoadReport]
    inference_only_ms: Stage | None
    preprocess_postprocess_cpu_ms: float | None
    peak_rss_mb: float | None
    settings: dict[str, Any]
    accuracy: list[Accuracy]
    parity: list[ParityRow]
    golden: GoldenCheck | None
    work: Work | None
    profile: DeviceProfile | None
    machine: dict[str, str]
    sensors_missing: list[str]
    device: Device
    versions: dict[str, str | None]
    command: str
    created: str

    @property
    def first(self) -> LoadReport:
        """The load that ran first."""
        return self.loads[0]

    @property
    def share_of_peak(self) -> float | None:
        """Operations per second of inference alone over what the engine reaches here at best; None where unknown."""
        alone = self.inference_only_ms
        executed = str(self.settings.get("precision", self.precision))
        if self.work is None or self.profile is None or alone is None:
            return None
        peak = self.profile.peak(self.engine, executed)
        return self.work.giga_operations / (alone.p50 or alone.mean) * 1e3 / peak if peak else None
