"""Public functions that need no torch: open, run, score and verify bundles.

Each imports what it needs when it is called.
"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.bench.report.record import BenchReport
    from edge.bundle.reader import Bundle
    from edge.contracts import Engine, Sink
    from edge.datasets.pairs import Pair
    from edge.engines.golden_check import VerifyReport
    from edge.evaluation.metrics import EvaluationReport
    from edge.frame import ImageU8, Result
    from edge.pipeline.run_stats import RunSummary
    from edge.prediction.predictor import Predictor
    from edge.sources.base import BaseSource


def open_bundle(path: Path | str | None = None) -> Bundle:
    """Open a bundle: a model's engines with everything a device needs to know about them.

    Args:
        path: A bundle directory, a `.difom` file or the name of a shipped bundle; None opens the
            default bundle.

    Returns:
        The open bundle. Every file is verified against its SHA-256 when it is read.

    Raises:
        BundleError: Not a bundle, damaged, of a newer schema, or no default bundle is shipped.

    Example:
        >>> bundle = ed.open_bundle("edge-s")
        >>> bundle.manifest.input.height, bundle.manifest.input.width
        (256, 256)
    """
    from edge.bundle.reader import Bundle
    from edge.bundle.shipped import DEFAULT, find_bundle

    return Bundle.open(find_bundle(DEFAULT if path is None else path))


def open_engine(
    bundle: Bundle, name: str = "auto", *, threads: int | None = None, precision: str = "int8"
) -> Engine:
    """Open an engine of a bundle; close it with `engine.close()`.

    OpenCV uses one thread in this process afterwards, because the cores belong to the engine. The
    engine runs in this process, which a hostile model may crash: first `verify` a bundle of unknown
    origin, which runs its engines in processes of their own.

    Args:
        bundle: An open bundle.
        name: `openvino` (also `openvino:GPU`, `:NPU`, `:AUTO`), `tflite`, `onnx` (also
            `onnx:cuda`, `:tensorrt`), or `auto` for the
            first runtime that the bundle supports and this machine can load.
        threads: CPU threads; None uses every core available to this process.
        precision: `int8`, `f32`, `bf16` (OpenVINO only) or `f16` (ONNX only).

    Returns:
        An engine that maps a (H, W, 3) uint8 RGB image of `engine.input_size` to a uint8 score map
        in units of 1/256.

    Raises:
        UsageError: Unknown name, or the bundle has no such engine.
        MissingDependencyError: The runtime is not installed; the message names the extra.
        BundleError: The bundle needs a newer runtime or another architecture, or does not verify.

    Example:
        >>> engine = ed.open_engine(ed.open_bundle(), "openvino", threads=2)
        >>> engine.close()
    """
    from edge.engines import open as engines

    return engines.open_engine(bundle, name, threads=threads, precision=precision)


def load(
    bundle: Bundle | Path | str | None = None,
    *,
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "int8",
) -> Predictor:
    """Open a bundle and one of its engines to predict single images.

    Args:
        bundle: An open bundle, or what `open_bundle` takes.
        engine: As in `open_engine`.
        threads: CPU threads of the engine; None uses every available core.
        precision: `int8`, `f32`, `bf16` or `f16`.

    Returns:
        A context manager with `predict(image)`; `close()` releases the engine. Single images are
        judged without the frame guard and without smoothing, as in `run` on a folder of images.

    Raises:
        BundleError: As in `open_bundle` and `open_engine`.
        UsageError: The bundle has no such engine.
        MissingDependencyError: The runtime is not installed; the message names the extra.

    Example:
        >>> with ed.load("edge-s") as model:
        ...     found = model.predict(image)
        >>> found.mask.shape, [region.box for region in found.regions]
    """
    from edge.bundle.reader import Bundle
    from edge.prediction.predictor import Predictor

    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    return Predictor(opened, open_engine(opened, engine, threads=threads, precision=precision))


def open_source(text: str, *, realtime: bool = False) -> BaseSource:
    """Create a frame source; its device or file opens when it is entered or run.

    Args:
        text: `file:CLIP`, `images:DIR`, `synthetic:`, `v4l2:DEVICE`, `rtsp:URL` or `gst:PIPELINE`,
            each with options as `?key=value&key=value`.
        realtime: Replay a clip (`file:`) at its own frame rate, as if it were a camera.

    Raises:
        UsageError: Unknown scheme or option, or an invalid value.

    Example:
        >>> source = ed.open_source("synthetic:?width=1280&height=720&frames=30&live=0")
    """
    from edge.sources import open as sources

    return sources.open_source(text, realtime=realtime)


def open_sinks(
    *texts: str, fps: float | None = None, force: bool = False, live: bool = False
) -> list[Sink]:
    """Create the outputs of a frame loop; each opens its file when it is entered or run.

    Args:
        *texts: `shm:NAME`, `window[:OPTIONS]`, `web[:PORT]`, `video:FILE.mp4`, `jsonl[:FILE]`
            (stdout without a file) or `null`.
        fps: Frames per second of a video; pass `source.fps`.
        force: Replace existing files.
        live: The source delivers frames at its own pace, so no sink may block; pass `source.live`.

    Raises:
        UsageError: Unknown kind, a missing or unexpected path, or one that exists already.

    Example:
        >>> sinks = ed.open_sinks("video:overlay.mp4", "jsonl:frames.jsonl", fps=25)
    """
    from edge.sinks import open as sinks

    return sinks.open_sinks(texts, fps=fps, force=force, live=live)


def segment(image: ImageU8, engine: Engine, bundle: Bundle) -> Result:
    """Find polyps in one image, with the preprocessing and thresholds of the device.

    Args:
        image: (H, W, 3) uint8 RGB of any size.
        engine: An engine of `bundle`.
        bundle: The bundle; its manifest holds the operating point and the field-of-view rule.

    Returns:
        Regions with contours in pixels of `image`, the covered share and the raw score map.
        `result.reason` says why there is no mask, and is None otherwise.

    Raises:
        DataError: `image` has another shape or type.

    Example:
        >>> result = ed.segment(image, ed.open_engine(bundle), bundle)
        >>> [region.box for region in result.regions]
    """
    import numpy as np

    from edge.frame import Frame
    from edge.imaging.field_of_view import estimate
    from edge.imaging.view import restrict
    from edge.pipeline.analysis import analyze

    if image.ndim == 3 and image.shape[2] == 3:
        image = np.ascontiguousarray(image[..., ::-1])
    view = estimate(image)  # refuses what is not an image
    frame = Frame(0, image, time.monotonic_ns())
    return restrict(analyze(frame, engine, bundle.manifest, view=view), view)


def run_loop(
    source: BaseSource | str,
    bundle: Bundle,
    sinks: Sequence[Sink | str] = ("null",),
    *,
    engine: str = "auto",
    threads: int | None = None,
    frames: int | None = None,
    seconds: float | None = None,
) -> RunSummary:
    """Run a bundle over a source in this process until the source or a limit ends.

    `FrameLoop` has more options. `edge-difom run` also supervises the engine in a separate process,
    guards frames and smooths detections over time.

    Args:
        source: A source, or text for `open_source`.
        bundle: An open bundle.
        sinks: Sinks, or texts for `open_sinks`.
        engine: As in `open_engine`.
        threads: CPU threads of the engine; None uses every available core.
        frames: Stop after this many frames.
        seconds: Stop after this many seconds.

    Returns:
        Frame counts, and latency quantiles in milliseconds for each stage.

    Raises:
        UsageError: Invalid source, sink or engine.
        SourceError: The source failed; what was written until then is kept and complete.
        MissingDependencyError: The engine's runtime is not installed.
        BundleError: The engine does not verify or does not fit this machine.

    Example:
        >>> bundle = ed.open_bundle()
        >>> ed.run_loop("file:clip.mp4", bundle, ["jsonl:frames.jsonl"], frames=100).fps
    """
    import msgspec

    from edge.bundle.header import bundle_header
    from edge.pipeline.loop import FrameLoop
    from edge.record_header import Described

    opened = open_source(source) if isinstance(source, str) else source
    texts = [sink for sink in sinks if isinstance(sink, str)]
    outputs = [sink for sink in sinks if not isinstance(sink, str)]
    outputs += open_sinks(*texts, fps=opened.fps, live=opened.live)
    with closing(open_engine(bundle, engine, threads=threads)) as student:
        loop = FrameLoop(
            source=opened, engine=student, manifest=lambda: bundle.manifest, sinks=outputs
        )
        header = bundle_header(bundle, engine=student.name, data=opened.description)
        for sink in outputs:
            if isinstance(sink, Described):
                sink.describe(header)
        return msgspec.structs.replace(loop.run(frames=frames, seconds=seconds), header=header)


def evaluate(
    bundle: Bundle,
    pairs: Sequence[Pair],
    *,
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "int8",
    protocol_a: bool = False,
) -> EvaluationReport:
    """Measure a bundle's accuracy on labeled images through the device's preprocessing.

    Args:
        bundle: An open bundle.
        pairs: Images and masks, from `find_pairs`.
        engine: As in `open_engine`.
        threads: CPU threads of the engine; None uses every available core.
        precision: `int8`, `f32`, `bf16` or `f16`.
        protocol_a: Also measure by PraNet's protocol.

    Returns:
        Mean Dice and IoU over images at native mask resolution (0 to 1), with bootstrap 95 %
        intervals; polyp-free images are counted separately.

    Raises:
        DataError: There are no pairs, or one cannot be used.
        UsageError: The bundle has no such engine.
        MissingDependencyError: The engine's runtime is not installed.
        BundleError: The engine does not verify or does not fit this machine.

    Example:
        >>> report = ed.evaluate(ed.open_bundle(), ed.find_pairs(Path("DIR")), engine="tflite")
        >>> report.dice, report.dice_ci95
    """
    from edge.evaluation.bundle import evaluate_bundle

    return evaluate_bundle(
        bundle, pairs, engine=engine, threads=threads, precision=precision, protocol_a=protocol_a
    )


def verify(bundle: Bundle, engines: Sequence[str] | None = None) -> VerifyReport:
    """Check a bundle's hashes, and its INT8 engines against the golden frames.

    Args:
        bundle: An open bundle.
        engines: Names of engines; None checks every engine whose runtime is installed.

    Returns:
        The findings; `report.raise_for_problems()` turns a failure into an error.

    Raises:
        UsageError: The bundle has no such engine.
        MissingDependencyError: A named runtime is not installed, or none is.

    Example:
        >>> ed.verify(ed.open_bundle()).raise_for_problems()
    """
    from edge.engines.golden_check import verify_bundle
    from edge.inference.isolated import open_isolated

    return verify_bundle(bundle, engines, opener=open_isolated)


def read_bench_record(path: Path | str) -> BenchReport:
    """Read a latency measurement of `edge-difom bench`.

    Args:
        path: A `report.json`, a `record.jsonl` (also of a run that was killed), or their folder.

    Returns:
        Latency percentiles in milliseconds for each load, and whether the measurement is valid.

    Raises:
        DataError: Not such a file or folder, several runs, or an incompatible version.

    Example:
        >>> report = ed.read_bench_record("runs/bench/RUN")
        >>> report.valid, report.first.latency_ms["p99"]
    """
    from edge.bench.report.compare import load_reports
    from edge.errors import DataError

    reports = load_reports(Path(path))
    if len(reports) != 1:
        raise DataError(f"{path} contains several runs", expected="one", got=str(len(reports)))
    return reports[0]
