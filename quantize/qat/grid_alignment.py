"""Put a quantized student on its engines' grids, so that training optimizes what will run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from nncf.torch.quantization.layers import AsymmetricQuantizer, SymmetricQuantizer

from quantize.graph.folding import fold
from quantize.graph.grids import (
    LOGIT_GRID,
    Grid,
    activation_grids,
    logit_nodes,
    round_bias,
    rounds_down,
    target_grid,
    tie_free_scales,
)
from quantize.graph.tracing import arguments, operator, quantizers, trace

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.fx import Node


def align(quantized: nn.Module, example: Tensor) -> None:
    """Move scales and biases of a student onto tie-free grids (`quantize.graph.grids`), in place.

    A second call changes nothing. The grid of the logits is left to the canonical graph.

    Args:
        quantized: A student from `quantize_student`.
        example: (1, 3, H, W) input.

    Raises:
        UsageError: A convolution's output is used without being rounded.
    """
    traced = trace(quantized, example)
    grids, logits = activation_grids(traced), logit_nodes(traced)
    by_name = quantizers(quantized)
    live = [by_name[name] for name in traced.names]
    parameters = dict(quantized.named_parameters())
    with torch.no_grad():
        for grid, quantizer in zip(grids, live, strict=True):
            if isinstance(quantizer, AsymmetricQuantizer):
                quantizer.input_low.fill_((-128 - grid.zero) * grid.scale)
                quantizer.input_range.fill_(255 * grid.scale)
        for node in traced.module.graph.nodes:
            if operator(node) != "conv2d":
                continue
            folded = fold(traced, node)
            if folded.scale is None or folded.quantizer is None:
                continue
            source, target = input_grid(node, grids), target_grid(node, grids, logits)
            scale = tie_free_scales(folded.scale, source, target)
            weights = live[folded.quantizer]
            if isinstance(weights, SymmetricQuantizer):
                step = torch.where(
                    folded.factor == 0, 1.0, scale / folded.factor.abs().clamp_min(1e-30)
                )
                weights.scale.copy_((step * weights.level_high).view_as(weights.scale))
            down = rounds_down(node)
            moved = round_bias(folded.bias, scale, source, down=down) - folded.bias
            if down:
                moved += LOGIT_GRID.scale / 2
            bias = arguments(node if folded.norm is None else folded.norm)["bias"]
            if bias is not None:
                parameters[str(bias.target)].add_(moved)


def input_grid(node: Node, grids: list[Grid]) -> Grid:
    """Return the grid on which a convolution reads its input."""
    source = arguments(node)["input"]
    while operator(source) != "quantizer":
        source = source.all_input_nodes[0]
    return grids[int(arguments(source)["index"])]
