"""Two packages run a `.tflite`: which one is taken, what each needs, and the older one for real."""

from __future__ import annotations

import _ctypes
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from edge.bundle.reader import Bundle, write_bundle
from edge.engines.golden_check import verify_bundle
from edge.engines.open import available, open_engine, open_engine_files
from edge.engines.runtimes import Runtime, find_runtime
from edge.errors import BundleError, MissingDependencyError
from edge_difom import doctor
from firmware_bridge.fit import fit
from quantize.certify.tflite_legacy import ABSENT, find_old_python

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.bundle.manifest import Manifest

    Install = Callable[..., None]

OLD_PYTHON = find_old_python()
needs_old_python = pytest.mark.skipif(OLD_PYTHON is None, reason=ABSENT)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Install:
    """`installed(module=version, ..., numpy=version)`: these runtimes and no other are found."""

    def install(numpy: str = "1.26.4", **versions: str) -> None:
        by_distribution = {name.replace("_", "-"): version for name, version in versions.items()}

        def version(name: str) -> str:
            if not by_distribution.get(name):
                raise importlib.metadata.PackageNotFoundError(name)
            return by_distribution[name]

        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: name if name in versions else None
        )
        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(np, "__version__", numpy)

    return install


def test_the_newer_package_is_taken_where_both_are(installed: Install) -> None:
    installed(ai_edge_litert="2.3.0", tflite_runtime="2.14.0", numpy="2.4.6")
    assert find_runtime("tflite") == Runtime(package="ai-edge-litert", version="2.3.0")
    assert available()["tflite"] == "2.3.0"


def test_the_older_one_is_taken_where_it_is_alone(installed: Install) -> None:
    installed(tflite_runtime="2.14.0")
    assert find_runtime("tflite") == Runtime(
        package="tflite-runtime", version="2.14.0", least="2.14"
    )
    assert available() == {**dict.fromkeys(available()), "tflite": "2.14.0"}


def test_neither_is_not_installed(
    installed: Install, tiny_engine_files: dict[str, list[bytes]]
) -> None:
    installed()
    assert find_runtime("tflite") is None
    with pytest.raises(MissingDependencyError, match=r"edge-difom\[tflite\]"):
        open_engine_files("tflite", tiny_engine_files["tflite"], threads=1)


def test_a_package_that_does_not_tell_its_version_is_taken(installed: Install) -> None:
    installed(tflite_runtime="")
    runtime = find_runtime("tflite")
    assert runtime is not None
    assert runtime.version == "unknown"
    assert runtime.reaches("9999")


@pytest.mark.parametrize(
    ("package", "version", "least", "required", "enough"),
    [
        ("ai-edge-litert", "1.4.0", "", "1.4", True),
        ("ai-edge-litert", "1.3.9", "", "1.4", False),
        ("ai-edge-litert", "2.3.0", "", "3.0", False),
        # What a bundle asks for is a version of LiteRT, and tells nothing of this one.
        ("tflite-runtime", "2.14.0", "2.14", "1.4", True),
        ("tflite-runtime", "2.14.0", "2.14", "3.0", True),
        ("tflite-runtime", "2.13.0", "2.14", "1.4", False),
    ],
)
def test_versions_are_compared_within_a_package(
    package: str, version: str, least: str, required: str, enough: bool
) -> None:
    assert Runtime(package=package, version=version, least=least).reaches(required) is enough


def test_an_engine_that_is_too_old_names_the_package(tiny_bundle: Path, installed: Install) -> None:
    bundle = Bundle.open(tiny_bundle)
    installed(tflite_runtime="2.13.0")
    with pytest.raises(BundleError, match=r"tflite-runtime 2\.14 or newer") as refused:
        open_engine(bundle, "tflite", threads=1)
    assert "pip install 'tflite-runtime>=2.14'" in refused.value.hint
    installed(ai_edge_litert="1.3.0")
    with pytest.raises(BundleError, match=r"ai-edge-litert 1\.4 or newer"):
        open_engine(bundle, "tflite", threads=1)


@pytest.mark.parametrize("numpy", ["2.0.0", "2.4.6"])
def test_the_older_one_beside_numpy_2_is_refused(
    numpy: str, installed: Install, tiny_parts: tuple[Manifest, dict[str, bytes]], tmp_path: Path
) -> None:
    manifest, files = tiny_parts
    alone = [entry for entry in manifest.engines if entry.runtime == "tflite"]
    bundle = write_bundle(tmp_path / "b", msgspec.structs.replace(manifest, engines=alone), files)
    installed(tflite_runtime="2.14.0", numpy=numpy)
    with pytest.raises(MissingDependencyError, match="numpy < 2") as refused:
        open_engine(bundle, "tflite", threads=1)
    assert refused.value.got == f"numpy {numpy}"
    assert "edge-difom[tflite-runtime]" in refused.value.hint
    # The bundle has no other engine, so a verification that passed it over would have compared
    # nothing.
    with pytest.raises(MissingDependencyError, match="can run here") as nothing:
        verify_bundle(bundle)
    assert f"numpy {numpy} is installed" in nothing.value.got
    (problem,) = doctor.examine().problems
    assert problem == f"tflite-runtime 2.14.0 needs numpy < 2, numpy {numpy} is installed"
    report = fit(bundle.manifest, runtimes={"tflite": find_runtime("tflite")})
    assert not report.fits
    assert problem in report.engines[0].obstacles


def test_a_build_without_xnnpack_is_refused(
    installed: Install, monkeypatch: pytest.MonkeyPatch, tiny_engine_files: dict[str, list[bytes]]
) -> None:
    package: Any = ModuleType("tflite_runtime")
    package._pywrap_tensorflow_interpreter_wrapper = SimpleNamespace(__file__=_ctypes.__file__)
    interpreter: Any = ModuleType("tflite_runtime.interpreter")
    interpreter.Interpreter = interpreter.OpResolverType = None
    monkeypatch.setitem(sys.modules, "tflite_runtime", package)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", interpreter)
    installed(tflite_runtime="2.14.0")
    with pytest.raises(MissingDependencyError, match="no XNNPACK") as refused:
        open_engine_files("tflite", tiny_engine_files["tflite"], threads=1)
    assert refused.value.got.endswith("without TfLiteXNNPackDelegateCreate")


def run_old(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(OLD_PYTHON), "-I", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_old_python
@pytest.mark.parametrize("threads", [1, 2])
def test_the_older_one_gives_the_scores_of_the_newer(
    threads: int,
    tiny_engine_files: dict[str, list[bytes]],
    tiny_scene: Callable[..., NDArray[np.uint8]],
    tmp_path: Path,
) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
    frames = np.stack([*noise, *(tiny_scene(seed) for seed in range(3))])
    paths = [tmp_path / name for name in ("model.tflite", "frames.npy", "scores.npy")]
    paths[0].write_bytes(tiny_engine_files["tflite"][0])
    np.save(paths[1], frames)
    done = run_old("-m", "edge.engines.scores_subprocess", "tflite", *paths, str(threads))
    assert done.returncode == 0, done.stderr
    settings = json.loads(done.stdout)
    assert settings["package"] == "tflite-runtime"
    assert settings["version"].startswith("2.14")
    assert settings["precision"] == "int8"
    assert settings["threads"] == threads
    engine = open_engine_files("tflite", tiny_engine_files["tflite"], threads=1)
    assert engine.settings()["package"] == "ai-edge-litert"
    expected = np.stack([engine.infer(frame).copy() for frame in frames])
    engine.close()
    np.testing.assert_array_equal(np.load(paths[2]), expected)


@needs_old_python
def test_frames_of_another_size_are_refused(
    tiny_engine_files: dict[str, list[bytes]], tmp_path: Path
) -> None:
    paths = [tmp_path / name for name in ("model.tflite", "frames.npy", "scores.npy")]
    paths[0].write_bytes(tiny_engine_files["tflite"][0])
    # A picture of one pixel would broadcast.
    np.save(paths[1], np.zeros((1, 1, 1, 3), np.uint8))
    done = run_old("-m", "edge.engines.scores_subprocess", "tflite", *paths, "1")
    assert done.returncode == 2
    assert "frames.npy does not fit the model" in done.stderr
    assert not paths[2].exists()


@needs_old_python
def test_a_device_with_the_older_one_verifies_a_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "verify.json"
    done = run_old(
        "-m", "edge_difom", "verify", "--bundle", tiny_bundle, "--engine", "tflite", "--json", path
    )
    assert done.returncode == 0, done.stderr
    (check,) = json.loads(path.read_text())["engines"]
    assert check["checked"]
    assert check["settings"]["package"] == "tflite-runtime"


@needs_old_python
def test_its_doctor_names_it() -> None:
    done = run_old("-m", "edge_difom", "doctor", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["engines"]["tflite"]["package"] == "tflite-runtime"
    assert record["extras"]["tflite-runtime"]["installed"]
    assert not record["extras"]["tflite"]["installed"]
    assert record["problems"] == []
