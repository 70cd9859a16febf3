"""Peers: LoadGen's percentiles equal ours; each peer is checked and has its own process."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.peers import __main__ as peers
from benchmarks.peers import checks as peer_checks
from benchmarks.peers import loadgen
from benchmarks.peers import process as peer_process
from edge.datasets.pairs import find_pairs
from edge.datasets.phantom.render import write_dataset
from edge.engines.open import open_engine_files
from edge.errors import ParityError
from edge.evaluation.evaluator import evaluate
from edge.imaging.preprocess import to_input

if TYPE_CHECKING:
    from pathlib import Path


def _answer(early: dict[str, int]) -> loadgen.Answer:
    took = list(range(1_000_000, 1_000_000 + 700 * 1000, 1000))
    plain = {"50.00": 1_350_000, "90.00": 1_630_000, "99.00": 1_693_000}
    return loadgen.Answer(took_ns=took, percentiles_ns=plain, early_ns=early)


def test_loadgens_percentiles_are_compared_one_by_one() -> None:
    # Of 700 queries LoadGen discards 50 for p90, and none for p99 (seen in its own summary).
    agreeing = {"90.0": 1_000_000 + 1000 * (699 - 50), "99.0": 1_000_000 + 1000 * 699}
    assert loadgen.check_agreement(_answer(agreeing)) < 0.002
    with pytest.raises(ParityError, match=r"early-stopping p90\.0"):
        loadgen.check_agreement(_answer({**agreeing, "90.0": 1_500_000}))
    with pytest.raises(ParityError, match="lacks percentiles"):
        loadgen.check_agreement(_answer({}))


def test_a_peer_that_computes_something_else_is_not_timed() -> None:
    kinds = {kind.worker: kind for kind in peer_process.KINDS}
    reference = np.zeros((8, 8), np.uint8)
    reference[:4] = 200
    alike = peer_checks.check_peer(kinds["alone:onnx:int8"], reference + 2, reference)
    assert alike == "mean score difference 2.00/256"
    with pytest.raises(ParityError, match="something else"):
        peer_checks.check_peer(kinds["alone:onnx:int8"], 255 - reference, reference)
    mask = np.zeros((80, 80), np.uint8)
    mask[:40] = 1
    assert "100.0%" in peer_checks.check_peer(kinds["model-api:openvino:int8"], mask, reference)
    with pytest.raises(ParityError, match="pixels alike"):
        peer_checks.check_peer(kinds["model-api:openvino:int8"], 1 - mask, reference)
    with pytest.raises(ParityError, match="gave no mask"):
        peer_checks.check_peer(kinds["ultralytics"], mask, reference)
    with pytest.raises(ParityError, match="no result"):
        peer_checks.check_peer(kinds["alone:onnx:int8"], None, reference)


def test_peers_run_in_turn_in_processes_of_their_own(
    tmp_path: Path, tiny_engine_files: dict[str, list[bytes]]
) -> None:
    files = {(runtime, "int8"): content for runtime, content in tiny_engine_files.items()}
    write_dataset(tmp_path / "data", train=2, validation=1, negatives=0, seed=0, size=(90, 120))
    pairs = find_pairs(tmp_path / "data" / "train")
    kinds = [
        kind
        for kind in peer_process.KINDS
        if kind.worker in ("ours:tflite:int8", "alone:onnx:int8", "ultralytics")
    ]
    report = peers.run_peers(
        rounds=3,
        environments=tmp_path,
        files=files,
        student="tiny",
        size=(64, 64),
        pairs=pairs,
        threads=1,
        kinds=kinds,
    )
    assert [row.name for row in report.rows] == ["edge-difom in LiteRT, INT8", "onnxruntime, INT8"]
    assert all(len(row.wall_ms) == len(row.cpu_ms) == 3 for row in report.rows)
    assert report.rows[0].wall_ratio == 1
    with closing(open_engine_files("tflite", tiny_engine_files["tflite"], 1)) as engine:
        expected = evaluate(pairs, lambda image: engine.infer(to_input(image, (64, 64), bgr=False)))
    assert [row.dice for row in report.rows] == [expected.dice, None]
    assert report.images == 2
    assert list(report.missing) == ["ultralytics, f32"]
    assert "make-env-peers.sh" in report.missing["ultralytics, f32"]
    broken = peer_process.Kind(name="b", worker="alone:openvino:f32", what="w")
    with pytest.raises(ParityError, match="did not answer"):
        peers.run_peers(
            rounds=2,
            environments=tmp_path,
            files=files,
            student="tiny",
            size=(64, 64),
            kinds=[broken],
        )
