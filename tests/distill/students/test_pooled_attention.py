"""LDNet's efficient self-attention: against plain loops, in students, and refused by engines."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.config import make_config
from distill.students.build import build_student
from distill.students.edge import EdgeXS
from distill.students.pooled_attention import GRIDS, PooledAttention, pooled_tokens
from edge.errors import EdgeDifomError, UsageError
from quantize.export.engines import export_engines
from quantize.graph.canonical import canonicalize


@pytest.mark.parametrize("size", [(6, 9), (2, 2), (10, 15)])
def test_attention_is_that_of_plain_loops(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    attention = PooledAttention(20).double().eval()
    torch.nn.init.normal_(attention.project.weight)
    x = torch.randn(2, 20, *size, dtype=torch.float64)
    with torch.no_grad():
        attended = attention(x).numpy()
        query = attention.query(x).numpy()
        project = attention.project.weight[:, :, 0, 0].numpy()
        kernels = [(c.weight[:, :, 0].numpy(), c.bias) for c in (attention.key, attention.value)]
    height, width = size
    for b in range(2):
        tokens = []
        for side in GRIDS:
            for row in range(side):
                top, low = row * height // side, -(-(row + 1) * height // side)
                for column in range(side):
                    left, right = column * width // side, -(-(column + 1) * width // side)
                    tokens.append(x[b, :, top:low, left:right].mean(dim=(1, 2)).numpy())
        assert len(tokens) == 35
        keys, values = (
            [weight @ token + bias.detach().numpy() for token in tokens]
            for weight, bias in kernels
            if bias is not None
        )
        for row in range(height):
            for column in range(width):
                scores = [query[b, :, row, column] @ key / np.sqrt(16) for key in keys]
                weights = np.exp(scores) / np.exp(scores).sum()
                mixed = sum(w * value for w, value in zip(weights, values, strict=True))
                expected = x[b, :, row, column].numpy() + project @ mixed
                np.testing.assert_allclose(attended[b, :, row, column], expected, atol=1e-9)


def test_tokens_are_the_means_of_three_grids() -> None:
    tokens = pooled_tokens(torch.arange(900.0).view(1, 1, 30, 30))
    assert tokens.shape == (1, 1, 35)
    assert tokens[0, 0, 0].item() == pytest.approx(449.5)
    assert tokens[0, 0, 1:10].mean().item() == pytest.approx(449.5)


@pytest.mark.parametrize("network", ["edge-xs", "edge-xs+emcad+dynamic-head", "ssformer-b0"])
def test_students_have_it_with_any_decoder_and_learn_it(network: str) -> None:
    student = build_student(f"{network}+pooled-attention", pretrained=False).train()
    maps = student.maps(torch.randn(2, 3, 64, 64))
    assert maps.logits.shape == (2, 1, 16, 16)
    maps.logits.sum().backward()
    attention = student.get_submodule("attended").get_submodule("maps.x8.value")
    gradient = next(attention.parameters()).grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


def test_a_student_begins_almost_as_without_attention() -> None:
    torch.manual_seed(0)
    plain = EdgeXS(pretrained=False).eval()
    attended = EdgeXS(pretrained=False, pooled_attention=True).eval()
    attended.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert float((plain(x) - attended(x)).abs().max()) < 0.2


def test_the_setting_names_the_network_or_is_refused() -> None:
    """The setting names the network and unfit students are refused."""
    settings = make_config({"data": ["x"], "pooled_attention": True, "decoder": "pld"})
    assert settings.student.network == "edge-s+pld+pooled-attention"
    with pytest.raises(UsageError, match="does not fit student pranet"):
        build_student("pranet+pooled-attention", pretrained=False)


def test_engines_refuse_the_softmax_of_attention() -> None:
    student = EdgeXS(pretrained=False, pooled_attention=True).eval()
    with pytest.raises(EdgeDifomError, match="cannot be exported"):
        export_engines(canonicalize(student, (64, 64)))
