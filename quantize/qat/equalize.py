"""Equalize the channels of an activation before it gets one scale per tensor.

A channel far below its tensor's range is rounded to a few levels, and the next convolution, whose
weights for it are large, amplifies that rounding: accuracy falls, and a difference of one step
between two runtimes grows. Scaling the channel up by k and the next weights down by k does not
change the function, because ReLU commutes with k > 0. ReLU6 does so while the channel stays below 6
/ k, which is measured on samples (cross-layer equalization; Nagel et al., ICCV 2019, section 4.1).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from quantize.graph.tracing import arguments, operator, trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.fx import Node

    from distill.students.base import Student

HEADROOM = 2.0
"""Factor by which a channel may exceed its peak in the samples before ReLU6 clips it."""
LARGEST_FACTOR = 32.0
MAX_SAMPLES = 16
"""Peaks need no more samples; the headroom covers the rest."""
_ACTIVATIONS = ("relu", "hardtanh")


def equalize(student: Student, samples: Sequence[Tensor]) -> Student:
    """Return a copy of a student whose channels use the range of their tensor.

    Args:
        student: The student; it is not changed.
        samples: Inputs (B, 3, H, W) from which the ranges of the channels are measured.
    """
    student = copy.deepcopy(student).eval()
    graph = trace(student, samples[0][:1]).module
    pairs = [(node, norm, convs) for node in graph.graph.nodes for norm, convs in _pair(node)]
    peaks: dict[Node, Tensor] = {}
    for sample in samples[:: -(-len(samples) // MAX_SAMPLES)]:
        for image in sample:
            _Peaks(graph, {node for node, _, _ in pairs}, peaks).run(image[None])
    parameters = dict(student.named_parameters())
    with torch.no_grad():
        for node, norm, convs in pairs:
            factor = _factor(peaks[node], clipped=operator(node) == "hardtanh")
            args = arguments(norm)
            for name in ("weight", "bias"):
                parameters[str(args[name].target)].mul_(factor)
            for conv in convs:
                weight = parameters[str(arguments(conv)["weight"].target)]
                depthwise = weight.shape[1] == 1 and arguments(conv)["groups"] == len(factor)
                weight.div_(factor.view((-1, 1, 1, 1) if depthwise else (1, -1, 1, 1)))
    return student


def _pair(node: Node) -> list[tuple[Node, list[Node]]]:
    """Find the BatchNorm before an activation and the convolutions that alone read the latter."""
    if operator(node) not in _ACTIVATIONS:
        return []
    norm = node.all_input_nodes[0]
    convs = list(node.users)
    if operator(norm) != "batch_norm" or len(norm.users) != 1 or not convs:
        return []
    unfused = all(operator(conv) == "conv2d" and arguments(conv)["input"] is node for conv in convs)
    grouped = (
        any(arguments(conv)["groups"] not in (1, _channels(conv)) for conv in convs)
        if unfused
        else True
    )
    return [] if grouped else [(norm, convs)]


def _channels(conv: Node) -> int:
    return int(arguments(conv)["input"].meta["val"].shape[1])


def _factor(peak: Tensor, *, clipped: bool) -> Tensor:
    """Return the factor of each channel that raises its peak to that of the tensor."""
    limit = torch.tensor(6.0) if clipped else peak.max() * HEADROOM
    return (limit / (peak * HEADROOM).clamp_min(1e-6)).clamp(1.0, LARGEST_FACTOR)


class _Peaks(fx.Interpreter):
    """Records the largest value of each channel of the watched nodes."""

    def __init__(
        self, module: fx.GraphModule, watched: set[Node], peaks: dict[Node, Tensor]
    ) -> None:
        super().__init__(module)
        self.watched, self.peaks = watched, peaks

    def run_node(self, n: Node) -> Any:
        with torch.no_grad():
            value = super().run_node(n)
        if n in self.watched:
            peak = value.amax(dim=(0, 2, 3))
            self.peaks[n] = torch.maximum(peak, self.peaks[n]) if n in self.peaks else peak
        return value
