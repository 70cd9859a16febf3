"""What is drawn, and that nothing else changes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.frame import Box, Region, Result
from edge.overlay.icons import mark_of
from edge.overlay.paint import NOTICE, LayerPainter, layer, overlay, paint, without_frame
from edge.status import LIGHTS, Reason, ReasonKind, State, Status


def region(x: int, y: int, w: int, h: int) -> Region:
    outline = ((x, y), (x + w - 1, y), (x + w - 1, y + h - 1), (x, y + h - 1))
    return Region(box=(x, y, w, h), contour=outline, area=0.1, score=0.9)


READY = Result(scores=None, regions=(), mask_area=0.0, reason=None)
FOUND = Result(scores=None, regions=(region(200, 150, 160, 120),), mask_area=0.1, reason=None)
STALE = Result(
    scores=None,
    regions=(region(200, 150, 160, 120),),
    mask_area=0.1,
    reason=Reason(ReasonKind.STALE, "143 ms old"),
)


def noise(height: int = 480, width: int = 640) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


GONE = Reason(ReasonKind.UNPLUGGED, "gone")
STATUSES = [
    None,
    *(Status(state, Reason(ReasonKind.HANG, "250 ms"), 0) for state in State),
    Status(State.RUNNING, None, 0),
]
BOXES = st.tuples(*[st.integers(-20, 320)] * 2, *[st.integers(1, 100)] * 2)


@given(
    st.integers(32, 300),
    st.integers(32, 300),
    st.lists(BOXES, max_size=3),
    st.sampled_from([None, *(Reason(kind, "97 % of the frame") for kind in ReasonKind)]),
    st.sampled_from(STATUSES),
    st.none() | BOXES,
)
def test_pixels_outside_the_drawing_are_the_frames(
    height: int,
    width: int,
    boxes: list[Box],
    reason: Reason | None,
    status: Status | None,
    view: Box | None,
) -> None:
    result = Result(None, tuple(region(*box) for box in boxes), 0.1, reason, view)
    image = noise(height, width)
    before = image.copy()
    painted = overlay(image, result, status)
    alpha = layer((height, width), result, status)[..., 3]
    assert set(np.unique(alpha)) <= {0, 255}
    np.testing.assert_array_equal(painted[alpha == 0], image[alpha == 0])
    np.testing.assert_array_equal(image, before)


def test_the_layer_over_the_frame_is_the_overlay() -> None:
    image = noise(480, 640)
    for result in (READY, FOUND, STALE):
        painted = layer((480, 640), result)
        np.testing.assert_array_equal(
            np.where(painted[..., 3:] == 255, painted[..., :3], image), overlay(image, result)
        )


def test_the_drawing_stays_in_its_bands() -> None:
    alpha = layer((480, 640), FOUND)[..., 3] > 0
    allowed = np.zeros((480, 640), bool)
    for y, x in ((0, 0), (0, 590), (430, 0), (430, 590)):
        allowed[y : y + 50, x : x + 50] = True  # corners and glyph
    allowed[440:, :400] = True  # notice
    allowed[145:275, 195:365] = True  # region
    allowed[155:265, 205:355] = False  # but not its inside
    assert not (alpha & ~allowed).any()
    assert alpha.mean() < 0.03


def test_an_outline_is_bright_on_dark_where_a_mask_may_be() -> None:
    """An outline is bright on dark and only where a mask may be drawn."""
    black = np.zeros((480, 640, 3), np.uint8)
    row = overlay(black, FOUND)[140:160, 280]
    assert row[:, 1].max() == 255
    assert (np.abs(row.astype(int) - (24, 16, 16)).sum(axis=1) == 0).any(), "a dark rim"
    for nothing in (READY, STALE):
        painted = layer((480, 640), nothing)
        assert painted[100:430, 60:580].max() == 0


def test_the_glyph_tells_the_states_apart_without_colour() -> None:
    shapes = [layer((480, 640), result)[:40, :200, 3] for result in (READY, FOUND, STALE)]
    other = Result(
        None, (), 0.0, Reason(ReasonKind.IMPLAUSIBLE, "the mask covers 97 % of the frame")
    )
    shapes.append(layer((480, 640), other)[:40, :200, 3])
    for i, one in enumerate(shapes):
        for another in shapes[i + 1 :]:
            assert (one != another).sum() > 50


@pytest.mark.parametrize(
    ("status", "reason", "word"),
    [
        (None, ReasonKind.LATE, "-- LATE"),
        (Status(State.RUNNING, None, 0), ReasonKind.LATE, "-- LATE"),
        (Status(State.DEGRADED, Reason(ReasonKind.WARM), 0), ReasonKind.LATE, "-- DEGRADED: LATE"),
        (Status(State.DEGRADED, Reason(ReasonKind.WARM), 0), None, "DEGRADED: WARM"),
        (Status(State.PAUSED, Reason(ReasonKind.BLACK), 0), ReasonKind.BLACK, "-- PAUSED: BLACK"),
        (
            Status(State.BYPASS, Reason(ReasonKind.EXHAUSTED), 0),
            ReasonKind.BLACK,
            "-- BYPASS: EXHAUSTED",
        ),
    ],
)
def test_a_frame_that_nobody_judged_gets_dashes_and_the_reason(
    status: Status | None, reason: ReasonKind | None, word: str
) -> None:
    result = Result(None, (), 0.0, None if reason is None else Reason(reason))
    assert mark_of(result, status)[1] == word


def test_a_box_without_a_mask_is_found_too() -> None:
    assert mark_of(Result(None, (), 0.0, None, boxes=FOUND.regions), None)[1] == "found"
    assert mark_of(Result(None, (), 0.0, None), None)[1] == ""


def test_every_state_has_a_sign_of_its_own() -> None:
    signs = [
        layer((480, 640), Result(None, boxes_found, 0.1, None), status)[:40, :40, 3]
        for boxes_found in ((), FOUND.regions)
        for status in STATUSES[1:]
        if status is not None and (status.state is State.RUNNING or not boxes_found)
    ]
    shapes = {shape.tobytes() for shape in signs}
    assert len(shapes) == len(State) + 1, "RUNNING has two: ready and found"


@pytest.mark.parametrize("state", State)
def test_outlines_are_drawn_only_in_states_that_allow_a_mask(state: State) -> None:
    painted = layer((480, 640), FOUND, Status(state, Reason(ReasonKind.HANG, "x"), 0))[
        100:430, 150:580
    ]
    assert painted.any() == (state in (State.RUNNING, State.DEGRADED))


@pytest.mark.parametrize("state", State)
def test_without_a_frame_the_sign_is_that_of_the_state(state: State) -> None:
    status = Status(state, None if state is State.RUNNING else GONE, 0)
    painted = layer((480, 640), without_frame(status), status)
    assert not painted[100:430, 150:580].any()
    assert painted[:40, :40, 3].any()


@given(
    st.lists(
        st.tuples(
            st.lists(BOXES, max_size=3),
            st.sampled_from(STATUSES),
            st.sampled_from([None, (40, 30, 220, 160)]),
        ),
        max_size=6,
    )
)
def test_a_reused_layer_holds_the_same_pixels_as_a_new_one(
    frames: list[tuple[list[Box], Status | None, Box | None]],
) -> None:
    painter = LayerPainter((240, 320))
    buffer = painter.paint(READY)
    for boxes, status, view in frames:
        result = Result(None, tuple(region(*box) for box in boxes), 0.1, None, view)
        painted = painter.paint(result, status)
        assert painted is buffer
        np.testing.assert_array_equal(painted, layer((240, 320), result, status))


def test_the_notice_is_on_every_frame_and_fits() -> None:
    assert "NOT A MEDICAL DEVICE" in NOTICE
    for height, width in ((96, 128), (480, 640), (1080, 1920)):
        for result in (READY, STALE):
            band = layer((height, width), result)[int(height * 0.8) :, :, 3] > 0
            columns = np.flatnonzero(band[:, int(width * 0.1) : int(width * 0.9)].any(axis=0))
            assert columns.size > 0.08 * width
            # It ends before the corner at the right begins.
            gap = layer((height, width), result)[
                int(height * 0.85) : int(height * 0.95), -int(width * 0.1) :, 3
            ]
            assert gap[:, : max(1, int(width * 0.01))].max() == 0


def test_corners_follow_the_field_of_view() -> None:
    painted = layer((480, 640), READY, field_of_view=(100, 50, 400, 360))[..., 3] > 0
    rows, columns = np.flatnonzero(painted.any(axis=1)), np.flatnonzero(painted.any(axis=0))
    assert 100 <= columns.min() <= 104
    assert 495 <= columns.max() < 500
    assert 50 <= rows.min() <= 54
    assert 405 <= rows.max() < 410


def test_paint_draws_in_place() -> None:
    canvas = noise()
    expected = overlay(canvas, FOUND)
    assert paint(canvas, FOUND) is canvas
    np.testing.assert_array_equal(canvas, expected)


def test_a_strange_letter_in_a_reason_does_not_break_the_picture() -> None:
    painted = overlay(
        noise(), Result(None, (), 0.0, Reason(ReasonKind.UNKNOWN, "überbelichtet: µ"))
    )
    assert painted.shape == (480, 640, 3)
    assert cv2.imencode(".png", painted)[0]


@pytest.mark.parametrize("state", [state for state in State if state is not State.RUNNING])
def test_a_state_has_its_light_and_letters_on_a_plate(state: State) -> None:
    """A state has its light and letters of three percent on a plate."""
    status = Status(state, Reason(ReasonKind.HANG), 0)
    painted = layer((1080, 1920), without_frame(status), status)[:120, 70:900]
    red, green, blue = LIGHTS[state].rgb
    letters = (painted == (blue, green, red, 255)).all(axis=-1)
    rows, columns = np.flatnonzero(letters.any(axis=1)), np.flatnonzero(letters.any(axis=0))
    assert 0.03 * 1080 - 3 <= rows[-1] - rows[0] + 1 <= 0.03 * 1080 + 6
    plate = painted[rows[0] - 3 : rows[-1] + 4, columns[0] - 3 : columns[-1] + 4]
    dark = (plate == (24, 16, 16, 255)).all(axis=-1)
    assert (dark | letters[rows[0] - 3 : rows[-1] + 4, columns[0] - 3 : columns[-1] + 4]).all()
