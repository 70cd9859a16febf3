"""Encoders by name: each gives a decoder the maps `x4`, `x8`, ..., named by their strides."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

from distill.students.early import Early, Replaced, replace_early
from distill.students.efficientnet_lite import Variant, lite_features, lite_stages
from distill.students.mix_transformer import MixTransformer

if TYPE_CHECKING:
    from collections.abc import Callable

LITE_CHANNELS: dict[Variant, tuple[int, ...]] = {
    "lite0": (16, 24, 40, 112, 320),
    "lite2": (16, 24, 48, 120, 352),
}
"""Channels of EfficientNet-Lite's maps at strides 2, 4, 8, 16 and 32."""


class MapShape(NamedTuple):
    """One map of an encoder.

    Attributes:
        stride: Input pixels per cell along each axis.
        channels: Number of channels.
        stem: Whether it is the map of a stem alone, which no decoder reads.
    """

    stride: int
    channels: int
    stem: bool = False

    @property
    def name(self) -> str:
        """`x8` for the map at stride 8."""
        return "stem" if self.stem else f"x{self.stride}"


class Encoder(NamedTuple):
    """A network that gives maps of a picture.

    Attributes:
        module: Gives a list of maps of (B, 3, H, W).
        shapes: What the maps are, in their order.
        stages: Gives the parts of the module, from the picture on, that training may freeze; none
            without pretrained weights.
        replaced: Stages that stand in the place of others; see `distill.students.early`.
    """

    module: nn.Module
    shapes: tuple[MapShape, ...]
    stages: Callable[[nn.Module], list[nn.Module]]
    replaced: tuple[Replaced, ...] = ()

    @property
    def channels(self) -> dict[str, int]:
        """Name of each map -> its channels."""
        return {shape.name: shape.channels for shape in self.shapes}


class CutLite(nn.Module):
    """EfficientNet-Lite0 up to the first block at stride 32, which leaves 3/4 of its weights out.

    Args:
        pretrained: Start from ImageNet weights.
    """

    CHANNELS = (16, 24, 40, 112, 192)
    """Channels of the encoder's maps at strides 2, 4, 8, 16 and 32."""

    def __init__(self, *, pretrained: bool) -> None:
        super().__init__()
        self.features = lite_features("lite0", pretrained=pretrained, padding="symmetric")
        blocks = self.features.blocks
        assert isinstance(blocks, nn.Sequential)
        deep = blocks[5]
        assert isinstance(deep, nn.Sequential)
        self.features.blocks, self.last = blocks[:5], deep[:1]

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to the maps at strides 2 to 32."""
        maps: list[Tensor] = self.features(x)
        return [*maps, self.last(maps[-1])]


def _lite(variant: Variant, pretrained: bool) -> Encoder:
    features = lite_features(variant, pretrained=pretrained, padding="symmetric")
    return Encoder(features, _halving(LITE_CHANNELS[variant]), lite_stages)


def _cut_lite(pretrained: bool) -> Encoder:
    cut = CutLite(pretrained=pretrained)
    return Encoder(cut, _halving(CutLite.CHANNELS), _cut_stages)


def _cut_stages(cut: nn.Module) -> list[nn.Module]:
    assert isinstance(cut, CutLite)
    return [*lite_stages(cut.features), cut.last]


def _mit_b0(_: bool) -> Encoder:
    module = MixTransformer()
    shapes = zip((4, 8, 16, 32), module.channels, strict=True)
    return Encoder(module, tuple(MapShape(*shape) for shape in shapes), lambda _: [])


def with_early(encoder: Encoder, early: Early) -> Encoder:
    """Put other early stages into an EfficientNet-Lite.

    Args:
        encoder: What `ENCODERS` builds; its module is changed in place.
        early: Name of the stages; `lite` changes nothing.
    """
    if early == "lite":
        return encoder
    cut = isinstance(encoder.module, CutLite)
    features = encoder.module.features if isinstance(encoder.module, CutLite) else encoder.module
    replaced = replace_early(features, early, tuple(encoder.channels.values()))
    if cut:
        replaced = tuple(
            one._replace(names=tuple(f"features.{name}" for name in one.names)) for one in replaced
        )
    convolution = next(module for module in features.modules() if isinstance(module, nn.Conv2d))
    stem = MapShape(convolution.stride[0], convolution.out_channels, stem=True)
    return encoder._replace(shapes=(stem, *encoder.shapes[1:]), replaced=replaced)


def _halving(channels: tuple[int, ...]) -> tuple[MapShape, ...]:
    """Maps at strides 2, 4, 8, ..."""
    return tuple(MapShape(2 ** (level + 1), count) for level, count in enumerate(channels))


ENCODERS: dict[str, Callable[[bool], Encoder]] = {
    "lite0": lambda pretrained: _lite("lite0", pretrained),
    "lite0-cut": _cut_lite,
    "lite2": lambda pretrained: _lite("lite2", pretrained),
    "mit-b0": _mit_b0,
}
"""Name -> what builds the encoder, with its ImageNet weights if asked; `mit-b0` has none."""
