"""What a type checker sees of the public interface; checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import edge_difom as ed
from edge.contracts import Sink
from edge.sources.base import BaseSource


def device(image: NDArray[np.uint8]) -> None:
    """Every function that needs no torch."""
    bundle = assert_type(ed.open_bundle("edge-s"), ed.Bundle)
    assert_type(bundle.manifest, ed.Manifest)
    assert_type(bundle.manifest.output.point, ed.OperatingPoint)
    engine = assert_type(ed.open_engine(bundle, "tflite", threads=1), ed.Engine)
    result = assert_type(ed.segment(image, engine, bundle), ed.Result)
    assert_type(result.regions, tuple[ed.Region, ...])
    source = assert_type(ed.open_source("synthetic:"), BaseSource)
    assert_type(source.read(), ed.Frame | None)
    assert_type(ed.open_sinks("null", force=True), list[Sink])
    assert_type(ed.run_loop(source, bundle, ["null"], frames=2), ed.RunSummary)
    pairs = assert_type(ed.find_pairs(Path("DIR")), list[ed.Pair])
    assert_type(ed.evaluate(bundle, pairs), ed.EvaluationReport)
    assert_type(ed.verify(bundle), ed.VerifyReport)
    assert_type(ed.read_bench_record("RUN"), ed.BenchReport)
    assert_type(ed.shipped_bundles(), dict[str, Path])
    assert_type(ed.default_bundle(), Path | None)
    assert_type(ed.__version__, str)
    loop = ed.FrameLoop(source=source, engine=engine, manifest=lambda: bundle.manifest, sinks=[])
    assert_type(loop.run(), ed.RunSummary)


def training() -> None:
    """Every function of the extra `train`."""
    config = ed.make_config({"data": ["DIR"]})
    run = assert_type(ed.start_run(config, out="RUN"), Path)
    assert_type(ed.resume_run(run), Path)
    assert_type(ed.load_run(run), ed.LoadedRun)
    assert_type(ed.evaluate_run(run, []), ed.EvaluationReport)
    assert_type(ed.quantize(run, ed.QatConfig(epochs=0)), ed.QuantizedRun)
    assert_type(ed.export_engines(run, "engines"), list[Path])
    assert_type(ed.make_bundle(run, "B"), ed.Bundle)
    assert_type(ed.train_bundle(config, "B", run="RUN"), ed.Bundle)
    try:
        ed.open_bundle("nowhere")
    except ed.EdgeDifomError as error:
        assert_type(error.exit_code, int)
    print(ed.no_such_name)  # type: ignore[attr-defined]
