"""Tiny networks of the kinds of four foundation models with random weights.

They show that everything around a foundation model runs where its weights are not. What they teach
is nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers

from distill.teachers.hub import quiet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TINY = {"num_hidden_layers": 2, "num_attention_heads": 2}
SWIN = {
    "model_type": "swin",
    "image_size": 64,
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
DECODER = {
    "hidden_dim": 32,
    "encoder_feedforward_dim": 32,
    "dim_feedforward": 32,
    "num_attention_heads": 4,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_queries": 4,
}


def sam_vision(image_size: int = 384) -> Any:
    """SAM's image encoder, 16 channels."""
    config = transformers.SamVisionConfig(
        hidden_size=32,
        output_channels=16,
        image_size=image_size,
        patch_size=16,
        mlp_dim=32,
        window_size=4,
        global_attn_indexes=[],
        initializer_range=0.05,
        **TINY,
    )
    return transformers.SamVisionModel(config)


def dinov2(image_size: int = 28) -> Any:
    """DINOv2, 32 channels."""
    config = transformers.Dinov2Config(hidden_size=32, image_size=image_size, patch_size=14, **TINY)
    return transformers.Dinov2Model(config)


def oneformer() -> Any:
    """OneFormer on Swin, 32 channels."""
    config = transformers.OneFormerConfig(
        backbone_config=SWIN,
        conv_dim=32,
        mask_dim=32,
        query_dec_layers=1,
        task_seq_len=7,
        **DECODER,
    )
    return transformers.OneFormerModel(config)


def mask2former() -> Any:
    """Mask2Former on Swin, 32 channels."""
    config = transformers.Mask2FormerConfig(
        backbone_config=SWIN, feature_size=32, mask_feature_size=32, **DECODER
    )
    return transformers.Mask2FormerModel(config)


NETWORKS: dict[str, Callable[[], Any]] = {
    "sam": lambda: sam_vision(128),
    "dinov2": lambda: dinov2(112),
    "oneformer": oneformer,
    "mask2former": mask2former,
}
"""Name of a teacher -> builder of a network that is small enough for a CPU."""
_SIZES = {"oneformer": 128, "mask2former": 128}


def write_random(name: str, folder: Path, mark: str) -> str:
    """Write a random network as a checkpoint, unless the folder is there.

    Args:
        name: A key of `NETWORKS`.
        folder: Folder to write; the weights depend on its name alone.
        mark: Name of a file in it that says what it is.

    Returns:
        Specification of the teacher.
    """
    if not (folder / mark).is_file():
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(sorted(NETWORKS).index(name))
            NETWORKS[name]().save_pretrained(folder)
        (folder / mark).write_text("Random weights. What they teach is nothing.\n")
    size = f"?size={_SIZES[name]}" if name in _SIZES else ""
    return f"{name}:{folder}{size}"
