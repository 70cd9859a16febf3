"""The comparisons by name, and the way in which each is run and recorded."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from benchmarks.record import Comparison, Record
from edge.bench.measure.environment import Guard
from edge.errors import UsageError
from edge.util.extras import resolve
from edge.util.host import read_device, versions

if TYPE_CHECKING:
    from collections.abc import Callable

BENCHMARKS = {
    "frame": (
        "benchmarks.micro.device:frame_cost",
        "A 1080p frame's preprocessing and postprocessing, CPU ms, beside inference alone in INT8",
    ),
    "frame-view": (
        "benchmarks.micro.device:screen_cost",
        "Likewise of a processor's screen, of which edge-s is shown the field of view (octagon, 1400x1000)",
    ),
    "whole": (
        "benchmarks.micro.whole:whole_cost",
        "A 1080p frame to contours in frame coordinates, edge-s in INT8, ms, beside inference alone in the same engine",
    ),
    "whole-view": (
        "benchmarks.micro.whole:screen_cost",
        "Likewise of a processor's screen, of which edge-s is shown the field of view (octagon, 1400x1000)",
    ),
    "mask": (
        "benchmarks.micro.whole:mask_cost",
        "A mask of the whole 1080p frame, CPU ms, beside contours in frame coordinates",
    ),
    "rate-60": (
        "benchmarks.micro.live:rate_at_60",
        "`edge-difom run` on 1080p60, edge-s in INT8 on two cores, frames per second, beside the source's",
    ),
    "age-60": (
        "benchmarks.micro.live:age_at_60",
        "Likewise, age of a frame when it is done, ms: p99 over the median",
    ),
    "start": (
        "benchmarks.micro.live:start_time",
        "From the start of `edge-difom run` to the first mask, ms: compiled model kept over compiled anew",
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
        "What the latency harness costs between two frames, microseconds, beside a frame without an engine",
    ),
    "loadgen": (
        "benchmarks.peers.loadgen:percentiles_agree",
        "MLPerf's LoadGen around our engine: our early-stopping p90 over LoadGen's of the same queries, ms",
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
        "Spectral loss, forward and backward, 6 x 256 x 64 x 64: published FFT formulation over ours, ms",
    ),
    "spectral-16": (
        "benchmarks.micro.spectral:spectral_16",
        "Spectral loss, forward and backward, 16 x 256 x 64 x 64: published FFT formulation over ours, ms",
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
        "A training step of edge-s with the channels last in memory over one with contiguous maps, ms",
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
        "Spectral loss, memory beyond maps and gradients, 6 x 256 x 64 x 64: published FFT formulation over ours, MiB",
    ),
}
"""Name -> (reference of `function(rounds) -> Comparison`, the question that it answers)."""

ASKED_FOR = ("loadgen",)
"""Run only where they are named: they need an environment of `tools/make-env-peers.sh`."""


def run_benchmark(name: str, *, rounds: int) -> Record:
    """Run one comparison.

    Args:
        name: One of `BENCHMARKS`.
        rounds: How often each side is measured.

    Raises:
        UsageError: There is no such benchmark.
        ParityError: Its correctness check failed, so nothing was timed.
    """
    if name not in BENCHMARKS:
        raise UsageError(f"no benchmark {name!r}", expected=", ".join(BENCHMARKS))
    reference, what = BENCHMARKS[name]
    function: Callable[[int], Comparison] = resolve(reference)
    with Guard() as guard:
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
