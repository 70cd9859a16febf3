"""Grids on which all runtimes round alike.

An integer convolution computes `round(M * sum)` with M = input scale * weight scale / output scale,
an addition computes `round(Ma * a + Mb * b)`. Runtimes compute these factors in float32 or in fixed
point and break ties upwards, to even or away from zero. Close to a tie their results therefore
differ by one step, and in a network of sixty layers a few such steps change the mask. With every M
= m / D, where m is an integer and D is odd, `2 * m * sum = D * (2n + 1)` has no solution: there are
no ties. The nearest value lies 1 / 2D from one, which exceeds the error of any runtime, so all of
them give the same integers. Scales grow by at most 1 / m; only a channel with a small m, which
hardly changes its output, is affected.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from edge.errors import UsageError
from quantize.graph.tracing import arguments, operator

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import Node

    from quantize.graph.tracing import Trace


class Grid(NamedTuple):
    """The values `scale * (q - zero)` of int8 `q`."""

    scale: float
    zero: int


INPUT_GRID = Grid(1 / 128, -1)
"""Grid of `(x - 127) / 128` for uint8 x: q = x - 128."""
LOGIT_GRID = Grid(3 / 64, 0)
"""Logits from -6 to 5.95, fixed, because the score changes by less than 1/256 beyond them.

Logits are rounded down, not to nearest: a pixel is in the mask of threshold 1/2 exactly when its
logit is >= 0.
"""
SCORE_GRID = Grid(1 / 256, -128)
"""Scores in 1/256, the grid that integer sigmoids produce."""

CONV_DENOMINATOR = 2047
"""D of convolutions: float32 has errors of about 1e-4 steps if large sums cancel."""
ADD_DENOMINATOR = 511
"""D of additions and products: fixed-point factors of 20 bits have errors of 1e-4 steps."""
_SLACK = 0.1
"""A factor may shrink by this share of 1/D, so that small changes in training keep the grid."""
_MOVES = ("pixel_shuffle", "upsample_nearest2d", "max_pool2d", "split", "getitem")
"""Operations that only move or select values."""
_IN_PLACE = ("batch_norm", "relu", "hardtanh", *_MOVES)


def activation_grids(traced: Trace) -> list[Grid]:
    """Return the grid of every activation quantizer by index; entries of weights are meaningless.

    The ranges are those of the quantizers, widened if an addition requires it.
    """
    grids = [_grid_of(quantizer) for quantizer in traced.quantizers]
    settled: set[int] = set()
    for node in traced.module.graph.nodes:
        if operator(node) == "quantizer" and node.all_input_nodes[0].op == "placeholder":
            index = int(arguments(node)["index"])
            grids[index] = INPUT_GRID
            settled.add(index)
    logits = logit_nodes(traced)
    for node in traced.module.graph.nodes:
        if operator(node) == "quantizer" and (
            node in logits or operator(node.all_input_nodes[0]) in ("sigmoid", "rsub")
        ):
            index = int(arguments(node)["index"])
            grids[index] = LOGIT_GRID if node in logits else SCORE_GRID
            settled.add(index)
    for node in traced.module.graph.nodes:
        if operator(node) == "add":
            _align_addition(node, grids, settled)
        elif operator(node) == "mul":
            _align_product(node, grids, settled)
    return grids


def logit_nodes(traced: Trace) -> set[Node]:
    """Return all logits: inputs of sigmoids, the output, and the terms of sums that give them.

    All of them lie on `LOGIT_GRID`, so that sums of logits are exact and every sigmoid is the same
    table.
    """
    nodes: set[Node] = set()
    waiting = [
        node.all_input_nodes[0]
        for node in traced.module.graph.nodes
        if operator(node) == "sigmoid" or node.op == "output"
    ]
    while waiting:
        node = waiting.pop()
        if node not in nodes:
            nodes.add(node)
            if operator(node) in ("batch_norm", "quantizer", "add", "cat", *_MOVES):
                waiting += [
                    source for source in node.all_input_nodes if source.op == "call_function"
                ]
    return nodes


def rounds_down(node: Node) -> bool:
    """Return whether a convolution gives the final logits, which are rounded down."""
    return any(user.op == "output" for user in node.users)


def target_grid(node: Node, grids: list[Grid], logits: set[Node]) -> Grid:
    """Return the grid that the result of `node` is rounded to.

    Args:
        node: A convolution.
        grids: From `activation_grids`.
        logits: From `logit_nodes`.

    Raises:
        UsageError: The result is used without being rounded.
    """
    if node in logits:
        return LOGIT_GRID
    index = _target_quantizer(node)
    if index is not None:
        return grids[index]
    raise UsageError(
        f"the result of {node.name} is used without being rounded",
        expected="a quantizer behind every convolution and its activation",
        hint="this student's structure is not covered; use another student",
    )


def tie_free_scales(scales: Tensor, source: Grid, target: Grid) -> Tensor:
    """Make weight scales so that `M = m / CONV_DENOMINATOR` in every channel.

    The scales are at most slightly smaller than the given ones.

    Args:
        scales: (C,) float64, BatchNorm folded in.
        source: Grid of the convolution's input.
        target: Grid that its output is rounded to.
    """
    factors = scales * source.scale / target.scale * CONV_DENOMINATOR
    return (factors - _SLACK).ceil().clamp_min(1) / CONV_DENOMINATOR * target.scale / source.scale


def round_bias(bias: Tensor, scale: Tensor, source: Grid, *, down: bool) -> Tensor:
    """Round a bias (C,) float64 to accumulator steps; `down` lowers it by half a logit step."""
    step = scale * source.scale
    if down:
        bias = bias - LOGIT_GRID.scale / 2
    return (bias / step).round().clamp(-(2**31) + 1, 2**31 - 1) * step


def _align_addition(node: Node, grids: list[Grid], settled: set[int]) -> None:
    """Scale both inputs to integer multiples of a D-th of the output's scale.

    Inputs that an earlier addition fixed stay as they are.
    """
    inputs = {
        index for source in node.all_input_nodes if (index := _source_quantizer(source)) is not None
    }
    output = _target_quantizer(node)
    if output is None:
        return
    settled_inputs = inputs & settled
    if output not in settled and settled_inputs:
        index = min(settled_inputs)
        steps = max(
            1, math.floor(grids[index].scale / grids[output].scale * ADD_DENOMINATOR + _SLACK)
        )
        grids[output] = grids[output]._replace(scale=grids[index].scale * ADD_DENOMINATOR / steps)
    settled.add(output)
    for index in inputs - settled:
        steps = max(
            1, math.ceil(grids[index].scale / grids[output].scale * ADD_DENOMINATOR - _SLACK)
        )
        grids[index] = grids[index]._replace(scale=grids[output].scale * steps / ADD_DENOMINATOR)
        settled.add(index)


def _align_product(node: Node, grids: list[Grid], settled: set[int]) -> None:
    """Make the product of both inputs' scales an integer multiple of a D-th of the output's."""
    inputs = [
        index for source in node.all_input_nodes if (index := _source_quantizer(source)) is not None
    ]
    output = _target_quantizer(node)
    if output is None or len(inputs) != 2:
        return
    product = grids[inputs[0]].scale * grids[inputs[1]].scale
    ratio = product / grids[output].scale * ADD_DENOMINATOR
    free = set(inputs) - settled
    if output not in settled:
        steps = max(1, math.floor(ratio + _SLACK))
        grids[output] = grids[output]._replace(scale=product * ADD_DENOMINATOR / steps)
    elif free and inputs[0] != inputs[1]:
        index = min(free)
        steps = max(1, math.ceil(ratio - _SLACK))
        grids[index] = grids[index]._replace(scale=grids[index].scale * steps / ratio)
    settled.update((*inputs, output))


def _target_quantizer(node: Node) -> int | None:
    while len(node.users) == 1:
        node = next(iter(node.users))
        if operator(node) == "quantizer":
            return int(arguments(node)["index"])
        if operator(node) not in _IN_PLACE:
            break
    return None


def _source_quantizer(node: Node) -> int | None:
    while operator(node) in _MOVES:
        node = node.all_input_nodes[0]
    return int(arguments(node)["index"]) if operator(node) == "quantizer" else None


def _grid_of(quantizer: object) -> Grid:
    low, _, scale, zero = quantizer.get_parameters_for_torch_fq()  # type: ignore[attr-defined]
    return Grid(float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]) - (128 if low == 0 else 0))
