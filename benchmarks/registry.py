"""The comparisons by name, and how each is run and recorded."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from benchmarks.record import Comparison, Record
from edge.bench.measure.environment import EnvironmentGuard
from edge.errors import UsageError
from edge.util.extras import resolve
from edge.util.host import read_device, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BENCHMARKS = {
    "frame": (
        "benchmarks.micro.device:frame_cost",
        "CPU ms of preprocessing and postprocessing a 1080p frame, beside inference alone in INT8",
    ),
    "frame-view": (
        "benchmarks.micro.device:screen_cost",
        "CPU ms around inference of a processor's screen (octagon, 1400x1000), beside inference",
    ),
    "whole": (
        "benchmarks.micro.whole:whole_cost",
        "ms of a 1080p frame to contours in its coordinates, edge-s in INT8, beside inference",
    ),
    "whole-view": (
        "benchmarks.micro.whole:screen_cost",
        "ms of a processor's screen (octagon, 1400x1000) to contours, beside inference alone",
    ),
    "mask": (
        "benchmarks.micro.whole:mask_cost",
        "CPU ms of a mask of the whole 1080p frame, beside contours in frame coordinates",
    ),
    "rate-60": (
        "benchmarks.micro.live:rate_at_60",
        "Frames per second of `edge-difom run` on two cores, beside a source of 1080p60",
    ),
    "age-60": (
        "benchmarks.micro.live:age_at_60",
        "Age in ms of a frame of `edge-difom run` on 1080p60 after processing: p99 over the median",
    ),
    "start": (
        "benchmarks.micro.live:start_time",
        "ms from start of `edge-difom run` to the first mask: cached compiled model over none",
    ),
    "sandbox": (
        "benchmarks.micro.sandbox:latency_cost",
        "Inference of edge-s in INT8 in the student's process, ms: in its sandbox over outside",
    ),
    "sandbox-start": (
        "benchmarks.micro.sandbox:start_cost",
        "ms until the student's process is ready, edge-s in INT8: in its sandbox over outside",
    ),
    "guard": (
        "benchmarks.micro.frames:guard_cost",
        "Frame guard at 1080p, CPU ms, beside resizing the frame for a student",
    ),
    "view": (
        "benchmarks.micro.frames:view_cost",
        "Field of view at 1080p, CPU ms: a frame with a re-estimation over one without",
    ),
    "layer": (
        "benchmarks.micro.frames:layer_cost",
        "Overlay layer at 1080p, CPU ms: one that is used again over a new one",
    ),
    "int8-unet": (
        "benchmarks.micro.engines:int8_unet",
        "U-Net (31 M) in OpenVINO: f32 over INT8, ms",
    ),
    "int8-unet-tflite": (
        "benchmarks.micro.engines:int8_unet_tflite",
        "U-Net (31 M) in LiteRT: f32 over INT8, ms",
    ),
    "int8-edge-s": (
        "benchmarks.micro.engines:int8_edge_s",
        "edge-s in OpenVINO: f32 over INT8, ms",
    ),
    "int8-edge-s-tflite": (
        "benchmarks.micro.engines:int8_edge_s_tflite",
        "edge-s in LiteRT: f32 over INT8, ms",
    ),
    "unet-edge-s": (
        "benchmarks.micro.against_unet:edge_s",
        "U-Net (31 M) in f32 at 256x256 over the shipped edge-s in INT8, OpenVINO, ms",
    ),
    "unet-edge-xs": (
        "benchmarks.micro.against_unet:edge_xs",
        "U-Net (31 M) in f32 at 256x256 over the shipped edge-xs in INT8, OpenVINO, ms",
    ),
    "decoder-emcad": (
        "benchmarks.micro.decoders:emcad",
        "edge-s with decoder emcad in INT8 over edge-s, OpenVINO, ms",
    ),
    "decoder-emcad-tflite": (
        "benchmarks.micro.decoders:emcad_tflite",
        "edge-s with decoder emcad in INT8 over edge-s, LiteRT, ms",
    ),
    "decoder-pld": (
        "benchmarks.micro.decoders:pld",
        "edge-s with decoder pld in INT8 over edge-s, OpenVINO, ms",
    ),
    "decoder-pld-tflite": (
        "benchmarks.micro.decoders:pld_tflite",
        "edge-s with decoder pld in INT8 over edge-s, LiteRT, ms",
    ),
    "decoder-rpca": (
        "benchmarks.micro.decoders:rpca",
        "edge-s with decoder rpca in INT8 over edge-s, OpenVINO, ms",
    ),
    "decoder-rpca-tflite": (
        "benchmarks.micro.decoders:rpca_tflite",
        "edge-s with decoder rpca in INT8 over edge-s, LiteRT, ms",
    ),
    "decoder-dynamic-head": (
        "benchmarks.micro.decoders:dynamic_head",
        "edge-s with a dynamic head in INT8 over edge-s, OpenVINO, ms",
    ),
    "decoder-dynamic-head-tflite": (
        "benchmarks.micro.decoders:dynamic_head_tflite",
        "edge-s with a dynamic head in INT8 over edge-s, LiteRT, ms",
    ),
    "decoder-detection": (
        "benchmarks.micro.decoders:detection",
        "edge-s with a detection head in INT8 over edge-s, OpenVINO, ms",
    ),
    "decoder-detection-tflite": (
        "benchmarks.micro.decoders:detection_tflite",
        "edge-s with a detection head in INT8 over edge-s, LiteRT, ms",
    ),
    "decoder-pranet-v2": (
        "benchmarks.micro.decoders:pranet_v2",
        "pranet-v2 in INT8 over edge-s, OpenVINO, ms",
    ),
    "decoder-pranet-v2-tflite": (
        "benchmarks.micro.decoders:pranet_v2_tflite",
        "pranet-v2 in INT8 over edge-s, LiteRT, ms",
    ),
    "size-openvino": (
        "benchmarks.micro.engines:size_openvino",
        "edge-s, weights of the IR: INT8 over f32, KiB",
    ),
    "size-tflite": (
        "benchmarks.micro.engines:size_tflite",
        "edge-s, TFLite model: INT8 over f32, KiB",
    ),
    "harness": (
        "benchmarks.micro.harness:harness_cost",
        "Microseconds of the latency harness between two frames, beside a frame without an engine",
    ),
    "loadgen": (
        "benchmarks.peers.loadgen:percentiles_agree",
        "MLPerf's LoadGen around our engine, ms: our early-stopping p90 over LoadGen's",
    ),
    "help": ("benchmarks.micro.device:help_time", "`edge-difom --help` beside an empty Python, ms"),
    "import": (
        "benchmarks.micro.device:import_time",
        "`import edge_difom` beside `import json`, ms",
    ),
    "memory": (
        "benchmarks.micro.device:device_memory",
        "The device with its student's process at its highest, MiB, beside its imports alone",
    ),
    "spectral-6": (
        "benchmarks.micro.spectral:spectral_6",
        "Spectral loss, forward and backward, 6 x 256 x 64 x 64, ms: published FFT form over ours",
    ),
    "spectral-16": (
        "benchmarks.micro.spectral:spectral_16",
        "Spectral loss, forward and backward, 16 x 256 x 64 x 64, ms: published FFT form over ours",
    ),
    "step": (
        "benchmarks.micro.training:step_cost",
        "A distillation step of edge-s on cached maps over a plain supervised step, ms",
    ),
    "qat-step": (
        "benchmarks.micro.training:qat_step_cost",
        "A step of quantization-aware training of edge-s over a float step on the same batches, ms",
    ),
    "channels-last": (
        "benchmarks.micro.training_formats:channels_last",
        "A training step of edge-s with channels last in memory over one with contiguous maps, ms",
    ),
    "compile": (
        "benchmarks.micro.training_formats:compiled",
        "A training step of edge-s under torch.compile over one without, ms",
    ),
    "cache": (
        "benchmarks.micro.training:cache_cost",
        "Writing a teacher's cache over the teacher's bare forward passes, ms",
    ),
    "spectral-memory": (
        "benchmarks.micro.spectral:spectral_memory",
        "Spectral loss, MiB beyond maps and gradients, 6 x 256 x 64 x 64: published FFT over ours",
    ),
}
"""Name -> (reference of `function(rounds) -> Comparison`, the question that it answers)."""

DECODERS = tuple(name for name in BENCHMARKS if name.startswith("decoder-"))
"""Comparisons that share one run of all decoders; `decoders` names all of them."""
ASKED_FOR = ("loadgen", *DECODERS)
"""Comparisons that run only if named: `loadgen` needs an environment of `tools/make-env-peers.sh`,
and the decoders export seven networks."""


def named(names: Sequence[str]) -> list[str]:
    """Names of comparisons, with `decoders` for all of `DECODERS`."""
    return [one for name in names for one in (DECODERS if name == "decoders" else (name,))]


def run_benchmark(name: str, *, rounds: int) -> Record:
    """Run one comparison.

    Args:
        name: A key of `BENCHMARKS`.
        rounds: Number of measurements of each side.

    Raises:
        UsageError: There is no such benchmark.
        ParityError: The correctness check failed, so nothing was timed.
    """
    if name not in BENCHMARKS:
        raise UsageError(f"no benchmark {name!r}", expected=", ".join(BENCHMARKS))
    reference, what = BENCHMARKS[name]
    function: Callable[[int], Comparison] = resolve(reference)
    with EnvironmentGuard() as guard:
        comparison = function(rounds)
    return Record(
        name=name,
        what=what,
        comparison=comparison,
        valid=guard.verdict.valid,
        reason=guard.verdict.reason,
        device=read_device(),
        versions=versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
