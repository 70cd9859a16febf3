"""Run MLPerf's LoadGen around our engine in LoadGen's own environment.

Usage: `PYTHON -m benchmarks.peers.loadgen_worker FOLDER QUERIES THREADS`. The worker prints one
line of JSON: our durations of each query, and the figures in LoadGen's log for the same queries.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import mlperf_loadgen as lg
import numpy as np

from edge.engines.open import open_engine_files

_SUMMARY = "mlperf_log_summary.txt"
_PERCENTILE = re.compile(r"^([\d.]+) percentile latency \(ns\)\s*:\s*(\d+)", re.MULTILINE)
_EARLY = re.compile(r"Early stopping ([\d.]+)th percentile estimate: (\d+)")


def main(folder: Path, queries: int, threads: int) -> None:
    """Run the single-stream scenario in performance mode."""
    files = [path.read_bytes() for path in sorted(folder.glob("openvino-int8-*"))]
    engine = open_engine_files("openvino", files, threads)
    image = np.load(folder / "prepared.npy")[0]
    for _ in range(50):
        engine.infer(image)
    took: list[int] = []

    def issue(queries: list[lg.QuerySample]) -> None:
        for query in queries:
            begin = time.perf_counter_ns()
            engine.infer(image)
            took.append(time.perf_counter_ns() - begin)
            lg.QuerySamplesComplete([lg.QuerySampleResponse(query.id, 0, 0)])

    settings = lg.TestSettings()
    settings.scenario = lg.TestScenario.SingleStream
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = 1
    settings.min_query_count = queries
    output = lg.LogOutputSettings()
    output.outdir = str(folder)
    output.copy_summary_to_stdout = False
    logs = lg.LogSettings()
    logs.log_output = output
    sut = lg.ConstructSUT(issue, lambda: None)
    library = lg.ConstructQSL(1, 1, lambda _: None, lambda _: None)
    lg.StartTestWithLogSettings(sut, library, settings, logs)
    lg.DestroyQSL(library)
    lg.DestroySUT(sut)
    engine.close()
    text = (folder / _SUMMARY).read_text()
    record = {
        "took_ns": took,
        "percentiles_ns": {name: int(value) for name, value in _PERCENTILE.findall(text)},
        "early_ns": {name: int(value) for name, value in _EARLY.findall(text)},
    }
    sys.stdout.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
