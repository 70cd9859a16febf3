"""ONNX files hold the canonical graph's integers, and onnxruntime computes its scores with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from distill.students.base import Student, StudentMaps
from distill.students.build import STUDENTS, build_student
from distill.students.edge import EdgeS, EdgeXS
from distill.students.pranet import PraNet
from distill.students.unet import UNet
from distill.students.unetpp import UNetPP
from edge.datasets.phantom.render import render
from edge.engines.onnxruntime import OnnxEngine
from edge.errors import TrainingError, UsageError
from edge.imaging.preprocess import to_input
from quantize.certify.parity import (
    FrameSet,
    canonical_scores,
    images_tensor,
    parity_rows,
    torch_scores,
)
from quantize.export.engines import ExportedEngine, bf16_engine, export_engines
from quantize.export.onnx import IR_VERSION, OPSET, export_onnx, onnx_float_ops
from quantize.graph.canonical import Canonical, canonicalize
from quantize.qat.nncf import quantize_student

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SIZE = 64
FLOAT_PARTS = {"DequantizeLinear", "QuantizeLinear", "Sub"}
"""What stays in float of a student with reverse attention, `1 - sigmoid`."""


class Made(NamedTuple):
    student: Student
    quantized: nn.Module
    canonical: Canonical
    int8: bytes
    f32: bytes


def phantom(count: int, start: int = 0) -> NDArray[np.uint8]:
    seeds = range(start, start + count)
    return np.stack([to_input(render(seed).image, (SIZE, SIZE), bgr=False) for seed in seeds])


def all_frames(noise: int = 4) -> NDArray[np.uint8]:
    """Noise, black, white, a checkerboard and the phantom."""
    random = np.random.default_rng(5).integers(0, 256, (noise, SIZE, SIZE, 3))
    flat = [np.full((SIZE, SIZE, 3), value) for value in (0, 255)]
    board = np.indices((SIZE, SIZE)).sum(0) % 2 * 255
    hard = np.concatenate([random, np.stack([*flat, np.stack([board] * 3, -1)])]).astype(np.uint8)
    return np.concatenate([hard, phantom(4)])


def make(student: Student) -> Made:
    quantized = quantize_student(
        student.eval(), [image[None] for image in images_tensor(phantom(4, 2000))]
    )
    canonical = canonicalize(quantized, (SIZE, SIZE))
    f32 = export_onnx(canonicalize(student, (SIZE, SIZE)))
    return Made(student, quantized, canonical, export_onnx(canonical), f32)


def teach(student: Student, steps: int = 20) -> Student:
    """Enough training on bright discs that scores take all kinds of values."""
    optimizer = torch.optim.Adam(student.parameters(), 3e-3)
    student.train()
    columns, rows = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    for step in range(steps):
        rng = np.random.default_rng(step)
        x, y = rng.uniform(16, 48, (2, 8, 1, 1))
        inside = np.hypot(columns - x, rows - y) < rng.uniform(8, 20, (8, 1, 1))
        frames = rng.integers(60, 160, (8, SIZE, SIZE, 3)).astype(np.uint8)
        frames[inside, 0] += 90
        logits = student(images_tensor(frames))
        masks = torch.from_numpy(inside[:, None].astype(np.float32))
        target = nn.functional.adaptive_avg_pool2d(masks, logits.shape[-1])
        loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return student.eval()


def scores_of(model: bytes, frames: NDArray[np.uint8], threads: int = 1) -> NDArray[np.uint8]:
    engine = OnnxEngine([model], threads=threads)
    try:
        return np.stack([engine.infer(frame).copy() for frame in frames])
    finally:
        engine.close()


def same_scores(exported: Made, frames: NDArray[np.uint8]) -> None:
    expected = canonical_scores(exported.canonical, frames)
    assert len(np.unique(expected)) > 8, "scores that hardly vary would prove nothing"
    differing = np.count_nonzero(scores_of(exported.int8, frames) != expected)
    assert differing == 0, f"{differing} of {expected.size} scores"
    plain = scores_of(exported.f32, frames).astype(int)
    assert np.abs(plain - torch_scores(exported.student, frames)).max() <= 1


def constants(model: bytes) -> dict[str, NDArray[np.generic]]:
    tensors = onnx.load_model_from_string(model).graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}


@pytest.fixture(scope="module")
def unet() -> Made:
    torch.manual_seed(0)
    return make(teach(UNet(width=8)))


def test_unet_scores_are_the_canonical_graph_s(unet: Made) -> None:
    """Scores of a U-Net are the canonical graph's on every kind of frame."""
    same_scores(unet, all_frames())


def test_threads_change_nothing(unet: Made) -> None:
    frames = all_frames()
    np.testing.assert_array_equal(
        scores_of(unet.int8, frames, threads=2), scores_of(unet.int8, frames)
    )


def test_the_file_is_valid_and_holds_the_canonical_integers(unet: Made) -> None:
    for model in (unet.int8, unet.f32):
        onnx.checker.check_model(model, full_check=True)
        loaded = onnx.load_model_from_string(model)
        assert (loaded.ir_version, loaded.opset_import[0].version) == (IR_VERSION, OPSET)
        assert len(loaded.opset_import) == 1
    weights = [
        buffer.numpy() for buffer in unet.canonical.module.buffers() if buffer.dtype == torch.int8
    ]
    stored = [
        values
        for values in constants(unet.int8).values()
        if values.dtype == np.int8 and values.ndim == 4
    ]
    assert sorted(weight.tobytes() for weight in stored) == sorted(
        weight.tobytes() for weight in weights
    )
    assert min(int(weight.min()) for weight in stored) >= -127
    biases = [values for values in constants(unet.int8).values() if values.dtype == np.int32]
    assert len(biases) == len(weights)
    assert all(
        values.dtype == np.float32 for values in constants(unet.f32).values() if values.ndim == 4
    )


def test_the_same_student_gives_the_same_bytes(unet: Made) -> None:
    assert export_onnx(unet.canonical) == unet.int8


def test_nothing_of_a_unet_is_float_and_all_of_its_f32_engine_is(unet: Made) -> None:
    assert onnx_float_ops(unet.int8) == []
    assert "Conv x23" in onnx_float_ops(unet.f32)
    engine = OnnxEngine([unet.int8], threads=1)
    assert engine.settings()["executed"] == {"int8": 23}
    engine.close()


def test_every_runtime_and_precision_is_exported_and_compared(unet: Made) -> None:
    plain = export_engines(canonicalize(unet.student, (SIZE, SIZE)))
    exported = export_engines(unet.canonical)
    assert [(e.runtime, e.precision) for e in exported] == [
        (n, "int8") for n in ("openvino", "tflite", "onnx")
    ]
    assert exported[2].contents == [unet.int8]
    assert exported[2].paths == ["engines/onnx/model.onnx"]
    assert exported[2].float_ops == []
    assert plain[2].float_ops == ["all: an f32 engine"]
    rows = parity_rows(
        unet.student,
        unet.quantized,
        unet.canonical,
        exported + plain,
        FrameSet("phantom", phantom(3)),
    )
    by_pair = {(row.left, row.right): row for row in rows}
    assert by_pair["canonical int8", "onnx int8"].max_difference == 0
    assert by_pair["torch f32", "onnx f32"].max_difference <= 1


def test_bf16_shares_the_files_of_the_f32_engine(unet: Made) -> None:
    engines = {e.runtime: e for e in export_engines(canonicalize(unet.student, (SIZE, SIZE)))}
    engine = bf16_engine(engines["openvino"])
    assert engine.entry().precision == "bf16"
    assert engine.entry().files == engines["openvino"].entry().files
    assert engine.contents is engines["openvino"].contents
    assert "bf16" in engine.float_ops[0]
    for wrong in (engines["onnx"], ExportedEngine("openvino", "int8", [], [])):
        with pytest.raises(UsageError, match="bf16"):
            bf16_engine(wrong)


class Attention(Student):
    """Pieces, averages, products and reverse attention."""

    stride = divisor = 1

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.rung, self.mean = nn.Conv2d(4, 4, 3, padding=1), nn.AvgPool2d(3, 1, 1)
        self.left, self.right = nn.Conv2d(12, 4, 1), nn.Conv2d(8, 4, 1)
        self.coarse, self.finer = (nn.Conv2d(4, 1, 3, padding=1) for _ in range(2))

    def maps(self, x: Tensor) -> StudentMaps:
        x = self.stem(x)
        a, b = torch.split(x, 4, 1)
        first = torch.relu(self.rung(a + b))
        features = self.left(torch.cat([first, a, self.mean(b)], dim=1)) * self.right(x)
        coarse = self.coarse(features)
        logits = self.finer(features * (1 - torch.sigmoid(coarse))) + coarse
        return StudentMaps(
            nn.functional.interpolate(logits, scale_factor=2.0, mode="nearest"), x, x
        )


def test_attention_is_exact_and_float_operations_are_listed() -> None:
    torch.manual_seed(4)
    exported = make(teach(Attention()))
    same_scores(exported, all_frames(12))
    assert {kind.split()[0] for kind in onnx_float_ops(exported.int8)} == FLOAT_PARTS
    onnx_engine = export_engines(exported.canonical)[2]
    assert len(onnx_engine.float_ops) == len(FLOAT_PARTS)
    assert all(
        ": " in line and "the runtime has no integer kernel" not in line
        for line in onnx_engine.float_ops
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("edge-s", lambda: EdgeS(pretrained=False, width=16)),
        ("edge-l", lambda: EdgeS(pretrained=False, variant="lite2", width=16)),
        ("edge-xs", lambda: EdgeXS(pretrained=False, width=16)),
        ("unetpp", lambda: UNetPP(width=4)),
        (
            "pranet",
            lambda: PraNet(
                pretrained=False, base=8, blocks=(1, 1, 1, 2), width=8, reverse=(8, 8, 8)
            ),
        ),
    ],
)
def test_every_kind_of_student_is_exact(name: str, student: Callable[[], Student]) -> None:
    torch.manual_seed(0)
    exported = make(teach(student()))
    same_scores(exported, all_frames(16))
    assert {kind.split()[0] for kind in onnx_float_ops(exported.int8)} <= FLOAT_PARTS
    assert (onnx_float_ops(exported.int8) == []) is (name != "pranet")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sorted(STUDENTS.keys() - {"pro-mamba", "ssformer-b0"})
)  # without export
def test_every_student_exports_at_its_full_width(name: str) -> None:
    student = build_student(name, pretrained=False).eval()
    canonical = canonicalize(student, (SIZE, SIZE))
    frames = phantom(1)
    difference = scores_of(export_onnx(canonical), frames).astype(int) - torch_scores(
        student, frames
    )
    assert np.abs(difference).max() <= 1


class Plain(Student):
    """One padded convolution, an activation and a head."""

    stride = divisor = 1

    def __init__(self, activation: nn.Module, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, stride=stride)
        self.activation = activation
        self.head = nn.Conv2d(4, 1, 1)

    def maps(self, x: Tensor) -> StudentMaps:
        hidden = self.activation(self.conv(x))
        return StudentMaps(self.head(hidden), hidden, hidden)


@pytest.mark.parametrize("stride", [1, 2])
def test_zero_padding_is_exact_at_the_border(stride: int) -> None:
    torch.manual_seed(1)
    exported = make(Plain(nn.ReLU6(), stride))
    gray, bright = (np.full((1, SIZE, SIZE, 3), value, np.uint8) for value in (127, 250))
    for model in (exported.int8, exported.f32):
        # 127 is zero after normalization, so a border of zeros cannot be told from the picture.
        assert len(np.unique(scores_of(model, gray))) == 1
        assert len(np.unique(scores_of(model, bright)[0])) > 1
    np.testing.assert_array_equal(
        scores_of(exported.int8, bright), canonical_scores(exported.canonical, bright)
    )


def test_an_activation_that_ends_inside_its_grid_clamps() -> None:
    """An activation that ends inside its grid clamps the integers."""
    torch.manual_seed(3)
    # The sum's grid holds negative values and those beyond the clamp, and every branch shares it.
    exported = make(teach(Clamped()))
    kinds = [node.op_type for node in onnx.load_model_from_string(exported.int8).graph.node]
    assert "Clip" in kinds
    assert "Relu" not in kinds
    same_scores(exported, all_frames())
    assert onnx_float_ops(exported.int8) == []


class Clamped(Student):
    """A ReLU whose quantizer is that of a concat with signed values."""

    stride = divisor = 1

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(3, 4, 3, padding=1) for _ in range(2))
        self.head = nn.Conv2d(8, 1, 1)

    def maps(self, x: Tensor) -> StudentMaps:
        joined = torch.cat([torch.relu(self.a(x)), self.b(x)], dim=1)
        return StudentMaps(self.head(joined), joined, joined)


def test_weights_that_are_not_finite_are_refused() -> None:
    student = Plain(nn.ReLU())
    with torch.no_grad():
        student.conv.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(TrainingError, match="not finite"):
        export_engines(canonicalize(student, (SIZE, SIZE)))
