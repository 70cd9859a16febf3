"""Teachers that cannot teach: one clear error each, before any other teacher is run."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
import transformers

from distill.config import make_config
from distill.data import image_store, teacher_maps
from distill.teachers.cache.rows import TeacherRows
from distill.train.runs import start_run
from edge.datasets.phantom.render import write_dataset
from edge.errors import DataError, EdgeDifomError, MissingDependencyError, UsageError
from tests.support.tiny_teachers import dinov2, sam_vision

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "efficientnet_lite2?size=64"


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def begun_teachers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the teachers that have begun to fill their caches."""
    begun: list[str] = []
    original = TeacherRows.make

    def recorded(self: TeacherRows, *arguments: Any) -> Any:
        begun.append(self.teacher.name)
        return original(self, *arguments)

    monkeypatch.setattr(TeacherRows, "make", recorded)
    return begun


def config(tmp_path: Path, bad: str, **changes: Any) -> Any:
    data = tmp_path / "data"
    if not data.is_dir():
        write_dataset(data, train=4, validation=2, negatives=0, seed=1, size=(72, 72))
    settings = {"data": [str(data)], "student": "edge-xs", "size": 64, "pretrained": False}
    return make_config(settings | {"epochs": 1, "teachers": [GOOD, bad]} | changes)


def constant(folder: Path) -> str:
    """A DINOv2 whose last normalization gives its bias alone, whatever the frame is."""
    network = dinov2()
    with torch.no_grad():
        network.layernorm.weight.zero_()
        network.layernorm.bias.copy_(torch.arange(32.0))
    network.save_pretrained(folder)
    return f"dinov2:{folder}?size=56"


def test_constant_maps_are_named_and_not_called_blank(
    tmp_path: Path, begun_teachers: list[str]
) -> None:
    bad = constant(tmp_path / "constant")
    with pytest.raises(DataError, match="teacher dinov2 gives the same map for every") as caught:
        start_run(config(tmp_path, bad), out=tmp_path / "run")
    assert "weights are random, missing or of a different network" in caught.value.hint
    assert "blank" not in str(caught.value)
    assert begun_teachers == []
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match="teacher dinov2 gives the same map"):
        start_run(config(tmp_path, bad, teachers=[bad]), out=tmp_path / "run")
    assert begun_teachers == ["dinov2"]


def no_hub(_: str, *, local_files_only: bool) -> None:
    raise OSError("We couldn't connect to the hub")


@pytest.mark.parametrize("label_free", [False, True])
@pytest.mark.parametrize(
    ("spec", "kind", "words"),
    [
        ("dinov2:SAM", DataError, "holds another model"),
        ("dinov2:DINO?size=100", UsageError, "a size of 100 pixels does not fit"),
        ("dinov2:someone/something", MissingDependencyError, "could not be had from the Hugging"),
    ],
    ids=["architecture", "patch", "hub"],
)
def test_a_teacher_that_cannot_be_loaded_is_refused_first(
    tmp_path: Path,
    begun_teachers: list[str],
    monkeypatch: pytest.MonkeyPatch,
    spec: str,
    kind: type[EdgeDifomError],
    words: str,
    label_free: bool,
) -> None:
    sam_vision().save_pretrained(tmp_path / "SAM")
    dinov2().save_pretrained(tmp_path / "DINO")
    if "someone" in spec:
        monkeypatch.setattr(transformers.PretrainedConfig, "get_config_dict", no_hub)
    bad = spec.replace("SAM", str(tmp_path / "SAM")).replace("DINO", str(tmp_path / "DINO"))
    changes: dict[str, Any] = {}
    if label_free:
        changes["images"] = [str(tmp_path / "data" / "train")]
    with pytest.raises(kind, match=words) as caught:
        start_run(config(tmp_path, bad, **changes), out=tmp_path / "run")
    assert caught.value.expected
    assert begun_teachers == []


def test_too_little_disk_is_told_before_a_teacher_is_run(
    tmp_path: Path, begun_teachers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dinov2().save_pretrained(tmp_path / "DINO")
    settings = config(tmp_path, f"dinov2:{tmp_path / 'DINO'}?size=56")
    full = type("Usage", (), {"free": 1000})
    original = image_store.require_space

    def for_maps(where: Path, needed: int, what: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _: full)
            original(where, needed, what)

    monkeypatch.setattr(teacher_maps, "require_space", for_maps)
    with pytest.raises(DataError, match=r"not enough room in .* for the teachers' maps") as caught:
        start_run(settings, out=tmp_path / "run")
    assert "GB free" in caught.value.got
    assert begun_teachers == []
    assert not (tmp_path / "run").exists()
