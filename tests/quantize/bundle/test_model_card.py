"""A model card tells on which grid the weights lie."""

from __future__ import annotations

from typing import Any

from edge.bundle.reader import Bundle
from quantize.bundle.model_card import model_card


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
