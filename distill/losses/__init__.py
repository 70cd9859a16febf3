"""Losses: on masks, the spectral loss on teachers' maps, and auxiliary terms.

In: logits, maps and masks as tensors. Out: scalars. Imported by `distill.recipes`,
`distill.train` and `quantize`.
"""

from __future__ import annotations

from distill.losses.spectral.bands import low_band
from distill.losses.spectral.loss import spectral_loss
from distill.losses.task import (
    TASK_LOSSES,
    background_loss,
    clean_loss,
    presence_loss,
    segmentation_loss,
    structure_loss,
)

__all__ = [
    "TASK_LOSSES",
    "background_loss",
    "clean_loss",
    "low_band",
    "presence_loss",
    "segmentation_loss",
    "spectral_loss",
    "structure_loss",
]
