"""Frames with boxes: every format of annotations gives the same boxes, and masks win."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from distill.data.boxed import load_boxed
from distill.data.load import draw_splits
from distill.data.split_record import read_splits, write_splits
from distill.data.splits import Sample
from distill.options import DataOptions
from edge.datasets.convert.read import read_annotations
from edge.datasets.convert.write import write_folder
from edge.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

H, W = 60, 80
BOX = (20, 15, 40, 45)
SHARES = (20 / W, 15 / H, 40 / W, 45 / H)
INSIDE = {"xmin": 20, "ymin": 15, "xmax": 40, "ymax": 45}


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(60, 200, (H, W, 3)).astype(np.uint8)
    cv2.imwrite(str(path), image)


def coco(folder: Path, **entry: Any) -> Path:
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": W, "height": H}],
        "annotations": [{"image_id": 1, "bbox": [20, 15, 20, 30]} | entry],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    return folder / "coco.json"


def yolo(folder: Path) -> Path:
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text(f"0 {30 / W} {30 / H} {20 / W} {30 / H}\n")
    return folder


def voc(folder: Path) -> Path:
    corners = "".join(f"<{key}>{value}</{key}>" for key, value in INSIDE.items())
    text = f"<filename>a.png</filename><object><name>p</name><bndbox>{corners}</bndbox></object>"
    (folder / "a.xml").write_text(f"<annotation>{text}</annotation>")
    return folder / "a.xml"


def table(folder: Path) -> Path:
    (folder / "boxes.csv").write_text("filename,xmin,ymin,xmax,ymax\na.png,20,15,40,45\n")
    return folder / "boxes.csv"


def kvasir(folder: Path) -> Path:
    content = {"a": {"height": H, "width": W, "bbox": [{"label": "polyp", **INSIDE}]}}
    (folder / "kavsir_bboxes.json").write_text(json.dumps(content))
    return folder / "kavsir_bboxes.json"


def own(folder: Path) -> Path:
    """What `data convert` makes of boxes."""
    write_folder(read_annotations(table(folder))[1], folder.parent / "own")
    return folder.parent / "own"


@pytest.mark.parametrize("write", [coco, yolo, voc, table, kvasir, own])
def test_every_format_gives_the_same_boxes(write: Any, tmp_path: Path) -> None:
    picture(tmp_path / "src" / "images" / "a.png")
    (sample,) = load_boxed([write(tmp_path / "src")], [], rule="full-frame")
    assert sample.mask == ""
    assert sample.image.endswith("/images/a.png")
    assert np.allclose(sample.boxes, [SHARES])


def test_boxes_are_shares_of_the_part_that_the_student_sees(tmp_path: Path) -> None:
    image = np.zeros((240, 400, 3), np.uint8)
    rng = np.random.default_rng(0)
    image[40:200, 100:300] = rng.integers(90, 200, (160, 200, 3))
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), image)
    (tmp_path / "b.csv").write_text("filename,xmin,ymin,xmax,ymax\na.png,150,80,250,160\n")
    (full_frame,) = load_boxed([tmp_path / "b.csv"], [], rule="full-frame")
    (view,) = load_boxed([tmp_path / "b.csv"], [], rule="view")
    assert np.allclose(full_frame.boxes[0], [150 / 400, 80 / 240, 250 / 400, 160 / 240])
    left, _, right, _ = view.boxes[0]
    assert right - left > 0.4 > full_frame.boxes[0][2] - full_frame.boxes[0][0]


def test_a_picture_with_a_mask_keeps_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "images" / f"{name}.png")
    path = tmp_path / "boxes.csv"
    path.write_text("filename,xmin,ymin,xmax,ymax\na.png,20,15,40,45\nb.png,20,15,40,45\n")
    masked = Sample(str(tmp_path / "images" / "a.png"), "mask", "x", "x/a")
    (sample,) = load_boxed([path], [masked], rule="full-frame")
    assert sample.image.endswith("b.png")
    other = Sample(str(tmp_path / "images" / "b.png"), "mask", "x", "x/b")
    with pytest.raises(DataError, match="no picture with boxes is left"):
        load_boxed([path], [masked, other], rule="full-frame")


def test_outlines_count_as_their_boxes_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture(tmp_path / "a.png")
    outline = [20, 15, 40, 15, 40, 45, 20, 45]
    with caplog.at_level(logging.WARNING):
        (sample,) = load_boxed([coco(tmp_path, segmentation=[outline])], [], rule="full-frame")
    assert np.allclose(sample.boxes, [SHARES])
    assert "only the boxes are used" in caplog.text


def test_wrong_boxes_are_data_errors(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    path = table(tmp_path)
    with pytest.raises(DataError, match="annotated twice"):
        load_boxed([path, voc(tmp_path)], [], rule="full-frame")
    path.write_text("filename,xmin,ymin,xmax,ymax\na.png,200,150,240,245\n")
    with pytest.raises(DataError, match="outside of the picture"):
        load_boxed([path], [], rule="full-frame")
    kvasir(tmp_path).write_text(json.dumps({"a": {"height": 2 * H, "width": W, "bbox": [INSIDE]}}))
    with pytest.raises(DataError, match="is not the picture"):
        load_boxed([tmp_path / "kavsir_bboxes.json"], [], rule="full-frame")
    (tmp_path / "boxes.json").write_text('[{"image": "a.png", "boxes": 3}]')
    with pytest.raises(DataError, match="not a list of boxes"):
        load_boxed([tmp_path / "boxes.json"], [], rule="full-frame")


def test_boxes_are_part_of_the_split_and_of_its_record(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        picture(tmp_path / "data" / "images" / f"{name}.png", seed=ord(name))
        (tmp_path / "data" / "masks").mkdir(exist_ok=True)
        mask = np.zeros((H, W), np.uint8)
        mask[20:40, 30:50] = 255
        cv2.imwrite(str(tmp_path / "data" / "masks" / f"{name}.png"), mask)
    picture(tmp_path / "more" / "a.png", seed=1)
    options = DataOptions(folders=[str(tmp_path / "data")], boxes=[str(table(tmp_path / "more"))])
    splits = draw_splits(options)
    assert len(splits.boxed) == 1
    write_splits(tmp_path / "splits.json", splits)
    assert read_splits(tmp_path / "splits.json", unlabeled=True) == splits
    assert read_splits(tmp_path / "splits.json").boxed == []
    unlabeled = DataOptions(
        folders=options.folders, boxes=options.boxes, unlabeled=[str(tmp_path / "more")]
    )
    with pytest.raises(DataError, match="is unlabeled and has boxes"):
        draw_splits(unlabeled)
