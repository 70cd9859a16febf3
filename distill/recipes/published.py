"""The recipe of the method's published notebook with its defects, to show how its target collapses.

Teachers' maps are resized to 64x64, concatenated and fused by a trainable 1x1 convolution with ReLU
to 256 channels. The fused map is split by FFT with the centered box of half-width min(H, W) // 6
(indices c - r to c + r - 1, so it is not symmetric). Both parts, bilinear at the bottleneck's size,
are compared with two side branches L1 = ReLU(conv(bottleneck)) and L2 = conv(L1). The loss that
trains the branches also trains the fusion, whose optimum is a target of zero.

Three phases: the task alone; 0.6 task + 0.1 low + 0.1 high; the same with the encoder's parameters
frozen, while its BatchNorm statistics go on moving.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.auxiliary import soft_dice_bce
from distill.recipes.objectives import Losses, Objective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.data.batch import Batch, Step
    from distill.options import LossOptions, RunOptions
    from distill.students.build import Student

SIDE, FUSED = 64, 256
TASK_WEIGHT, BAND_WEIGHT = 0.6, 0.1


class Paper(Objective):
    """Recipe `paper`.

    Args:
        student: Trained in place; its low map takes the place of the bottleneck.
        loss: What is minimized.
        run: Length, precision and seed of the training.
        channels: Channels of each teacher's map.
        side: Height and width of the fused map.
    """

    def __init__(
        self,
        student: Student,
        loss: LossOptions,
        run: RunOptions,
        channels: Sequence[int],
        side: int = SIDE,
    ) -> None:
        super().__init__(student, loss, run)
        self.side = side
        self.fusion = nn.Conv2d(sum(channels), FUSED, 1)
        self.first = nn.Conv2d(student.low_channels, FUSED, 1)
        self.second = nn.Conv2d(FUSED, FUSED, 1)

    def forward(self, batch: Batch, clock: Step) -> Losses:
        """Losses of a batch; the one entry of `distillation` is the sum of both bands."""
        maps = self.maps(batch.images)
        task = soft_dice_bce(maps.logits, batch.masks)
        if self.phase(clock.epoch) == 0:
            return Losses(task, task, [], [])
        fused = self.fused(batch.targets)
        low, high = notebook_bands(fused)
        size = maps.low.shape[-2:]
        l1 = F.relu(self.first(maps.low))
        l2 = self.second(l1)
        bands = [
            F.mse_loss(stage, F.interpolate(band, size=size, mode="bilinear", align_corners=False))
            for stage, band in ((l1, low), (l2, high))
        ]
        distil = bands[0] + bands[1]
        return Losses(TASK_WEIGHT * task + BAND_WEIGHT * distil, task, [distil], [fused])

    def fused(self, targets: Sequence[Tensor]) -> Tensor:
        """Return the student's target map (B, 256, side, side), with a gradient to the fusion."""
        size = (self.side, self.side)
        stretched = [
            F.interpolate(target, size=size, mode="bilinear", align_corners=False)
            for target in targets
        ]
        fused: Tensor = F.relu(self.fusion(torch.cat(stretched, dim=1)))
        return fused

    def begin_epoch(self, epoch: int) -> None:
        """Freeze the encoder's parameters in the last phase; not its statistics."""
        if self.phase(epoch) == 2:
            for name, child in self.student.named_children():
                if name in ("encoder", "down"):
                    child.requires_grad_(False)

    def phase(self, epoch: int) -> int:
        """0, 1 or 2: thirds of the schedule, as epochs 0 to 24, 25 to 50 and from 51 of 75 were."""
        return min(2, 3 * epoch // self.run.epochs)


def notebook_bands(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Inside and outside of the notebook's box, real parts.

    The box lacks the frequency +r, so taking the real part weighs the edge by one half and the
    bands are no projections.

    Args:
        maps: (B, C, H, W).
    """
    H, W = maps.shape[-2:]
    r = min(H, W) // 6
    box = torch.zeros(H, W, device=maps.device)
    box[H // 2 - r : H // 2 + r, W // 2 - r : W // 2 + r] = 1
    spectrum = torch.fft.fftshift(torch.fft.fft2(maps, norm="ortho"), dim=(-2, -1))
    low, high = (
        torch.fft.ifft2(torch.fft.ifftshift(spectrum * part, dim=(-2, -1)), norm="ortho").real
        for part in (box, 1 - box)
    )
    return low, high
