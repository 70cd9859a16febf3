"""The decoders' benchmark: all engines in turn, and none that computes something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.micro import decoders
from benchmarks.registry import BENCHMARKS, DECODERS, named
from edge.errors import ParityError
from edge.util.extras import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = (64, 64)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(decoders, "BASELINE", "edge-xs")
    monkeypatch.setattr(decoders, "NETWORKS", {"detection": "edge-xs+detection"})
    decoders.measured.cache_clear()
    yield
    decoders.measured.cache_clear()


def test_the_registry_has_every_decoder_and_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pairs = {tuple(resolve(BENCHMARKS[name][0]).args) for name in DECODERS}
    assert pairs == set(decoders.rows())
    assert len(DECODERS) == len(pairs)
    assert named(["help", "decoders"]) == ["help", *DECODERS]


@pytest.mark.slow
def test_decoders_are_timed_in_one_run_beside_the_baseline() -> None:
    found = decoders.compare_decoder("detection", "tflite", 2, size=SIZE)
    assert (found.left.what, found.right.what) == ("detection INT8, tflite", "edge-xs INT8, tflite")
    assert len(found.left.samples) == len(found.right.samples) == 2
    assert min(found.left.samples) > 0
    assert found.check.startswith("scores of 4 INT8 engines equal")
    other = decoders.compare_decoder("detection", "openvino", 2, size=SIZE)
    assert decoders.measured.cache_info().misses == 1
    assert other.left.samples != found.left.samples
    networks = found.settings["networks"]
    assert isinstance(networks, dict)
    assert networks["detection"]["giga_macs"] >= networks["edge-xs"]["giga_macs"] > 0
    assert networks["detection"]["float_operations"]["tflite"] == []


@pytest.mark.slow
def test_an_engine_that_computes_something_else_is_not_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from quantize.certify import parity

    true = parity.engine_scores
    monkeypatch.setattr(
        parity,
        "engine_scores",
        lambda engine, frames: np.maximum(true(engine, frames), 1) ^ 1,
    )
    monkeypatch.setattr(decoders, "timed_ms", lambda *_: pytest.fail("timed before the check"))
    with pytest.raises(ParityError, match="does not compute the canonical graph of edge-xs"):
        decoders.measured(SIZE, 2)
