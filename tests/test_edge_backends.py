"""One contract for both engines."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edge import backends
from edge.backends import BACKENDS, available, open_engine, open_engine_files
from edge.bundle import Bundle, write_bundle
from edge.errors import BundleError, MissingDependencyError, UsageError
from edge.lookup import resolve
from edge.manifest import Manifest
from edge.types import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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

    def test_every_value_of_the_input_arrives(self, engine: Engine, tiny_student: Callable[[U8], U8]) -> None:
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
        broken = {"empty": b"", "cut": first[: len(first) // 3], "other": b"not a model at all"}[damage]
        with pytest.raises(BundleError):
            open_engine_files(self.name, [broken, *rest], threads=1)

    def test_a_wrong_number_of_files_is_an_error(self, tiny_engine_files: dict[str, list[bytes]]) -> None:
        with pytest.raises(BundleError, match="file"):
            open_engine_files(self.name, [*tiny_engine_files[self.name], b""], threads=1)

    def test_another_input_size_than_the_manifest_is_an_error(
        self, tiny_parts: Parts, tmp_path: Path
    ) -> None:
        manifest, files = tiny_parts
        changed = msgspec.structs.replace(manifest, input=msgspec.structs.replace(manifest.input, width=32))
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
        bundle = write_bundle(tmp_path / "b", msgspec.structs.replace(manifest, engines=engines), files)
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

    def test_an_integer_model_says_so(self, tiny_engine_files: dict[str, list[bytes]]) -> None:
        engine = open_engine_files("tflite", tiny_engine_files["tflite"], threads=1)
        assert engine.settings()["precision"] == "int8"


def test_every_engine_of_the_table_has_a_contract_test() -> None:
    assert {kind.name for kind in EngineContract.__subclasses__()} == set(BACKENDS)
    for reference in BACKENDS.values():
        assert callable(resolve(reference))


def test_unknown_engine_lists_the_choices(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match=r"auto \| openvino \| tflite"):
        open_engine(Bundle.open(tiny_bundle), "tensorrt")
    with pytest.raises(UsageError, match="openvino"):
        open_engine_files("tensorrt", [])


def test_beside_an_engine_opencv_has_one_thread(tiny_engine_files: dict[str, list[bytes]]) -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        open_engine_files("tflite", tiny_engine_files["tflite"]).close()
        assert cv2.getNumThreads() == 1
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
    monkeypatch.setattr(backends, "available", lambda: {"openvino": None, "tflite": "2.3.0"})
    assert open_engine(bundle, threads=1).name == "tflite"
    monkeypatch.setattr(backends, "available", lambda: {"openvino": None, "tflite": None})
    with pytest.raises(MissingDependencyError, match=r"edge-difom\[openvino\]"):
        open_engine(bundle, threads=1)


def test_a_missing_runtime_names_its_extra(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(MissingDependencyError, match=r"edge-difom\[tflite\]"):
        open_engine(Bundle.open(tiny_bundle), "tflite", threads=1)


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
        "import sys; from edge.backends import available; print(available());"
        "assert not {'openvino', 'ai_edge_litert', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(available()) == set(BACKENDS)
