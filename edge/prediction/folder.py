"""Predict every image of a folder: PNG masks, contours as COCO JSON, and areas as CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import msgspec

from edge.bundle.manifest import RESEARCH_USE
from edge.datasets.image_files import SUFFIXES, read_image
from edge.errors import DataError
from edge.util.files import PRIVATE_FILE, PRIVATE_FOLDER, atomic_dir, atomic_write
from edge.util.natural_order import natural_key
from edge.util.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.prediction.predictor import Prediction, Predictor
    from edge.util.progress import Reporter

MASKS, CONTOURS, AREAS = "masks", "contours.json", "areas.csv"
_CATEGORY = {"id": 1, "name": "polyp"}
"""Masks of patients are for their owner only."""


class PredictedFolder(msgspec.Struct, frozen=True, kw_only=True):
    """Summary of a predicted folder.

    Attributes:
        bundle: Name of the bundle.
        digest: SHA-256 of its manifest.
        engine: The engine that ran.
        threshold: Lowest score of a mask pixel.
        n: Number of images.
        with_regions: Images with at least one region.
        not_judged: Images without a verdict -> the reason.
        unreadable: Files that are not readable images -> the reason.
    """

    bundle: str
    digest: str
    engine: str
    threshold: float
    n: int
    with_regions: int
    not_judged: dict[str, str]
    unreadable: dict[str, str]


class _Row(NamedTuple):
    name: str
    size: tuple[int, int]
    found: Prediction


def find_images(folder: Path) -> list[Path]:
    """Find the images of a folder in natural order; folders, pipes and broken links are left out.

    Raises:
        DataError: The folder does not exist or holds no image, or two images have the same name
            before the suffix and would share a mask.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder", expected="a folder of images")
    images = sorted(
        (
            path
            for path in folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
        ),
        key=lambda path: natural_key(path.name),
    )
    if not images:
        raise DataError(
            f"{folder} holds no image",
            expected=f"files ending in {', '.join(sorted(SUFFIXES))}",
        )
    by_stem: dict[str, Path] = {}
    for path in images:
        first = by_stem.setdefault(path.stem, path)
        if first is not path:
            raise DataError(
                f"{first.name} and {path.name} would share the mask {path.stem}.png",
                expected="one image for each name",
                hint="rename or move one of them",
            )
    return images


def predict_folder(
    predictor: Predictor,
    images: Sequence[Path],
    out: Path,
    *,
    force: bool = False,
    report: Reporter = silent,
) -> PredictedFolder:
    """Write `masks/NAME.png`, `contours.json` and `areas.csv` for images, all or nothing.

    An image that cannot be read is named in the result and in `areas.csv` and has no mask; an image
    that was not judged has none either, because an empty mask would say "no polyp".

    Args:
        predictor: An open predictor.
        images: From `find_images`.
        out: Folder to create, readable only by its owner.
        force: Replace `out`.
        report: Shows the progress.

    Raises:
        UsageError: `out` exists and `force` is not set.
        DataError: No image could be read.
    """
    rows: list[_Row] = []
    unreadable: dict[str, str] = {}
    with atomic_dir(out, force=force, mode=PRIVATE_FOLDER) as folder:
        (folder / MASKS).mkdir(mode=PRIVATE_FOLDER)
        with report(len(images), "predict") as bar:
            for path in images:
                try:
                    image = read_image(path)
                except DataError as error:
                    unreadable[path.name] = error.got or error.what
                else:
                    prediction = predictor.predict(image)
                    if prediction.reason is None:
                        _write_mask(folder / MASKS / f"{path.stem}.png", prediction)
                    rows.append(_Row(path.name, (image.shape[0], image.shape[1]), prediction))
                bar.update()
        if not rows:
            raise DataError("no image could be read", got=next(iter(unreadable.values()), ""))
        contours = json.dumps(_coco(rows, predictor), ensure_ascii=False)
        atomic_write(folder / CONTOURS, contours, mode=PRIVATE_FILE)
        atomic_write(folder / AREAS, _table(rows, unreadable), mode=PRIVATE_FILE)
    return PredictedFolder(
        bundle=predictor.bundle.manifest.name,
        digest=predictor.bundle.digest,
        engine=predictor.engine.name,
        threshold=predictor.bundle.manifest.output.threshold,
        n=len(rows),
        with_regions=sum(bool(row.found.regions) for row in rows),
        not_judged={row.name: row.found.reason for row in rows if row.found.reason is not None},
        unreadable=unreadable,
    )


def _write_mask(path: Path, prediction: Prediction) -> None:
    done, data = cv2.imencode(".png", prediction.mask)
    assert done, f"no PNG of {prediction.mask.shape}"
    atomic_write(path, data.tobytes(), mode=PRIVATE_FILE)


def _coco(rows: Sequence[_Row], predictor: Predictor) -> dict[str, Any]:
    """The regions in COCO's format for instance segmentation, with polygons in pixels."""
    pictures: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, row in enumerate(rows, 1):
        height, width = row.size
        pictures.append({"id": number, "file_name": row.name, "height": height, "width": width})
        for region in row.found.regions:
            # A polygon has at least three corners; a region of one or two pixels has its box.
            outline, (x, y, w, h) = region.contour, region.box
            if len(outline) < 3:
                outline = ((x, y), (x + w, y), (x + w, y + h), (x, y + h))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": _CATEGORY["id"],
                    "segmentation": [[float(value) for point in outline for value in point]],
                    "bbox": [float(value) for value in region.box],
                    "area": int((row.found.mask[y : y + h, x : x + w] > 0).sum()),
                    "iscrowd": 0,
                    "score": round(region.score, 4),
                }
            )
    manifest = predictor.bundle.manifest
    return {
        "info": {
            "description": RESEARCH_USE,
            "bundle": manifest.name,
            "bundle_sha256": predictor.bundle.digest,
            "engine": predictor.engine.name,
            "threshold": manifest.output.threshold,
        },
        "images": pictures,
        "annotations": annotations,
        "categories": [_CATEGORY],
    }


def _table(rows: Sequence[_Row], unreadable: dict[str, str]) -> str:
    """One line per image; `area` is the share of the part that the model saw, 0 to 1."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["name", "width", "height", "regions", "area", "score", "reason"])
    for row in rows:
        height, width = row.size
        prediction = row.found
        judged = prediction.reason is None
        score = max((region.score for region in prediction.regions), default=0.0)
        table.writerow(
            [
                row.name,
                width,
                height,
                len(prediction.regions) if judged else "",
                f"{prediction.area:.6f}" if judged else "",
                f"{score:.4f}" if judged else "",
                prediction.reason or "",
            ]
        )
    for name, reason in unreadable.items():
        table.writerow([name, "", "", "", "", "", f"unreadable: {reason}"])
    return text.getvalue()
