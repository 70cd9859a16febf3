"""Grids on which no runtime can round differently from another.

A convolution in integers gives `round(M * sum)`, M = input scale * weight scale / output scale, an
addition `round(Ma * a + Mb * b)`. Runtimes compute the factors in float32 or in fixed point and
break ties up, to even or away from zero, so next to a tie two of them part by one step, and a
network of sixty layers turns a few such steps into other masks. With every M = m / D, m whole and D
odd, `2 * m * sum = D * (2n + 1)` has no solution: there are no ties, the nearest value lies 1 / 2D
from one, which is further than any runtime errs, and all of them give the same integers. Scales
grow by at most 1 / m for it; only a channel whose m is small, which hardly moves its output, feels
it.
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
"""Of `(x - 127) / 128` for uint8 x: q = x - 128."""
LOGIT_GRID = Grid(3 / 64, 0)
"""Logits from -6 to 5.95, beyond which the score changes by less than 1/256; fixed, so nothing to calibrate.

Logits are rounded down, not to nearest: a pixel is in the mask of threshold 1/2 exactly when its
logit is >= 0.
"""
SCORE_GRID = Grid(1 / 256, -128)
"""Scores in 1/256, the grid that integer sigmoids produce."""

CONV_DENOMINATOR = 2047
"""D of convolutions: float32 errs by some 1e-4 steps where large sums cancel."""
ADD_DENOMINATOR = 511
"""D of additions and products: fixed-point factors of 20 bits err by 1e-4 steps."""
_SLACK = 0.1
"""A factor may shrink by this part of 1/D: what was on the grid stays there when training moves it a little."""
_MOVES = ("pixel_shuffle", "upsample_nearest2d", "max_pool2d", "split", "getitem")
"""Operations that only move or pick values."""
_IN_PLACE = ("batch_norm", "relu", "hardtanh", *_MOVES)


def activation_grids(traced: Trace) -> list[Grid]:
    """The grid of every quantizer of an activation, by its index; of weights an entry that means nothing.

    Ranges are those of the quantizers, widened where an addition needs it.
    """
    grids = [_given(quantizer) for quantizer in traced.quantizers]
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
            _settle_addition(node, grids, settled)
        elif operator(node) == "mul":
            _settle_product(node, grids, settled)
    return grids


def logit_nodes(traced: Trace) -> set[Node]:
    """Everything that is a logit: what a sigmoid or the output reads, and what such a sum adds up.

    All of it lies on `LOGIT_GRID`, so that sums of logits are exact and every sigmoid is the same
    table.
    """
    found: set[Node] = set()
    waiting = [
        node.all_input_nodes[0]
        for node in traced.module.graph.nodes
        if operator(node) == "sigmoid" or node.op == "output"
    ]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            if operator(node) in ("batch_norm", "quantizer", "add", *_MOVES):
                waiting += [
                    source for source in node.all_input_nodes if source.op == "call_function"
                ]
    return found


def rounds_down(node: Node) -> bool:
    """Whether a convolution gives the final logits, which are rounded down and not to nearest."""
    return any(user.op == "output" for user in node.users)


def target_grid(node: Node, grids: list[Grid], logits: set[Node]) -> Grid:
    """The grid that what `node` computes is rounded to.

    Args:
        node: A convolution.
        grids: From `activation_grids`.
        logits: From `logit_nodes`.

    Raises:
        UsageError: It is used without being rounded.
    """
    if node in logits:
        return LOGIT_GRID
    index = _target_quantizer(node)
    if index is not None:
        return grids[index]
    raise UsageError(
        f"what {node.name} computes is not rounded before it is used",
        expected="a quantizer behind every convolution and its activation",
        hint="this student's structure is not covered; use another student",
    )


def tie_free_scales(scales: Tensor, source: Grid, target: Grid) -> Tensor:
    """Weight scales so that `M = m / CONV_DENOMINATOR` in every channel, at most a little smaller than given.

    Args:
        scales: (C,) float64, BatchNorm folded in.
        source: Grid of the convolution's input.
        target: Grid that its output is rounded to.
    """
    factors = scales * source.scale / target.scale * CONV_DENOMINATOR
    return (factors - _SLACK).ceil().clamp_min(1) / CONV_DENOMINATOR * target.scale / source.scale


def settle_bias(bias: Tensor, scale: Tensor, source: Grid, *, down: bool) -> Tensor:
    """A bias (C,) float64 in whole steps of the accumulator, half a step of the logits lower with `down`."""
    step = scale * source.scale
    if down:
        bias = bias - LOGIT_GRID.scale / 2
    return (bias / step).round().clamp(-(2**31) + 1, 2**31 - 1) * step


def _settle_addition(node: Node, grids: list[Grid], settled: set[int]) -> None:
    """Make both inputs whole multiples of a D-th of the output's scale, where earlier additions leave the choice."""
    inputs = {
        index for source in node.all_input_nodes if (index := _source_quantizer(source)) is not None
    }
    output = _target_quantizer(node)
    if output is None:
        return
    held = inputs & settled
    if output not in settled and held:
        index = min(held)
        whole = max(
            1, math.floor(grids[index].scale / grids[output].scale * ADD_DENOMINATOR + _SLACK)
        )
        grids[output] = grids[output]._replace(scale=grids[index].scale * ADD_DENOMINATOR / whole)
    settled.add(output)
    for index in inputs - settled:
        whole = max(
            1, math.ceil(grids[index].scale / grids[output].scale * ADD_DENOMINATOR - _SLACK)
        )
        grids[index] = grids[index]._replace(scale=grids[output].scale * whole / ADD_DENOMINATOR)
        settled.add(index)


def _settle_product(node: Node, grids: list[Grid], settled: set[int]) -> None:
    """Make the product of both inputs' scales a whole multiple of a D-th of the output's."""
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
        whole = max(1, math.floor(ratio + _SLACK))
        grids[output] = grids[output]._replace(scale=product * ADD_DENOMINATOR / whole)
    elif free and inputs[0] != inputs[1]:
        index = min(free)
        whole = max(1, math.ceil(ratio - _SLACK))
        grids[index] = grids[index]._replace(scale=grids[index].scale * whole / ratio)
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


def _given(quantizer: object) -> Grid:
    low, _, scale, zero = quantizer.get_parameters_for_torch_fq()  # type: ignore[attr-defined]
    return Grid(float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]) - (128 if low == 0 else 0))
