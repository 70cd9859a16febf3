"""Fit a student's logits to the engines' grid, once training is done.

An engine holds a presence logit and the pixels' logits in 8 bits of their own, from -6 to 5.95,
before it adds them. A large presence logit leaves the pixels no room to say "not here": what is cut
off below -6 comes back as foreground. One common factor shrinks both; the mask at score 1/2 stays
what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from distill.data.tensors import to_tensor

if TYPE_CHECKING:
    from distill.students.base import Student
    from edge.frame import ImageU8

MAX_PRESENCE = 3.0
"""Highest presence logit after fitting: half of what the pixels can subtract from it."""
MIN_PRESENCE = -5.9
"""Lowest presence logit after fitting: the end of the grid."""


def fit_logits(student: Student, images: ImageU8, batch_size: int = 16) -> float:
    """Scale a student's logits in place so that its presence logit fits the engines' grid.

    Args:
        student: In evaluation mode; unchanged if it has no presence logit or the logit fits
            already.
        images: (N, H, W, 3) uint8 RGB at the student's input size, validation frames with and
            without polyps.
        batch_size: Images per forward pass.

    Returns:
        The factor, at most 1.
    """
    device = next(student.parameters()).device
    values = []
    with torch.inference_mode():
        for begin in range(0, len(images), batch_size):
            presence = student.maps(
                to_tensor(images[begin : begin + batch_size]).to(device)
            ).presence
            if presence is None:
                return 1.0
            values.append(presence.flatten().cpu())
    logits = torch.cat(values)
    factor = min(
        1.0,
        MAX_PRESENCE / max(float(logits.max()), 1e-6),
        MIN_PRESENCE / min(float(logits.min()), -1e-6),
    )
    if factor < 1.0:
        with torch.no_grad():
            for layer in student.logit_layers():
                for parameter in layer.parameters():
                    parameter.mul_(factor)
    return factor
