"""An engine takes its own format alone, and nothing that its files do not contain."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.bundle.reader import write_bundle
from edge.engines.formats import check_ir, check_onnx, check_tflite
from edge.engines.onnx_fields import OnnxError, foreign_parts
from edge.engines.open import open_engine, open_engine_files
from edge.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

Files = dict[str, list[bytes]]


def test_the_engines_of_a_bundle_pass(tiny_engine_files: Files) -> None:
    check_ir(tiny_engine_files["openvino"])
    check_tflite(tiny_engine_files["tflite"][0])
    check_onnx(tiny_engine_files["onnx"][0])


@pytest.mark.row(34, "a model of another runtime under an engine's name")
@pytest.mark.parametrize("runtime", ["openvino", "tflite", "onnx"])
@pytest.mark.parametrize("content", ["openvino", "tflite", "onnx", "ort", "empty", "text"])
def test_an_engine_takes_its_own_format_alone(
    runtime: str, content: str, tiny_engine_files: Files
) -> None:
    if runtime == content:
        return
    data = {
        "ort": b"\x08\0\0\0ORTM" + bytes(64),
        "empty": b"",
        "text": b"<html></html>",
        **{name: files[0] for name, files in tiny_engine_files.items()},
    }[content]
    files = [data, tiny_engine_files["openvino"][1]][: 2 if runtime == "openvino" else 1]
    with pytest.raises(BundleError, match="of another format"):
        open_engine_files(runtime, files, threads=1)


@pytest.mark.parametrize(
    "xml",
    [
        b' <net name="a">',
        b"\x00<net >",
        b'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "aaaa">]><net name="&a;">',
        b'<?xml version="1.0"?><net><!-- TFL3 --></net>',
        b"<network>",
    ],
)
def test_what_only_looks_like_an_ir_is_refused(xml: bytes) -> None:
    with pytest.raises(BundleError):
        check_ir([xml, b""])


@pytest.mark.parametrize("at", [0, 8, 20])
def test_a_cut_or_outside_tflite_buffer_is_refused(at: int, tiny_engine_files: Files) -> None:
    """A tflite model that is cut or names outside buffers is refused."""
    model = tiny_engine_files["tflite"][0]
    with pytest.raises(BundleError):
        check_tflite(model[:at])
    root = 16
    vtable = (4 + 2 * 9).to_bytes(2, "little") + bytes(2 + 2 * 8) + b"\x04\0"
    outside = root.to_bytes(4, "little") + b"TFL3" + bytes(8)
    outside += (-8 & 0xFFFFFFFF).to_bytes(4, "little") + bytes(4) + vtable
    with pytest.raises(BundleError, match="outside its file"):
        check_tflite(outside)


def external(onnx: Any, location: str) -> Any:
    """A tensor whose data are elsewhere."""
    tensor = onnx.TensorProto(name="kernel", data_type=onnx.TensorProto.FLOAT, dims=[4])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def in_attribute(onnx: Any, tensor: Any) -> Any:
    return onnx.helper.make_node("Constant", [], ["x"], value=tensor)


def in_function(onnx: Any, model: Any, tensor: Any) -> None:
    function = model.functions.add(name="f", domain="d")
    function.node.append(in_attribute(onnx, tensor))


def in_branch(onnx: Any, model: Any, tensor: Any) -> None:
    branch = onnx.GraphProto(name="branch")
    branch.initializer.append(tensor)
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)


def place_tensor(onnx: Any, model: Any, place: str, tensor: Any) -> None:
    """Put a tensor into one of the places where a model may have one."""
    if place == "initializer":
        model.graph.initializer.append(tensor)
    elif place == "sparse initializer":
        model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=tensor))
    elif place == "attribute":
        model.graph.node.append(in_attribute(onnx, tensor))
    elif place == "list in an attribute":
        model.graph.node.append(onnx.helper.make_node("Op", [], ["x"], values=[tensor]))
    elif place == "branch":
        in_branch(onnx, model, tensor)
    elif place == "function":
        in_function(onnx, model, tensor)
    else:
        model.training_info.add().algorithm.initializer.append(tensor)


PLACES = (
    "initializer",
    "sparse initializer",
    "attribute",
    "list in an attribute",
    "branch",
    "function",
    "training",
)


@pytest.mark.row(34, "an ONNX model with weights in a file that is not of the bundle")
@pytest.mark.parametrize("location", ["weights.bin", "/etc/hostname", "*/_ORT_MEM_ADDR_/*"])
@pytest.mark.parametrize("place", PLACES)
def test_tensors_outside_the_model_are_refused_wherever_they_are(
    place: str, location: str, tiny_engine_files: Files
) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(tiny_engine_files["onnx"][0])
    place_tensor(onnx, model, place, external(onnx, location))
    with pytest.raises(BundleError, match="outside its file"):
        check_onnx(model.SerializeToString())


def test_a_second_graph_hides_nothing(tiny_engine_files: Files) -> None:
    onnx = pytest.importorskip("onnx")
    more = onnx.ModelProto()
    more.graph.initializer.append(external(onnx, "weights.bin"))
    data = tiny_engine_files["onnx"][0] + more.SerializeToString()
    assert onnx.load_from_string(data).graph.initializer[-1].external_data
    with pytest.raises(BundleError, match="outside its file"):
        check_onnx(data)


def test_compiled_code_in_a_file_is_refused(tiny_engine_files: Files) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(tiny_engine_files["onnx"][0])
    model.graph.node.append(onnx.helper.make_node("EPContext", [], [], domain="com.microsoft"))
    with pytest.raises(BundleError, match="compiled code"):
        check_onnx(model.SerializeToString())


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_no_file_outside_the_bundle_is_loaded(
    runtime: str, absolute: bool, tiny_parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verified bytes are the loaded bytes: other weights at the same place change nothing."""
    onnx = pytest.importorskip("onnx")
    manifest, files = tiny_parts
    model = onnx.load_from_string(files["engines/onnx/model.onnx"])
    outside = tmp_path / "weights.bin"
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4:
            data = onnx.numpy_helper.to_array(tensor)
            outside.write_bytes(np.zeros_like(data).tobytes())
            onnx.external_data_helper.set_external_data(
                tensor, str(outside) if absolute else outside.name
            )
            tensor.ClearField("raw_data")
    monkeypatch.chdir(tmp_path)
    name = {"onnx": "engines/onnx/model.onnx", "openvino": "engines/openvino/model.xml"}[runtime]
    changed = files | {name: model.SerializeToString()}
    bundle = write_bundle(tmp_path / "bundle", manifest, changed)
    with pytest.raises(BundleError, match=r"outside its file|of another format"):
        open_engine(bundle, runtime, threads=1)


def tag(field: int, wire: int) -> bytes:
    return bytes([field << 3 | wire])


@given(st.binary(max_size=200))
@example(tag(7, 2) + b"\xff\xff\xff\xff\x0f")
@example(tag(7, 3))
@example(b"\xff" * 20)
@example(bytes([0xBA, 0x80, 0x80, 0x80, 0x10, 0]))
def test_arbitrary_bytes_are_a_model_or_refused(data: bytes) -> None:
    try:
        foreign_parts(data)
    except OnnxError:
        return


def test_messages_nested_without_end_are_refused() -> None:
    # graph > node > attribute > graph > ...
    data = b""
    for _ in range(60):
        for field in (6, 5, 1):
            length = len(data)
            size = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14])
            data = tag(field, 2) + size + data
    size = bytes([len(data) & 0x7F | 0x80, len(data) >> 7 & 0x7F | 0x80, len(data) >> 14])
    with pytest.raises(OnnxError, match="deeper"):
        foreign_parts(tag(7, 2) + size + data)


@given(st.data())
def test_any_damage_is_passed_or_refused(tiny_engine_files: Files, data: st.DataObject) -> None:
    model = bytearray(tiny_engine_files["onnx"][0])
    for _ in range(data.draw(st.integers(1, 4))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BundleError):
        check_onnx(bytes(model))
    with suppress(BundleError):
        check_tflite(bytes(model))
