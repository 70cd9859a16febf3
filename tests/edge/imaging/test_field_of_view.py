"""Where the endoscope's picture lies: shapes, panels, text, darkness, and what is done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.datasets.phantom.render import clip
from edge.frame import Region, Result
from edge.imaging.field_of_view import WINDOW, ViewEstimator, estimate
from edge.imaging.thumbnail import make_thumbnail
from edge.imaging.view import View, black_outside, inside, restrict, whole_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

HEIGHT, WIDTH = 270, 480


@pytest.fixture(scope="module")
def bowel() -> list[Image]:
    """A moving phantom that fills its frame, BGR."""
    pictures = []
    for frame in clip(4, 24, size=(320, 560)):
        middle = np.ascontiguousarray(frame.image[25:-25, 40:-40, ::-1])
        assert middle.shape == (HEIGHT, WIDTH, 3)
        pictures.append(np.maximum(middle, 40))
    return pictures


def octagon(margin: int = 20, cut: int = 50, left: int = 90) -> Image:
    right, bottom = WIDTH - 60, HEIGHT - margin
    points = [
        *(
            (left + cut, margin),
            (right - cut, margin),
            (right, margin + cut),
            (right, bottom - cut),
        ),
        *((right - cut, bottom), (left + cut, bottom), (left, bottom - cut), (left, margin + cut)),
    ]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(mask, [np.array(points, np.int32)], 255)
    return mask


def circle(radius: int = 120) -> Image:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(mask, (WIDTH // 2, HEIGHT // 2), radius, 255, cv2.FILLED)
    return mask


def seen_through(image: Image, mask: Image, *, border: int = 8, seed: int = 0) -> Image:
    grain = np.random.default_rng(seed).integers(-4, 5, (HEIGHT, WIDTH, 1))
    picture = np.where(mask[..., None] > 0, image, border) + grain
    return np.clip(picture, 0, 255).astype(np.uint8)


def text_over(image: Image, at: tuple[int, int] = (4, 40)) -> Image:
    written = image.copy()
    for row, line in enumerate(("Name: A B", "ID: 12345", "18/03/2013", "14:56:40", "Gr:N SCV:5")):
        cv2.putText(written, line, (at[0], at[1] + 16 * row), 0, 0.4, (230, 230, 230), 1)
    return written


def iou(view: View, mask: Image) -> float:
    full = cv2.resize(view.mask, mask.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return float((full & (mask > 0)).sum() / (full | (mask > 0)).sum())


SHAPES = {"octagon": octagon(), "circle": circle(), "full": np.full((HEIGHT, WIDTH), 255, np.uint8)}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("border", [0, 16, 26])
def test_a_view_is_found_beside_text(bowel: list[Image], shape: str, border: int) -> None:
    mask = SHAPES[shape]
    estimator = ViewEstimator()
    views = [
        estimator.update(
            make_thumbnail(text_over(seen_through(image, mask, border=border, seed=number)))
        )
        for number, image in enumerate(bowel)
    ]
    assert min(iou(view, mask) for view in views) > 0.95
    x, y, w, h = cv2.boundingRect(mask)
    left, top, wide, tall = views[-1].box
    assert max(abs(left - x), abs(top - y), abs(left + wide - x - w), abs(top + tall - y - h)) <= 6


def feed(
    estimator: ViewEstimator, bowel: list[Image], mask: Image, frames: int, seed: int = 0
) -> list[View]:
    pictures = [
        make_thumbnail(text_over(seen_through(image, mask, seed=seed + number), at=(4, 20)))
        for number, image in enumerate(bowel)
    ]
    return [estimator.update(pictures[number % len(pictures)]) for number in range(frames)]


@pytest.mark.row(
    11,
    "the view changes from an octagon to a smaller circle to the whole frame; text comes and goes",
)
def test_only_a_change_of_shape_moves_the_view(bowel: list[Image]) -> None:
    """A change of shape is followed and nothing else moves the view."""
    estimator = ViewEstimator()
    settled = feed(estimator, bowel, octagon(), 2 * WINDOW)[-1]
    assert iou(settled, octagon()) > 0.95
    for mask in (circle(), SHAPES["full"], octagon()):
        views = feed(estimator, bowel, mask, 4 * WINDOW, seed=100)
        assert views[0] is settled, "one frame changes nothing"
        assert iou(views[-1], mask) > 0.95
        outside = Region((0, 0, 30, 30), ((0, 0), (29, 0), (29, 29), (0, 29)), 0.01, 0.9)
        assert inside([outside], views[-1]) == ((outside,) if mask is SHAPES["full"] else ())
        settled = views[-1]
    lower = [
        make_thumbnail(text_over(seen_through(image, octagon()), at=(4, 90))) for image in bowel
    ]
    written = [estimator.update(lower[number % 24]) for number in range(4 * WINDOW)]
    assert all(view is settled for view in written), "text alone does not move it"


def test_a_view_that_holds_does_not_tremble(bowel: list[Image]) -> None:
    views = feed(ViewEstimator(), bowel, octagon(), 8 * WINDOW)
    assert len({id(view) for view in views}) <= 2


@pytest.mark.parametrize("brightness", [0.35, 0.1])
def test_darkness_does_not_shrink_the_view(bowel: list[Image], brightness: float) -> None:
    estimator = ViewEstimator()
    view_before = feed(estimator, bowel, octagon(), 2 * WINDOW)[-1]
    fade = np.linspace(brightness, 0.0, WIDTH)[None, :, None]
    dark = [(image * fade).astype(np.uint8) for image in bowel]
    assert all(view is view_before for view in feed(estimator, dark, octagon(), 6 * WINDOW))


def test_a_dark_start_grows_with_the_light(bowel: list[Image]) -> None:
    estimator = ViewEstimator()
    fade = np.linspace(1.0, 0.0, WIDTH)[None, :, None]
    dim = [(image * fade).astype(np.uint8) for image in bowel]
    begun = feed(estimator, dim, octagon(), WINDOW)[-1]
    assert begun.box[2] < 320
    assert iou(feed(estimator, bowel, octagon(), 4 * WINDOW)[-1], octagon()) > 0.95


def test_a_panel_that_stood_still_is_left_out_of_the_view(bowel: list[Image]) -> None:
    """A panel beside the view is left out once it has stood still."""
    estimator = ViewEstimator()
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, 150:] = 255

    pictures = []
    for number, image in enumerate(bowel):
        picture = seen_through(image, mask, seed=number)
        picture[:, :150] = (120, 90, 40)
        pictures.append(make_thumbnail(text_over(picture)))
    first = estimator.update(pictures[0])
    assert first.box == (0, 0, WIDTH, HEIGHT), "one picture does not tell"
    views = [estimator.update(pictures[number % 24]) for number in range(25 * WINDOW)]
    assert iou(views[-1], mask) > 0.95


def test_another_frame_size_begins_anew(bowel: list[Image]) -> None:
    estimator = ViewEstimator()
    feed(estimator, bowel, octagon(), 2 * WINDOW)
    larger = cv2.resize(seen_through(bowel[0], circle()), (960, 540))
    view = estimator.update(make_thumbnail(np.asarray(larger, np.uint8)))
    assert view.frame_size == (540, 960)
    assert iou(view, np.asarray(cv2.resize(circle(), (960, 540)), np.uint8)) > 0.95


@pytest.mark.parametrize("gray", [0, 5, 255])
def test_an_even_frame_is_all_view(gray: int) -> None:
    assert estimate(np.full((270, 480, 3), gray, np.uint8)).box == (0, 0, 480, 270)


def square(x: int, y: int, side: int) -> Region:
    outline = ((x, y), (x + side - 1, y), (x + side - 1, y + side - 1), (x, y + side - 1))
    return Region((x, y, side, side), outline, side * side / (HEIGHT * WIDTH), 0.9)


RIGHT_HALF = View(
    (240, 0, 240, 270),
    np.array([[0, 255]], np.uint8).repeat(120, axis=1).repeat(135, axis=0),
    (270, 480),
)


def test_regions_are_kept_by_the_share_that_lies_inside() -> None:
    out, half, within = square(20, 40, 60), square(210, 40, 60), square(300, 40, 60)
    assert inside([out, half, within], RIGHT_HALF) == (half, within)
    assert inside([out, half, within], RIGHT_HALF, 0.6) == (within,)
    assert inside([out, half, within], RIGHT_HALF, 0.0) == (out, half, within)
    assert inside([out, half, within], whole_frame((270, 480))) == (out, half, within)
    point = Region((250, 40, 2, 2), ((250, 40), (251, 41)), 0.0001, 0.9)
    assert inside([point, Region((100, 40, 2, 2), (), 0.0001, 0.9)], RIGHT_HALF) == (point,)


@given(
    st.lists(st.tuples(st.integers(-60, 540), st.integers(-60, 330)), max_size=8),
    st.floats(0.01, 1),
)
def test_an_outline_is_clipped_to_the_whole_frame(
    points: list[tuple[int, int]], share: float
) -> None:
    """Any outline is inside the whole frame as far as it lies in it."""
    xs, ys = [x for x, _ in points] or [5], [y for _, y in points] or [5]
    box = (min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1)
    region = Region(box, tuple(points), 0.1, 0.9)
    clipped = inside([region], whole_frame((270, 480), (135, 240)), share)
    if box[0] >= 0 and box[1] >= 0 and box[0] + box[2] <= 480 and box[1] + box[3] <= 270:
        assert clipped == (region,)
    none = View((0, 0, 480, 270), np.zeros((135, 240), np.uint8), (270, 480))
    assert inside([region], none, share) == ()


def test_a_result_is_restricted_to_the_view() -> None:
    out, within = square(20, 40, 60), square(300, 40, 60)
    result = Result(None, (out, within), out.area + within.area, None)
    restricted = restrict(result, RIGHT_HALF)
    assert restricted == Result(None, (within,), within.area, None, RIGHT_HALF.box)
    assert restrict(restricted, whole_frame((270, 480))).regions == (within,)


def test_what_is_written_beside_the_view_is_black_in_a_still(bowel: list[Image]) -> None:
    picture = text_over(seen_through(bowel[0], octagon()))
    view = estimate(picture)
    assert view.found
    still = black_outside(picture, view)
    assert still[:, :80].max() == 0
    middle = np.s_[100:170, 180:300]
    np.testing.assert_array_equal(still[middle], picture[middle])
    assert picture[:, :80].max() > 200, "the frame itself is left alone"


def test_a_view_that_nobody_saw_says_so() -> None:
    assert not estimate(np.full((270, 480, 3), 5, np.uint8)).found
    assert not whole_frame((270, 480)).found
