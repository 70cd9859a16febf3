"""Task teachers on a frozen SAM encoder: `sam-mamba:FOLDER` and `sam-cnn:FOLDER`.

Both read the picture a second time, by a small convolutional branch with maps at strides 4, 8 and
16, and give logits at stride 4. What differs is where the branch meets SAM:

* `sam-mamba` (after SAM-Mamba, 2025, which is published as a text without code): the branch's map
  at stride 16 is spread over several dilations and scanned (`distill.students.selective_scan`), and
  adapters add it to the tokens in front of every layer, so that it guides the frozen encoder. None
  of the paper's figures can be checked.
* `sam-cnn` (after ASPS: Li et al., MICCAI 2024): SAM's own map stays as it is; the branch's deepest
  map and SAM's map augment each other by gates that each computes for the other.

Neither is exported. They are trained like a student, and teach one as `run:RUN`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.students.base import Student, StudentMaps
from distill.students.blocks import conv_bn_relu6
from distill.students.branch import BRANCH, Branch
from distill.students.decoders.fpn import Fuse
from distill.students.selective_scan import SelectiveScan
from distill.teachers.base import normalized
from distill.teachers.hub import load_network, load_processor
from distill.teachers.segment_anything import with_positions

if TYPE_CHECKING:
    from distill.teachers.hub import Processor

DILATIONS = (1, 2, 4)
WIDTH = 64
_BOTTLENECK = 16


class Adapter(nn.Module):
    """Add a guiding map to a layer's tokens through a bottleneck; nothing at the start.

    Args:
        tokens: Channels of the tokens.
        guide: Channels of the guiding map.
    """

    def __init__(self, tokens: int, guide: int) -> None:
        super().__init__()
        self.down, self.guide = nn.Linear(tokens, _BOTTLENECK), nn.Linear(guide, _BOTTLENECK)
        self.up = nn.Linear(_BOTTLENECK, tokens)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor, guide: Tensor) -> Tensor:
        """Tokens (B, h, w, tokens) and guide (B, h, w, guide) -> tokens."""
        moved: Tensor = tokens + self.up(F.gelu(self.down(tokens) + self.guide(guide)))
        return moved


class GuidedSam(Student):
    """A frozen SAM encoder, a convolutional branch, a decoder and a 1x1 head.

    Args:
        source: Checkpoint folder of SAM, or its name on the hub.
        pretrained: Whether SAM's weights are read; a run's own checkpoint holds them all.

    Raises:
        DataError: The folder is missing or damaged, or holds something else.
    """

    stride = 4
    low_channels = high_channels = WIDTH

    def __init__(self, source: str, *, pretrained: bool = True) -> None:
        super().__init__()
        import transformers

        del pretrained  # the architecture is read from the same folder
        network = load_network(
            transformers.SamVisionModel, "sam", source, ("sam", "sam_vision_model"), role="student"
        )
        self.sam: Any = network.vision_encoder
        self.sam.requires_grad_(False)
        config = network.config
        self._patch = int(config.patch_size)
        self.divisor = 32 if 32 % self._patch == 0 else 2 * self._patch
        self._processor: Processor = load_processor(source)
        self.branch = Branch()
        self.tokens, self.deepest = int(config.hidden_size), int(config.output_channels)
        self.top = conv_bn_relu6(self.deepest, WIDTH, 1)
        self.fuse8, self.fuse4 = Fuse(BRANCH[2], WIDTH), Fuse(BRANCH[1], WIDTH)
        self.head = nn.Conv2d(WIDTH, 1, 1)

    def train(self, mode: bool = True) -> GuidedSam:
        """Enter training mode, except for SAM."""
        super().train(mode)
        self.sam.eval()
        return self

    def maps(self, x: Tensor) -> StudentMaps:
        """Logits (B, 1, H/4, W/4), maps at 1/16 and 1/8."""
        fine, middle, coarse = self.branch(x)
        low = self.top(self.guided(x, coarse))
        high = self.fuse8(low, middle)
        return StudentMaps(self.head(self.fuse4(high, fine)), low, high)

    @abstractmethod
    def guided(self, x: Tensor, coarse: Tensor) -> Tensor:
        """SAM's map and the branch's map at stride 16 as one, (B, deepest, H/16, W/16)."""

    def embed(self, x: Tensor) -> Tensor:
        """Patches with their positions, (B, h, w, tokens), of (B, 3, H, W) as students see them."""
        mean, deviation = self._processor.mean, self._processor.deviation
        height, width = x.shape[-2:]
        tokens: Tensor = self.sam.patch_embed.projection(
            normalized(x * 128 + 127, mean, deviation)
        ).permute(0, 2, 3, 1)
        positions: Tensor | None = self.sam.pos_embed
        if positions is None:
            return tokens
        cells = (height // self._patch, width // self._patch)
        if positions.shape[1:3] == cells:
            return tokens + positions
        square: Tensor = with_positions(positions, max(cells))
        return tokens + square[:, : cells[0], : cells[1]]


class SamMamba(GuidedSam):
    """`sam-mamba`: a scanned multi-scale map guides every layer of the encoder."""

    def __init__(self, source: str, *, pretrained: bool = True) -> None:
        super().__init__(source, pretrained=pretrained)
        self.spread = nn.ModuleList(
            nn.Conv2d(BRANCH[3], BRANCH[3], 3, padding=rate, dilation=rate, groups=BRANCH[3])
            for rate in DILATIONS
        )
        self.mix = conv_bn_relu6(len(DILATIONS) * BRANCH[3], WIDTH, 1)
        self.scan = SelectiveScan(WIDTH)
        self.adapters = nn.ModuleList(Adapter(self.tokens, WIDTH) for _ in self.sam.layers)

    def guided(self, x: Tensor, coarse: Tensor) -> Tensor:
        """SAM's map, with the guide in front of each layer."""
        guide = self.scan(self.mix(torch.cat([part(coarse) for part in self.spread], dim=1)))
        tokens = self.embed(x)
        guide = F.interpolate(guide, size=tokens.shape[1:3], mode="bilinear").permute(0, 2, 3, 1)
        for adapter, layer in zip(self.adapters, self.sam.layers, strict=True):
            tokens = layer(adapter(tokens, guide))
        return cast("Tensor", self.sam.neck(tokens))


class SamCnn(GuidedSam):
    """`sam-cnn`: SAM's map and the branch's map augment each other."""

    def __init__(self, source: str, *, pretrained: bool = True) -> None:
        super().__init__(source, pretrained=pretrained)
        self.lift = conv_bn_relu6(BRANCH[3], self.deepest, 1)
        self.to_sam, self.to_branch = (nn.Conv2d(self.deepest, self.deepest, 1) for _ in range(2))

    def guided(self, x: Tensor, coarse: Tensor) -> Tensor:
        """Sum of both maps, each weighted by a gate that the other computes."""
        with torch.no_grad():
            tokens = self.embed(x)
            for layer in self.sam.layers:
                tokens = layer(tokens)
            embedding = self.sam.neck(tokens)
        own = self.lift(coarse)
        if own.shape[-2:] != embedding.shape[-2:]:
            own = F.interpolate(own, size=embedding.shape[-2:], mode="bilinear")
        augmented: Tensor = embedding * (1 + torch.tanh(self.to_sam(own))) + own * torch.sigmoid(
            self.to_branch(embedding)
        )
        return augmented
