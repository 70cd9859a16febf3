"""Stills: a frame with its own mask or none, black outside the view, on the disk and back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as replace_record

from edge.errors import DataError, UsageError
from edge.frame import OperatingPoint, Result
from edge.imaging.postprocess import regions
from edge.imaging.view import View, whole_frame
from edge.pipeline.analysis import refuse_stale
from edge.status import Reason, ReasonKind
from edge.stills.files import read_still, write_still
from edge.stills.still import shown_mask
from tests.support.stills import WHO, circle, frame, full, result, still

if TYPE_CHECKING:
    from pathlib import Path

SIZES = [(64, 96), (67, 101), (241, 319)]


@pytest.mark.parametrize("size", SIZES)
def test_a_still_comes_back_from_the_disk_as_it_was(size: tuple[int, int], tmp_path: Path) -> None:
    original = still(size)
    write_still(original, tmp_path / "still")
    back = read_still(tmp_path / "still")
    assert replace_record(back.record, files={}) == original.record
    assert (back.record.state, back.record.frame, back.record.no_mask) == ("running", 7, None)
    assert back.record.part is None
    assert back.record.bundle == WHO
    assert back.mask is not None
    assert original.mask is not None
    for one, other in (
        (back.image, original.image),
        (back.mask, original.mask),
        (back.view.mask, original.view.mask),
    ):
        np.testing.assert_array_equal(one, other)
    inside = full(circle(size)) > 0
    assert back.image[~inside].max() == 0
    np.testing.assert_array_equal(back.image[inside], frame(size).image[inside])
    assert {path.name for path in (tmp_path / "still").iterdir()} == {
        "still.json", "frame.png", "view.png", "mask.png", "scores.png",
    }  # fmt: skip
    assert (tmp_path / "still").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "still").iterdir()} == {0o600}


@pytest.mark.parametrize("size", SIZES)
def test_the_mask_holds_what_was_shown_and_nothing_else(size: tuple[int, int]) -> None:
    both = result(size, (5, 5), (10, 10))
    view = View((0, 0, size[1], size[0]), np.full((1, 1), 255, np.uint8), size)
    full_mask = shown_mask(both, view, WHO.threshold)
    reached = cv2.resize(both.scores.astype(np.float32), size[::-1]) >= 128  # type: ignore[union-attr]
    np.testing.assert_array_equal(full_mask > 0, reached)
    one = replace(both, regions=both.regions[:1])
    mask = shown_mask(one, view, WHO.threshold) > 0
    assert 0 < mask.sum() < reached.sum()
    assert not (mask & ~reached).any()
    assert cv2.connectedComponents(mask.astype(np.uint8))[0] == 2
    x, y, w, h = one.regions[0].box
    assert mask[y + h // 2, x + w // 2]
    assert shown_mask(replace(both, regions=()), view, WHO.threshold).max() == 0
    assert shown_mask(both, circle(size), WHO.threshold)[full(circle(size)) == 0].max() == 0


@settings(max_examples=40)
@given(st.integers(17, 80), st.integers(17, 80), st.integers(0, 2**32 - 1))
def test_every_region_is_in_the_mask(height: int, width: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 140, (16, 16)).astype(np.uint8)
    found_regions = regions(scores, (height, width), OperatingPoint(0.5, 0.0))
    view = whole_frame((height, width))
    mask = shown_mask(Result(scores, found_regions, 0.1, None), view, 0.5)
    for region in found_regions:
        x, y, w, h = region.box
        assert mask[max(y - 1, 0) : y + h + 1, max(x - 1, 0) : x + w + 1].any()
    assert bool(found_regions) == bool(mask.any())


def test_what_is_stale_or_has_a_reason_has_no_mask() -> None:
    original = frame()
    stale = refuse_stale(original, result(), original.captured_ns + 121_000_000, 120.0)
    assert stale.scores is not None, "the scores are there, and would fit"
    for judged, why in (
        (stale, "stale: 121 ms old"),
        (
            Result(None, (), 0.0, Reason(ReasonKind.FREEZE, "the same picture for 0.6 s")),
            "freeze: the same picture for 0.6 s",
        ),
        (Result(None, (), 0.0, None), "no inference ran"),
    ):
        empty = still(shown=judged)
        assert (empty.mask, empty.scores, empty.record.bundle) == (None, None, None)
        assert empty.record.no_mask == why
        assert empty.record.regions == []


def test_without_a_polyp_the_mask_is_there_and_empty(tmp_path: Path) -> None:
    write_still(still(shown=replace(result(), regions=(), mask_area=0.0)), tmp_path / "s")
    back = read_still(tmp_path / "s")
    assert back.record.no_mask is None
    assert back.mask is not None
    assert back.mask.max() == 0


def test_what_is_no_still_or_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with pytest.raises(DataError, match="is not a still"):
        read_still(path)
    write_still(still(), path)
    with pytest.raises(UsageError, match="exists already"):
        write_still(still(), path)
    record = (path / "still.json").read_bytes()
    for text, says in (
        (b"{}", "cannot be read"),
        (b"\xff", "cannot be read"),
        (record.replace(b'"schema": 2', b'"schema": 1'), "different schema"),
        (record.replace(b'"frame": 7', b'"polyps": 7'), "cannot be read"),
        (
            record.replace(b'"size": [', b'"size": [1'),
            "cannot be read|is not an image of this still",
        ),
    ):
        (path / "still.json").write_bytes(text)
        with pytest.raises(DataError, match=says):
            read_still(path)
    (path / "still.json").write_bytes(record)
    (path / "mask.png").write_bytes((path / "frame.png").read_bytes())
    with pytest.raises(DataError, match=r"mask\.png was changed"):
        read_still(path)
    (path / "mask.png").unlink()
    with pytest.raises(DataError, match=r"mask\.png cannot be read"):
        read_still(path)
