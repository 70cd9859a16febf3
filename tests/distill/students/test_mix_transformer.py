"""The mixed transformer against attention written out, and the student made of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distill.students.build import build_student, student_size
from distill.students.mix_transformer import MixTransformer, ReducedAttention, to_map, to_tokens


@pytest.mark.parametrize(("reduction", "size"), [(1, (4, 6)), (2, (4, 6)), (4, (3, 5))])
def test_attention_is_the_softmax_of_products_with_reduced_keys(
    reduction: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    layer = ReducedAttention(8, 2, reduction)
    x = torch.randn(2, 8, *size)
    with torch.no_grad():
        tokens = to_tokens(x)
        source = tokens
        if layer.reduce is not None and layer.norm is not None:
            filled = torch.zeros(2, 8, *(-(-side // reduction) * reduction for side in size))
            filled[..., : size[0], : size[1]] = x
            source = layer.norm(layer.reduce(filled).flatten(2).transpose(1, 2))
        query = layer.query(tokens)
        key, value = layer.key_value(source).chunk(2, dim=2)
        heads = []
        for part in (slice(0, 4), slice(4, 8)):
            products = query[..., part] @ key[..., part].transpose(1, 2) / 4**0.5
            heads.append(products.softmax(dim=2) @ value[..., part])
        expected = layer.project(torch.cat(heads, dim=2))
        torch.testing.assert_close(layer(tokens, size), expected, rtol=1e-4, atol=1e-5)


def test_tokens_and_maps_are_the_same_numbers() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(to_map(to_tokens(x), (4, 5)), x)


@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_every_cell_of_the_deepest_map_sees_the_whole_picture(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    network = MixTransformer().eval()
    x = torch.randn(1, 3, *size, requires_grad=True)
    deepest = network(x)[-1]
    assert deepest.shape[-2:] == (size[0] // 32, size[1] // 32)
    (gradient,) = torch.autograd.grad(deepest[0, :, 0, 0].square().sum(), x)
    assert gradient[..., -1, -1].abs().sum() > 0


def test_ssformer_b0_costs_what_the_documents_say() -> None:
    student = build_student("ssformer-b0")
    cost = student_size(student, 256)
    assert 3.0 < cost.parameters / 1e6 < 4.0
    assert 0.6 < cost.macs / 1e9 < 1.2
    assert student.stages() == []
    assert student.maps(torch.zeros(1, 3, 64, 64)).presence is None


def test_a_few_steps_lower_its_loss() -> None:
    torch.manual_seed(2)
    student = build_student("ssformer-b0").train()
    optimizer = torch.optim.AdamW(student.parameters(), 1e-3)
    images = torch.randn(2, 3, 64, 64)
    mask = (images[:, :1, ::4, ::4] > 0).float()
    losses = []
    for _ in range(6):
        loss = nn.functional.binary_cross_entropy_with_logits(student(images), mask)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in student.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[1:]) < losses[0]
