"""Pseudo-labels of the averaged student for frames without masks (mean teacher).

The exponential moving average of the student sees the frame as it is; the student sees the strongly
augmented view. The average's probabilities, carried along the geometry of that view, are the target
where the average is sure, and they are renewed in every step (Tarvainen & Valpola, Mean teachers,
NeurIPS 2017; the threshold is that of FixMatch: Sohn et al., NeurIPS 2020).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.data.augment import warp_maps
from distill.data.batch import PseudoLabels

if TYPE_CHECKING:
    from distill.data.batch import Unlabeled
    from distill.students.base import Student

SURE = 0.9
"""Probability of "polyp" or of "no polyp" from which a pixel's pseudo-label counts."""


def pseudo_label(average: Student, frames: Unlabeled) -> PseudoLabels:
    """Targets for the strong views of frames without masks.

    Args:
        average: The averaged student; it is put in evaluation mode and gets no gradient.
        frames: Frames and their views.
    """
    average.eval()
    with torch.no_grad():
        size = (frames.weak.shape[-2], frames.weak.shape[-1])
        logits = average(frames.weak).float()
        upsampled = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        scores = warp_maps(torch.sigmoid(upsampled), frames.thetas)
        sure = ((scores >= SURE) | (scores <= 1 - SURE)).to(scores.dtype) * frames.visible
    return PseudoLabels(frames.strong, scores, sure)


def consistency_loss(logits: Tensor, labels: PseudoLabels) -> Tensor:
    """Binary cross-entropy with the pseudo-labels, over the pixels that are sure.

    The sum is divided by the number of all pixels, so that frames of which the average is in doubt
    weigh less.

    Args:
        logits: (U, 1, h, w) of the strong views, upsampled bilinearly to the pseudo-labels.
        labels: Targets (U, 1, H, W) and weights.

    Returns:
        Mean over the batch, a scalar.
    """
    size = (labels.scores.shape[-2], labels.scores.shape[-1])
    if logits.shape[-2:] != size:
        logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    entropy = F.binary_cross_entropy_with_logits(logits, labels.scores, reduction="none")
    return (labels.sure * entropy).mean()
