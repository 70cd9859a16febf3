"""Learn a confidence by hints: a student that doubts may look at the mask, and pays for it.

The task loss sees probabilities between the student's and the mask,

    p' = c p + (1 - c) y

so that a low confidence c lowers the loss of an image that the student gets wrong; `-log c` is what
it costs (DeVries & Taylor, 2018; for polyps in ASPS, Li et al., MICCAI 2024). Half of the images of
a step get no hint, so that the student still learns the masks by itself. The price of a hint rises
while the student asks for more than a budget, and falls while it asks for less.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.auxiliary import resized

HINTED = 0.5
"""Probability that an image of a step gets its hint."""
FIRST_PRICE = 0.1
_DEARER, _CHEAPER = 1 / 0.99, 1 / 1.01
_EPSILON = 1e-6


def hinted_logits(logits: Tensor, masks: Tensor, confidence: Tensor, hinted: Tensor) -> Tensor:
    """Logits of the interpolated probabilities.

    Args:
        logits: (B, 1, h, w), upsampled bilinearly to the masks.
        masks: (B, 1, H, W), 0 to 1.
        confidence: (B, 1, 1, 1), 0 to 1.
        hinted: (B,) whether an image gets its hint; without it, its logits stay as they are.

    Returns:
        (B, 1, H, W).
    """
    own = resized(logits, (masks.shape[-2], masks.shape[-1]))
    mixed = confidence * torch.sigmoid(own) + (1 - confidence) * masks
    between = torch.logit(mixed, eps=_EPSILON)
    return torch.where(hinted.view(-1, 1, 1, 1), between, own)


class ConfidenceHints(nn.Module):
    """Hints for the images of a step, and what they cost.

    Args:
        budget: Mean of `-log c` that the price keeps to.

    Attributes:
        price: Weight of the mean of `-log c`; it is part of the state, because it changes in every
            step.
    """

    price: Tensor

    def __init__(self, budget: float) -> None:
        super().__init__()
        self.budget = budget
        self.register_buffer("price", torch.tensor(FIRST_PRICE))

    def forward(self, logits: Tensor, masks: Tensor, doubt: Tensor) -> tuple[Tensor, Tensor]:
        """Give hints and change the price.

        Args:
            logits: (B, 1, h, w) of the student.
            masks: (B, 1, H, W), 0 to 1.
            doubt: (B, 1, 1, 1) logits of the confidence.

        Returns:
            Logits (B, 1, H, W) for the task loss, and the cost, a scalar.
        """
        hint_share = F.softplus(-doubt).mean()  # -log sigmoid
        hinted = torch.rand(len(logits)).to(logits.device) < HINTED
        corrected = hinted_logits(logits, masks, torch.sigmoid(doubt), hinted)
        cost = self.price.clone() * hint_share
        with torch.no_grad():
            self.price.mul_(_DEARER if hint_share.item() > self.budget else _CHEAPER)
        return corrected, cost
