"""`onnx:cuda` and `onnx:tensorrt`: refused where they are not, certified where they are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import onnxruntime
import pytest

from edge.bundle.reader import Bundle
from edge.engines.golden_check import verify_bundle
from edge.engines.onnxruntime import DEVICES, PROVIDERS, OnnxEngine
from edge.engines.open import needs_drivers, open_engine_files, split_name
from edge.errors import MissingDependencyError, UsageError
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

Files = dict[str, list[bytes]]
THERE = set(onnxruntime.get_available_providers())


def fake_build(monkeypatch: pytest.MonkeyPatch, *used: str) -> list[Any]:
    """A build with every provider; a session uses those of `used`. Returns what sessions get."""
    asked: list[Any] = []
    real = onnxruntime.InferenceSession

    def session(model: bytes, options: Any, providers: Any) -> Any:
        asked.append(providers)
        made = real(model, options, providers=["CPUExecutionProvider"])
        names = {name: getattr(made, name) for name in ("get_inputs", "get_outputs", "io_binding")}
        return SimpleNamespace(**names, get_providers=lambda: [*used, "CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS))
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return asked


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_build_without_the_provider_is_refused(device: str, tiny_engine_files: Files) -> None:
    if DEVICES[device][0] in THERE:
        pytest.skip(f"this onnxruntime has {device}")
    with pytest.raises(MissingDependencyError, match=f"built without {device}") as refused:
        open_engine_files(f"onnx:{device}", tiny_engine_files["onnx"], threads=1)
    assert refused.value.expected == DEVICES[device][0]
    assert "CPUExecutionProvider" in refused.value.got
    assert "remove that one first" in refused.value.hint


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_provider_that_cannot_be_loaded_is_no_silent_cpu(
    device: str, tiny_engine_files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_build(monkeypatch)
    with pytest.raises(UsageError, match=f"cannot use {device}") as refused:
        open_engine_files(f"onnx:{device}", tiny_engine_files["onnx"], threads=1)
    assert refused.value.code == "onnx-device-not-found"
    assert refused.value.got == "CPUExecutionProvider"


def test_a_device_is_tried_before_those_that_run_the_rest(
    tiny_engine_files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fake_build(monkeypatch, "TensorrtExecutionProvider", "CUDAExecutionProvider")
    open_engine_files("onnx:tensorrt", tiny_engine_files["onnx"], threads=1)
    open_engine_files("onnx:tensorrt", tiny_engine_files["onnx"], threads=1, precision="f16")
    open_engine_files("onnx:cuda", tiny_engine_files["onnx"], threads=1)
    int8, half, cuda = (dict(providers) for providers in asked)
    assert list(int8) == list(PROVIDERS)
    assert list(cuda) == list(PROVIDERS[1:])
    assert int8["TensorrtExecutionProvider"] == {"trt_int8_enable": "1"}
    assert half["TensorrtExecutionProvider"]["trt_fp16_enable"] == "1"
    assert cuda["CUDAExecutionProvider"] == {"use_tf32": "0"}


def test_the_cpu_can_be_named(tiny_engine_files: Files) -> None:
    engine = open_engine_files("onnx:cpu", tiny_engine_files["onnx"], threads=1)
    assert isinstance(engine, OnnxEngine)
    assert engine.settings()["providers"] == ["CPU"]
    engine.close()
    assert not needs_drivers("onnx:cpu")


@pytest.mark.parametrize("name", ["onnx:gpu", "onnx:CUDA", "onnx:cuda.0", "tflite:cuda"])
def test_an_unknown_device_lists_those_that_exist(name: str) -> None:
    with pytest.raises(UsageError, match="unknown engine") as refused:
        split_name(name)
    assert "onnx:cuda | onnx:tensorrt" in refused.value.expected


def test_the_command_line_refuses_a_device_that_is_not_there(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "CUDAExecutionProvider" in THERE:
        pytest.skip("this onnxruntime has cuda")
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--bundle", str(tiny_bundle), "--engine", "onnx:cuda"])
    assert ended.value.code == MissingDependencyError.exit_code
    told = "".join(capsys.readouterr())
    assert "built without cuda" in told
    assert "Traceback" not in told


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_returns_the_certified_scores(device: str, tiny_bundle: Path) -> None:
    if DEVICES[device][0] not in THERE:
        pytest.skip(f"the installed onnxruntime was built without {device}")
    report = verify_bundle(Bundle.open(tiny_bundle), [f"onnx:{device}"])
    assert report.ok
    assert report.engines[0].checked
