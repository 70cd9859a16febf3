"""The parts of EMCAD's decoder against what the paper's equations give, written out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.students.blocks import HardGate
from distill.students.build import build_student, student_size
from distill.students.decoders.emcad import (
    KERNELS,
    ChannelAttention,
    GatedSkip,
    MultiScale,
    SpatialAttention,
)


def shaken(module: nn.Module) -> nn.Module:
    """`module` in evaluation mode with statistics that are not those of its start."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(std=0.2)
            layer.running_var.uniform_(0.5, 2.0)
    return module.eval()


def by_cell(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A dense convolution as a sum over kernel cells of shifted matrix products."""
    side, pad = conv.kernel_size[0], conv.kernel_size[0] // 2
    padded = F.pad(x, (pad, pad, pad, pad))
    h, w = x.shape[-2:]
    total = torch.zeros(x.shape[0], conv.out_channels, h, w)
    for i in range(side):
        for j in range(side):
            shifted = padded[..., i : i + h, j : j + w]
            total += torch.einsum("oc,bchw->bohw", conv.weight[:, :, i, j], shifted)
    return total if conv.bias is None else total + conv.bias.view(1, -1, 1, 1)


def test_the_hard_gate_is_a_hard_sigmoid() -> None:
    torch.manual_seed(0)
    gate = HardGate(3, 2, kernel=3)
    x = 4 * torch.randn(2, 3, 5, 7)
    with torch.no_grad():
        before = by_cell(gate.conv, x) - 3
        torch.testing.assert_close(gate(x), F.hardsigmoid(before), rtol=1e-4, atol=1e-5)
        assert 0 <= gate(x).min() < gate(x).max() <= 1
    assert not gate.sixth.weight.requires_grad


def test_channel_attention_weighs_channels_by_their_maxima() -> None:
    torch.manual_seed(1)
    layer = ChannelAttention(8)
    x = torch.randn(2, 8, 5, 6)
    with torch.no_grad():
        peaks = x.flatten(2).max(dim=2).values
        assert layer.squeeze.bias is not None
        hidden = peaks @ layer.squeeze.weight.flatten(1).T + layer.squeeze.bias
        gate = layer.gate.conv
        assert gate.bias is not None
        weights = F.hardsigmoid(hidden.clamp(0, 6) @ gate.weight.flatten(1).T + gate.bias - 3)
        torch.testing.assert_close(layer(x), x * weights[:, :, None, None], rtol=1e-4, atol=1e-5)


def test_spatial_attention_starts_from_the_mean_of_the_channels() -> None:
    torch.manual_seed(2)
    layer = SpatialAttention(6)
    x = torch.randn(1, 6, 9, 8)
    with torch.no_grad():
        mixed = layer.mix(x)
        torch.testing.assert_close(mixed[:, 0], x.mean(dim=1))
        weights = F.hardsigmoid(by_cell(layer.gate.conv, mixed) - 3)
        torch.testing.assert_close(layer(x), x * weights, rtol=1e-4, atol=1e-5)


def test_multi_scale_adds_three_depthwise_kernels_to_its_input() -> None:
    layer = shaken(MultiScale(4))
    assert isinstance(layer, MultiScale)
    x = torch.randn(1, 4, 7, 6)
    with torch.no_grad():
        wide = layer.expand(x)
        total = torch.zeros_like(wide)
        for kernel, branch in zip(KERNELS, layer.depthwise, strict=True):
            assert isinstance(branch, nn.Sequential)
            conv, norm = branch[0], branch[1]
            assert isinstance(conv, nn.Conv2d)
            assert conv.kernel_size == (kernel, kernel)
            channels = [
                F.conv2d(wide[:, c : c + 1], conv.weight[c : c + 1], padding=kernel // 2)
                for c in range(wide.shape[1])
            ]
            total += norm(torch.cat(channels, dim=1)).clamp(0, 6)
        torch.testing.assert_close(layer(x), x + layer.project(total), rtol=1e-4, atol=1e-5)


def test_a_gated_skip_keeps_no_more_than_the_skip() -> None:
    layer = shaken(GatedSkip(5, 8))
    assert isinstance(layer, GatedSkip)
    coarse, skip = torch.randn(2, 8, 6, 6), torch.randn(2, 5, 6, 6)
    with torch.no_grad():
        both = (layer.coarse(coarse) + layer.skip(skip)).clamp(0, 6)
        weights = F.hardsigmoid(by_cell(layer.gate.conv, both) - 3)
        torch.testing.assert_close(layer(coarse, skip), skip * weights, rtol=1e-4, atol=1e-5)
        layer.gate.conv.bias.fill_(-100.0)  # type: ignore[union-attr]
        assert torch.equal(layer(coarse, skip), torch.zeros_like(skip)), "a closed gate"


def test_what_the_documents_say_it_costs() -> None:
    cost = student_size(build_student("edge-s+emcad", pretrained=False), 256)
    own = student_size(build_student("edge-s", pretrained=False), 256)
    assert own.macs < cost.macs < 1.25 * own.macs
