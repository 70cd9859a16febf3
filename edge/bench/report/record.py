"""The latency report that `edge-difom bench` makes from a record.

Times are in milliseconds unless a name says otherwise.
"""

from __future__ import annotations

from typing import Any

import msgspec

# msgspec reads the annotations when a report is decoded.
from edge.bench.report.profile_record import DeviceProfile, Work  # noqa: TC001
from edge.bundle.manifest import Accuracy, ParityRow  # noqa: TC001
from edge.util.host import Device  # noqa: TC001

REPORT_VERSION = 2


class WarmUp(msgspec.Struct, frozen=True, kw_only=True):
    """The warm-up before the counted frames.

    Attributes:
        runs: Number of warm-up frames.
        seconds: Duration of the warm-up.
        drift: Relative change of the rolling median at the end.
        settled: Whether the drift fell below 2 % within the allowed time.
        shortened: Whether a short run allowed less than the 2 s that the rule requires.
    """

    runs: int
    seconds: float
    drift: float
    settled: bool
    shortened: bool


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of one stage; percentiles are plain quantiles, None with too few samples."""

    mean: float
    p50: float | None
    p99: float | None


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One second of a run, for the time series.

    Attributes:
        at_s: End of the second, since the load began.
        frames: Frames that ended in it.
        p50_ms: Plain median of their latencies.
        max_ms: Maximum of their latencies.
        temperature_c: Temperature of the hottest sensor; None without a sensor.
        frequency_mhz: Mean frequency of the processors.
        power_w: Power of the board or the processor package.
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
    """Figures of one load.

    Attributes:
        load: `max`, or the frames per second of the source.
        samples: Number of counted frames.
        seconds: Duration of the counted frames.
        fps: Completed frames per second.
        dropped: Frames that were overwritten by a newer one while another frame was processed.
        valid: Whether the environment guard saw no disturbance during this load.
        reason: The disturbances; None without any.
        unknown: Counters that could not be read.
        other_cpu_per_core: CPU of other processes, as a share of each core.
        warmup: The warm-up before the first counted frame.
        latency_ms: Early-stopping percentiles of the whole frame
            (`edge.bench.measure.percentiles`).
        latency_empirical_ms: Plain quantiles of the same samples.
        latency_ci95_ms: 95 % intervals of the plain quantiles; the bootstrap draws whole seconds,
            because neighboring frames are similar.
        stages_ms: Stage -> its milliseconds; the stages are contiguous and sum to the whole.
        cpu_ms_per_frame: CPU time of this process per frame, all threads.
        rss_mb: Resident memory at the end, MiB, including the harness's own images and samples.
        rss_growth_kib_per_frame: Growth of the resident memory during the load, per frame.
        energy_mj_per_frame: Energy of the whole board or package per frame, including idle power,
            in millijoules.
        energy_source: Name of the meter.
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
        frames: Number of frames.
        ok: Whether each frame is within the manifest's tolerance.
        worst_iou: Lowest mask IoU; None if no frame has a mask.
        mean_difference: Largest mean score difference of a frame, 1/256.
    """

    frames: int
    ok: bool
    worst_iou: float | None
    mean_difference: float


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """A latency run: its validity, its figures, and the machine and bundle that it measured.

    Attributes:
        version: Version of this format.
        valid: Whether no load was disturbed.
        reason: The disturbances; None without any.
        unknown: Counters that the environment guard could not read.
        complete: Whether the run reached its end; False if it was killed.
        publishable: Whether the run is valid and complete, and each load lasted at least 600 s.
        notes: Remarks that a reader of the figures must know.
        bundle: Name of the bundle.
        digest: Digest of the bundle.
        engine: `openvino`, `tflite` or `onnx`.
        precision: Precision as the bundle names it; `settings` has the executed precision.
        threads: Requested thread count; None means all usable cores.
        frame_size: Height and width of the frames.
        compile_ms: Reading, hash check and compilation of the engine.
        first_inference_ms: The first inference after compilation.
        loads: One row per load, in the order in which they ran.
        inference_only_ms: The engine in a tight loop on one prepared input, after the loads.
        preprocess_postprocess_cpu_ms: CPU time of the process per frame in these two stages, after
            the loads, including OpenCV's threads. A runtime whose threads keep spinning after an
            inference adds to it.
        peak_rss_mb: Peak resident memory, including compilation, MiB.
        settings: Effective settings of the engine and of the harness.
        accuracy: Accuracy of this engine, without which a speed has little meaning.
        parity: The bundle's parity rows of this engine.
        golden: This engine on the golden frames, on this machine; None if it has none.
        work: Operations of an inference; None if they cannot be counted.
        profile: Peak performance of the machine; None if it was not measured.
        machine: Settings of the machine, such as governor and power mode.
        sensors_missing: Kinds of sensors that this machine does not have.
        device: The machine.
        versions: Versions of the software.
        command: Command that repeats the run.
        created: Time of the run, UTC, ISO 8601.
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
        """Speed of inference alone, as a share of the engine's peak here; None if unknown."""
        alone = self.inference_only_ms
        executed = str(self.settings.get("precision", self.precision))
        if self.work is None or self.profile is None or alone is None:
            return None
        peak = self.profile.peak(self.engine, executed)
        return self.work.giga_operations / (alone.p50 or alone.mean) * 1e3 / peak if peak else None
