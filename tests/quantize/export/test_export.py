from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import openvino as ov
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor, nn

from distill.run_folder import load_checkpoint, save_checkpoint
from distill.students.base import Student, StudentMaps
from distill.students.build import build_student
from distill.students.edge import EdgeXS
from distill.students.pranet import PraNet
from distill.students.unet import UNet
from distill.students.unetpp import UNetPP
from edge.engines.openvino import openvino_core
from edge.errors import TrainingError, UsageError
from quantize.certify.parity import (
    canonical_scores,
    compare_maps,
    engine_scores,
    images_tensor,
    torch_scores,
)
from quantize.export.engines import ExportedEngine, export_engines
from quantize.graph.canonical import Canonical, canonicalize
from quantize.graph.tracing import quantizers
from quantize.qat.nncf import checkpoint_types, quantize_student, quantized_state, restore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

SIZE = 64


class Made(NamedTuple):
    student: Student
    quantized: nn.Module
    canonical: Canonical
    engines: dict[str, ExportedEngine]
    frames: NDArray[np.uint8]


def discs(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], Tensor]:
    """Red discs on gray noise, and their masks (N, 1, H, W)."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1)
    centers, radii = rng.uniform(16, 48, (count, 1, 1, 2)), rng.uniform(8, 20, (count, 1, 1))
    inside = np.linalg.norm(grid - centers, axis=-1) < radii
    frames = rng.integers(60, 160, (count, SIZE, SIZE, 3)).astype(np.uint8)
    frames[inside] = frames[inside] // 2 + np.array([110, 10, 10], np.uint8)
    return frames, torch.from_numpy(inside[:, None].astype(np.float32))


def teach(student: Student, steps: int) -> Student:
    """Train until the student is sure of its masks: torch rounds sums differently from engines."""
    optimizer = torch.optim.Adam(student.parameters(), 3e-3)
    student.train()
    for step in range(steps):
        frames, masks = discs(8, step)
        logits = student(images_tensor(frames))
        target = nn.functional.adaptive_avg_pool2d(masks, logits.shape[-1])
        loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return student.eval()


def make(student: Student) -> Made:
    frames, _ = discs(6, 1000)
    samples = [image[None] for image in images_tensor(discs(4, 2000)[0])]
    quantized = quantize_student(student, samples)
    canonical = canonicalize(quantized, (SIZE, SIZE))
    engines = export_engines(canonical) + export_engines(canonicalize(student, (SIZE, SIZE)))
    by_name = {f"{engine.runtime} {engine.precision}": engine for engine in engines}
    return Made(student, quantized, canonical, by_name, frames)


@pytest.fixture(scope="module")
def unet() -> Made:
    torch.manual_seed(0)
    return make(teach(UNet(width=8), 40))


@pytest.fixture(scope="module")
def edge_s() -> Made:
    torch.manual_seed(0)
    return make(build_student("edge-s"))


def weights_of_tflite(content: bytes) -> list[NDArray[np.int8]]:
    """int8 constants, output channel first."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    weights = []
    for operation in model.subgraphs[0].operators:
        code = model.operatorCodes[operation.opcodeIndex].builtinCode
        if code in (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D):
            tensor = model.subgraphs[0].tensors[operation.inputs[1]]
            values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8).reshape(
                tensor.shape
            )
            depthwise = code == schema.BuiltinOperator.DEPTHWISE_CONV_2D
            weights.append(values.transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2)))
    return weights


def weights_of_openvino(contents: list[bytes]) -> list[NDArray[np.int8]]:
    model = openvino_core().read_model(model=contents[0], weights=contents[1])
    constants = [op for op in model.get_ordered_ops() if op.get_type_name() == "Constant"]
    return [op.get_data() for op in constants if op.get_element_type() == ov.Type.i8]


def weights_of(canonical: Canonical) -> list[NDArray[np.int8]]:
    return [buffer.numpy() for buffer in canonical.module.buffers() if buffer.dtype == torch.int8]


def same_integers(exported: Made) -> None:
    expected = sorted(
        np.sort(weight, axis=None).tobytes() for weight in weights_of(exported.canonical)
    )
    tflite = weights_of_tflite(exported.engines["tflite int8"].contents[0])
    openvino = weights_of_openvino(exported.engines["openvino int8"].contents)
    assert sorted(np.sort(weight, axis=None).tobytes() for weight in tflite) == expected
    assert sorted(np.sort(weight, axis=None).tobytes() for weight in openvino) == expected
    for weight in weights_of(exported.canonical):
        depthwise = weight.shape[1] == 1 < weight.shape[0]
        # Sums of two products of a dense layer stay within 16 bits: 2 * 255 * 63 < 2^15.
        assert np.abs(weight.astype(int)).max() <= (127 if depthwise else 63)


def same_scores(exported: Made, frames: NDArray[np.uint8]) -> None:
    """Every INT8 engine gives the canonical graph's scores, all of them."""
    scores = canonical_scores(exported.canonical, frames)
    assert len(np.unique(scores)) > 8, "scores that hardly vary would prove nothing"
    for name in ("openvino int8", "tflite int8"):
        differing = np.count_nonzero(engine_scores(exported.engines[name], frames) != scores)
        assert differing == 0, f"{name}: {differing} of {scores.size} scores"


def hard_frames(count: int) -> NDArray[np.uint8]:
    """Noise, black, white and a checkerboard."""
    noise = np.random.default_rng(5).integers(0, 256, (count, SIZE, SIZE, 3))
    flat = [np.full((SIZE, SIZE, 3), value) for value in (0, 255)]
    board = np.indices((SIZE, SIZE)).sum(0) % 2 * 255
    return np.stack([*noise, *flat, np.repeat(board[..., None], 3, axis=2)]).astype(np.uint8)


def test_unet_engines_give_the_scores_of_the_canonical_graph(unet: Made) -> None:
    same_scores(unet, np.concatenate([unet.frames, hard_frames(4)]))


def test_canonical_graph_gives_the_student_s_masks(unet: Made) -> None:
    """The canonical graph gives the masks of the fine-tuned student."""
    row = compare_maps(
        "torch",
        "canonical",
        torch_scores(unet.quantized, unet.frames),
        canonical_scores(unet.canonical, unet.frames),
    )
    assert row.mask_iou is not None
    assert row.mask_iou >= 0.99
    assert row.mean_difference <= 1.5, "the grid of the logits alone makes up to 1.5"


def test_f32_engines_are_the_float_student(unet: Made) -> None:
    expected = torch_scores(unet.student, unet.frames).astype(int)
    for name in ("openvino f32", "tflite f32"):
        assert np.abs(engine_scores(unet.engines[name], unet.frames) - expected).max() <= 1


def test_unet_integers_are_the_same_in_every_runtime(unet: Made) -> None:
    same_integers(unet)


def test_nothing_but_the_final_sigmoid_is_float(unet: Made) -> None:
    assert unet.engines["tflite int8"].float_ops == []
    (left,) = unet.engines["openvino int8"].float_ops
    assert "sigmoid" in left
    assert unet.engines["tflite f32"].float_ops


def test_scales_are_shared_across_concat_and_shuffle(unet: Made) -> None:
    by_name = quantizers(unet.quantized)
    up = next(name for name in by_name if "pixel_shuffle" in name)
    sharing = [name for name, quantizer in by_name.items() if quantizer is by_name[up]]
    # The skip, the convolution before the shuffle, and the shuffle itself.
    assert len(sharing) == 3


def test_quantized_student_is_restored_bit_for_bit(unet: Made, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "q.pt", quantized_state(unet.quantized))
    with checkpoint_types():
        state = load_checkpoint(tmp_path / "q.pt")
    again = restore(UNet(width=8), state, torch.zeros(1, 3, SIZE, SIZE))
    x = images_tensor(unet.frames)
    with torch.no_grad():
        assert torch.equal(again(x), unet.quantized(x))
    first, second = (
        weights_of(canonicalize(model, (SIZE, SIZE))) for model in (unet.quantized, again)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_state_of_another_student_is_refused(unet: Made) -> None:
    with pytest.raises(TrainingError, match="does not fit"):
        restore(UNet(width=4), quantized_state(unet.quantized), torch.zeros(1, 3, SIZE, SIZE))


def test_edge_s_engines_hold_the_canonical_graph_s_integers(edge_s: Made) -> None:
    """Engines of edge-s are the canonical graph and hold its integers."""
    same_scores(edge_s, np.concatenate([edge_s.frames, hard_frames(4)]))
    same_integers(edge_s)
    assert edge_s.engines["tflite int8"].float_ops == []
    assert edge_s.engines["openvino int8"].float_ops == []


class Gated(Student):
    """All operations that PraNet needs: ladder, averages, products, and attention by a sum."""

    stride = divisor = 1

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.rungs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.mean = nn.AvgPool2d(3, 1, 1)
        self.left, self.right = nn.Conv2d(12, 4, 1), nn.Conv2d(8, 4, 1)
        self.coarse, self.finer, self.last = (nn.Conv2d(4, 1, 3, padding=1) for _ in range(3))

    def maps(self, x: Tensor) -> StudentMaps:
        x = self.stem(x)
        a, b = torch.split(x, 4, 1)
        first = torch.relu(self.rungs[0](a))
        second = torch.relu(self.rungs[1](b + first))
        joined = torch.cat([first, second, self.mean(b)], dim=1)
        features = self.left(joined) * self.right(x)
        coarse = self.coarse(features)
        logits = self.finer(features * (1 - torch.sigmoid(coarse))) + coarse
        features, logits = (
            nn.functional.interpolate(y, scale_factor=2.0, mode="nearest")
            for y in (features, logits)
        )
        return StudentMaps(
            self.last(features * (1 - torch.sigmoid(logits))) + logits, features, features
        )


def test_attention_gives_the_same_integers_in_every_runtime() -> None:
    torch.manual_seed(4)
    student = teach(Gated(), 30)
    exported = make(student)
    same_scores(exported, np.concatenate([exported.frames, hard_frames(8)]))
    same_integers(exported)
    row = compare_maps(
        "torch",
        "canonical",
        torch_scores(exported.quantized, exported.frames),
        canonical_scores(exported.canonical, exported.frames),
    )
    assert row.max_difference <= 4
    expected = torch_scores(exported.student, exported.frames).astype(int)
    for name in ("openvino f32", "tflite f32"):
        assert np.abs(engine_scores(exported.engines[name], exported.frames) - expected).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "student",
    [
        pytest.param(lambda: UNetPP(width=4), id="unetpp"),
        pytest.param(lambda: EdgeXS(width=16), id="edge-xs"),
        pytest.param(
            lambda: PraNet(
                pretrained=False, base=8, blocks=(1, 1, 1, 2), width=8, reverse=(8, 8, 8)
            ),
            id="pranet",
        ),
    ],
)
def test_engines_of_the_deeper_students_are_the_canonical_graph(
    student: Callable[[], Student],
) -> None:
    torch.manual_seed(0)
    exported = make(teach(student(), 20))
    same_scores(exported, np.concatenate([exported.frames, hard_frames(4)]))
    same_integers(exported)
    assert exported.engines["tflite int8"].float_ops == []


def test_average_over_an_even_number_of_cells_is_refused() -> None:
    student = Plain(nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)))
    with pytest.raises(UsageError, match="ties"):
        canonicalize(student, (SIZE, SIZE))


class Plain(Student):
    """One padded convolution, an activation and a head: small enough to know every number."""

    stride = divisor = 1

    def __init__(self, activation: nn.Module, padding: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=padding, stride=stride)
        self.activation = activation
        self.head = nn.Conv2d(4, 1, 1)

    def maps(self, x: Tensor) -> StudentMaps:
        hidden = self.activation(self.conv(x))
        return StudentMaps(self.head(hidden), hidden, hidden)


@pytest.mark.parametrize("stride", [1, 2])
def test_zero_padding_is_exact_at_the_border(stride: int) -> None:
    torch.manual_seed(1)
    exported = make(Plain(nn.ReLU6(), stride=stride))
    gray = np.full((1, SIZE, SIZE, 3), 127, np.uint8)
    bright = np.full((1, SIZE, SIZE, 3), 250, np.uint8)
    for name, engine in exported.engines.items():
        # 127 is zero after normalization, so a border of zeros cannot be told from the picture.
        assert len(np.unique(engine_scores(engine, gray))) == 1, name
        scores = engine_scores(engine, bright).astype(int)
        quantized = name.endswith("int8")
        expected = (
            canonical_scores(exported.canonical, bright)
            if quantized
            else torch_scores(exported.student, bright)
        )
        assert np.abs(scores - expected).max() <= (0 if quantized else 1), name
        assert len(np.unique(scores[0])) > 1, "a border of zeros beside a bright picture shows"
    assert len(np.unique(canonical_scores(exported.canonical, gray))) == 1


def test_mask_is_where_the_logit_is_not_negative() -> None:
    torch.manual_seed(2)
    exported = make(Plain(nn.ReLU()))
    with torch.no_grad():
        logits = exported.quantized(images_tensor(exported.frames))[:, 0].numpy()
    sure = np.abs(logits) > 1e-3
    masks = canonical_scores(exported.canonical, exported.frames) >= 128
    assert np.array_equal(masks[sure], (logits >= 0)[sure])


@pytest.mark.parametrize("activation", [nn.Hardswish(), nn.Softplus()])
def test_operation_outside_the_dialect_is_named(activation: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"hardswish|softplus"):
        canonicalize(Plain(activation), (SIZE, SIZE))


def test_grouped_convolution_that_is_not_depthwise_is_refused() -> None:
    student = Plain(nn.ReLU())
    student.activation = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1, groups=2))
    with pytest.raises(UsageError, match="2 groups"):
        export_engines(canonicalize(student, (SIZE, SIZE)))


def test_weights_that_are_not_finite_are_refused() -> None:
    student = Plain(nn.ReLU())
    with torch.no_grad():
        student.conv.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(TrainingError, match=r"conv\.weight"):
        quantize_student(student, [torch.zeros(1, 3, SIZE, SIZE)])
    with pytest.raises(TrainingError, match="not finite"):
        export_engines(canonicalize(student, (SIZE, SIZE)))


def test_commands_import_nothing_heavy() -> None:
    code = (
        "import sys, edge_difom.cli.qat; "
        "print([m for m in ('torch', 'nncf', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_sent_when_the_exporters_are_imported() -> None:
    program = (
        "import os, sys\n"
        "def guard(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo') or event == 'os.fork':\n"
        "        sys.stderr.write(f'{event} {arguments}'); os._exit(9)\n"
        "sys.addaudithook(guard)\n"
        "from edge_difom.runtime_env import configure\n"
        "configure()\n"
        "import quantize.export.openvino, quantize.qat.nncf\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
