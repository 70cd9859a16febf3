"""The ONNX engine in half precision: its file, its place in a bundle and its distance to f32."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from distill.students.unet import UNet
from edge.datasets.phantom.render import render
from edge.engines.open import open_engine_files
from edge.errors import TrainingError, UsageError
from edge.imaging.preprocess import to_input
from quantize.export.engines import ExportedEngine, export_engines, f16_engine
from quantize.export.onnx_half import half_precision
from quantize.graph.canonical import canonicalize

SIZE = 32


@pytest.fixture(scope="module")
def f32() -> ExportedEngine:
    torch.manual_seed(2)
    return export_engines(canonicalize(UNet(width=8).eval(), (SIZE, SIZE)))[2]


def test_weights_are_half_and_the_frame_stays_uint8(f32: ExportedEngine) -> None:
    model = onnx.load_model_from_string(half_precision(f32.contents[0]))
    onnx.checker.check_model(model, full_check=True)
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert TensorProto.FLOAT not in kinds
    assert TensorProto.FLOAT16 in kinds
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.UINT8
    assert len(half_precision(f32.contents[0])) < 0.7 * len(f32.contents[0])


def test_it_is_an_engine_of_its_own_near_the_f32_one(f32: ExportedEngine) -> None:
    half = f16_engine(f32)
    assert half.paths == ["engines-f16/onnx/model.onnx"]
    assert half.entry().precision == "f16"
    frames = [to_input(render(seed).image, (SIZE, SIZE), bgr=False) for seed in range(3)]
    scores = []
    for engine in (f32, half):
        opened = open_engine_files("onnx:cpu", engine.contents, 1, engine.precision)
        scores.append(np.stack([opened.infer(frame).copy() for frame in frames]).astype(int))
        opened.close()
    assert np.ptp(scores[0]) > 0
    assert np.abs(scores[0] - scores[1]).max() <= 2


def test_only_the_f32_onnx_engine_has_it(f32: ExportedEngine) -> None:
    for wrong in (f16_engine(f32), ExportedEngine("openvino", "f32", [], [])):
        with pytest.raises(UsageError, match="half precision"):
            f16_engine(wrong)
    with pytest.raises(UsageError, match="half precision"):
        open_engine_files("openvino", f32.contents, 1, "f16")


def test_a_weight_beyond_half_precision_is_refused(f32: ExportedEngine) -> None:
    model = onnx.load_model_from_string(f32.contents[0])
    tensor = next(t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT)
    values = np.full_like(numpy_helper.to_array(tensor), 70000)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    with pytest.raises(TrainingError, match="does not fit half precision"):
        half_precision(model.SerializeToString())
