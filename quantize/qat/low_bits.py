"""Weights with fewer than eight bits in int8 tensors: seven for every CPU, four as an experiment.

x86 CPUs without VNNI multiply unsigned by signed bytes and add pairs of products in 16 bits that
saturate. A pair of eight-bit weights reaches 2 * 255 * 127 = 64770, far beyond 32767, so that
OpenVINO gives different scores and masks than on a CPU with VNNI. Weights from -63 to 63 keep every
pair sum within 2 * 255 * 63 = 32130, so that one file gives the same scores on every CPU. Depthwise
convolutions add no pairs and keep eight bits.

NNCF narrows weights only for some targets and has no 4-bit weights for CPUs, so its 8-bit
quantizers are narrowed after they were inserted. The number of bits is part of a quantizer's state:
a checkpoint restores it. No runtime here has a 4-bit kernel: an engine holds the integers -7 to 7
in int8 tensors of the same size and runs its 8-bit kernels.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import torch
from nncf.torch.quantization.layers import SymmetricQuantizer

from edge.errors import UsageError
from quantize.graph.layers import convolutions
from quantize.graph.tracing import quantizers, trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from quantize.graph.layers import Convolution
    from quantize.graph.tracing import Trace

PAIR_BITS = 7
"""Most bits of a weight with which the sum of two products fits into 16 bits."""
_CLIPS = 25
_MAX_CLIPPED = 0.4
"""A channel's range is searched between this share of its largest weight and that weight."""


def lower_weights(
    quantized: nn.Module, example: Tensor, bits: int, patterns: Sequence[str] = ()
) -> list[str]:
    """Narrow the weight quantizers of some layers in place, with the least rounding error.

    Args:
        quantized: A student with 8-bit quantizers.
        example: (1, 3, H, W) input.
        bits: Bits of the chosen layers' weights: `2^bits - 1` levels around zero.
        patterns: Globs over the names of convolutions; empty for all but the first and the last
            executed.

    Returns:
        Names of the layers that were narrowed.

    Raises:
        UsageError: A pattern matches no layer, or the student has at most two layers and there are
            no patterns.
    """
    traced = trace(quantized, example)
    layers = convolutions(traced)
    chosen = _chosen([layer.name for layer in layers], patterns)
    return _narrow(quantized, traced, [layer for layer in layers if layer.name in chosen], bits)


def keep_pair_sums(quantized: nn.Module, example: Tensor) -> list[str]:
    """Narrow the weights of convolutions that add products in pairs to seven bits, in place.

    Args:
        quantized: A student with 8-bit quantizers.
        example: (1, 3, H, W) input.

    Returns:
        Names of the layers that were narrowed.
    """
    traced = trace(quantized, example)
    pairing = [layer for layer in convolutions(traced) if not layer.kind.startswith("depthwise")]
    return _narrow(quantized, traced, pairing, PAIR_BITS)


def _narrow(
    quantized: nn.Module, traced: Trace, layers: Sequence[Convolution], bits: int
) -> list[str]:
    live = quantizers(quantized)
    weights = dict(quantized.named_parameters())
    for layer in layers:
        if layer.quantizer is None:
            continue
        quantizer = live[traced.names[layer.quantizer]]
        if not isinstance(quantizer, SymmetricQuantizer):
            raise UsageError(f"the weight of {layer.name} has no symmetric quantizer")
        quantizer.num_bits = bits
        with torch.no_grad():
            scale = best_scale(weights[f"{layer.name}.weight"], quantizer.level_high)
            quantizer.scale.copy_(scale.view_as(quantizer.scale))
    return list(dict.fromkeys(layer.name for layer in layers))


def best_scale(weight: Tensor, high: int) -> Tensor:
    """Find the range (O,) of each output channel whose integers have the least squared error.

    Args:
        weight: (O, I, kh, kw) weight.
        high: Largest integer; the integers are [-high, high].
    """
    flat = weight.detach().flatten(1)
    largest = flat.abs().amax(dim=1).clamp_min(1e-12)
    best, least = largest, torch.full_like(largest, torch.inf)
    for part in torch.linspace(1.0, _MAX_CLIPPED, _CLIPS):
        step = (part * largest / high)[:, None]
        error = ((flat / step).round().clamp(-high, high) * step - flat).square().sum(dim=1)
        best = torch.where(error < least, part * largest, best)
        least = torch.minimum(error, least)
    return best


def _chosen(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    if not patterns:
        inner = set(names[1:-1]) - {names[0], names[-1]}
        if not inner:
            raise UsageError(
                "the student has no layer between its first and its last",
                expected="layers to choose among " + ", ".join(names),
                hint="layers='*' chooses all of them",
            )
        return inner
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(
                f"layers {pattern!r} matches no layer",
                expected="a glob over the names of convolutions, such as " + ", ".join(names[:4]),
                got=f"{len(names)} layers, none of that name",
                hint=f"for example {names[0].rpartition('.')[0] or names[0]}*",
            )
    return {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}
