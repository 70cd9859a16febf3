"""A model card tells on which grid the weights lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from edge.bundle.manifest import AccuracyGate, StepAccuracy
from edge.bundle.reader import Bundle, write_bundle
from edge.errors import AccuracyError
from edge_difom.cli.main import main
from firmware_bridge.fleet.trust.publishing import publish
from quantize.bundle.model_card import model_card

if TYPE_CHECKING:
    from pathlib import Path


def test_a_failed_gate_leaves_a_trace(publisher: Any, capsys: pytest.CaptureFixture[str]) -> None:
    whole = StepAccuracy(
        step="f32", n=4, dice=0.8, dice_ci95=(0.7, 0.9), small=5, small_found=4,
        small_ci95=(0.376, 0.964), clean=8, flagged=2,
    )  # fmt: skip
    gate = AccuracyGate(
        verdict="failed", max_drop=0.005, max_small_drop=0.1, breaches=["qat: Dice 0.5 lost"],
        undecided=[], notes=[], steps=[whole], small_recall="share", accepted=None,
    )  # fmt: skip

    def bundle(gate: AccuracyGate) -> Path:
        manifest = Bundle.open(publisher.bundle(b"<net/>")).manifest
        changed = msgspec.structs.replace(manifest, gate=gate, files={})
        out = publisher.folder / "gated"
        return write_bundle(out, changed, {"model.xml": b"<net/>"}, force=True).path

    path = bundle(gate)
    with pytest.raises(AccuracyError, match=r"qat: Dice 0\.5 lost"):
        publish(path, publisher.repository, publisher.keys, publisher.now)
    path = bundle(msgspec.structs.replace(gate, accepted="only a test"))
    assert publish(path, publisher.repository, publisher.keys, publisher.now).version == 1
    with pytest.raises(SystemExit):
        main(["bundle", "show", str(path)])
    told, card = capsys.readouterr().out, model_card(Bundle.open(path).manifest)
    for text in (told, card):
        for trace in ("failed", "qat: Dice 0.5 lost", "only a test", "4 of 5", "2 of 8"):
            assert trace in text
    assert "25.0%" in card


def test_the_grid_of_the_weights_is_told(publisher: Any) -> None:
    manifest = Bundle.open(publisher.bundle(b"<net/>")).manifest
    assert "4 bits" not in model_card(manifest)
    assert "Research use only" in model_card(manifest)
    all_layers = model_card(manifest, bits=4)
    assert (
        "all layers but the first and the last to a grid of 4 bits, the integers -7 to 7"
        in all_layers
    )
    some = model_card(manifest, bits=4, layers=["fuse16.*", "head"])
    assert "the layers `fuse16.*`, `head` to a grid of 4 bits" in some
