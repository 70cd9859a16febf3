"""Students of an encoder and a decoder: `edge-s`, `edge-xs`, `edge-l` and `ssformer-b0`.

The edge students have EfficientNet-Lite0, whole or cut, or Lite2, whose activations are all ReLU6;
squeeze-and-excite, swish and hard-swish are absent (Tan & Liu, EfficientNet-Lite, 2020).
`ssformer-b0` has a mixed transformer and SSFormer's decoder (Wang et al., MICCAI 2022).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from torch import Tensor, nn

from distill.students.base import Student, StudentMaps
from distill.students.blocks import conv_bn_relu6, peak
from distill.students.confidence import Confidence
from distill.students.decoders.build import build_decoder
from distill.students.decoders.fpn import FpnDecoder
from distill.students.decoders.rpca import RpcaDecoder
from distill.students.detection import DetectionHead, stack_planes
from distill.students.dynamic_head import DynamicHead
from distill.students.encoders import ENCODERS, with_early
from distill.students.pooled_attention import AttendedMaps
from distill.students.selective_scan import SelectiveScan
from edge.errors import UsageError
from edge.frame import PLANES

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from distill.students.decoders.base import Decoded
    from distill.students.early import Early
    from distill.students.efficientnet_lite import Variant
    from distill.students.encoders import Encoder


class Presence(nn.Module):
    """One logit of the whole picture, "is there a polyp", from the deepest map.

    A student that judges each pixel from its surroundings alone calls a fold or a bubble a polyp;
    this logit is added to every pixel's, so that the engine keeps its one score map. The maximum
    over the map picks values and rounds nothing, so it is exact in every runtime.

    Args:
        channels: Channels of the deepest map.
        width: Number of features.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.features = conv_bn_relu6(channels, width, 1)
        self.head = nn.Conv2d(width, 1, 1)
        # Near zero: a student that is shown no clean frame learns as if there were no such logit.
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, deepest: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, 1, 1, 1)."""
        logit: Tensor = self.head(peak(self.features(deepest)))
        return logit


class Parts(TypedDict, total=False):
    """What a network's name may add to a student, such as `edge-s+detection`; all off by default.

    Attributes:
        dynamic_head: Make the kernel of the head from the picture.
        uncertainty: Give a confidence in training and evaluation.
        pooled_attention: Attend to pooled tokens in each map that the decoder reads.
        detection: Give boxes beside the mask.
        selective_scan: Scan the deepest map; for a teacher.
    """

    dynamic_head: bool
    uncertainty: bool
    pooled_attention: bool
    detection: bool
    selective_scan: bool


class PyramidStudent(Student):
    """An encoder, a decoder and a 1x1 head; logits at the decoder's stride, mostly a quarter.

    Args:
        encoder: Name in `distill.students.encoders.ENCODERS`.
        decoder: Name in `distill.students.decoders.build.DECODERS`.
        width: Channels of the decoder, for decoders that have no width of their own.
        pretrained: Start the encoder from ImageNet weights, if it has any.
        presence: Add the logit "is there a polyp" to every pixel's.
        early: Early stages of an EfficientNet-Lite, a name in `distill.students.early`.
        **parts: As in `Parts`.

    Raises:
        UsageError: The decoder is unknown, does not fit the encoder, or has no map at stride 4 that
            a detection head reads.
        TypeError: A part is unknown.
    """

    divisor = 32

    def __init__(
        self,
        encoder: str,
        *,
        decoder: str,
        width: int,
        pretrained: bool,
        presence: bool,
        early: Early = "lite",
        **parts: Unpack[Parts],
    ) -> None:
        super().__init__()
        if unknown := parts.keys() - Parts.__annotations__.keys():
            raise TypeError(f"a student has no part {min(unknown)!r}")
        spec = with_early(ENCODERS[encoder](pretrained), early)
        self._encoder_name = encoder
        self.replaced = spec.replaced
        self.encoder = spec.module
        self._names = [shape.name for shape in spec.shapes]
        self._stages_of = spec.stages
        decode = build_decoder(decoder, spec.channels, width)
        # The first students' parts have no prefix in their state dicts, and have kept their names.
        for name, part in decode.named_children() if decode.FLAT else [("decoder", decode)]:
            self.add_module(name, part)
        self._decode = decode.forward
        self.stride = decode.STRIDE
        if parts.get("detection", False) and self.stride != FpnDecoder.STRIDE:
            raise UsageError(
                f"detection does not fit decoder {decoder}, whose finest map is at stride "
                f"{self.stride}",
                expected=f"a decoder with a map at stride {FpnDecoder.STRIDE}",
            )
        gone = [f"encoder.{name}" for stages in self.replaced for name in stages.names]
        self.lacks = (*gone, *decode.LACKS)
        pooled = parts.get("pooled_attention", False)
        self.attended = AttendedMaps(spec.channels, decode.NEEDS) if pooled else None
        self.low_channels = self.high_channels = decode.width
        self.head = nn.Conv2d(decode.width, 1, 1)
        deepest = spec.channels[self._names[-1]]
        self.scan = SelectiveScan(deepest) if parts.get("selective_scan", False) else None
        self.presence = Presence(deepest) if presence else None
        dynamic = parts.get("dynamic_head", False)
        self.dynamic = DynamicHead(deepest, decode.width) if dynamic else None
        self.has_confidence = parts.get("uncertainty", False)
        self.confidence = Confidence(deepest) if self.has_confidence else None
        self.has_boxes = parts.get("detection", False)
        self.detection = DetectionHead(decode.width) if self.has_boxes else None

    def logit_layers(self) -> list[nn.Conv2d]:
        """The pixels' and the presence logit's last layers."""
        return [] if self.presence is None else [self.head, self.presence.head]

    def stages(self) -> list[nn.Module]:
        """The encoder's stem and groups of blocks."""
        return self._stages_of(self.encoder)

    def original_encoder(self, *, pretrained: bool) -> Encoder:
        """Build the encoder with all of its own stages."""
        return ENCODERS[self._encoder_name](pretrained)

    def decompose(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Background and object of each round of a decoder `rpca`; empty for others.

        Args:
            x: (B, 3, H, W) normalized.

        Returns:
            For each round two maps (B, C, H / 4, W / 4).
        """
        decoder = getattr(self, "decoder", None)
        if not isinstance(decoder, RpcaDecoder):
            return []
        maps = dict(zip(self._names, self.encoder(x), strict=True))
        if self.attended is not None:
            maps = self.attended(maps)
        return decoder.decompose(maps)

    def maps(self, x: Tensor) -> StudentMaps:
        """Logits at `stride`, maps at 1/16 and 1/8, auxiliary logits of a dynamic head."""
        return self._run(x, training=True)

    def for_engines(self) -> Self:
        """Make `forward` return the maps of a detection head below the mask's logits."""
        self.planes = PLANES if self.has_boxes else 1
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 1, planes * H / stride, W / stride), without what only the loss reads."""
        maps = self._run(x, training=False)
        if maps.boxes is None:
            return maps.logits
        return stack_planes(maps.logits, maps.boxes)

    def _run(self, x: Tensor, *, training: bool) -> StudentMaps:
        maps = dict(zip(self._names, self.encoder(x), strict=True))
        if self.scan is not None:
            maps[self._names[-1]] = self.scan(maps[self._names[-1]])
        deepest = maps[self._names[-1]]
        if self.attended is not None:
            maps = self.attended(maps)
        decoded: Decoded = self._decode(maps, training=training)
        low, high, last, reconstruction = decoded
        with_boxes = training or self.planes > 1
        boxes = self.detection(last) if self.detection is not None and with_boxes else None
        auxiliary: tuple[Tensor, ...] = ()
        if self.dynamic is not None:
            last, auxiliary = self.dynamic(deepest, low, high, last)
        presence = None if self.presence is None else self.presence(deepest)
        logits = self.head(last)
        if presence is not None:
            logits = logits + presence
        confidence = None
        if training and self.confidence is not None:
            confidence = self.confidence(deepest, logits)
        return StudentMaps(
            logits,
            low,
            high,
            auxiliary,
            presence,
            reconstruction=reconstruction,
            confidence=confidence,
            boxes=boxes,
        )


class EdgeS(PyramidStudent):
    """Edge student with an EfficientNet-Lite encoder.

    Args:
        pretrained: Start the encoder from ImageNet weights.
        width: Channels of the decoder.
        variant: The encoder: `lite0` makes it `edge-s`; `lite2` with a width of 96 `edge-l`, a task
            teacher.
        decoder: Name in `distill.students.decoders.build.DECODERS`.
        early: Early stages of the encoder, a name in `distill.students.early`.
        **parts: As in `Parts`.
    """

    def __init__(
        self,
        *,
        pretrained: bool = True,
        width: int = 48,
        variant: Variant = "lite0",
        decoder: str = "fpn",
        early: Early = "lite",
        **parts: Unpack[Parts],
    ) -> None:
        super().__init__(
            variant,
            decoder=decoder,
            width=width,
            pretrained=pretrained,
            presence=True,
            early=early,
            **parts,
        )


class EdgeXS(PyramidStudent):
    """The smaller edge student: the encoder ends with the first block at stride 32.

    Args:
        pretrained: Start the encoder from ImageNet weights.
        width: Channels of the decoder.
        decoder: Name in `distill.students.decoders.build.DECODERS`.
        early: Early stages of the encoder, a name in `distill.students.early`.
        **parts: As in `Parts`.
    """

    def __init__(
        self,
        *,
        pretrained: bool = True,
        width: int = 32,
        decoder: str = "fpn",
        early: Early = "lite",
        **parts: Unpack[Parts],
    ) -> None:
        super().__init__(
            "lite0-cut",
            decoder=decoder,
            width=width,
            pretrained=pretrained,
            presence=True,
            early=early,
            **parts,
        )


class SSFormerB0(PyramidStudent):
    """SSFormer with a mixed transformer of the size B0; it starts from random weights.

    Args:
        width: Channels of the decoder.
        decoder: Name in `distill.students.decoders.build.DECODERS`.
        **parts: As in `Parts`.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        decoder: str = "pld",
        **parts: Unpack[Parts],
    ) -> None:
        super().__init__(
            "mit-b0",
            decoder=decoder,
            width=width,
            pretrained=False,
            presence=False,
            **parts,
        )
