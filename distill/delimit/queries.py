"""Mask2Former as a delineator: of its own masks, the one that fits a box best.

Mask2Former (Cheng et al., 2022) takes no prompt; it answers with one mask for each of its queries.
Those masks know nothing of polyps, so that this asks whether its outlines follow one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
import transformers

from distill.teachers.base import normalized, resample
from distill.teachers.hub import Processor, load_network, load_processor
from edge.evaluation.delimit.base import mask_box
from edge.evaluation.delimit.boxes import box_iou

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.evaluation.delimit.base import Proposal
    from edge.frame import ImageU8, MaskBool

SHORT_SIDE = 640
"""Pixels of the short side without a word of the checkpoint."""
_COARSEST = 32


class QueryMasks:
    """Draws the mask of the query whose bounding box has the largest IoU with a box.

    Args:
        network: `Mask2FormerForUniversalSegmentation`.
        processor: Normalization, and the short side of its input.
    """

    def __init__(self, network: Any, processor: Processor) -> None:
        self._network = network.requires_grad_(False).eval()
        self._processor = processor
        self._short = processor.short_side or SHORT_SIDE

    def delineate(
        self, image: ImageU8, proposals: Sequence[Proposal], true: MaskBool
    ) -> list[MaskBool]:
        """One mask for each box; an empty one where no query's mask overlaps the box."""
        del true
        masks = self.masks(image)
        boxes = [mask_box(mask) if mask.any() else None for mask in masks]
        found = []
        for box, _ in proposals:
            fits = [0.0 if own is None else box_iou(own, box) for own in boxes]
            best = int(np.argmax(fits))
            drawn = masks[best] if fits[best] > 0 else np.zeros(image.shape[:2], bool)
            found.append(cast("MaskBool", drawn))
        return found

    def masks(self, image: ImageU8) -> MaskBool:
        """The masks (Q, H, W) of all queries, at a probability of .5.

        Args:
            image: (H, W, 3) uint8 RGB; it is scaled so that its short side is the processor's.
        """
        height, width = image.shape[:2]
        scale = self._short / min(height, width)
        size = tuple(
            max(1, round(side * scale / _COARSEST)) * _COARSEST for side in (height, width)
        )
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
        shown = normalized(
            resample(pixels, (size[0], size[1])), self._processor.mean, self._processor.deviation
        )
        with torch.inference_mode():
            logits = self._network(pixel_values=shown).masks_queries_logits.float()
            full = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
        masks: MaskBool = (full[0] > 0).numpy()
        return masks


def load_mask2former(source: str) -> QueryMasks:
    """Mask2Former with its queries, from a folder or the hub; errors as `hub.load_network`."""
    network = load_network(
        transformers.Mask2FormerForUniversalSegmentation,
        "mask2former",
        source,
        ("mask2former",),
        role="delineator",
    )
    return QueryMasks(network, load_processor(source))
