"""Pictures of a training: the views of a batch, and the validation frames that went worst."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from distill.data.tensors import to_tensor
from edge.evaluation.gallery import fit_width, outlined
from edge.imaging.preprocess import MEAN, SCALE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from distill.data.batch import Batch
    from distill.data.image_store import ImageStore
    from edge.frame import ImageU8, MaskBool

MAX_PICTURES = 12
_COLUMNS, _TILE = 4, 224
_DARK = (24, 24, 28)


def batch_picture(batch: Batch) -> ImageU8:
    """Draw the first views of a batch with the outlines of their masks, (H, W, 3) uint8 RGB."""
    pixels = batch.images[:MAX_PICTURES].permute(0, 2, 3, 1).cpu() * SCALE + MEAN
    images = pixels.round().clamp(0, 255).to(torch.uint8).numpy()
    masks = F.interpolate(batch.masks[:MAX_PICTURES].cpu(), images.shape[1:3])[:, 0].numpy() >= 0.5
    empty = np.zeros(images.shape[1:3], bool)
    return _grid(
        [
            outlined(fit_width(image, _TILE), mask, empty)
            for image, mask in zip(images, masks, strict=True)
        ]
    )


def worst_picture(
    model: nn.Module, validation: ImageStore, dice: Sequence[float | None], names: Sequence[str]
) -> ImageU8 | None:
    """Draw the validation frames with the lowest Dice, truth in blue and prediction in orange.

    Args:
        model: The student in evaluation mode.
        validation: The validation images.
        dice: Dice of each of them; None for a frame without a polyp.
        names: Name of each of them.

    Returns:
        (H, W, 3) uint8 RGB; None if no frame has a polyp.
    """
    dice_rows = [(value, row) for row, value in enumerate(dice) if value is not None]
    rows = [row for _, row in sorted(dice_rows)[:MAX_PICTURES]]
    if not rows:
        return None
    device = next(model.parameters()).device
    with torch.inference_mode():
        logits = model(to_tensor(validation.images[rows]).to(device)).float().cpu()
    size = validation.images[rows[0]].shape[:2]
    masks = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)[:, 0] >= 0
    tiles = []
    for row, mask in zip(rows, masks.numpy(), strict=True):
        truth: MaskBool = validation.masks[row] >= 128
        tile = outlined(fit_width(validation.images[row], _TILE), truth, mask)
        text = f"{dice[row]:.3f} {names[row][-24:]}"
        cv2.rectangle(tile, (0, 0), (_TILE, 18), _DARK, cv2.FILLED)
        cv2.putText(
            tile, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA
        )
        tiles.append(tile)
    return _grid(tiles)


def _grid(pictures: Sequence[ImageU8]) -> ImageU8:
    """Arrange pictures of one size in rows."""
    tiles = [fit_width(picture, _TILE) for picture in pictures]
    height = tiles[0].shape[0]
    rows = -(-len(tiles) // _COLUMNS)
    canvas = np.full((rows * height, min(len(tiles), _COLUMNS) * _TILE, 3), _DARK, np.uint8)
    for number, tile in enumerate(tiles):
        y, x = number // _COLUMNS * height, number % _COLUMNS * _TILE
        canvas[y : y + height, x : x + _TILE] = tile
    return canvas
