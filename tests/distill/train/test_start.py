"""What a training looks at before it begins: its data, its folder, its size."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest

from distill.config import make_config, resolve_config
from distill.data.digests import data_digest
from distill.data.load import open_data
from distill.data.split_record import read_splits, write_splits
from distill.data.splits import load_splits
from distill.run_lock import owned_run, sole_trainer
from distill.run_progress import LOCK
from distill.train.runs import resume_run, start_run
from edge.errors import BusyError, DataError
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from distill.config import DistillConfig


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def fill(root: Path, polyps: list[bool], seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for number, polyp in enumerate(polyps):
        mask = np.zeros((72, 80), np.uint8)
        if polyp:
            cv2.circle(mask, (40, 36), 14, 255, cv2.FILLED)
        image = cv2.merge([mask // 3, mask // 4, mask // 2]) + rng.integers(0, 60, (72, 80, 3))
        cv2.imwrite(str(root / "images" / f"{number}.png"), image.astype(np.uint8))
        cv2.imwrite(str(root / "masks" / f"{number}.png"), mask)
    return root


def config(*roots: Path, **changes: Any) -> DistillConfig:
    settings = {"student": "edge-xs", "recipe": "none", "size": 64, "epochs": 1, "batch_size": 2}
    return make_config(
        {**settings, "data": [str(root) for root in roots], "pretrained": False, **changes}
    )


def status(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_validation_set_without_a_polyp_is_refused(tmp_path: Path) -> None:
    """A validation set without a polyp is refused before training."""
    fill(tmp_path / "data" / "train", [True] * 4)
    fill(tmp_path / "data" / "validation", [False, False], seed=1)
    with pytest.raises(DataError, match="no validation frame has a polyp") as caught:
        start_run(config(tmp_path / "data"), out=tmp_path / "run")
    assert str(tmp_path / "data" / "validation" / "masks") in caught.value.got
    assert not (tmp_path / "run").exists()


def test_frames_on_both_sides_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = fill(tmp_path / "first" / "train", [True] * 4).parent
    fill(tmp_path / "first" / "validation", [True] * 2, seed=1)
    open_data(config(first))
    assert "also trained on" not in caplog.text
    shutil.copy(first / "train" / "images" / "2.png", first / "validation" / "images" / "1.png")
    open_data(config(first))
    assert "1 of 2 validation frames are also trained on" in caplog.text


def test_swapped_masks_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = fill(tmp_path / "data", [True] * 4)
    for path in (root / "masks").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        cv2.imwrite(str(path), 255 - mask)
    open_data(config(root, val_fraction=0.25, field_of_view="full-frame"))
    assert "touch all four edges in 3 of 3 frames" in caplog.text


def test_a_resumed_run_keeps_its_split(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", [True] * 8)
    run = start_run(config(root, val_fraction=0.3), out=tmp_path / "run")
    before = (run / "splits.json").read_bytes()
    fill(root, [True] * 12)  # the same eight and four more
    resume_run(run)
    assert (run / "splits.json").read_bytes() == before
    (root / "images" / "3.png").unlink()
    with pytest.raises(DataError, match="not those that"):
        resume_run(run)


def test_the_record_of_a_split_notices_changed_files(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", [True] * 6)
    splits = load_splits([root], val_fraction=0.3)
    path = tmp_path / "run" / "splits.json"
    write_splits(path, splits)
    assert json.loads(path.read_text())["data_digest"] == data_digest(splits.samples())
    assert read_splits(path) == splits
    changed = Path(splits.train[0].mask)
    before = changed.read_bytes()
    changed.write_bytes(before + b" ")
    with pytest.raises(DataError, match=r"not those that .*run was trained on") as caught:
        read_splits(path)
    assert f"1 changed: {changed}" in caught.value.got
    changed.unlink()
    with pytest.raises(DataError, match=r"not those that .*run was trained on") as caught:
        read_splits(path)
    assert f"1 missing: {changed}" in caught.value.got
    with pytest.raises(DataError, match="does not say which frames"):
        read_splits(tmp_path / "splits.json")


def test_a_split_without_digests_is_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    splits = load_splits([fill(tmp_path / "data", [True] * 4)], val_fraction=0.3)
    (tmp_path / "splits.json").write_bytes(msgspec.json.encode(splits))
    assert read_splits(tmp_path / "splits.json") == splits
    assert "cannot be noticed" in caplog.text


def test_a_test_part_is_not_used_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        fill(tmp_path / "data" / part, [True] * count)
    splits = load_splits([tmp_path / "data"])
    assert (len(splits.train), len(splits.validation)) == (3, 2)
    assert "test neither trains nor validates" in caplog.text


def test_without_a_validation_part_the_hint_is_to_make_one(tmp_path: Path) -> None:
    fill(tmp_path / "data" / "train", [True] * 3)
    with pytest.raises(DataError, match="no frame is left to validate on") as caught:
        load_splits([tmp_path / "data"])
    assert str(tmp_path / "data" / "validation") in caught.value.hint


def test_a_folder_in_which_another_process_trains_is_refused(tmp_path: Path) -> None:
    root, run = fill(tmp_path / "data", [True] * 4), tmp_path / "run"
    run.mkdir()
    with sole_trainer(run / LOCK), pytest.raises(BusyError, match="a different process trains in"):
        start_run(config(root), out=run)
    start_run(config(root), out=run)
    with sole_trainer(run / LOCK), pytest.raises(BusyError, match="a different process trains in"):
        resume_run(run)


def test_two_runs_of_one_second_have_two_folders(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.strftime", lambda _: "20300101-000000")
    with owned_run(None, "edge-xs") as first, owned_run(None, "edge-xs") as second:
        assert {first, second} == {
            runs / "distill" / f"20300101-000000-{name}" for name in ("edge-xs", "edge-xs-2")
        }
    assert not first.exists()


@pytest.mark.parametrize("size", [300, 8])
def test_a_size_that_does_not_fit_is_a_usage_error(
    size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = fill(tmp_path / "data", [True] * 4)
    assert (
        status("distill", "--data", root, "--student", "edge-s", "--recipe", "none", "--size", size)
        == 2
    )
    assert f"size {size} does not fit edge-s" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--set", "scales=["),
        ("--set", "lr=.inf"),
        ("--set", "data=[[x]]"),
        ("--seed", 2**64),
        ("--config", "latin1.yaml"),
        ("--config", "nested.yaml"),
    ],
    ids=str,
)
def test_settings_of_another_type_are_usage_errors(
    arguments: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin1.yaml").write_bytes("size: 64 # H\xf4pital".encode("latin-1"))
    (tmp_path / "nested.yaml").write_text("data:\n  - [data]\n")
    data = () if "data" in str(arguments) or "yaml" in str(arguments[1]) else ("--data", tmp_path)
    assert status("distill", *data, *arguments) == 2


def test_one_folder_may_be_given_as_text(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"data: {tmp_path}\n")
    assert resolve_config(tmp_path / "c.yaml", {}).data.folders == [str(tmp_path)]
    assert resolve_config(None, {"data": str(tmp_path)}).data.folders == [str(tmp_path)]


def test_a_full_disk_is_named_and_has_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    root = fill(tmp_path / "data", [True] * 4)
    open_data(config(root))
    monkeypatch.setattr(os, "fsync", full)
    arguments = (
        "--student",
        "edge-xs",
        "--recipe",
        "none",
        "--size",
        64,
        "--set",
        "pretrained=false",
    )
    assert status("distill", "--data", root, *arguments, "--out", tmp_path / "run") == 11
    message = f"{tmp_path / 'run' / 'resolved.yaml'} cannot be written: the disk is full"
    assert message in capsys.readouterr().err
