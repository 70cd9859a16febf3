"""SAM and SAM 2 as delineators: one mask for each box, with the normalization of the checkpoint.

A frame is shown as the checkpoint was trained. SAM (Kirillov et al., 2023) scales the longer side
to the input and pads below and to the right; SAM 2 (Ravi et al., 2024) and MedSAM (Ma et al., 2024)
stretch the frame to a square, and MedSAM maps each picture's least and largest value to 0 and 1
instead of taking out a mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
import transformers

from distill.teachers.base import normalized, resample
from distill.teachers.hub import Processor, load_network, load_processor
from distill.teachers.segment_anything import min_max

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from edge.evaluation.delimit.base import Proposal
    from edge.frame import ImageU8, MaskBool


class PromptedSegmenter:
    """A frozen network that draws one mask for each box.

    Args:
        network: `SamModel` or `Sam2Model`.
        size: Height and width of its input in pixels.
        processor: Normalization; None for each picture's least and largest value as 0 and 1.
        padded: Whether a frame keeps its shape and is padded, instead of stretched to the square.
    """

    def __init__(
        self, network: Any, size: int, processor: Processor | None, *, padded: bool
    ) -> None:
        self._network = network.requires_grad_(False).eval()
        self._size, self._processor, self._padded = size, processor, padded

    def delineate(
        self, image: ImageU8, proposals: Sequence[Proposal], true: MaskBool
    ) -> list[MaskBool]:
        """The masks of all boxes; the frame is encoded once."""
        del true
        height, width = image.shape[:2]
        pixels, (down, across) = self._to_input(image)
        edges = [(x, y, x + w, y + h) for x, y, w, h in (item.box for item in proposals)]
        factors = torch.tensor([across / width, down / height] * 2)
        boxes = torch.tensor([edges], dtype=torch.float32) * factors
        with torch.inference_mode():
            output = self._network(pixel_values=pixels, input_boxes=boxes, multimask_output=False)
            maps: Tensor = output.pred_masks[0].float()
            large = F.interpolate(
                maps, size=(self._size, self._size), mode="bilinear", align_corners=False
            )[..., :down, :across]
            full = F.interpolate(large, size=(height, width), mode="bilinear", align_corners=False)
        return [cast("MaskBool", mask) for mask in (full[:, 0] > 0).numpy()]

    def _to_input(self, image: ImageU8) -> tuple[Tensor, tuple[int, int]]:
        """The network's input (1, 3, size, size), and height and width of the frame in it."""
        height, width = image.shape[:2]
        size = (self._size, self._size)
        if self._padded:
            factor = self._size / max(height, width)
            size = (max(1, round(height * factor)), max(1, round(width * factor)))
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
        pixels = resample(pixels, size)
        processor = self._processor
        scaled_pixels = (
            min_max(pixels)
            if processor is None
            else normalized(pixels, processor.mean, processor.deviation)
        )
        padding = (0, self._size - size[1], 0, self._size - size[0])
        return F.pad(scaled_pixels, padding), size


def load_sam(source: str, *, normalize: str = "published") -> PromptedSegmenter:
    """SAM, or MedSAM with `min-max`, from a folder or the hub; errors as `hub.load_network`."""
    network = load_network(transformers.SamModel, "sam", source, ("sam",), role="delineator")
    processor = None if normalize == "min-max" else load_processor(source)
    size = int(network.config.vision_config.image_size)
    return PromptedSegmenter(network, size, processor, padded=processor is not None)


def load_sam2(source: str, *, normalize: str = "published") -> PromptedSegmenter:
    """SAM 2 from a folder or the hub; errors as `hub.load_network`."""
    kinds = ("sam2", "sam2_video")
    network = load_network(transformers.Sam2Model, "sam2", source, kinds, role="delineator")
    processor = None if normalize == "min-max" else load_processor(source)
    size = int(network.config.prompt_encoder_config.image_size)
    return PromptedSegmenter(network, size, processor, padded=False)
