"""Signal-to-quantization-noise ratio of every convolution: the layers that lose most by INT8.

The ratio is measured layer by layer, not cumulatively: each convolution gets the input that it
would have without rounding, so that the result depends on its own grids and not on earlier layers.
Both functions compared share every weight: they are the quantized student with and without its
quantizers. (Channels are equalized in both, and after fine-tuning both have the fine-tuned
weights.) So the difference is rounding and clipping, nothing else.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import Tensor, fx

from quantize.certify.parity import images_tensor
from quantize.graph.folding import fold
from quantize.graph.grids import activation_grids
from quantize.graph.layers import convolutions
from quantize.graph.tracing import arguments, trace
from quantize.qat.grid_alignment import input_grid

if TYPE_CHECKING:
    from torch import nn
    from torch.fx import Node

    from edge.frame import ImageU8
    from quantize.graph.grids import Grid


class LayerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One convolution with its BatchNorm.

    Attributes:
        name: Name of the module.
        kind: Kernel of the convolution.
        bits: Bits of its weight.
        sqnr_db: 10 log10(E[y^2] / E[(y - yq)^2]) over frames, cells and channels of the output, in
            dB; y is computed from exact weights and input, yq from both on their grids. None if
            they are equal.
    """

    name: str
    kind: str
    bits: int
    sqnr_db: float | None


def layer_sqnr(quantized: nn.Module, frames: ImageU8) -> list[LayerRow]:
    """Compute every convolution's signal-to-quantization-noise ratio, the worst first.

    Args:
        quantized: A student from `quantize_student` or `restore`.
        frames: (N, H, W, 3) uint8 RGB at the input size.
    """
    images = images_tensor(frames)
    traced = trace(quantized, images[:1])
    grids = activation_grids(traced)
    layers = [layer for layer in convolutions(traced) if layer.quantizer is not None]
    exact = {layer.node: fold(traced, layer.node) for layer in layers}
    pairs = {}
    for node, folded in exact.items():
        assert folded.scale is not None
        rounded = folded.integers(folded.scale) * folded.scale.view(-1, 1, 1, 1)
        pairs[node] = (
            folded.weight.float(),
            rounded.float(),
            folded.bias.float(),
            input_grid(node, grids),
        )
    listener = _Listener(traced.module, pairs)
    for image in images:
        listener.run(image[None])
    rows = []
    for layer in layers:
        assert layer.quantizer is not None
        bits = int(traced.quantizers[layer.quantizer].num_bits)
        rows.append(
            LayerRow(name=layer.name, kind=layer.kind, bits=bits, sqnr_db=listener.sqnr(layer.node))
        )
    return sorted(rows, key=lambda row: math.inf if row.sqnr_db is None else row.sqnr_db)


class _Listener(fx.Interpreter):
    """Runs a trace without quantization, and repeats each convolution on its quantized inputs."""

    def __init__(
        self, module: fx.GraphModule, pairs: dict[Node, tuple[Tensor, Tensor, Tensor, Grid]]
    ) -> None:
        super().__init__(module)
        self.pairs = pairs
        self.signal: dict[Node, float] = dict.fromkeys(pairs, 0.0)
        self.noise: dict[Node, float] = dict.fromkeys(pairs, 0.0)

    def sqnr(self, node: Node) -> float | None:
        """Return the ratio of a convolution in dB; None without noise."""
        if self.noise[node] == 0:
            return None
        return 10 * math.log10(max(self.signal[node], 1e-30) / self.noise[node])

    def run_node(self, n: Node) -> Any:
        with torch.no_grad():
            if n in self.pairs:
                self._compare(n)
            return super().run_node(n)

    def _compare(self, node: Node) -> None:
        weight, rounded, bias, grid = self.pairs[node]
        values = arguments(node)
        settings = (values["stride"], values["padding"], values["dilation"], values["groups"])
        x = self.env[values["input"]]
        steps = (torch.round(x / grid.scale) + grid.zero).clamp(-128, 127)
        y = torch.conv2d(x, weight, bias, *settings)
        yq = torch.conv2d((steps - grid.zero) * grid.scale, rounded, bias, *settings)
        self.signal[node] += float(y.double().square().sum())
        self.noise[node] += float((y - yq).double().square().sum())
