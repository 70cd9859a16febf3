"""Four bits: a coarser grid in quantizers, canonical graph and engines; the worst layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.data.batch import Batch
from distill.students.base import Student, StudentMaps
from edge.errors import UsageError
from quantize.certify.parity import canonical_scores, engine_scores, images_tensor
from quantize.certify.sensitivity import layer_sqnr
from quantize.export.engines import export_engines
from quantize.graph.canonical import canonicalize
from quantize.graph.layers import convolutions
from quantize.graph.tracing import trace
from quantize.qat.equalize import equalize
from quantize.qat.finetuning import Finetuning
from quantize.qat.low_bits import best_scale
from quantize.qat.nncf import quantize_student, quantized_state, restore
from quantize.runs.folder import QatConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SIZE = 32
EXAMPLE = torch.zeros(1, 3, SIZE, SIZE)


class Three(Student):
    """A stem, a depthwise and a pointwise layer, and a head."""

    stride = divisor = 1
    low_channels = high_channels = 8

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6())
        self.deep = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6()
        )
        self.wide = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.head = nn.Conv2d(8, 1, 1)

    def maps(self, x: Tensor) -> StudentMaps:
        low = self.deep(self.stem(x))
        high = self.wide(low)
        return StudentMaps(self.head(high), low, high)


class Bright:
    """Batches of noise in which the bright pixels are the mask."""

    steps = 4

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for step in range(start, self.steps):
            generator = torch.Generator().manual_seed(100 * epoch + step)
            images = 2 * torch.rand(4, 3, SIZE, SIZE, generator=generator) - 1
            images = nn.functional.avg_pool2d(images, 5, 1, 2) * 3
            yield Batch(images, (images.mean(1, keepdim=True) > 0).float(), [])

    def validate(self, model: nn.Module) -> dict[str, float]:
        batch = next(self.batches(50))
        with torch.no_grad():
            right = ((model(batch.images) >= 0) == (batch.masks > 0)).float().mean().item()
        return {"dice_val": right, "iou_val": right, "score": right}


STATE: dict[str, Tensor] = {}


def three() -> Three:
    """Trained a little, the same each time."""
    torch.manual_seed(1)
    student = Three()
    if not STATE:
        optimizer = torch.optim.Adam(student.parameters(), 1e-2)
        for epoch in range(30):
            for batch in Bright().batches(epoch):
                loss = nn.functional.binary_cross_entropy_with_logits(
                    student(batch.images), batch.masks
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        STATE.update(student.state_dict())
    student.load_state_dict(STATE)
    return student.eval()


def samples() -> list[Tensor]:
    return [batch.images[:1] for batch in Bright().batches(99)]


def frames() -> NDArray[np.uint8]:
    images = next(Bright().batches(77)).images.permute(0, 2, 3, 1)
    return (images * 128 + 127).round().clamp(0, 255).to(torch.uint8).numpy()


def coarse_layers(model: nn.Module) -> list[str]:
    traced = trace(model, EXAMPLE)
    bits = {
        layer.name: traced.quantizers[layer.quantizer or 0].num_bits
        for layer in convolutions(traced)
    }
    assert set(bits) == {"stem.0", "deep.0", "wide.0", "head"}
    return [name for name, count in bits.items() if count == 4]


def integers(model: nn.Module) -> list[Tensor]:
    """Of every convolution of the canonical graph, in the order in which they run."""
    canonical = canonicalize(model, (SIZE, SIZE))
    return [buffer for buffer in canonical.module.buffers() if buffer.dtype == torch.int8]


def test_first_and_last_layer_keep_their_bits_unless_chosen() -> None:
    quantized = quantize_student(three(), samples(), bits=4)
    assert coarse_layers(quantized) == ["deep.0", "wide.0"]
    largest = [int(weight.abs().max()) for weight in integers(quantized)]
    assert 50 < largest[0] <= 63
    assert largest[1:3] == [7, 7]
    assert 50 < largest[3] <= 63
    chosen = quantize_student(three(), samples(), bits=4, layers=["wide.*", "head"])
    assert coarse_layers(chosen) == ["wide.0", "head"]
    with pytest.raises(UsageError, match=r"'conv\*' matches no layer"):
        quantize_student(three(), samples(), bits=4, layers=["wide.*", "conv*"])


def test_trained_coarse_weights_stay_on_their_grid_and_export(tmp_path: Path) -> None:
    quantized = quantize_student(three(), samples(), bits=4, layers=["*"])
    before = [weight.clone() for weight in integers(quantized)]
    tuning = Finetuning(tmp_path, QatConfig(bits=4, epochs=6, lr=2e-3), Bright(), quantized)
    start = tuning.data.validate(quantized)["dice_val"]
    assert tuning.train()["dice_val"] > start + 0.002
    after = integers(quantized)
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(
        torch.unique(weight).numel() <= 15 and int(weight.abs().max()) <= 7 for weight in after
    )
    canonical = canonicalize(quantized, (SIZE, SIZE))
    pictures = frames()
    expected = canonical_scores(canonical, pictures)
    with torch.no_grad():
        simulated = torch.sigmoid(quantized(images_tensor(pictures)))[:, 0].numpy() * 256
    assert np.abs(simulated - expected).mean() < 2, "what was trained is what runs"
    for engine in export_engines(canonical):
        assert np.array_equal(engine_scores(engine, pictures), expected), engine.runtime


def test_checkpoint_brings_the_grid_back() -> None:
    quantized = quantize_student(three(), samples(), bits=4, layers=["wide.*"])
    again = restore(three(), quantized_state(quantized), EXAMPLE)
    assert coarse_layers(again) == coarse_layers(quantized) == ["wide.0"]
    batch = next(Bright().batches(3))
    with torch.no_grad():
        assert torch.equal(again(batch.images), quantized(batch.images))
    for left, right in zip(integers(quantized), integers(again), strict=True):
        assert torch.equal(left, right)


def test_scale_has_less_error_than_the_whole_range() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 40, 3, 3)
    weight[0, 0, 0, 0] = 30.0

    def error(scale: Tensor) -> Tensor:
        step = (scale / 7).view(-1, 1, 1, 1)
        return ((weight / step).round().clamp(-7, 7) * step - weight).square().sum(dim=(1, 2, 3))

    full_range = weight.abs().amax(dim=(1, 2, 3))
    best = best_scale(weight, 7)
    assert bool((error(best) <= error(full_range)).all())
    assert bool((error(best) < 0.9 * error(full_range)).any())
    assert torch.equal(best_scale(torch.zeros(2, 3, 1, 1), 7), torch.full((2,), 1e-12))


def test_coarse_layers_have_the_worst_ratio_and_are_named() -> None:
    rows = layer_sqnr(quantize_student(three(), samples(), bits=4, layers=["deep.*"]), frames())
    assert {row.name for row in rows} == {"stem.0", "deep.0", "wide.0", "head"}
    assert (rows[0].name, rows[0].kind, rows[0].bits) == ("deep.0", "depthwise 3x3", 4)
    ratios = [row.sqnr_db for row in rows if row.sqnr_db is not None]
    assert ratios == sorted(ratios)
    assert ratios[0] < 25 < 30 < ratios[1]


def test_ratio_is_of_the_layer_against_the_equalized_student() -> None:
    """Computed once more by hand, from the student of before quantization."""
    quantized = quantize_student(three(), samples(), bits=4, layers=["wide.*"])
    images = images_tensor(frames())
    student = equalize(three(), samples())
    assert isinstance(student, Three)
    conv, norm = student.wide[0], student.wide[1]
    assert isinstance(conv, nn.Conv2d)
    row = next(row for row in layer_sqnr(quantized, frames()) if row.name == "wide.0")
    assert row.kind == "1x1"
    step = best_scale(conv.weight, 7).view(-1, 1, 1, 1) / 7
    with torch.no_grad():
        x = student.deep(student.stem(images))
        exact = norm(conv(x))
        rounded = norm(torch.conv2d(x, (conv.weight / step).round().clamp(-7, 7) * step))
    expected = 10 * torch.log10(exact.square().sum() / (exact - rounded).square().sum()).item()
    assert row.sqnr_db == pytest.approx(expected, abs=1.0), "8 bits of the input add little"
