"""Scores of images of any size, for evaluation and certification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.imaging.preprocess import to_input

if TYPE_CHECKING:
    from edge.contracts import Engine
    from edge.frame import ImageU8


def score_image(engine: Engine, image: ImageU8) -> ImageU8:
    """Score an RGB image as the device scores a frame.

    Args:
        engine: An open engine.
        image: (H, W, 3) uint8 RGB, any size.

    Returns:
        (h, w) uint8 score map in units of 1/256; valid until the engine's next call.

    Raises the errors of `to_input` and of `Engine.infer`.
    """
    return engine.infer(to_input(image, engine.input_size, bgr=False))
