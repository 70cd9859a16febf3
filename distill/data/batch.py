"""Input of one training step: a batch of images and its place in the schedule."""

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


class Unlabeled(NamedTuple):
    """Frames without masks, as the averaged student and as the student see them.

    Attributes:
        weak: (U, 3, H, W) float32 normalized, the frames as they are.
        strong: (U, 3, H, W) float32 normalized, their augmented views.
        thetas: (U, 2, 3) float32, the geometry of each view, as `distill.data.augment.warp_maps`
            takes it.
        visible: (U, 1, H, W) float32, 1 where a view shows the frame and 0 where it was blacked
            out.
    """

    weak: Tensor
    strong: Tensor
    thetas: Tensor
    visible: Tensor

    def part(self, samples: slice, device: torch.device) -> Unlabeled:
        """Some of the frames on a device."""
        return Unlabeled(*(value[samples].to(device) for value in self))


class Boxed(NamedTuple):
    """Frames with boxes instead of masks.

    Attributes:
        frames: The frames and their views.
        boxes: Per frame (K, 4) float32: left, upper, right and lower edge of its boxes in shares of
            `frames.weak`.
    """

    frames: Unlabeled
    boxes: list[Tensor]

    def part(self, samples: slice, device: torch.device) -> Boxed:
        """Some of the frames on a device; boxes stay where they are."""
        return Boxed(self.frames.part(samples, device), self.boxes[samples])


class BoxLabels(NamedTuple):
    """Views of frames with boxes, and what boxes and averaged student say of them together.

    Attributes:
        images: (U, 3, H, W) float32 normalized, augmented views.
        masks: (U, 1, H, W) float32, 1 on the polyp where a pseudo-mask fits its box.
        known: (U, 1, H, W) float32, 1 where `masks` counts as a target: on such a pseudo-mask and
            outside of all boxes.
        scores: (U, 1, H, W) float32, probabilities of the averaged student, for the other pixels.
        kept: Share of the boxes whose pseudo-mask fits, a scalar.
    """

    images: Tensor
    masks: Tensor
    known: Tensor
    scores: Tensor
    kept: Tensor


class PseudoLabels(NamedTuple):
    """Views without masks and what the averaged student gives for them.

    Attributes:
        images: (U, 3, H, W) float32 normalized, augmented views.
        scores: (U, 1, H, W) float32, probabilities of the averaged student in the same geometry.
        sure: (U, 1, H, W) float32, 1 where a score counts as a target and 0 elsewhere.
    """

    images: Tensor
    scores: Tensor
    sure: Tensor


class Batch(NamedTuple):
    """The images of one training step and everything they are compared with.

    Attributes:
        images: (B, 3, H, W) float32, normalized, channels last.
        masks: (B, 1, H, W) float32, 0 to 1.
        targets: Per teacher (B, C, gh, gw) float32, standardized.
        task_logits: (B, 1, gh, gw) float32 logits of the task teacher; None without one.
        unlabeled: Frames without masks beside those with one; None without any.
        pseudo: What `unlabeled` becomes once the averaged student has labeled it.
        boxed: Frames with boxes beside those with masks; None without any.
        box_labels: What `boxed` becomes once the averaged student has labeled it.
    """

    images: Tensor
    masks: Tensor
    targets: list[Tensor]
    task_logits: Tensor | None = None
    unlabeled: Unlabeled | None = None
    pseudo: PseudoLabels | None = None
    boxed: Boxed | None = None
    box_labels: BoxLabels | None = None

    def part(self, samples: slice, device: torch.device) -> Batch:
        """Some samples of the batch, as it was read, on a device."""
        return Batch(
            self.images[samples].to(device),
            self.masks[samples].to(device),
            [target[samples].to(device) for target in self.targets],
            None if self.task_logits is None else self.task_logits[samples].to(device),
            None if self.unlabeled is None else self.unlabeled.part(samples, device),
            boxed=None if self.boxed is None else self.boxed.part(samples, device),
        )
