"""Boxes of a detection head on the device: read below the mask, shown where no mask is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from edge.bundle.manifest import Output
from edge.frame import DEFAULT_OPERATING_POINT, PLANES, Frame, Region, Result
from edge.imaging.box_maps import box_regions, mask_plane
from edge.imaging.view import restrict, whole_frame
from edge.overlay.icons import FOUND
from edge.overlay.paint import overlay
from edge.pipeline.analysis import analyze
from edge.pipeline.smoothing import Smoother, Smoothing
from edge.sinks.jsonl import frame_line
from edge.status import ReasonKind

if TYPE_CHECKING:
    from edge.bundle.manifest import Manifest
    from edge.frame import ImageU8

CELLS = 16


def output(*, mask: tuple[int, int, int, int] | None = None, **peaks: int) -> ImageU8:
    """Planes (6 * 16, 16): a mask of whole cells, and boxes of a quarter of the side at peaks."""
    planes = np.zeros((PLANES, CELLS, CELLS), np.uint8)
    if mask is not None:
        x, y, width, height = mask
        planes[0, y : y + height, x : x + width] = 250
    for place, score in peaks.items():
        row, column = (int(part) for part in place.removeprefix("at").split("_"))
        planes[1, row, column] = score
    planes[2:4], planes[4:6] = 64, 128
    return planes.reshape(PLANES * CELLS, CELLS)


class Planes:
    """An engine that returns prepared planes."""

    name, input_size, input_buffer = "planes", (64, 64), None

    def __init__(self, scores: ImageU8) -> None:
        self.scores = scores

    def infer(self, _: ImageU8) -> ImageU8:
        return self.scores

    def settings(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        return


@pytest.fixture
def manifest(tiny_parts: tuple[Manifest, dict[str, bytes]]) -> Manifest:
    changed = msgspec.structs.replace(
        tiny_parts[0], output=Output(height=CELLS, width=CELLS, boxes=True)
    )
    decoded: Manifest = msgspec.json.decode(msgspec.json.encode(changed), type=type(changed))
    return decoded


def frame(index: int = 0) -> Frame:
    return Frame(index, np.full((128, 256, 3), 100, np.uint8), index * 40_000_000)


def test_the_manifest_says_how_many_maps_an_output_has(manifest: Manifest) -> None:
    assert manifest.output.boxes
    assert (manifest.output.planes, manifest.output.map_size) == (6, (96, 16))
    plain = Output(height=CELLS, width=CELLS)
    assert (plain.planes, plain.map_size) == (1, (16, 16))


def test_boxes_are_in_pixels_of_the_frame() -> None:
    (box,) = box_regions(output(at8_4=200), (20, 10, 160, 80))
    x, y = 20 + 160 * 4.5 / 16, 10 + 80 * 8.5 / 16
    assert box.box == (round(x - 20), round(y - 10), 40, 20)
    assert box.score == pytest.approx(200 / 256)
    assert box.area == pytest.approx(1 / 16)
    assert box.contour[0] == box.box[:2]
    assert mask_plane(output(mask=(0, 0, 2, 2)), PLANES).shape == (CELLS, CELLS)


def test_a_box_is_given_where_no_mask_is(manifest: Manifest) -> None:
    engine = Planes(output(mask=(2, 2, 4, 4), at3_3=240, at12_12=150, at12_3=60))
    result = analyze(frame(), engine, manifest, clock=lambda: 1)
    assert result.reason is None
    assert result.scores is not None
    assert result.scores.shape == (CELLS, CELLS)
    assert len(result.regions) == 1
    (box,) = result.boxes
    assert box.score == pytest.approx(150 / 256)
    assert result.mask_area == pytest.approx(result.regions[0].area)
    plain = msgspec.structs.replace(manifest, output=Output(height=CELLS, width=CELLS))
    refused = analyze(frame(), engine, plain, clock=lambda: 1)
    assert refused.reason is not None
    assert refused.reason.kind == ReasonKind.DAMAGED
    stale = analyze(frame(), engine, manifest, clock=lambda: 10**9, max_age_ms=1.0)
    assert stale.boxes == ()


def test_boxes_are_drawn_recorded_and_kept_inside_the_view(manifest: Manifest) -> None:
    picture = frame()
    result = analyze(picture, Planes(output(at12_12=150)), manifest, clock=lambda: 1)
    (box,) = result.boxes
    painted = overlay(picture.image, result)
    assert (painted[box.box[1], box.box[0] + 5] == FOUND[:3]).all()
    line = frame_line(picture, result)
    assert [(item.box, item.score) for item in line.boxes] == [(box.box, 0.5859)]
    assert b'"boxes"' not in msgspec.json.encode(frame_line(picture, Result(None, (), 0.0, None)))
    view = whole_frame((128, 256))
    assert restrict(result, view).boxes == result.boxes
    dark = replace(view, mask=np.zeros((1, 1), np.uint8))
    assert restrict(result, dark).boxes == ()


def test_a_box_must_last_as_long_as_a_region() -> None:
    settings = Smoothing()
    box = Region((100, 40, 40, 30), ((100, 40), (139, 40), (139, 69), (100, 69)), 0.03, 0.8)
    boxes, regions = Smoother(settings), Smoother(settings)
    visible = []
    for index in range(12):
        now = frame(index)
        as_box = boxes.apply(now, Result(None, (), 0.0, None, boxes=(box,)))
        as_region = regions.apply(now, Result(None, (box,), 0.03, None))
        assert as_box.boxes == as_region.regions
        assert as_box.mask_area == 0
        visible.append(bool(as_box.boxes))
    assert visible[0] is False
    assert visible[-1] is True


def test_a_mask_of_planes_is_that_of_the_first(manifest: Manifest) -> None:
    """The maps below the mask never become regions."""
    result = analyze(frame(), Planes(output(at8_8=10)), manifest, clock=lambda: 1)
    assert (result.regions, result.boxes, result.mask_area) == ((), (), 0)
    assert manifest.output.point == DEFAULT_OPERATING_POINT
