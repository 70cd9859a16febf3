"""SAM's image encoder through the `segment-anything` package, from the authors' `.pth` files."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.teachers.base import IMAGENET, Teacher, fitting_size, normalized
from distill.teachers.layers import LayeredTeacher, numbered, tapped
from distill.teachers.unreadable import UNREADABLE
from distill.weight_files import explain_unreadable, find_weights
from edge.errors import DataError, MissingDependencyError
from edge.util.spec import expand

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PREFIX, _NECK = "image_encoder.", "neck"
_PUBLISHED = {(768, 12): "vit_b", (1024, 24): "vit_l", (1280, 32): "vit_h"}
"""Width and depth of the published encoders (Kirillov et al., 2023)."""


class SamPth(LayeredTeacher):
    """Image embedding of SAM's encoder, from its neck; the frame is stretched to a square.

    Args:
        state: Weights of `segment_anything.modeling.ImageEncoderViT`, which also say how large it
            is.
        size: Height and width of its input, a multiple of the patch; None for its own (1024).
        normalize: `published` takes out ImageNet's mean and deviation; `min-max` maps each
            picture's least and largest value to 0 and 1, as MedSAM does.

    Raises:
        MissingDependencyError: `segment-anything` is not installed.
        UsageError: The size does not fit.
        KeyError, RuntimeError: They are not the weights of such an encoder.
    """

    def __init__(
        self, state: Mapping[str, Tensor], size: int | None = None, normalize: str = "published"
    ) -> None:
        architecture = encoder_architecture(state)
        patch = int(architecture["patch_size"])
        side = fitting_size("sam", size or int(architecture["img_size"]), patch)
        published = _PUBLISHED.get((architecture["embed_dim"], architecture["depth"]), "vit")
        super().__init__(
            f"sam-{published}",
            architecture["out_chans"],
            f"{normalize} normalization, neck output",
            size=side,
            cells=side // patch,
        )
        self.normalize = normalize
        network = _encoder(architecture)
        network.load_state_dict(state)
        if side != architecture["img_size"]:
            network.pos_embed = with_positions(network.pos_embed, side // patch)
        self.network = network
        self.freeze()

    def native_features(self, pixels: Tensor) -> Tensor:
        """(B, out_chans, size / patch, size / patch) of (B, 3, size, size) float RGB."""
        return self._run(pixels)

    def layer_names(self) -> tuple[str, ...]:
        """The blocks and the neck."""
        network: Any = self.network
        return (*numbered(len(network.blocks)), _NECK)

    def layer_maps(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Maps of some blocks; see `LayeredTeacher`."""
        network: Any = self.network
        modules = {
            name: network.neck if name == _NECK else network.blocks[int(name) - 1] for name in names
        }
        outputs = zip(names, tapped(modules, lambda: self._run(pixels)), strict=True)
        return [maps if name == _NECK else maps.permute(0, 3, 1, 2) for name, maps in outputs]

    def _run(self, pixels: Tensor) -> Tensor:
        inputs = min_max(pixels) if self.normalize == "min-max" else normalized(pixels, *IMAGENET)
        embedding: Tensor = self.network(inputs)
        return embedding


def min_max(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) with each picture's least and largest value as 0 and 1."""
    least = pixels.amin(dim=(1, 2, 3), keepdim=True)
    return (pixels - least) / (pixels.amax(dim=(1, 2, 3), keepdim=True) - least).clamp(min=1e-6)


def with_positions(embedding: Any, cells: int) -> nn.Parameter:
    """Stretch SAM's position embeddings (1, h, w, C) to (1, cells, cells, C).

    The relative positions of its attention follow the map by themselves.
    """
    maps = embedding.detach().permute(0, 3, 1, 2)
    stretched = F.interpolate(maps, size=(cells, cells), mode="bicubic", align_corners=False)
    return nn.Parameter(stretched.permute(0, 2, 3, 1).contiguous(), requires_grad=False)


def encoder_architecture(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `ImageEncoderViT`, read off the shapes of its weights.

    Raises:
        KeyError: A weight that every such encoder has is missing.
    """
    cells, width = state["pos_embed"].shape[1], state["pos_embed"].shape[3]
    patch = state["patch_embed.proj.weight"].shape[-1]
    depth = 1 + max(
        (int(m[1]) for key in state if (m := re.match(r"blocks\.(\d+)\.", key))), default=-1
    )
    reach = [(state[f"blocks.{block}.attn.rel_pos_h"].shape[0] + 1) // 2 for block in range(depth)]
    return {
        "img_size": patch * cells,
        "patch_size": patch,
        "embed_dim": width,
        "depth": depth,
        "num_heads": width // state["blocks.0.attn.rel_pos_h"].shape[1],
        "mlp_ratio": state["blocks.0.mlp.lin1.weight"].shape[0] / width,
        "out_chans": state["neck.0.weight"].shape[0],
        "qkv_bias": "blocks.0.attn.qkv.bias" in state,
        "use_rel_pos": True,
        "window_size": min(reach),
        "global_attn_indexes": tuple(block for block in range(depth) if reach[block] == cells),
    }


def load_sam_pth(source: str, size: int | None = None, normalize: str = "published") -> Teacher:
    """SAM from `sam_vit_{b,l,h}_*.pth`, or any file of the same form such as MedSAM's.

    Args:
        source: The file. Only tensors are read from it; no code in it is run.
        size: As for `SamPth`.
        normalize: As for `SamPth`.

    Raises:
        UsageError: The size does not fit.
        DataError: It is missing or holds something else.
        MissingDependencyError: `segment-anything` is not installed.
    """
    path = expand(source)
    expected = "a SAM checkpoint such as sam_vit_b_01ec64.pth, with weights named image_encoder.*"
    try:
        loaded = find_weights(torch.load(path, map_location="cpu", weights_only=True), path)
        # A training program saves the encoder as `module.image_encoder.*`.
        split_keys = [key.partition(_PREFIX) for key in loaded]
        state = {
            end: loaded[before + _PREFIX + end]
            for before, prefix, end in split_keys
            if prefix and (not before or before.endswith("."))
        }
        teacher = SamPth(state, size, normalize)
    except FileNotFoundError:
        raise DataError(f"teacher sam: {path} is not a file", expected=expected) from None
    except UNREADABLE as error:
        problem, hint = explain_unreadable(path, error)
        raise DataError(
            f"teacher sam: {path} is not a readable checkpoint of SAM",
            expected=expected,
            got=problem,
            hint=hint,
        ) from error
    teacher.source, teacher.license = str(path), "Apache-2.0 if published by Meta"
    return teacher


def _encoder(architecture: dict[str, Any]) -> nn.Module:
    try:
        from segment_anything.modeling import ImageEncoderViT
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "the Python package `segment-anything` is not installed; "
            "this needs `pip install edge-difom[train]`",
            expected=f"module {error.name}",
            got="no such module",
            hint="pip install 'edge-difom[train]'",
        ) from error
    network: nn.Module = ImageEncoderViT(norm_layer=partial(nn.LayerNorm, eps=1e-6), **architecture)
    return network
