"""Masks, contours and areas of a folder of images, against what the tiny student finds."""

from __future__ import annotations

import csv
import json
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

import edge_difom as ed
from edge.datasets.image_files import read_image
from edge.errors import DataError, UsageError
from edge.prediction.folder import find_images, predict_folder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.bundle.reader import Bundle


Scene = Callable[..., "NDArray[np.uint8]"]


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return ed.open_bundle(tiny_bundle)


@pytest.fixture
def images(tmp_path: Path, tiny_scene: Scene) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, polyp in (("10.png", True), ("2.png", False), ("é 1.bmp", True)):
        done, data = cv2.imencode(
            name[-4:], tiny_scene(len(name), height=96, width=128, polyp=polyp)[..., ::-1]
        )
        assert done
        (folder / name).write_bytes(data.tobytes())
    (folder / "notes.txt").write_text("no image")
    return folder


def read_mask(path: Path) -> NDArray[np.uint8]:
    data = np.frombuffer(path.read_bytes(), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)


def test_what_is_not_a_file_is_passed_over_and_never_waited_for(images: Path) -> None:
    (images / "folder.png").mkdir()
    (images / "link.png").symlink_to("nowhere")
    os.mkfifo(images / "pipe.png")
    assert [path.name for path in find_images(images)] == ["2.png", "10.png", "é 1.bmp"]
    for name in ("folder.png", "pipe.png"):
        with pytest.raises(DataError, match=name):
            read_image(images / name)


def test_each_image_gets_its_mask_its_contours_and_its_line(
    images: Path, bundle: Bundle, tiny_scene: Scene, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with ed.load(bundle) as predictor:
        summary = predict_folder(predictor, find_images(images), out)
        alone = predictor.predict(tiny_scene(6, height=96, width=128))
    assert (summary.n, summary.with_regions) == (3, 2)
    assert summary.unreadable == summary.not_judged == {}
    assert {path.name for path in (out / "masks").iterdir()} == {"2.png", "10.png", "é 1.png"}
    masks = {path.stem: read_mask(path) for path in (out / "masks").iterdir()}
    assert {mask.shape for mask in masks.values()} == {(96, 128)}
    assert not masks["2"].any()
    assert np.array_equal(masks["10"], alone.mask)
    assert set(np.unique(masks["10"])) == {0, 255}
    coco = json.loads((out / "contours.json").read_text())
    assert [entry["file_name"] for entry in coco["images"]] == ["2.png", "10.png", "é 1.bmp"]
    assert [entry["image_id"] for entry in coco["annotations"]] == [2, 3]
    first = coco["annotations"][0]
    assert first["area"] == int((masks["10"] > 0).sum())
    filled = np.zeros((96, 128), np.uint8)
    cv2.fillPoly(filled, [np.array(first["segmentation"][0], np.int32).reshape(-1, 2)], 255)
    both, either = (
        ((filled > 0) & (masks["10"] > 0)).sum(),
        ((filled > 0) | (masks["10"] > 0)).sum(),
    )
    assert both / either > 0.9
    rows = list(csv.DictReader((out / "areas.csv").read_text().splitlines()))
    assert [row["regions"] for row in rows] == ["0", "1", "1"]
    assert float(rows[1]["area"]) == pytest.approx(alone.area, abs=1e-6)
    assert stat.S_IMODE((out / "masks" / "2.png").stat().st_mode) == 0o600


def test_what_cannot_be_read_has_no_mask_and_is_named(
    images: Path, bundle: Bundle, tmp_path: Path
) -> None:
    (images / "3.png").write_bytes((images / "2.png").read_bytes()[:80])
    with ed.load(bundle) as predictor:
        summary = predict_folder(predictor, find_images(images), tmp_path / "out")
    assert list(summary.unreadable) == ["3.png"]
    assert not (tmp_path / "out" / "masks" / "3.png").exists()
    assert "3.png,,,,,,unreadable" in (tmp_path / "out" / "areas.csv").read_text()


def test_an_image_that_was_not_judged_has_no_empty_mask(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    everywhere = np.full((96, 128, 3), (40, 40, 250), np.uint8)  # a mask over all is implausible
    cv2.imwrite(str(folder / "red.png"), everywhere)
    with ed.load(bundle) as predictor:
        summary = predict_folder(predictor, find_images(folder), tmp_path / "out")
    assert list(summary.not_judged) == ["red.png"]
    assert not list((tmp_path / "out" / "masks").iterdir())
    (row,) = csv.DictReader((tmp_path / "out" / "areas.csv").read_text().splitlines())
    assert row["regions"] == row["area"] == ""
    assert "implausible" in row["reason"]


def test_folders_that_say_nothing_are_refused(images: Path, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        find_images(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        find_images(tmp_path / "empty")
    (images / "2.jpg").write_bytes((images / "2.png").read_bytes())
    with pytest.raises(DataError, match="would share the mask"):
        find_images(images)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "a.png").write_bytes(b"\x89PNG")
    with ed.load(bundle) as predictor:
        with pytest.raises(DataError, match="no image could be read"):
            predict_folder(predictor, find_images(tmp_path / "cut"), tmp_path / "out")
        assert not (tmp_path / "out").exists()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "kept").write_text("")
        (images / "2.jpg").unlink()
        with pytest.raises(UsageError):
            predict_folder(predictor, find_images(images), tmp_path / "out")
    assert (tmp_path / "out" / "kept").exists()
