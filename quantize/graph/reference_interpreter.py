"""Exact execution of the canonical graph, the reference for every engine's integers."""

from __future__ import annotations

from typing import Any

import torch
import torch.ao.quantization.fx._decomposed
from torch import Tensor, fx

from quantize.graph.tracing import arguments, operator

decomposed = torch.ops.quantized_decomposed


class ExactInterpreter(fx.Interpreter):
    """Runs the graph as an engine does, with exact integer sums and double precision elsewhere."""

    def run_node(self, n: fx.Node) -> Any:
        """Return the value of a node; quantized convolutions are computed in integers."""
        if operator(n) == "conv2d" and operator(n.args[1]) == "dequantize_per_channel":  # type: ignore[arg-type]
            return self.convolution(n)
        return super().run_node(n)

    def convolution(self, node: fx.Node) -> Tensor:
        """Return (B, C, h, w) float64 of a convolution with exact sums."""
        args = arguments(node)
        grid = args["input"]
        while operator(grid) != "dequantize_per_tensor":
            grid = grid.all_input_nodes[0]
        step = arguments(grid)["scale"]
        integers, scale = self.env[args["weight"]]
        x = (self.env[args["input"]] / step).round()
        weight = integers.double()
        # Float32 holds integers up to 2^24 exactly and has the faster convolutions.
        if float(weight.abs().sum(dim=(1, 2, 3)).max()) * 255 < 2**24:
            x, weight = x.float(), weight.float()
        settings = (args["stride"], args["padding"], args["dilation"], args["groups"])
        total = torch.conv2d(x, weight, None, *settings).double()
        bias: Tensor = self.env[args["bias"]]
        result: Tensor = total * (scale * step).view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)
        return result

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Return a constant in double precision."""
        value = super().get_attr(target, args, kwargs)
        return value.double() if value.is_floating_point() else value

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Return the value of a call; quantization rounds to even and stays in floating point."""
        if target is decomposed.quantize_per_tensor.default:
            value, scale, zero, low, high, _ = args
            return (torch.round(value / scale) + zero).clamp(low, high)
        if target is decomposed.dequantize_per_tensor.default:
            return (args[0] - args[2]) * args[1]
        if target is decomposed.dequantize_per_channel.default:
            return args[0], args[1]  # its convolution reads it
        return super().call_function(target, args, kwargs)
