"""DINOv2, DINOv3, SAM, SAM 2, OneFormer and Mask2Former through transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import transformers

from distill.teachers.base import Teacher, covering, imagenet_normalized
from distill.teachers.hub import load_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

HUB = {
    "dinov2": "facebook/dinov2-base",
    "dinov3": "facebook/dinov3-vitb16-pretrain-lvd1689m",
    "sam": "facebook/sam-vit-base",
    "sam2": "facebook/sam2.1-hiera-base-plus",
    "oneformer": "shi-labs/oneformer_ade20k_swin_large",
    "mask2former": "facebook/mask2former-swin-base-ade-semantic",
}
"""Default source of each teacher."""
_IMAGENET = "ImageNet mean and deviation"
_CONVNEXT_STRIDE = 32
_PIXELS, _COARSEST = 16, 32


class PatchTokens(Teacher):
    """Patch tokens of DINOv2 (Oquab et al., 2023) or DINOv3 (Simeoni et al., 2025), one per cell.

    The frame is stretched to the grid times the patch size, and the position embeddings follow; the
    class token and the registers are dropped. DINOv3's ConvNeXt has patches of 32 pixels.

    Args:
        network: `Dinov2Model`, `Dinov2WithRegistersModel`, `DINOv3ViTModel` or
            `DINOv3ConvNextModel`.
        name: `dinov2` or `dinov3`.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        config: Any = network.config
        widths = getattr(config, "hidden_sizes", None) or [config.hidden_size]
        super().__init__(name, int(widths[-1]), f"{_IMAGENET}, one patch a cell, last hidden state")
        self.network = network
        self.patch = int(getattr(config, "patch_size", _CONVNEXT_STRIDE))
        self.extra_tokens = 1 + int(getattr(config, "num_register_tokens", 0))
        self.freeze()

    def native_features(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, channels, gh, gw) of (B, 3, H, W) uint8 RGB."""
        pixels = imagenet_normalized(images, (self.patch * grid[0], self.patch * grid[1]))
        tokens: Tensor = self.network(pixel_values=pixels).last_hidden_state[:, self.extra_tokens :]
        return tokens.transpose(1, 2).reshape(len(images), self.channels, *grid)


class SquareEmbedding(Teacher):
    """Image embedding of SAM (Kirillov et al., 2023) or SAM 2 (Ravi et al., 2024), from its neck.

    SAM's own preprocessing pads a frame to a square; here the frame is stretched to it, as for
    every teacher.

    Args:
        network: `SamVisionModel` or `Sam2VisionModel`.
        name: `sam` or `sam2`.
        channels: Channels of the embedding.
        side: Pixels of the square.
        embedding: Takes it out of the network's answer.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        channels: int,
        side: int,
        embedding: Callable[[Any], Tensor],
    ) -> None:
        super().__init__(
            name, channels, f"{_IMAGENET}, stretched to a square of {side}, neck output"
        )
        self.network = network
        self.side, self._embedding = side, embedding
        self.freeze()

    def native_features(self, images: Tensor, grid: tuple[int, int]) -> Tensor:  # noqa: ARG002 - its own grid
        """(B, channels, h, h) of (B, 3, H, W) uint8 RGB."""
        pixels = imagenet_normalized(images, (self.side, self.side))
        return self._embedding(self.network(pixel_values=pixels))


class PixelDecoder(Teacher):
    """The finest multi-scale map of the pixel decoder of OneFormer or Mask2Former.

    It has stride 8 (Jain et al., 2023; Cheng et al., 2022, section 3.2), from an input of 16 pixels
    per grid cell. The queries, and with them OneFormer's task, come after the pixel decoder and do
    not change its maps, so that neither is run.

    Args:
        network: `OneFormerModel` or `Mask2FormerModel`.
        name: `oneformer` or `mask2former`.
        channels: Channels of the map.
    """

    def __init__(self, network: Any, name: str, channels: int) -> None:
        super().__init__(
            name, channels, f"{_IMAGENET}, {_PIXELS} pixels a cell, pixel decoder's map of stride 8"
        )
        self.network: nn.Module = network.pixel_level_module
        self.freeze()

    def native_features(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, channels, about 2 gh, about 2 gw) of (B, 3, H, W) uint8 RGB."""
        answer = self.network(imagenet_normalized(images, covering(grid, _PIXELS, _COARSEST)))
        if hasattr(
            answer, "decoder_features"
        ):  # OneFormer's name for Mask2Former's decoder_hidden_states
            finest: Tensor = answer.decoder_features[-1]
        else:
            finest = answer.decoder_hidden_states[-1]
        return finest


def sam(network: Any) -> Teacher:
    """The teacher that a `SamVisionModel` makes."""
    config = network.config
    channels, side = int(config.output_channels), int(config.image_size)
    return SquareEmbedding(network, "sam", channels, side, lambda answer: answer.last_hidden_state)


def sam2(network: Any) -> Teacher:
    """The teacher that a `Sam2VisionModel` makes."""
    channels, side = network.config.fpn_hidden_size, network.config.backbone_config.image_size
    side = int(side if isinstance(side, int) else side[0])
    return SquareEmbedding(
        network, "sam2", int(channels), side, lambda answer: answer.fpn_hidden_states[-1]
    )


def load_dinov2(source: str = HUB["dinov2"]) -> Teacher:
    """DINOv2, with or without registers, from a folder or the hub; errors as `hub.load_network`."""
    kinds = ("dinov2", "dinov2_with_registers")
    return PatchTokens(load_network(transformers.AutoModel, "dinov2", source, kinds), "dinov2")


def load_dinov3(source: str = HUB["dinov3"]) -> Teacher:
    """DINOv3, a ViT or a ConvNeXt, from a folder or the hub; errors as `hub.load_network`."""
    kinds = ("dinov3_vit", "dinov3_convnext")
    return PatchTokens(load_network(transformers.AutoModel, "dinov3", source, kinds), "dinov3")


def load_sam(source: str = HUB["sam"]) -> Teacher:
    """Load SAM's encoder from a checkpoint of all of SAM or its encoder; see `hub.load_network`."""
    return sam(
        load_network(transformers.SamVisionModel, "sam", source, ("sam", "sam_vision_model"))
    )


def load_sam2(source: str = HUB["sam2"]) -> Teacher:
    """Load SAM 2's encoder from an image, video or encoder checkpoint; see `hub.load_network`."""
    kinds = ("sam2", "sam2_video", "sam2_vision_model")
    inside = {r"^vision_encoder\.": ""}  # where the checkpoint is of more than the encoder
    return sam2(
        load_network(transformers.Sam2VisionModel, "sam2", source, kinds, key_mapping=inside)
    )


def load_oneformer(source: str = HUB["oneformer"]) -> Teacher:
    """OneFormer, from a folder or the hub; errors as `hub.load_network`."""
    network = load_network(transformers.OneFormerModel, "oneformer", source, ("oneformer",))
    return PixelDecoder(network, "oneformer", int(network.config.conv_dim))


def load_mask2former(source: str = HUB["mask2former"]) -> Teacher:
    """Mask2Former, from a folder or the hub; errors as `hub.load_network`."""
    network = load_network(transformers.Mask2FormerModel, "mask2former", source, ("mask2former",))
    return PixelDecoder(network, "mask2former", int(network.config.feature_size))
