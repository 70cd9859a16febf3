"""Interface of every student for training, distillation and quantization."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

if TYPE_CHECKING:
    from typing_extensions import Self

    from distill.students.detection import BoxMaps
    from distill.students.early import Replaced
    from distill.students.encoders import Encoder


class StudentMaps(NamedTuple):
    """A student's logits and the two maps on its inference path that a teacher may shape.

    Attributes:
        logits: (B, 1, H / stride, W / stride).
        low: (B, low_channels, h, w) coarse decoder map, matched with the low band.
        high: (B, high_channels, 2 h or more, ...) finer decoder map, matched with the high band.
        auxiliary: Further logits (B, 1, h, w), each of its own size, that deep supervision compares
            with the mask like `logits`; the export lacks them as outputs. Empty for most students.
        presence: (B, 1, 1, 1) logit of "is there a polyp", which is part of every one of `logits`;
            None for students without one.
        background: Logits (B, 1, h, w) of "this is no polyp", each of its own size, that the loss
            compares with the inverted mask; empty for students without any.
        reconstruction: Scalar, distance of a map that the student rebuilds from the map itself;
            None for students that rebuild none.
        confidence: (B, 1, 1, 1) logit of how sure the student is of its mask, which engines lack;
            None for students without one.
        boxes: Logits of a detection head; None for students without one.
    """

    logits: Tensor
    low: Tensor
    high: Tensor
    auxiliary: tuple[Tensor, ...] = ()
    presence: Tensor | None = None
    background: tuple[Tensor, ...] = ()
    reconstruction: Tensor | None = None
    confidence: Tensor | None = None
    boxes: BoxMaps | None = None


class Student(nn.Module, ABC):
    """A segmentation network of one class.

    The input is (B, 3, H, W) float, `(rgb - 127) / 128`, H and W multiples of `divisor`. `forward`
    is what is quantized and exported; `maps` adds the decoder maps and is used in training only. A
    student whose auxiliary logits need layers of their own overrides `forward`, so that those
    layers are no part of the export.

    Attributes:
        stride: Input pixels per output cell along each axis.
        divisor: What height and width must be multiples of.
        low_channels: Channels of `StudentMaps.low`.
        high_channels: Channels of `StudentMaps.high`.
        has_background: Whether it gives logits of the background.
        has_confidence: Whether it gives a confidence, which no engine expresses.
        has_boxes: Whether it has a detection head.
        prompted: Whether `maps` takes a map of boxes to look into; without it, whole frames.
        planes: Maps of logits that `forward` puts below one another: 1, the mask's, or those of
            `edge.frame.PLANES` after `for_engines`.
        replaced: Stages of its encoder that stand in the place of pretrained ones.
        lacks: What the names of those weights begin with that networks of the same name without
            its options have, and it has not; weights to start from may hold them.
    """

    has_background = False
    has_confidence = False
    has_boxes = False
    prompted = False
    planes = 1
    replaced: tuple[Replaced, ...] = ()
    lacks: tuple[str, ...] = ()
    stride: int
    divisor: int
    low_channels: int
    high_channels: int

    def stages(self) -> list[nn.Module]:
        """Return the pretrained encoder's stages, input first, that training may freeze."""
        return []

    def original_encoder(self, *, pretrained: bool) -> Encoder:
        """Build the encoder as it is without `replaced` stages.

        Args:
            pretrained: Start from ImageNet weights.
        """
        raise NotImplementedError(f"{type(self).__name__} has no replaced stages")

    def logit_layers(self) -> list[nn.Conv2d]:
        """Return the layers whose outputs sum to the logits; none without a presence logit."""
        return []

    def freeze_presence(self) -> list[nn.Module]:
        """Keep the presence logit as it is, for a run without clean frames.

        Polyps alone say nothing about where there is none, and the many features of the logit would
        outrun the pixels in the first steps.

        Returns:
            What was frozen; empty for a student without a presence logit.
        """
        branch = getattr(self, "presence", None)
        return [branch.requires_grad_(False)] if isinstance(branch, nn.Module) else []

    def for_engines(self) -> Self:
        """Make `forward` return what an engine computes: with a detection head, its maps too."""
        return self

    @abstractmethod
    def maps(self, x: Tensor) -> StudentMaps:
        """Logits and distilled maps of a batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 1, planes * H / stride, W / stride) of a batch."""
        return self.maps(x).logits


def mask_logits(model: nn.Module, x: Tensor) -> Tensor:
    """Logits (B, 1, H / stride, W / stride) of the mask alone.

    Args:
        model: A student, plain or quantized.
        x: (B, 3, H, W) normalized.
    """
    logits: Tensor = model(x)
    return logits[:, :, : logits.shape[2] // int(getattr(model, "planes", 1))]
