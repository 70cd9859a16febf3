"""One contract for all engines."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import onnx
import openvino
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from openvino import opset13 as ops

from edge.bundle.manifest import Manifest
from edge.bundle.reader import Bundle, write_bundle
from edge.contracts import Engine
from edge.engines import open as backends
from edge.engines.onnxruntime import PROVIDERS, OnnxEngine
from edge.engines.open import BACKENDS, available, open_engine, open_engine_files
from edge.engines.openvino import OpenVinoEngine, openvino_core
from edge.errors import BundleError, InferenceFault, MissingDependencyError, UsageError
from edge.util.extras import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

U8 = NDArray[np.uint8]
Parts = tuple[Manifest, dict[str, bytes]]


class EngineContract:
    """What every engine does; a subclass names the engine."""

    name: str

    @pytest.fixture
    def engine(self, tiny_bundle: Path) -> Iterator[Engine]:
        engine = open_engine(Bundle.open(tiny_bundle), self.name, threads=1)
        yield engine
        engine.close()

    def test_is_an_engine_of_its_name(self, engine: Engine) -> None:
        assert isinstance(engine, Engine)
        assert engine.name == self.name
        assert engine.input_size == (64, 64)

    def test_scores_are_the_students(
        self, engine: Engine, tiny_scene: Callable[..., U8], tiny_student: Callable[[U8], U8]
    ) -> None:
        for seed in range(3):
            image = tiny_scene(seed)
            scores = engine.infer(image)
            assert scores.dtype == np.uint8
            assert scores.shape == (16, 16)
            assert np.abs(scores.astype(int) - tiny_student(image)).max() <= 2
            assert scores.max() > 128

    def test_every_value_of_the_input_arrives(
        self, engine: Engine, tiny_student: Callable[[U8], U8]
    ) -> None:
        # Also 127 and over, where a wrong sign would wrap.
        image = np.zeros((64, 64, 3), np.uint8)
        image[..., 0] = np.repeat(np.arange(16, dtype=np.uint8) * 17, 4)[None]
        assert np.abs(engine.infer(image).astype(int) - tiny_student(image)).max() <= 2

    def test_a_picture_does_not_stay_in_the_engine(
        self, engine: Engine, tiny_scene: Callable[..., U8]
    ) -> None:
        first = engine.infer(tiny_scene(0)).copy()
        assert not engine.infer(tiny_scene(0, polyp=False)).any()
        np.testing.assert_array_equal(engine.infer(tiny_scene(0)), first)

    def test_the_input_is_not_changed(self, engine: Engine, tiny_scene: Callable[..., U8]) -> None:
        image = tiny_scene(0)
        before = image.copy()
        engine.infer(image)
        np.testing.assert_array_equal(image, before)

    def test_a_closed_engine_says_that_it_is_closed(
        self, engine: Engine, tiny_scene: Callable[..., U8]
    ) -> None:
        engine.close()
        with pytest.raises(UsageError, match=f"the {self.name} engine is closed"):
            engine.infer(tiny_scene(0))
        engine.close()

    def test_a_read_only_or_strided_picture_is_taken(
        self, engine: Engine, tiny_scene: Callable[..., U8]
    ) -> None:
        image = tiny_scene(0)
        expected = engine.infer(image).copy()
        wide = np.ascontiguousarray(image[:, ::-1])[:, ::-1]
        wide.setflags(write=False)
        np.testing.assert_array_equal(engine.infer(wide), expected)

    def test_settings_are_effective(self, engine: Engine) -> None:
        settings = engine.settings()
        assert settings["runtime"] == self.name
        assert settings["threads"] == 1
        assert settings["streams"] == 1
        assert settings["precision"] in ("int8", "f32")
        assert str(settings["version"])[0].isdigit()
        msgspec.json.encode(settings)

    def test_threads_are_settable(self, tiny_engine_files: dict[str, list[bytes]]) -> None:
        engine = open_engine_files(self.name, tiny_engine_files[self.name], threads=2)
        assert engine.settings()["threads"] == 2
        engine.close()

    @pytest.mark.parametrize("damage", ["empty", "cut", "other"])
    def test_a_file_that_is_no_model_is_an_error(
        self, damage: str, tiny_engine_files: dict[str, list[bytes]]
    ) -> None:
        first, *rest = tiny_engine_files[self.name]
        broken = {"empty": b"", "cut": first[: len(first) // 3], "other": b"not a model at all"}[
            damage
        ]
        with pytest.raises(BundleError):
            open_engine_files(self.name, [broken, *rest], threads=1)

    def test_a_wrong_number_of_files_is_an_error(
        self, tiny_engine_files: dict[str, list[bytes]]
    ) -> None:
        with pytest.raises(BundleError, match="file"):
            open_engine_files(self.name, [*tiny_engine_files[self.name], b""], threads=1)

    def test_another_input_size_than_the_manifest_is_an_error(
        self, tiny_parts: Parts, tmp_path: Path
    ) -> None:
        manifest, files = tiny_parts
        changed = msgspec.structs.replace(
            manifest, input=msgspec.structs.replace(manifest.input, width=32)
        )
        with pytest.raises(BundleError, match="64 x 64"):
            open_engine(write_bundle(tmp_path / "b", changed, files), self.name, threads=1)

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [("min_version", "9999.1", "9999.1 or newer"), ("architectures", ["riscv128"], "riscv128")],
    )
    def test_a_machine_that_does_not_fit_is_an_error(
        self, field: str, value: object, message: str, tiny_parts: Parts, tmp_path: Path
    ) -> None:
        manifest, files = tiny_parts
        engines = [msgspec.structs.replace(entry, **{field: value}) for entry in manifest.engines]
        bundle = write_bundle(
            tmp_path / "b", msgspec.structs.replace(manifest, engines=engines), files
        )
        with pytest.raises(BundleError, match=message):
            open_engine(bundle, self.name, threads=1)


class TestOpenVino(EngineContract):
    name = "openvino"

    def test_a_float_model_runs_in_f32(self, tiny_engine_files: dict[str, list[bytes]]) -> None:
        engine = open_engine_files("openvino", tiny_engine_files["openvino"], threads=1)
        settings = engine.settings()
        assert settings["precision_hint"] == "f32"
        assert settings["precision"] == "f32"
        assert sum(settings["executed"].values()) == 1


class TestLiteRt(EngineContract):
    name = "tflite"

    @pytest.mark.row(17, "a float model's NaN, before it becomes a score")
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_what_is_no_number_is_no_score(self, engine: Any, value: float) -> None:
        output = np.full((1, 16, 16, 1), 0.5, np.float32)
        engine._copy_output(output)
        assert (engine._output == 128).all()
        output[0, 3, 3] = value
        with pytest.raises(InferenceFault, match="NaN or Inf"):
            engine._copy_output(output)

    def test_an_integer_model_says_so(self, tiny_engine_files: dict[str, list[bytes]]) -> None:
        engine = open_engine_files("tflite", tiny_engine_files["tflite"], threads=1)
        assert engine.settings()["precision"] == "int8"


def in_bf16(parts: Parts, folder: Path, runtime: str = "openvino") -> Bundle:
    """The tiny bundle with a bf16 engine that shares the files of the one that it has."""
    manifest, files = parts
    (entry,) = (entry for entry in manifest.engines if entry.runtime == runtime)
    engines = [*manifest.engines, msgspec.structs.replace(entry, precision="bf16")]
    return write_bundle(folder, msgspec.structs.replace(manifest, engines=engines), files)


@pytest.fixture
def bf16() -> None:
    if "BF16" not in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bf16")


@pytest.mark.usefixtures("bf16")
def test_an_f32_engine_runs_in_bf16_where_that_was_asked_for(
    tiny_parts: Parts,
    tmp_path: Path,
    tiny_scene: Callable[..., U8],
    tiny_student: Callable[[U8], U8],
) -> None:
    engine = open_engine(
        in_bf16(tiny_parts, tmp_path / "b"), "openvino", threads=1, precision="bf16"
    )
    settings = engine.settings()
    assert (settings["precision"], settings["executed"]) == ("bf16", {"bf16": 1})
    assert settings["precision_hint"] == "bf16"
    image = tiny_scene(0)
    assert np.abs(engine.infer(image).astype(int) - tiny_student(image)).max() <= 2
    engine.close()


@pytest.mark.usefixtures("bf16")
def test_an_engine_that_does_not_run_in_bf16_is_an_error(integer_ir: list[bytes]) -> None:
    engine = open_engine_files("openvino", integer_ir, threads=1)
    assert engine.settings()["precision"] == "int8"
    engine.close()
    with pytest.raises(BundleError, match="bf16") as caught:
        open_engine_files("openvino", integer_ir, threads=1, precision="bf16")
    assert "int8" in caught.value.got
    assert "f32" in caught.value.hint


def test_a_cpu_without_bf16_is_an_error_and_never_runs_in_f32(
    tiny_engine_files: dict[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenVinoEngine, "_executed", lambda _: Counter({"f32": 60}))
    with pytest.raises(BundleError, match="bf16") as caught:
        open_engine_files("openvino", tiny_engine_files["openvino"], threads=1, precision="bf16")
    assert "executed in f32" in caught.value.got


@pytest.mark.parametrize("runtime", ["tflite", "onnx"])
def test_bf16_is_openvinos_alone(runtime: str, tiny_parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bf16"):
        open_engine(in_bf16(tiny_parts, tmp_path / "b", runtime), runtime, precision="bf16")


def test_every_engine_of_the_table_has_a_contract_test() -> None:
    assert {kind.name for kind in EngineContract.__subclasses__()} == set(BACKENDS)
    for reference in BACKENDS.values():
        assert callable(resolve(reference))


class TestOnnx(EngineContract):
    name = "onnx"

    def test_settings_tell_what_is_executed_and_by_which_provider(self, engine: Engine) -> None:
        settings = engine.settings()
        assert (settings["precision"], settings["executed"]) == ("int8", {"int8": 1})
        assert settings["providers"] == ["CPU"]
        assert settings["graph_optimization"] == "ORT_ENABLE_ALL"

    def test_a_float_model_says_so(self) -> None:
        engine = OnnxEngine([onnx_model()], threads=1)
        assert engine.settings()["precision"] == "f32"
        assert {kernel.kind for kernel in engine.kernels} >= {"Cast", "Conv"}
        engine.close()

    def test_providers_that_are_not_there_are_passed_over(self) -> None:
        engine = OnnxEngine(
            [onnx_model()], threads=1, providers=["NoneExecutionProvider", *PROVIDERS]
        )
        assert engine.settings()["providers"][-1] == "CPU"
        engine.close()

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"frame": [1, 8, 8, 4]}, r"\[1, 8, 8, 4\]"),
            ({"frame": [2, 8, 8, 3]}, r"\[2, 8, 8, 3\]"),
            ({"frame": ["n", 8, 8, 3]}, r"\['n', 8, 8, 3\]"),
            ({"kind": "FLOAT"}, r"tensor\(float\)"),
        ],
    )
    def test_a_model_that_breaks_the_contract_is_an_error(
        self, change: dict[str, Any], word: str
    ) -> None:
        with pytest.raises(BundleError, match="contract") as caught:
            OnnxEngine([onnx_model(**change)], threads=1)
        assert re.search(word, caught.value.got)

    def test_weights_outside_the_file_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "weights.bin").write_bytes(np.ones(3, np.float32).tobytes())
        with pytest.raises(BundleError, match="outside its file"):
            OnnxEngine([onnx_model(external="weights.bin")], threads=1)


def onnx_model(
    frame: Sequence[Any] = (1, 8, 8, 3), kind: str = "UINT8", external: str | None = None
) -> bytes:
    """A convolution of 1x1 in float."""
    channels = frame[3]
    weight = numpy_helper.from_array(np.ones((1, channels, 1, 1), np.float32), "weight")
    if external:
        onnx.external_data_helper.set_external_data(weight, location=external, length=12)
        weight.ClearField("raw_data")
    nodes = [
        helper.make_node("Transpose", ["frame"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["x"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "weight"], ["y"]),
        helper.make_node("Cast", ["y"], ["scores"], to=getattr(onnx.TensorProto, kind)),
    ]
    graph_input = helper.make_tensor_value_info("frame", onnx.TensorProto.UINT8, frame)
    graph_output = helper.make_tensor_value_info(
        "scores", getattr(onnx.TensorProto, kind), [frame[0], 1, *frame[1:3]]
    )
    graph = helper.make_graph(nodes, "float", [graph_input], [graph_output], [weight])
    content: bytes = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]
    ).SerializeToString()
    return content


@pytest.fixture
def integer_ir(tmp_path: Path) -> list[bytes]:
    """One convolution as an OpenVINO IR whose numbers are quantized."""
    image = ops.parameter([1, 16, 16, 3], np.uint8)
    x = ops.transpose(
        ops.multiply(ops.convert(image, "f32"), np.float32(1 / 256)), np.array([0, 3, 1, 2])
    )
    weight = ops.multiply(
        ops.convert(ops.constant(np.full((8, 3, 3, 3), 5, np.int8)), "f32"), np.float32(0.01)
    )
    hidden = ops.convolution(x, weight, [1, 1], [1, 1], [1, 1], [1, 1])
    hidden = ops.fake_quantize(hidden, *map(np.float32, (0, 2.55, 0, 2.55)), 256)
    last = ops.multiply(
        ops.convert(ops.constant(np.full((1, 8, 1, 1), 9, np.int8)), "f32"), np.float32(0.01)
    )
    output = ops.convert(ops.convolution(hidden, last, [1, 1], [0, 0], [0, 0], [1, 1]), "u8")
    openvino.save_model(
        openvino.Model([output], [image]), tmp_path / "m.xml", compress_to_fp16=False
    )
    return [(tmp_path / name).read_bytes() for name in ("m.xml", "m.bin")]


def test_unknown_engine_lists_the_choices(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match=r"auto \| openvino \| tflite"):
        open_engine(Bundle.open(tiny_bundle), "tensorrt")
    with pytest.raises(UsageError, match="openvino"):
        open_engine_files("tensorrt", [])


def test_an_engine_leaves_opencvs_threads_alone(tiny_engine_files: dict[str, list[bytes]]) -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        open_engine_files("tflite", tiny_engine_files["tflite"]).close()
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_no_thread_is_an_error(tiny_engine_files: dict[str, list[bytes]]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        open_engine_files("tflite", tiny_engine_files["tflite"], threads=0)


def test_a_precision_that_the_bundle_lacks_is_an_error(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="no f32 engine"):
        open_engine(Bundle.open(tiny_bundle), "tflite", precision="f32")


def test_auto_takes_what_is_installed(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert open_engine(bundle, threads=1).name == "openvino"
    monkeypatch.setattr(
        backends, "available", lambda: {"openvino": None, "tflite": "2.3.0", "onnx": "1.31.1"}
    )
    assert open_engine(bundle, threads=1).name == "tflite"
    monkeypatch.setattr(
        backends, "available", lambda: {"openvino": None, "tflite": None, "onnx": "1.31.1"}
    )
    assert open_engine(bundle, threads=1).name == "onnx"
    monkeypatch.setattr(backends, "available", lambda: dict.fromkeys(BACKENDS))
    with pytest.raises(MissingDependencyError, match=r"\[openvino\]"):
        open_engine(bundle, threads=1)


def test_a_missing_runtime_names_its_extra(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(MissingDependencyError, match=r"\[tflite\]"):
        open_engine(Bundle.open(tiny_bundle), "tflite", threads=1)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"\[onnx\]"):
        open_engine(Bundle.open(tiny_bundle), "onnx", threads=1)


def test_a_changed_byte_is_never_loaded(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_bundle, tmp_path / "b")
    bundle = Bundle.open(copy)
    model = copy / "engines/openvino/model.bin"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    with pytest.raises(BundleError, match=r"model\.bin"):
        open_engine(bundle, "openvino", threads=1)


def test_asking_for_versions_imports_no_runtime() -> None:
    code = (
        "import sys; from edge.engines.open import available; print(available());"
        "assert not {'openvino', 'ai_edge_litert', 'onnxruntime', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(available()) == set(BACKENDS)
