"""Annotations of other tools, converted to masks."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edge.datasets.convert.read import read_annotations
from edge.datasets.convert.run_length import from_coco
from edge.datasets.convert.write import write_folder
from edge.datasets.masks import read_mask
from edge.datasets.pairs import find_pairs
from edge.datasets.parts import find_parts
from edge.errors import DataError, UsageError
from edge_difom.cli.data import convert

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

H, W = 40, 60
SQUARE = [[10, 5], [30, 5], [30, 25], [10, 25]]
INSIDE = np.zeros((H, W), bool)
INSIDE[5:25, 10:30] = True


def picture(path: Path, size: tuple[int, int] = (H, W)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def runs(mask: NDArray[np.bool_]) -> list[int]:
    flat = np.concatenate([[False], mask.T.reshape(-1), [not mask.T.reshape(-1)[-1]]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(length) for length in np.diff(np.concatenate([[0], edges]))]


def compressed(counts: list[int]) -> str:
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + (bits | 32 if more else bits))
    return text


def coco(path: Path, *segmentations: Any, **entry: Any) -> Path:
    annotations = [
        {"image_id": 1, "category_id": 3, "segmentation": item, **entry} for item in segmentations
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": W, "height": H}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "polyp"}],
    }
    path.write_text(json.dumps(content))
    return path


def flat(points: list[list[int]]) -> list[int]:
    return [value for point in points for value in point]


def converted(source: Path, out: Path, stem: str = "a") -> NDArray[np.bool_]:
    write_folder(read_annotations(source)[1], out)
    return {pair.name: read_mask(pair.mask) for pair in find_pairs(out)}[stem]


def near(mask: NDArray[np.bool_]) -> bool:
    """Whether two masks differ by the outline at most, which tools place differently."""
    grown = cv2.dilate(INSIDE.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    shrunk = cv2.erode(INSIDE.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return not (mask & ~grown).any() and bool(mask[shrunk].all())


@pytest.mark.parametrize(
    "segmentation",
    [
        [flat(SQUARE)],
        {"size": [H, W], "counts": runs(INSIDE)},
        {"size": [H, W], "counts": compressed(runs(INSIDE))},
    ],
    ids=["polygon", "runs", "compressed"],
)
def test_coco(segmentation: Any, tmp_path: Path) -> None:
    picture(tmp_path / "src" / "a.jpg")
    mask = converted(coco(tmp_path / "src" / "c.json", segmentation), tmp_path / "out")
    assert near(mask)
    if isinstance(segmentation, dict):
        assert (mask == INSIDE).all()


@pytest.mark.parametrize("seed", range(5))
def test_compressed_runs_are_those_of_the_format(seed: int, tmp_path: Path) -> None:
    mask = cv2.blur(np.random.default_rng(seed).random((90, 70)), (9, 9)) > 0.5
    encoded = {"size": [90, 70], "counts": compressed(runs(mask))}
    assert (from_coco(tmp_path, encoded) == mask).all()


def test_a_split_set_of_coco_files_becomes_parts(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        picture(tmp_path / "src" / part / "a.jpg")
        coco(tmp_path / "src" / part / "_annotations.coco.json", [flat(SQUARE)])
    write_folder(read_annotations(tmp_path / "src")[1], tmp_path / "out")
    parts = find_parts(tmp_path / "out")
    assert parts is not None
    assert (len(parts.train), len(parts.validation)) == (1, 1)


def test_yolo_outlines_are_masks_and_boxes_are_boxes(tmp_path: Path) -> None:
    picture(tmp_path / "src" / "images" / "a.jpg")
    picture(tmp_path / "src" / "images" / "clean.jpg")
    label = tmp_path / "src" / "labels" / "a.txt"
    label.parent.mkdir()
    label.write_text("0 " + " ".join(f"{x / W} {y / H}" for x, y in SQUARE) + "\n")
    assert near(converted(tmp_path / "src", tmp_path / "out"))
    assert not read_mask(tmp_path / "out" / "masks" / "clean.png").any()
    label.write_text(f"0 {20 / W} {15 / H} {20 / W} {20 / H}\n")
    write_folder(read_annotations(tmp_path / "src")[1], tmp_path / "boxes")
    assert not (tmp_path / "boxes" / "masks").exists()
    first = json.loads((tmp_path / "boxes" / "boxes.json").read_text())[0]
    box = first["boxes"][0]
    assert [box[key] for key in ("x", "y", "width", "height")] == pytest.approx([10, 5, 20, 20])
    label.write_text("0 5 5 20 20 9 9\n")
    with pytest.raises(DataError, match="shares of the picture"):
        read_annotations(tmp_path / "src")


def test_labelme(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    shape = {"label": "polyp", "shape_type": "polygon", "points": SQUARE}
    content = {"shapes": [shape], "imagePath": "a.jpg", "imageWidth": W, "imageHeight": H}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert near(converted(tmp_path / "a.json", tmp_path / "out"))
    (tmp_path / "a.json").write_text(json.dumps({**content, "imageWidth": H, "imageHeight": W}))
    with pytest.raises(DataError, match="is not the picture"):
        converted(tmp_path / "a.json", tmp_path / "turned")
    assert not (tmp_path / "turned").exists()


def test_cvat_and_voc(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    points = ";".join(f"{x},{y}" for x, y in SQUARE)
    image = f'<image name="a.jpg" width="{W}" height="{H}">'
    for shape in (
        f'<polygon label="polyp" points="{points}"/>',
        '<mask label="polyp" rle="0, 400" left="10" top="5" width="20" height="20"/>',
    ):
        (tmp_path / "c.xml").write_text(f"<annotations>{image}{shape}</image></annotations>")
        assert near(converted(tmp_path / "c.xml", tmp_path / shape[1:5]))
    corners = "<xmin>10</xmin><ymin>5</ymin><xmax>30</xmax><ymax>25</ymax>"
    xml = f"<filename>a.jpg</filename><object><name>p</name><bndbox>{corners}</bndbox></object>"
    (tmp_path / "c.xml").write_text(f"<annotation>{xml}</annotation>")
    done = write_folder(read_annotations(tmp_path / "c.xml")[1], tmp_path / "voc")
    assert (done.masks, done.labels) == (False, {"p": 1})


def test_kvasir_boxes_and_tables(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.jpg")
    entry = {"label": "polyp", "xmin": 10, "ymin": 5, "xmax": 30, "ymax": 25}
    content = {"a": {"height": H, "width": W, "bbox": [entry]}}
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    assert not write_folder(read_annotations(tmp_path / "boxes.json")[1], tmp_path / "k").masks
    counts = runs(INSIDE)
    starts = np.cumsum([0, *counts])
    pairs = " ".join(f"{starts[n] + 1} {counts[n]}" for n in range(1, len(counts), 2))
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([["ImageId", "EncodedPixels"], ["a.jpg", pairs]])
    assert (converted(tmp_path / "t.csv", tmp_path / "t") == INSIDE).all()


def test_a_box_beside_masks_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    path = coco(tmp_path / "c.json", [flat(SQUARE)], None, bbox=[1, 1, 5, 5])
    with pytest.raises(DataError, match="boxes beside masks"):
        converted(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_annotations_are_data_errors(tmp_path: Path) -> None:
    path = coco(tmp_path / "c.json", [flat(SQUARE)])
    with pytest.raises(DataError, match="is not there"):
        read_annotations(path)
    picture(tmp_path / "a.jpg")
    with pytest.raises(UsageError, match="no shape is labeled stool"):
        write_folder(read_annotations(path)[1], tmp_path / "out", labels=["stool"])
    coco(path, [[1, 2, 3]])
    with pytest.raises(DataError, match="not a polygon"):
        read_annotations(path)
    coco(path, [[500, 500, 600, 500, 600, 600]])
    with pytest.raises(DataError, match="lie outside"):
        converted(path, tmp_path / "out")
    path.write_text('{"a": 1}')
    with pytest.raises(DataError, match="no format that is known"):
        read_annotations(path)
    with pytest.raises(DataError, match="does not exist"):
        read_annotations(tmp_path / "nothing")


def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    path = coco(tmp_path / "c.json", [flat(SQUARE)])
    result = CliRunner().invoke(convert, [str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "1 pictures, 1 with a polyp; shapes: polyp 1" in result.output


def test_shapes_in_shares_of_the_picture_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    for entry in (
        {"segmentation": [[0.2, 0.1, 0.5, 0.1, 0.5, 0.6]]},
        {"segmentation": [], "bbox": [0.2, 0.1, 0.3, 0.5]},
    ):
        path = coco(tmp_path / "c.json", None, **entry)
        with pytest.raises(DataError, match="smaller than a pixel"):
            read_annotations(path)


def test_names_of_pictures_are_compared_in_composed_form(tmp_path: Path) -> None:
    decomposed, composed_name = "Gera\u0308t", "Ger\u00e4t"
    picture(tmp_path / f"{decomposed}.jpg")
    path = coco(tmp_path / "c.json", [flat(SQUARE)])
    path.write_text(path.read_text().replace("a.jpg", f"{composed_name}.jpg"))
    assert read_annotations(path)[1][0].image.name == f"{decomposed}.jpg"
    picture(tmp_path / "y" / "images" / f"{decomposed}.jpg")
    labels = tmp_path / "y" / "labels"
    labels.mkdir()
    (labels / f"{composed_name}.txt").write_text("0 .2 .2 .6 .2 .6 .6")
    assert len(read_annotations(tmp_path / "y")[1][0].shapes) == 1


def test_a_black_and_white_segmentation_of_voc_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "JPEGImages" / "a.jpg")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(
        "<annotation><filename>a.jpg</filename></annotation>"
    )
    (tmp_path / "SegmentationClass").mkdir()
    assert cv2.imwrite(str(tmp_path / "SegmentationClass" / "a.png"), INSIDE.astype(np.uint8) * 255)
    assert (converted(tmp_path, tmp_path / "out") == INSIDE).all()


def test_boxes_that_do_not_fit_are_data_errors(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    outside = coco(tmp_path / "c.json", None, bbox=[500, 500, 20, 20])
    with pytest.raises(DataError, match="lies outside"):
        converted(outside, tmp_path / "out")
    (tmp_path / "k.json").write_text('{"a": {"bbox": null}}')
    with pytest.raises(DataError, match="no list of boxes"):
        read_annotations(tmp_path / "k.json")
    image = f'<image name="a.jpg" width="{W}" height="{H}">'
    edges = 'label="p" xtl="10" ytl="5" xbr="30" ybr="25"'
    (tmp_path / "c.xml").write_text(
        f'<annotations>{image}<box {edges} rotation="45"/></image></annotations>'
    )
    with pytest.raises(DataError, match="is rotated"):
        read_annotations(tmp_path / "c.xml")
    size = "<size><width>640</width><height>480</height></size>"
    corners = "<xmin>10</xmin><ymin>5</ymin><xmax>30</xmax><ymax>25</ymax>"
    xml = f"<filename>a.jpg</filename>{size}<object><name>p</name><bndbox>{corners}</bndbox>"
    (tmp_path / "c.xml").write_text(f"<annotation>{xml}</object></annotation>")
    with pytest.raises(DataError, match="is not the picture"):
        write_folder(read_annotations(tmp_path / "c.xml")[1], tmp_path / "out")


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_yolo_class_is_a_number(number: str, tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text(f"{number} .4 .4 .3 .4")
    with pytest.raises(DataError, match="is not numbers"):
        read_annotations(tmp_path)
