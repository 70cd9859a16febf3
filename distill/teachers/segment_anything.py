"""SAM's image encoder through the `segment-anything` package, from the authors' `.pth` files."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill.teachers.base import Teacher, imagenet_normalized
from distill.teachers.unreadable import UNREADABLE
from distill.weight_files import explain_unreadable, find_weights
from edge.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIX = "image_encoder."
_PUBLISHED = {(768, 12): "vit_b", (1024, 24): "vit_l", (1280, 32): "vit_h"}
"""Width and depth of the published encoders (Kirillov et al., 2023)."""


class SamPth(Teacher):
    """Image embedding of SAM's encoder, from its neck; the frame is stretched to a square.

    Args:
        state: Weights of `segment_anything.modeling.ImageEncoderViT`, which also say how large it
            is.

    Raises:
        MissingDependencyError: `segment-anything` is not installed.
        KeyError, RuntimeError: They are not the weights of such an encoder.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        architecture = encoder_architecture(state)
        size = (architecture["embed_dim"], architecture["depth"])
        super().__init__(
            f"sam-{_PUBLISHED.get(size, 'vit')}",
            architecture["out_chans"],
            "ImageNet mean and deviation, stretched to a square, neck output",
        )
        self.side = int(architecture["img_size"])
        self.network = _encoder(architecture)
        self.network.load_state_dict(state)
        self.freeze()

    def native_features(self, images: Tensor, grid: tuple[int, int]) -> Tensor:  # noqa: ARG002 - its own grid
        """(B, out_chans, side / patch, side / patch) of (B, 3, H, W) uint8 RGB."""
        embedding: Tensor = self.network(imagenet_normalized(images, (self.side, self.side)))
        return embedding


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


def load_sam_pth(source: str) -> Teacher:
    """SAM from `sam_vit_{b,l,h}_*.pth`, or any file of the same form such as MedSAM's.

    Args:
        source: The file. Only tensors are read from it; no code in it is run.

    Raises:
        DataError: It is missing or holds something else.
        MissingDependencyError: `segment-anything` is not installed.
    """
    path = Path(source).expanduser()
    expected = "a SAM checkpoint such as sam_vit_b_01ec64.pth, with weights named image_encoder.*"
    try:
        loaded = find_weights(torch.load(path, map_location="cpu", weights_only=True), path)
        # A training program saves the encoder as `module.image_encoder.*`.
        named = [key.partition(_PREFIX) for key in loaded]
        state = {
            end: loaded[before + _PREFIX + end]
            for before, prefix, end in named
            if prefix and (not before or before.endswith("."))
        }
        return SamPth(state)
    except FileNotFoundError:
        raise DataError(f"teacher sam: {path} is not a file", expected=expected) from None
    except UNREADABLE as error:
        got, hint = explain_unreadable(path, error)
        raise DataError(
            f"teacher sam: {path} is not a readable checkpoint of SAM",
            expected=expected,
            got=got,
            hint=hint,
        ) from error


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
