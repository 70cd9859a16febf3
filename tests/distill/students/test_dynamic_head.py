"""The head made from the picture, against a convolution with weights of each picture's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from distill.config import make_config
from distill.students.build import build_student
from distill.students.dynamic_head import DynamicHead, KernelUpdate
from distill.students.edge import EdgeXS
from edge.errors import UsageError


def test_the_product_convolves_with_the_picture_s_own_kernel() -> None:
    """The product is a convolution with the picture's own kernel."""
    torch.manual_seed(0)
    head, static = DynamicHead(7, 4), torch.nn.Conv2d(4, 1, 1)
    torch.nn.init.normal_(head.kernel.weight)
    deepest = torch.randn(3, 7, 2, 2)
    low, high, last = (torch.randn(3, 4, side, side) for side in (4, 8, 16))
    with torch.no_grad():
        product, (at16, at8) = head(deepest, low, high, last)
        actual = static(product)
        for number in range(3):
            picture = slice(number, number + 1)
            kernel = head.kernel(deepest[picture].amax(dim=(2, 3), keepdim=True))
            for features, own, update, logits in zip(
                (low, high), head.heads, head.updates, (at16, at8), strict=True
            ):
                weights = own.weight * kernel.view(1, 4, 1, 1)
                expected = F.conv2d(features[picture], weights, own.get_parameter("bias"))
                torch.testing.assert_close(logits[picture], expected, rtol=1e-4, atol=1e-5)
                kernel = update(kernel, features[picture], expected)
            weights = static.weight * kernel.view(1, 4, 1, 1)
            expected = F.conv2d(last[picture], weights, static.bias)
            torch.testing.assert_close(actual[picture], expected, rtol=1e-4, atol=1e-5)


def test_an_update_looks_where_the_prediction_is_high() -> None:
    torch.manual_seed(1)
    update = KernelUpdate(4)
    torch.nn.init.normal_(update.candidate.weight)
    kernel, features = torch.ones(1, 4, 1, 1), torch.rand(1, 4, 6, 6)
    nowhere = torch.full((1, 1, 6, 6), -50.0)
    there = nowhere.clone()
    there[..., 2, 3] = 50.0
    with torch.no_grad():
        selected = features[:, :, 2:3, 3:4]
        expected = kernel + update.candidate(update.gate(selected) * selected)
        torch.testing.assert_close(update(kernel, features, there), expected)
        torch.testing.assert_close(update(kernel, features, nowhere), kernel)


def test_it_starts_as_the_static_head() -> None:
    torch.manual_seed(2)
    head = DynamicHead(7, 4)
    torch.nn.init.zeros_(head.kernel.weight)
    last = torch.randn(1, 4, 16, 16)
    deepest, low, high = torch.randn(1, 7, 2, 2), torch.randn(1, 4, 4, 4), torch.randn(1, 4, 8, 8)
    product, _ = head(deepest, low, high, last)
    torch.testing.assert_close(product, last, rtol=0.2, atol=0.1)


@pytest.mark.parametrize("decoder", ["fpn", "rpca"])
def test_students_have_it_with_any_decoder(decoder: str) -> None:
    student = EdgeXS(pretrained=False, width=8, decoder=decoder, dynamic_head=True)
    maps = student.maps(torch.randn(2, 3, 96, 64))
    assert [tuple(one.shape) for one in maps.auxiliary] == [(2, 1, 6, 4), (2, 1, 12, 8)]
    total = maps.logits.square().sum() + sum(one.square().sum() for one in maps.auxiliary)
    total.backward()
    assert student.dynamic is not None
    assert all(p.grad is not None for p in student.dynamic.parameters() if p.requires_grad)


def test_the_option_names_it_and_others_refuse_it() -> None:
    values = {"data": ["x"], "student": "edge-s", "decoder": "pld", "dynamic_head": True}
    assert make_config(values).student.network == "edge-s+pld+dynamic-head"
    with pytest.raises(UsageError, match="dynamic-head does not fit student unetpp"):
        build_student("unetpp+dynamic-head")
