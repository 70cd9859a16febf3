"""Small random networks of the kinds that teachers wrap."""

from __future__ import annotations

from functools import partial
from typing import Any

import transformers
from torch import Tensor, nn

from distill.teachers.random_networks import (
    TINY,
    dinov2,
    mask2former,
    oneformer,
    sam_vision,
)

__all__ = [
    "dinov2",
    "dinov2_with_registers",
    "dinov3_convnext",
    "dinov3_vit",
    "mask2former",
    "oneformer",
    "sam2_vision",
    "sam_pth",
    "sam_vision",
]


def dinov2_with_registers() -> Any:
    config = transformers.Dinov2WithRegistersConfig(
        hidden_size=32, image_size=28, patch_size=14, num_register_tokens=4, **TINY
    )
    return transformers.Dinov2WithRegistersModel(config)


def dinov3_vit() -> Any:
    config = transformers.DINOv3ViTConfig(
        hidden_size=32, intermediate_size=32, patch_size=16, num_register_tokens=4, **TINY
    )
    return transformers.DINOv3ViTModel(config)


def dinov3_convnext() -> Any:
    config = transformers.DINOv3ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1])
    return transformers.DINOv3ConvNextModel(config)


def sam2_vision() -> Any:
    config = transformers.Sam2VisionConfig(
        backbone_config={
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 8,
            "image_size": [256, 256],
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [8, 16, 24, 32],
            "num_attention_heads_per_stage": [1, 1, 2, 2],
            "window_size_per_stage": [4, 4, 4, 4],
            "global_attention_blocks": [3],
        },
        backbone_channel_list=[32, 24, 16, 8],
        fpn_hidden_size=16,
    )
    return transformers.Sam2VisionModel(config)


def sam_pth() -> dict[str, Tensor]:
    """A random encoder of the segment-anything package."""
    from segment_anything.modeling import ImageEncoderViT

    encoder: nn.Module = ImageEncoderViT(
        img_size=384,
        embed_dim=32,
        depth=3,
        num_heads=2,
        out_chans=16,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=4,
        global_attn_indexes=(1,),
    )
    for name, value in encoder.state_dict().items():
        if "pos" in name:
            nn.init.normal_(value, std=0.02)
    return encoder.state_dict()


def sam_whole() -> Any:
    """SAM with its prompt encoder and mask decoder."""
    parts = {"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": 32,
            "output_channels": 16,
            "image_size": 64,
            "patch_size": 16,
            "mlp_dim": 32,
            "window_size": 2,
            "global_attn_indexes": [],
            "num_pos_feats": 8,
            **TINY,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16},
        mask_decoder_config=parts,
    )
    return _with_noise(transformers.SamModel(config))


def sam2_whole() -> Any:
    """SAM 2 with its prompt encoder and mask decoder."""
    vision = sam2_vision().config.to_dict()
    vision["backbone_feature_sizes"] = [[64, 64], [32, 32], [16, 16]]
    config = transformers.Sam2Config(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 16, "image_size": 256, "patch_size": 16},
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 16,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )
    return _with_noise(transformers.Sam2Model(config))


def _with_noise(network: Any) -> Any:
    """Give all weights a size at which prompts matter."""
    for name, value in network.named_parameters():
        if "norm" not in name:
            nn.init.normal_(value.data, std=0.3)
    return network
