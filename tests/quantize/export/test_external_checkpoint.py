"""Engines of checkpoints that no run of ours made."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from distill.students.build import STUDENTS, Student
from distill.students.edge import EdgeXS
from distill.weight_files import NESTED
from edge.datasets.phantom.render import render
from edge.errors import DataError, TrainingError, UsageError
from edge_difom.cli.qat import export
from quantize.certify.parity import engine_scores, torch_scores
from quantize.export.external_checkpoint import foreign_engines, load_student_file

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 64


def tiny(*, pretrained: bool = False) -> Student:
    return EdgeXS(pretrained=pretrained, width=8)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STUDENTS, "edge-xs", tiny)


@pytest.fixture
def student() -> Student:
    torch.manual_seed(0)
    return tiny().eval()


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for seed in range(count):
        cv2.imwrite(str(folder / f"{seed}.png"), render(seed, size=(72, 80)).image[..., ::-1])
    return folder


@pytest.mark.parametrize("key", ["", *NESTED])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_are_found_under_their_usual_names(
    key: str, prefix: str, student: Student, tmp_path: Path
) -> None:
    """Weights are found under the names that programs give them."""
    state = {prefix + name: value for name, value in student.state_dict().items()}
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "w.pt")
    loaded = load_student_file(tmp_path / "w.pt", "edge-xs")
    assert all(
        torch.equal(value, loaded.state_dict()[name])
        for name, value in student.state_dict().items()
    )
    assert not loaded.training


def test_what_does_not_fit_is_said(student: Student, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"

    def refused(state: object, match: str) -> None:
        torch.save(state, path)
        with pytest.raises(TrainingError, match=match) as caught:
            load_student_file(path, "edge-xs")
        assert str(path) in str(caught.value) or "finite" in match

    state = student.state_dict()
    refused({"epoch": 3}, "holds no weights")
    refused(dict(list(state.items())[1:]), "does not hold the weights of edge-xs")
    refused(state | {"more": torch.zeros(1)}, "does not hold")
    refused(
        {name: value[:1] if value.ndim else value for name, value in state.items()}, "does not hold"
    )
    name = next(name for name, value in state.items() if value.is_floating_point())
    refused(state | {name: state[name] * float("nan")}, "not finite")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        load_student_file(path, "edge-xs")
    with pytest.raises(UsageError, match="unknown student"):
        load_student_file(path, "resnet")


def test_refusals_before_the_work(student: Student, tmp_path: Path) -> None:
    torch.save(student.state_dict(), tmp_path / "w.pt")
    with pytest.raises(UsageError, match="size 50 does not fit"):
        foreign_engines(tmp_path / "w.pt", "edge-xs", 50, "f32", None)
    with pytest.raises(UsageError, match="need pictures"):
        foreign_engines(tmp_path / "w.pt", "edge-xs", SIZE, "all", None)
    with pytest.raises(DataError, match="too few"):
        foreign_engines(tmp_path / "w.pt", "edge-xs", SIZE, "int8", pictures(tmp_path / "few", 2))


@pytest.mark.slow
def test_engines_of_a_foreign_checkpoint_give_its_scores(student: Student, tmp_path: Path) -> None:
    torch.save({"state_dict": student.state_dict()}, tmp_path / "w.pt")
    folder = pictures(tmp_path / "pictures", 5)
    out = tmp_path / "engines"
    arguments = [
        str(tmp_path / "w.pt"),
        "--student",
        "edge-xs",
        "--size",
        str(SIZE),
        "--calibrate",
        str(folder),
    ]
    result = CliRunner().invoke(export, [*arguments, "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert {path.relative_to(out).parts[:2] for path in out.rglob("model.*")} >= {
        ("engines", "openvino"), ("engines", "tflite"), ("engines-f32", "openvino"), ("engines-f32",
        "tflite"),
    }  # fmt: skip
    frames = np.stack([render(seed, size=(SIZE, SIZE)).image for seed in range(3)])
    expected = torch_scores(student, frames).astype(int)
    engines = foreign_engines(tmp_path / "w.pt", "edge-xs", SIZE, "all", folder)
    for engine in engines:
        far = np.abs(engine_scores(engine, frames) - expected)
        assert far.max() <= (1 if engine.precision == "f32" else 16), engine


def test_a_file_needs_settings_and_a_folder_takes_none(tmp_path: Path) -> None:
    """A folder takes no settings of a file and a file needs them."""
    for arguments in (
        [str(tmp_path), "--student", "unet"],
        [str(tmp_path / "w.pt"), "--student", "unet"],
    ):
        with pytest.raises(UsageError):
            CliRunner().invoke(
                export,
                [*arguments, "--out", str(tmp_path / "out")],
                catch_exceptions=False,
                standalone_mode=False,
            )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {
            **state,
            "total_ops": torch.zeros(1),
            "encoder.total_params": torch.zeros(1),
        },
        lambda state: {
            "state_dict": {f"module.model.{name}": value for name, value in state.items()}
        },
        lambda state: {
            "model": {f"module._orig_mod.{name}": value for name, value in state.items()}
        },
        lambda state: {
            "state_dict": {f"model.{name}": value for name, value in state.items()}
            | {"loss_fn.weight": torch.ones(2)}
        },
        lambda state: {
            name: value for name, value in state.items() if not name.endswith("num_batches_tracked")
        },
        lambda state: {"state_dict_ema": state},
        lambda state: {"model": {"state_dict": state}},
    ],
    ids=["profiled", "two prefixes", "compiled", "loss", "no counters", "average", "twice"],
)
def test_weights_are_found_in_what_wraps_them(wrap: Any, student: Student, tmp_path: Path) -> None:
    torch.save(wrap(student.state_dict()), tmp_path / "w.pt")
    loaded = load_student_file(tmp_path / "w.pt", "edge-xs").state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in student.state_dict().items())


def test_the_network_that_is_used_of_several_is_named(
    student: Student, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If a file holds several networks, the one that is used is named."""
    state = student.state_dict()
    other = {name: torch.zeros_like(value) for name, value in state.items()}
    for content in (
        {"model_ema": other, "model": state},
        {
            f"{kind}.{name}": tensors[name]
            for kind, tensors in (("ema", other), ("net", state))
            for name in state
        },
    ):
        caplog.clear()
        torch.save(content, tmp_path / "w.pt")
        loaded = load_student_file(tmp_path / "w.pt", "edge-xs").state_dict()
        assert all(torch.equal(value, loaded[name]) for name, value in state.items())
        assert "using" in caplog.text


def test_safetensors_and_any_precision_are_read_as_float32(
    student: Student, tmp_path: Path
) -> None:
    state = student.state_dict()
    half = {key: v.half() if v.is_floating_point() else v for key, v in state.items()}
    save_file(half, tmp_path / "w.safetensors")
    loaded = load_student_file(tmp_path / "w.safetensors", "edge-xs").state_dict()
    for name, value in state.items():
        assert loaded[name].dtype == value.dtype
        torch.testing.assert_close(loaded[name], value, atol=1e-2, rtol=1e-2)
    (tmp_path / "w.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(TrainingError, match="not a readable checkpoint") as caught:
        load_student_file(tmp_path / "w.safetensors", "edge-xs")
    assert "Git LFS" in caught.value.got


def test_other_objects_and_text_are_named(student: Student, tmp_path: Path) -> None:
    state = student.state_dict()
    for value, text in (
        ({"model": state, "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        ({"model": state, "best": np.float64(0.9)}, "numpy"),
    ):
        torch.save(value, tmp_path / "w.pt")
        with pytest.raises(TrainingError, match=r"w\.pt is not a readable checkpoint") as caught:
            load_student_file(tmp_path / "w.pt", "edge-xs")
        assert "Python objects beside the weights" in caught.value.got
        assert text in caught.value.got
        assert "weights alone" in caught.value.hint
    (tmp_path / "text.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(TrainingError, match=r"text\.pt is not a readable checkpoint") as caught:
        load_student_file(tmp_path / "text.pt", "edge-xs")
    assert "Git LFS" in caught.value.got


def test_an_engine_that_litert_refuses_names_its_layer(student: Student, tmp_path: Path) -> None:
    """An engine that litert would not open is refused with its layer."""
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_var is not None
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            module.weight.data[0] *= 1e6
    torch.save(student.state_dict(), tmp_path / "wide.pt")
    with pytest.raises(TrainingError, match=r"layer \w+ cannot be computed in integers"):
        foreign_engines(tmp_path / "wide.pt", "edge-xs", SIZE, "int8", pictures(tmp_path / "p", 4))
