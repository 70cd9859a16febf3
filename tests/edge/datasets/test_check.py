"""A look at data folders before a training."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edge.datasets.check import check_folders
from edge.datasets.contact_sheet import CELL, contact_sheet
from edge.datasets.phantom.render import write_dataset
from edge.errors import DataError
from edge_difom.cli.data import check

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "set", train=6, validation=3, negatives=1, seed=3, size=(96, 128))
    shutil.rmtree(tmp_path / "set" / "negatives", ignore_errors=True)
    return tmp_path / "set"


def test_a_good_folder_has_no_findings(data: Path, tmp_path: Path) -> None:
    report, checked = check_folders([data])
    assert report.findings == []
    assert [(part.part, part.frames) for part in report.parts] == [("train", 6), ("validation", 3)]
    assert report.parts[1].with_polyp == 3
    sheet = cv2.imdecode(np.frombuffer(contact_sheet(checked[0].pairs), np.uint8), 1)
    assert sheet is not None
    assert sheet.shape == (CELL[0], 6 * CELL[1], 3)
    result = CliRunner().invoke(check, [str(data), "--sheet", str(tmp_path / "s.png")])
    assert result.exit_code == 0
    assert (tmp_path / "s.png").is_file()


def test_everything_that_is_wrong_is_said_at_once(data: Path) -> None:
    train, validation = data / "train", data / "validation"
    images = {part: sorted((part / "images").iterdir()) for part in (train, validation)}
    masks = sorted((train / "masks").iterdir())
    shutil.copy(images[train][0], images[validation][0])
    shutil.copy(images[train][1], images[train][2])
    mask = cv2.imread(str(masks[3]), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    cv2.imwrite(str(masks[3]), 255 - mask)
    cv2.imwrite(str(masks[4]), mask[:40])
    masks[5].write_bytes(b"")
    report, _ = check_folders([data])
    texts = [finding.text for finding in report.errors]
    assert len(texts) == 3
    assert any("does not fit its image" in text for text in texts)
    assert any("is not a readable image" in text for text in texts)
    assert any("validates on what it learns" in text for text in texts)
    warned = [finding.text for finding in report.findings if finding.kind == "warning"]
    assert any("black and white swapped" in text for text in warned)
    assert any("the same picture twice" in text for text in warned)
    with pytest.raises(DataError, match="3 errors in the data"):
        CliRunner().invoke(check, [str(data)], catch_exceptions=False, standalone_mode=False)


def test_folders_without_polyps_or_partners_are_errors(data: Path, tmp_path: Path) -> None:
    for path in (data / "validation" / "masks").iterdir():
        mask = cv2.imread(str(path))
        assert mask is not None
        cv2.imwrite(str(path), 0 * mask)
    (tmp_path / "empty").mkdir()
    report, _ = check_folders([data, tmp_path / "empty"])
    assert any("no mask of 3 shows a polyp" in finding.text for finding in report.errors)
    assert any("is missing" in finding.text for finding in report.errors)


def test_a_sheet_with_pictures_is_its_owners_alone(data: Path, tmp_path: Path) -> None:
    sheet, before = tmp_path / "sheet.png", os.umask(0)
    try:
        CliRunner().invoke(check, [str(data), "--sheet", str(sheet)], catch_exceptions=False)
    finally:
        os.umask(before)
    assert sheet.stat().st_mode & 0o777 == 0o600
