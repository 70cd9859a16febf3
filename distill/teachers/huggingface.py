"""DINOv2, DINOv3, SAM, SAM 2, OneFormer and Mask2Former through transformers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import transformers

from distill.teachers.base import Teacher, fitting_size, normalized
from distill.teachers.hub import Processor, load_network, load_processor
from distill.teachers.layers import LayeredTeacher, numbered, tapped
from distill.teachers.segment_anything import min_max, with_positions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
DINOV3_SIZE, DECODER_SIZE = 512, 640
"""Default sizes: of the last training phase of DINOv3, and of pixel decoders without a processor's
file."""
_CONVNEXT_STRIDE = 32
_DECODER_STRIDE, _COARSEST = 8, 32
_STRIDES = ("8", "16", "32")
_SAM2_STRIDE = 16
_NECK = "neck"


class PatchTokens(LayeredTeacher):
    """Patch tokens of DINOv2 (Oquab et al., 2023) or DINOv3 (Simeoni et al., 2025).

    The position embeddings follow the size; the class token and the registers are dropped. DINOv3's
    ConvNeXt has patches of 32 pixels.

    Args:
        network: `Dinov2Model`, `Dinov2WithRegistersModel`, `DINOv3ViTModel` or
            `DINOv3ConvNextModel`.
        name: `dinov2` or `dinov3`.
        processor: Normalization.
        size: Height and width of its input, a multiple of the patch; None for the size that
            DINOv2's configuration names (518), and `DINOV3_SIZE` for DINOv3.

    Raises:
        UsageError: The size does not fit.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        processor: Processor = Processor(),  # noqa: B008 - immutable
        size: int | None = None,
    ) -> None:
        config: Any = network.config
        widths = getattr(config, "hidden_sizes", None) or [config.hidden_size]
        patch = int(getattr(config, "patch_size", _CONVNEXT_STRIDE))
        trained = int(config.image_size) if name == "dinov2" else DINOV3_SIZE
        side = fitting_size(name, size or trained, patch)
        how = f"{_normalization(processor)}, last hidden state"
        super().__init__(name, int(widths[-1]), how, size=side, cells=side // patch)
        self.network = network
        self.processor, self.cells = processor, side // patch
        self.extra_tokens = 1 + int(getattr(config, "num_register_tokens", 0))
        self.freeze()

    def native_features(self, pixels: Tensor) -> Tensor:
        """(B, channels, h, h) of (B, 3, size, size) float RGB, one cell a patch."""
        return self._as_map(self._run(pixels).last_hidden_state)

    def layer_names(self) -> tuple[str, ...]:
        """The blocks of a ViT, or the stages of ConvNeXt."""
        return numbered(len(self._blocks()))

    def layer_maps(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Maps of some blocks, normalized as the last one is; those of stages as they are."""
        blocks = self._blocks()
        modules = {name: blocks[int(name) - 1] for name in names}
        outputs = tapped(modules, lambda: self._run(pixels))
        if hasattr(self.network.config, "hidden_sizes"):
            return outputs
        network: Any = self.network
        norm = network.norm if self.name == "dinov3" else network.layernorm
        return [self._as_map(norm(tokens)) for tokens in outputs]

    def _run(self, pixels: Tensor) -> Any:
        inputs = normalized(pixels, self.processor.mean, self.processor.deviation)
        return self.network(pixel_values=inputs)

    def _blocks(self) -> Any:
        network: Any = self.network
        if hasattr(network.config, "hidden_sizes"):
            return network.model.stages
        return network.model.layer if self.name == "dinov3" else network.encoder.layer

    def _as_map(self, tokens: Tensor) -> Tensor:
        patches = tokens[:, self.extra_tokens :].transpose(1, 2)
        return patches.reshape(len(patches), patches.shape[1], self.cells, self.cells)


class SquareEmbedding(LayeredTeacher):
    """Image embedding of SAM (Kirillov et al., 2023) or SAM 2 (Ravi et al., 2024), from its neck.

    SAM's own preprocessing pads a frame to a square; here the frame is stretched to it, as for
    every teacher.

    Args:
        network: `SamVisionModel` or `Sam2VisionModel`.
        name: `sam` or `sam2`.
        channels: Channels of the embedding.
        size: Pixels of the square.
        cells: Cells of the embedding along each axis.
        embedding: Takes it out of the network's answer.
        processor: Normalization; None for each picture's least and largest value as 0 and 1.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        channels: int,
        size: int,
        cells: int,
        embedding: Callable[[Any], Tensor],
        processor: Processor | None,
    ) -> None:
        how = "min-max" if processor is None else _normalization(processor)
        super().__init__(name, channels, f"{how}, neck output", size=size, cells=cells)
        self.network, self.processor = network, processor
        self._embedding = embedding
        self.freeze()

    def native_features(self, pixels: Tensor) -> Tensor:
        """(B, channels, h, h) of (B, 3, size, size) float RGB."""
        return self._embedding(self._run(pixels))

    def layer_names(self) -> tuple[str, ...]:
        """The blocks and the neck of SAM, or the levels of the neck of SAM 2, the finest first."""
        network: Any = self.network
        if self.name == "sam2":
            return numbered(int(network.num_feature_levels))
        return (*numbered(len(network.vision_encoder.layers)), _NECK)

    def layer_maps(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Maps of some blocks or levels; see `LayeredTeacher`."""
        network: Any = self.network
        if self.name == "sam2":
            levels = self._run(pixels).fpn_hidden_states
            return [levels[int(name) - 1] for name in names]
        encoder = network.vision_encoder
        modules = {
            name: encoder.neck if name == _NECK else encoder.layers[int(name) - 1] for name in names
        }
        outputs = zip(names, tapped(modules, lambda: self._run(pixels)), strict=True)
        return [maps if name == _NECK else maps.permute(0, 3, 1, 2) for name, maps in outputs]

    def _run(self, pixels: Tensor) -> Any:
        processor = self.processor
        inputs = (
            min_max(pixels)
            if processor is None
            else normalized(pixels, processor.mean, processor.deviation)
        )
        return self.network(pixel_values=inputs)


class PixelDecoder(LayeredTeacher):
    """The finest multi-scale map of the pixel decoder of OneFormer or Mask2Former.

    It has stride 8 (Jain et al., 2023; Cheng et al., 2022, section 3.2). The queries, and with them
    OneFormer's task, come after the pixel decoder and do not change its maps, so that neither is
    run.

    Args:
        network: `OneFormerModel` or `Mask2FormerModel`.
        name: `oneformer` or `mask2former`.
        channels: Channels of the map.
        processor: Normalization, and the short side that is the default size.
        size: Height and width of its input, a multiple of 32; None for the processor's short side,
            or `DECODER_SIZE` without one.

    Raises:
        UsageError: The size does not fit.
    """

    def __init__(
        self,
        network: Any,
        name: str,
        channels: int,
        processor: Processor = Processor(),  # noqa: B008 - immutable
        size: int | None = None,
    ) -> None:
        short = processor.short_side or DECODER_SIZE
        side = fitting_size(
            name, size or math.ceil(short / _COARSEST) * _COARSEST, _COARSEST, "coarsest stride"
        )
        how = f"{_normalization(processor)}, pixel decoder's map of stride {_DECODER_STRIDE}"
        super().__init__(name, channels, how, size=side, cells=side // _DECODER_STRIDE)
        self.network: nn.Module = network.pixel_level_module
        self.processor = processor
        self.freeze()

    def native_features(self, pixels: Tensor) -> Tensor:
        """(B, channels, size / 8, size / 8) of (B, 3, size, size) float RGB."""
        return self._scales(pixels)[-1]

    def layer_names(self) -> tuple[str, ...]:
        """Strides of the maps in pixels."""
        return _STRIDES

    def layer_maps(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Maps of some strides; see `LayeredTeacher`."""
        scales = self._scales(pixels)
        return [scales[-1 - _STRIDES.index(name)] for name in names]

    def _scales(self, pixels: Tensor) -> Sequence[Tensor]:
        """The multi-scale maps, the coarsest first."""
        output = self.network(normalized(pixels, self.processor.mean, self.processor.deviation))
        # OneFormer has a different name for Mask2Former's decoder_hidden_states.
        name = (
            "decoder_features" if hasattr(output, "decoder_features") else "decoder_hidden_states"
        )
        scales: Sequence[Tensor] = getattr(output, name)
        return scales


def sam(
    network: Any,
    processor: Processor | None = Processor(),  # noqa: B008 - immutable
    size: int | None = None,
) -> Teacher:
    """The teacher that a `SamVisionModel` makes, at its own size (1024) or a multiple of a patch.

    Raises:
        UsageError: The size does not fit.
    """
    config = network.config
    patch = int(config.patch_size)
    side = fitting_size("sam", size or int(config.image_size), patch)
    encoder = network.vision_encoder
    if side != int(config.image_size):
        encoder.pos_embed = with_positions(encoder.pos_embed, side // patch)
        encoder.patch_embed.image_size = (side, side)
    return SquareEmbedding(
        network,
        "sam",
        int(config.output_channels),
        side,
        side // patch,
        lambda output: output.last_hidden_state,
        processor,
    )


def sam2(
    network: Any,
    processor: Processor | None = Processor(),  # noqa: B008 - immutable
    size: int | None = None,
) -> Teacher:
    """The teacher that a `Sam2VisionModel` makes, at its own size (1024) or a different one.

    Raises:
        UsageError: The size does not fit.
    """
    backbone = network.config.backbone_config
    trained = backbone.image_size
    trained = int(trained if isinstance(trained, int) else trained[0])
    # Window position embeddings are laid as tiles on the first map, of stride 4.
    multiple = math.lcm(32, 4 * int(backbone.window_size_per_stage[0]))
    side = fitting_size("sam2", size or trained, multiple, "windows")
    return SquareEmbedding(
        network,
        "sam2",
        int(network.config.fpn_hidden_size),
        side,
        side // _SAM2_STRIDE,
        lambda output: output.fpn_hidden_states[-1],
        processor,
    )


def _normalization(processor: Processor) -> str:
    return f"mean {processor.mean}, deviation {processor.deviation}"


def _chosen(source: str, normalize: str) -> Processor | None:
    return None if normalize == "min-max" else load_processor(source)


def _from(teacher: Teacher, source: str, license: str) -> Teacher:
    teacher.source, teacher.license = source, license
    return teacher


def load_dinov2(source: str = HUB["dinov2"], size: int | None = None) -> Teacher:
    """DINOv2, with or without registers, from a folder or the hub; errors as `hub.load_network`."""
    kinds = ("dinov2", "dinov2_with_registers")
    network = load_network(transformers.AutoModel, "dinov2", source, kinds)
    teacher = PatchTokens(network, "dinov2", load_processor(source), size)
    return _from(teacher, source, "Apache-2.0")


def load_dinov3(source: str = HUB["dinov3"], size: int | None = None) -> Teacher:
    """DINOv3, a ViT or a ConvNeXt, from a folder or the hub; errors as `hub.load_network`."""
    kinds = ("dinov3_vit", "dinov3_convnext")
    network = load_network(transformers.AutoModel, "dinov3", source, kinds)
    teacher = PatchTokens(network, "dinov3", load_processor(source), size)
    return _from(teacher, source, "DINOv3 License")


def load_sam(
    source: str = HUB["sam"], size: int | None = None, normalize: str = "published"
) -> Teacher:
    """Load SAM's encoder from a checkpoint of all of SAM or its encoder; see `hub.load_network`."""
    kinds = ("sam", "sam_vision_model")
    network = load_network(transformers.SamVisionModel, "sam", source, kinds)
    return _from(sam(network, _chosen(source, normalize), size), source, "Apache-2.0")


def load_sam2(
    source: str = HUB["sam2"], size: int | None = None, normalize: str = "published"
) -> Teacher:
    """Load SAM 2's encoder from an image, video or encoder checkpoint; see `hub.load_network`."""
    kinds = ("sam2", "sam2_video", "sam2_vision_model")
    inside = {r"^vision_encoder\.": ""}  # where the checkpoint is of more than the encoder
    network = load_network(transformers.Sam2VisionModel, "sam2", source, kinds, key_mapping=inside)
    return _from(sam2(network, _chosen(source, normalize), size), source, "Apache-2.0")


def load_oneformer(source: str = HUB["oneformer"], size: int | None = None) -> Teacher:
    """OneFormer, from a folder or the hub; errors as `hub.load_network`."""
    network = load_network(transformers.OneFormerModel, "oneformer", source, ("oneformer",))
    channels, processor = int(network.config.conv_dim), load_processor(source)
    return _from(PixelDecoder(network, "oneformer", channels, processor, size), source, "MIT")


def load_mask2former(source: str = HUB["mask2former"], size: int | None = None) -> Teacher:
    """Mask2Former, from a folder or the hub; errors as `hub.load_network`."""
    network = load_network(transformers.Mask2FormerModel, "mask2former", source, ("mask2former",))
    channels, processor = int(network.config.feature_size), load_processor(source)
    return _from(PixelDecoder(network, "mask2former", channels, processor, size), source, "MIT")
