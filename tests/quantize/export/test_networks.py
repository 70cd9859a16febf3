"""Decoders, heads and students of other systems: the same integers everywhere, or a reason."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from distill.losses.detection import detection_loss
from distill.students.blocks import conv_bn_relu6
from distill.students.build import build_student
from distill.students.detection import split_planes
from distill.students.edge import PyramidStudent
from distill.students.encoders import ENCODERS, Encoder, MapShape
from distill.students.pranet_v2 import PraNetV2
from edge.datasets.phantom.render import render
from edge.errors import UsageError
from quantize.certify.parity import FrameSet, hard_frames, images_tensor, parity_rows
from quantize.export.engines import export_engines
from quantize.graph.canonical import canonicalize
from quantize.qat.nncf import quantize_student

if TYPE_CHECKING:
    from collections.abc import Callable

    from distill.students.base import Student
    from edge.bundle.manifest import ParityRow
    from quantize.export.engines import ExportedEngine

SIZE = 64
WIDTHS = (8, 8, 12, 16)
"""Channels of the tiny encoder's maps at strides 4 to 32."""


class Tiny(nn.Module):
    """An encoder of a pooled 3x3 convolution for each stride, so that a test sees the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn_relu6(3, 8, 3), nn.MaxPool2d(2))
        self.stages = nn.ModuleList(
            nn.Sequential(conv_bn_relu6(cin, cout, 3), nn.MaxPool2d(2))
            for cin, cout in pairwise((8, *WIDTHS))
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.stem(x)
        return [x := stage(x) for stage in self.stages]


@pytest.fixture(autouse=True)
def tiny_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = tuple(MapShape(4 * 2**level, count) for level, count in enumerate(WIDTHS))
    monkeypatch.setitem(ENCODERS, "tiny", lambda _: Encoder(Tiny(), shapes, lambda _: []))


def pyramid(decoder: str, *, dynamic_head: bool = False, detection: bool = False) -> PyramidStudent:
    return PyramidStudent(
        "tiny",
        decoder=decoder,
        width=8,
        pretrained=False,
        dynamic_head=dynamic_head,
        presence=True,
        uncertainty=False,
        pooled_attention=False,
        detection=detection,
    )


def phantoms(first: int, count: int) -> tuple[np.ndarray[Any, Any], torch.Tensor]:
    """Frames (N, H, W, 3) of the phantom and their masks (N, 1, H, W)."""
    pictures = [render(seed, size=(SIZE, SIZE)) for seed in range(first, first + count)]
    masks = np.stack([picture.mask for picture in pictures])
    return np.stack([picture.image for picture in pictures]), torch.from_numpy(masks)[
        :, None
    ].float()


def certificate(student: Student) -> tuple[dict[str, ParityRow], dict[str, ExportedEngine]]:
    """Teach a student a little, quantize and export it, and compare each step of the way."""
    trained = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, 3e-3)
    frames, masks = phantoms(0, 16)
    x = images_tensor(frames)
    student.train()
    for step in range(24):
        part = slice(8 * (step % 2), 8 * (step % 2) + 8)
        logits, boxes = student(x[part]), None
        if student.planes > 1:
            logits, boxes = split_planes(logits)
        target = nn.functional.adaptive_avg_pool2d(masks[part], logits.shape[-1])
        loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
        if boxes is not None:
            loss = loss + detection_loss(boxes, masks[part], contrast_weight=0.0, hard_frames=False)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    student.eval()
    quantized = quantize_student(student, [image[None] for image in x[:8]])
    canonical = canonicalize(quantized, (SIZE, SIZE))
    engines = export_engines(canonical)
    all_frames = np.concatenate([phantoms(100, 6)[0], hard_frames((SIZE, SIZE)).frames])
    rows = parity_rows(student, quantized, canonical, engines, FrameSet("frames", all_frames))
    return (
        {f"{row.left} - {row.right}": row for row in rows},
        {engine.runtime: engine for engine in engines},
    )


NETWORKS: dict[str, Callable[[], Student]] = {
    "emcad": lambda: pyramid("emcad"),
    "pld": lambda: pyramid("pld"),
    "rpca": lambda: pyramid("rpca"),
    "dynamic-head": lambda: pyramid("fpn", dynamic_head=True),
    "detection": lambda: pyramid("fpn", detection=True).for_engines(),
    "early-fused": lambda: build_student("edge-xs+fused-x8", pretrained=False),
    "early-patch": lambda: build_student("edge-xs+patch+fpn8", pretrained=False),
    "pranet-v2": lambda: PraNetV2(
        pretrained=False, base=8, blocks=(1, 1, 1, 2), width=8, reverse=(8, 8, 8)
    ),
}
WHOLE_IN_OPENVINO = ("pld", "detection", "early-fused", "early-patch")
"""Networks of which OpenVINO leaves nothing in float; it fuses gates into float kernels."""
MAX_DIFFERENCE = {"pranet-v2": 30.0}
"""Mean difference of FP32 and INT8 scores in 1/256; a sum of several gated logits is coarser."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_engines_are_the_canonical_graph(name: str) -> None:
    torch.manual_seed(0)
    rows, engines = certificate(NETWORKS[name]())
    for runtime in ("openvino", "tflite"):
        steps = [row for pair, row in rows.items() if f"{runtime} int8" in pair]
        assert steps
        assert all(row.max_difference == 0 for row in steps), [row.left for row in steps]
    assert engines["tflite"].float_ops == []
    if name in WHOLE_IN_OPENVINO:
        assert engines["openvino"].float_ops == []
    if name == "rpca":
        assert any(
            op.startswith("Pooling") and "padded map of signed values" in op
            for op in engines["openvino"].float_ops
        )
    assert rows["torch f32 - torch int8"].mean_difference < MAX_DIFFERENCE.get(name, 12.0)


@pytest.mark.parametrize(
    ("network", "operation", "reason"),
    [
        ("ssformer-b0", "layer_norm", "deviation that differs from cell to cell"),
        ("ssformer-b0", "gelu", "no runtime computes it in integers"),
        ("ssformer-b0", "scaled_dot_product_attention", "stay in float"),
        ("pranet-v2+softmax", "softmax", "exponentials"),
    ],
)
def test_what_has_no_integer_form_is_refused_with_its_reason(
    network: str, operation: str, reason: str
) -> None:
    student = build_student(network, pretrained=False).eval()
    with pytest.raises(UsageError, match="cannot be exported") as refused:
        canonicalize(student, (SIZE, SIZE))
    assert operation in str(refused.value)
    assert reason in str(refused.value)
