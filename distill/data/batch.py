"""What one training step is computed from: a batch of images and its place in the schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Step(NamedTuple):
    """Place of a training step in the schedule.

    Attributes:
        epoch: Number of the epoch, from 0.
        step: Number of the step in its epoch, from 0.
    """

    epoch: int
    step: int


class Batch(NamedTuple):
    """The images of one training step and everything they are compared with.

    Attributes:
        images: (B, 3, H, W) float32, normalized, channels last.
        masks: (B, 1, H, W) float32, 0 to 1.
        targets: Per teacher (B, C, gh, gw) float32, standardized.
        task_logits: (B, 1, gh, gw) float32 logits of the task teacher; None without one.
    """

    images: Tensor
    masks: Tensor
    targets: list[Tensor]
    task_logits: Tensor | None = None

    def part(self, samples: slice, device: torch.device) -> Batch:
        """Some samples of the batch, on a device."""
        return Batch(
            self.images[samples].to(device),
            self.masks[samples].to(device),
            [target[samples].to(device) for target in self.targets],
            None if self.task_logits is None else self.task_logits[samples].to(device),
        )
