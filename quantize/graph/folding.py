"""Fold BatchNorm into the convolutions of a trace, for the canonical graph and fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from edge.errors import UsageError
from quantize.graph.tracing import arguments, operator

if TYPE_CHECKING:
    from torch.fx import Node

    from quantize.graph.tracing import Trace


@dataclass(frozen=True)
class Folded:
    """One convolution with O output channels; all values are float64.

    Attributes:
        norm: The BatchNorm after it, if that is the only reader.
        weight: (O, I / groups, kh, kw) weight with BatchNorm folded in, not rounded.
        bias: (O,) bias with BatchNorm folded in.
        factor: (O,) factor by which BatchNorm multiplies each channel; 1 without one.
        quantizer: Index of the weight's quantizer; None without one.
        scale: (O,) step of the folded weight; None without a quantizer.
        largest: Largest integer of the weight: 127 for eight bits, 63 for seven, 7 for four.
    """

    norm: Node | None
    weight: Tensor
    bias: Tensor
    factor: Tensor
    quantizer: int | None
    scale: Tensor | None
    largest: int = 127

    def integers(self, scale: Tensor) -> Tensor:
        """Return the weight in steps of `scale` (O,) as integers in [-largest, largest]."""
        return (self.weight / scale.view(-1, 1, 1, 1)).round().clamp(-self.largest, self.largest)


def fold(traced: Trace, node: Node) -> Folded:
    """Fold the BatchNorm after a convolution into it.

    Raises:
        UsageError: The weight's quantizer is not symmetric per output channel.
    """
    args = arguments(node)
    users = list(node.users)
    norm = users[0] if len(users) == 1 and operator(users[0]) == "batch_norm" else None
    weight_node = args["weight"]
    index = int(arguments(weight_node)["index"]) if operator(weight_node) == "quantizer" else None
    weight = parameter(traced, weight_node if index is None else weight_node.all_input_nodes[0])
    bias = (
        parameter(traced, args["bias"])
        if args["bias"] is not None
        else weight.new_zeros(len(weight))
    )
    factor, offset = torch.ones_like(bias), torch.zeros_like(bias)
    if norm is not None:
        factor, offset = _batch_norm(traced, norm)
    scale, largest = None, 127
    if index is not None:
        largest = int(traced.quantizers[index].level_high)
        _, _, step, zero = traced.quantizers[index].get_parameters_for_torch_fq()
        if int(zero.abs().max()) != 0 or step.numel() not in (1, len(weight)):
            raise UsageError(f"{weight_node.name} is not a symmetric quantizer per output channel")
        scale = step.detach().cpu().reshape(-1).expand(len(weight)).double() * factor.abs()
    return Folded(
        norm,
        weight * factor.view(-1, 1, 1, 1),
        bias * factor + offset,
        factor,
        index,
        scale,
        largest,
    )


def parameter(traced: Trace, node: Node) -> Tensor:
    """Return a parameter or buffer that a trace reads, as float64 on the CPU."""
    value: Any = traced.module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    tensor: Tensor = value
    return tensor.detach().cpu().double()


def _batch_norm(traced: Trace, node: Node) -> tuple[Tensor, Tensor]:
    """Return factor and offset per channel that a BatchNorm in eval mode applies."""
    args = arguments(node)
    gamma, beta, mean, variance = (
        parameter(traced, args[name]) for name in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gamma / torch.sqrt(variance + args["eps"])
    return factor, beta - mean * factor
