from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from distill.students.base import Student, StudentMaps
from edge.errors import UsageError
from quantize.certify.parity import images_tensor
from quantize.graph.canonical import canonicalize
from quantize.graph.grids import (
    ADD_DENOMINATOR,
    CONV_DENOMINATOR,
    INPUT_GRID,
    LOGIT_GRID,
    Grid,
    activation_grids,
    logit_nodes,
    round_bias,
    target_grid,
    tie_free_scales,
)
from quantize.graph.tracing import arguments, operator, trace
from quantize.qat.grid_alignment import align
from quantize.qat.nncf import quantize_student

SIZE = 32
scales = st.floats(1e-6, 1.0)


def exact_factor(scale: float, source: Grid, target: Grid) -> Fraction:
    """`M` as the fraction that `tie_free_scales` means."""
    return Fraction(round(scale * source.scale / target.scale * CONV_DENOMINATOR), CONV_DENOMINATOR)


@given(weight=scales, source=scales, target=scales, total=st.integers(-(2**20), 2**20))
def test_no_sum_comes_near_a_tie(weight: float, source: float, target: float, total: int) -> None:
    grids = Grid(source, 0), Grid(target, 0)
    (scale,) = tie_free_scales(torch.tensor([weight], dtype=torch.float64), *grids).tolist()
    factor = exact_factor(scale, *grids)
    assert factor >= Fraction(1, CONV_DENOMINATOR)
    assert scale * source / target == pytest.approx(float(factor), rel=1e-12)
    value = factor * total
    nearest_tie = abs((value - Fraction(1, 2)) - round(value - Fraction(1, 2)))
    assert nearest_tie >= Fraction(1, 2 * CONV_DENOMINATOR)


@given(weight=scales, source=scales, target=scales)
def test_scales_hardly_shrink_and_stay_where_they_are_put(
    weight: float, source: float, target: float
) -> None:
    grids = Grid(source, 0), Grid(target, 0)
    given_scale = torch.tensor([weight], dtype=torch.float64)
    once = tie_free_scales(given_scale, *grids)
    unit = target / source / CONV_DENOMINATOR
    assume(
        weight / unit < 2**20
    )  # beyond, one step of the sum leaves the output's range, and float32 is too coarse
    assert given_scale.item() - 0.11 * unit <= once.item() <= given_scale.item() + 1.01 * unit
    # Float32 is what a checkpoint keeps.
    again = tie_free_scales(once.float().double(), *grids)
    assert again.item() == pytest.approx(once.item(), rel=1e-12)


def test_bias_is_whole_and_logits_round_down() -> None:
    scale = torch.tensor([0.01, 0.02], dtype=torch.float64)
    bias = torch.tensor([0.5, -0.25], dtype=torch.float64)
    step = scale * INPUT_GRID.scale
    settled = round_bias(bias, scale, INPUT_GRID, down=False)
    assert torch.allclose(settled / step, (settled / step).round(), atol=1e-9)
    assert bool(((settled - bias).abs() <= step / 2).all())
    lower = round_bias(bias, scale, INPUT_GRID, down=True)
    assert torch.allclose(
        lower, round_bias(bias - LOGIT_GRID.scale / 2, scale, INPUT_GRID, down=False)
    )


class Residual(Student):
    """Two additions in a chain, the first one's sum being an input of the second."""

    stride = divisor = 1

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(c, 4, 3, padding=1) for c in (3, 4, 4))
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 1, 1)

    def maps(self, x: Tensor) -> StudentMaps:
        a = torch.relu(self.first(x))
        b = a + self.norm(self.second(a))
        c = b + self.third(b)
        return StudentMaps(self.head(c), c, c)


def quantized_residual() -> nn.Module:
    torch.manual_seed(0)
    student = Residual()
    with torch.no_grad():
        student.norm.weight.copy_(torch.tensor([1.0, -0.5, 2.0, 0.0]))
        student.norm.bias.copy_(torch.tensor([0.1, 0.0, -0.3, 0.2]))
    samples = [2 * torch.rand(1, 3, SIZE, SIZE) - 1 for _ in range(4)]
    return quantize_student(student.eval(), samples)


def test_ratios_of_additions_are_fractions_of_one_odd_number() -> None:
    traced = trace(quantized_residual(), torch.zeros(1, 3, SIZE, SIZE))
    grids = activation_grids(traced)
    additions = [node for node in traced.module.graph.nodes if operator(node) == "add"]
    assert len(additions) == 2
    for node in additions:
        (rounded,) = node.users
        output = grids[int(arguments(rounded)["index"])].scale
        for source in node.all_input_nodes:
            ratio = grids[int(arguments(source)["index"])].scale / output * ADD_DENOMINATOR
            assert ratio == pytest.approx(round(ratio), abs=1e-6)
            assert round(ratio) >= 1


class Attended(Student):
    """A product of two maps, and attention by logits that are added to the answer."""

    stride = divisor = 1

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.coarse, self.fine = nn.Conv2d(4, 1, 1), nn.Conv2d(4, 1, 1)

    def maps(self, x: Tensor) -> StudentMaps:
        features = self.left(x) * self.right(x)
        coarse = self.coarse(features)
        attended = features * (1 - torch.sigmoid(coarse))
        return StudentMaps(self.fine(attended) + coarse, features, attended)


def test_products_meet_no_tie_and_logits_share_one_grid() -> None:
    torch.manual_seed(0)
    samples = [2 * torch.rand(1, 3, SIZE, SIZE) - 1 for _ in range(4)]
    model = quantize_student(Attended().eval(), samples)
    example = torch.zeros(1, 3, SIZE, SIZE)
    traced = trace(model, example)
    grids, logits = activation_grids(traced), logit_nodes(traced)
    products = [node for node in traced.module.graph.nodes if operator(node) == "mul"]
    assert len(products) == 2
    for node in products:
        (rounded, *_) = node.users
        first, second = (
            grids[int(arguments(source)["index"])].scale for source in node.all_input_nodes
        )
        ratio = first * second / grids[int(arguments(rounded)["index"])].scale * ADD_DENOMINATOR
        assert ratio == pytest.approx(round(ratio), abs=1e-5)
        assert round(ratio) >= 1
    indices = [int(arguments(node)["index"]) for node in logits if operator(node) == "quantizer"]
    assert len(set(indices)) == 2
    assert all(grids[index] == LOGIT_GRID for index in indices)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    align(model, example)
    after = model.state_dict()
    assert all(
        torch.allclose(before[name].float(), after[name].float(), atol=1e-5) for name in before
    )


def test_no_sigmoid_of_a_logit_comes_near_a_tie() -> None:
    """Runtimes may err by 1/1000 of a step in their exponential and still round alike."""
    scores = 256 * torch.sigmoid(LOGIT_GRID.scale * torch.arange(-128, 128, dtype=torch.float64))
    assert float((scores - scores.floor() - 0.5).abs().min()) > 1e-3


def test_an_aligned_student_is_what_its_engines_are() -> None:
    model = quantized_residual()
    example = torch.zeros(1, 3, SIZE, SIZE)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    align(model, example)
    after = model.state_dict()
    assert all(
        torch.allclose(before[name].float(), after[name].float(), atol=1e-5) for name in before
    ), "calibration has aligned it already"
    frames = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.uint8)
    canonical = canonicalize(model, (SIZE, SIZE))
    with torch.no_grad():
        logits = model(images_tensor(frames))[:, 0].double()
    scores = canonical.scores(images_tensor(frames)).double() / 256
    steps = torch.log(scores / (1 - scores)) / LOGIT_GRID.scale
    inner = (scores > 0.05) & (scores < 0.95)
    assert int(inner.sum()) > 100
    # The engine's logit is the student's, rounded down to the grid; scores of 8 bits tell it to
    # half a step.
    off = (logits / LOGIT_GRID.scale).floor() - steps
    assert float(off[inner].abs().max()) < 1.6


def test_convolution_that_nothing_rounds_is_refused() -> None:
    traced = trace(Residual().eval(), torch.zeros(1, 3, SIZE, SIZE))
    node = next(node for node in traced.module.graph.nodes if operator(node) == "conv2d")
    with pytest.raises(UsageError, match="without being rounded"):
        target_grid(node, [], set())
