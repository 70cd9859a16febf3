"""A head whose 1x1 kernel is made from the picture (LDNet: Zhang et al., MICCAI 2022).

LDNet makes the kernel from the mean of the deepest map and updates it at every stage of the
decoder with the features that the stage's own prediction selects. Here the weights of the static
head remain, and what is made is a factor for each channel: `w_c * k_c(picture)` is the kernel. As
an engine knows no convolution whose weights are computed, the factors multiply the map, and a
convolution sums the channels up.

To be exact in integers, a map is summed up by its maximum instead of its mean, the gates are hard
sigmoids, and the LayerNorm of the published update is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.students.blocks import HardGate, peak


class KernelUpdate(nn.Module):
    """Move a kernel by what the picture shows where its own prediction is high."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = HardGate(width, width)
        self.candidate = nn.Conv2d(width, width, 1)
        nn.init.normal_(self.candidate.weight, std=0.01)
        nn.init.zeros_(self.candidate.bias)  # type: ignore[arg-type]

    def forward(self, kernel: Tensor, features: Tensor, logits: Tensor) -> Tensor:
        """Kernel (B, width, 1, 1), map (B, width, h, w), logits (B, 1, h, w) -> kernel."""
        selected = peak(features * torch.sigmoid(logits))
        moved: Tensor = kernel + self.candidate(self.gate(selected) * selected)
        return moved


class DynamicHead(nn.Module):
    """Factors of the head's kernel from the deepest map, updated at strides 16 and 8.

    Args:
        deepest: Channels of the deepest map.
        width: Channels of the decoder's maps.
    """

    def __init__(self, deepest: int, width: int) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(deepest, width, 1)
        nn.init.normal_(self.kernel.weight, std=0.01)
        nn.init.ones_(self.kernel.bias)  # type: ignore[arg-type]
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in range(2))
        self.updates = nn.ModuleList(KernelUpdate(width) for _ in range(2))

    def forward(
        self, deepest: Tensor, low: Tensor, high: Tensor, last: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Apply the kernel.

        Args:
            deepest: (B, deepest, h, w).
            low: (B, width, ...) at stride 16.
            high: (B, width, ...) at stride 8.
            last: (B, width, ...) at stride 4.

        Returns:
            `last` times the factors, for a static head to sum up, and the logits at strides 16 and
            8, which deep supervision compares with the mask.
        """
        kernel: Tensor = self.kernel(peak(deepest))
        logits_of_rounds: list[Tensor] = []
        for features, head, update in zip((low, high), self.heads, self.updates, strict=True):
            logits = head(features * kernel)
            kernel = update(kernel, features, logits)
            logits_of_rounds.append(logits)
        return last * kernel, tuple(logits_of_rounds)
