"""Frames that the student should not see, and frames that it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.datasets.phantom.render import clip, render
from edge.errors import DataError
from edge.frame import Frame
from edge.pipeline.frame_guard import FREEZE_FRAMES, FREEZE_MS, LEAVE_MS, FrameGuard, Judgment
from edge.status import ReasonKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

SIZE = (270, 480)
RATES = (15.0, 30.0, 60.0)


@pytest.fixture(scope="module")
def bowel() -> list[Image]:
    """A second of a moving phantom, BGR, with the noise of its sensor."""
    return [np.ascontiguousarray(frame.image[..., ::-1]) for frame in clip(4, 30, size=SIZE)]


def noisy(image: Image, seed: int, sigma: float = 2.0) -> Image:
    grain = np.random.default_rng(seed).standard_normal(image.shape[:2], np.float32) * np.float32(
        sigma
    )
    return np.clip(image + grain[..., None], 0, 255).astype(np.uint8)


class Feed:
    """A guard with a camera of a given rate before it."""

    def __init__(self, fps: float = 30.0) -> None:
        self.guard, self.fps, self.number = FrameGuard(), fps, 0

    def __call__(self, images: Iterable[Image]) -> list[Judgment]:
        judgments = []
        for image in images:
            judgments.append(
                self.guard.judge(Frame(self.number, image, round(self.number * 1e9 / self.fps)))
            )
            self.number += 1
        return judgments


def kinds(judgments: Iterable[Judgment]) -> set[str]:
    return {str(judgment.kind or "") for judgment in judgments}


def black(number: int) -> Image:
    image = noisy(np.full((*SIZE, 3), 6, np.uint8), number)
    cv2.putText(
        image, "18/03/2013 14:56", (8, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (230, 230, 230), 1
    )
    return image


def white(number: int) -> Image:
    image = np.full((*SIZE, 3), 250, np.uint8)
    image[:, :120] = (120, 140, 200)
    return noisy(image, number)


def room(number: int) -> Image:
    generator = np.random.default_rng(7)
    image = np.full((*SIZE, 3), 150, np.uint8)
    for _ in range(40):
        x, y = generator.integers(0, SIZE[1]), generator.integers(0, SIZE[0])
        gray = int(generator.integers(70, 220))
        cv2.rectangle(
            image, (int(x), int(y)), (int(x) + 60, int(y) + 40), (gray, gray, gray - 4), -1
        )
    return noisy(np.roll(image, 3 * number, axis=1), number)


@pytest.mark.parametrize("fps", RATES)
def test_a_moving_bowel_is_fit_on_every_frame(bowel: list[Image], fps: float) -> None:
    for judgment in Feed(fps)(bowel + bowel[::-1]):
        assert judgment.fit
        assert judgment.reason is None


@pytest.mark.row(8, "black frames with sensor noise and burned-in text")
@pytest.mark.parametrize("fps", RATES)
def test_black_frames_are_told_and_the_bowel_ends_them(bowel: list[Image], fps: float) -> None:
    feed = Feed(fps)
    feed(bowel)
    judged = feed(black(number) for number in range(30))
    assert judged[0].fit, "one frame is no state"
    within = int(0.1 * fps) + 2
    assert {judgment.kind for judgment in judged[within:]} == {"black"}
    assert "lit" in str(judged[-1].reason)
    after = feed(bowel)
    assert not after[0].fit
    assert all(judgment.fit for judgment in after[int(LEAVE_MS / 1000 * fps) + 2 :])


@pytest.mark.row(9, "over-exposed frames with sensor noise")
def test_over_exposed_frames_are_told_apart_from_black_ones(bowel: list[Image]) -> None:
    feed = Feed()
    feed(bowel)
    assert feed(white(number) for number in range(15))[-1].kind == "light"
    assert feed(black(number) for number in range(15))[-1].kind == "black"


@pytest.mark.row(
    10, "the same picture under live stamps, with and without the rounding of a capture card"
)
@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("rounded", [False, True])
def test_a_frozen_picture_is_told_after_half_a_second(
    bowel: list[Image], fps: float, rounded: bool
) -> None:
    feed = Feed(fps)
    feed(bowel)
    still = bowel[-1]

    def frozen(number: int) -> Image:
        if not rounded:
            return still
        up = np.random.default_rng(number).integers(0, 2, still.shape, np.uint8)
        return np.asarray(cv2.add(still, up), np.uint8)

    judged = feed(frozen(number) for number in range(int(1.2 * fps)))
    first = next(number for number, judgment in enumerate(judged) if not judgment.fit)
    assert FREEZE_MS / 1000 <= (first + 1) / fps <= FREEZE_MS / 1000 + 2.1 / fps + 0.07
    assert {judgment.kind for judgment in judged[first:]} == {"freeze"}
    assert "same picture" in str(judged[-1].reason)
    moving = feed(bowel)
    assert all(judgment.fit for judgment in moving[int(LEAVE_MS / 1000 * fps) + 2 :])


def test_a_clock_beside_the_view_does_not_move_a_frozen_picture(bowel: list[Image]) -> None:
    def with_clock(image: Image, number: int) -> Image:
        wide = cv2.copyMakeBorder(image, 0, 0, 160, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        cv2.putText(
            wide, f"{number:05d}", (10, 60), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255), 2
        )
        return np.asarray(wide, np.uint8)

    feed = Feed()
    feed(with_clock(image, number) for number, image in enumerate(bowel))
    assert feed(with_clock(bowel[-1], number) for number in range(30))[-1].kind == "freeze"


def test_a_still_camera_is_not_frozen(bowel: list[Image]) -> None:
    assert kinds(Feed()(noisy(bowel[0], number, 1.0) for number in range(60))) == {""}


def test_few_frames_of_a_slow_camera_are_not_frozen(bowel: list[Image]) -> None:
    judged = Feed(2.0)([bowel[0]] * (FREEZE_FRAMES - 1))
    assert kinds(judged) == {""}


def test_a_clip_is_dated_by_its_rate_however_fast_it_is_read(bowel: list[Image]) -> None:
    guard = FrameGuard(fps=30.0)
    judged = [guard.judge(Frame(number, bowel[0], 1000 * number)) for number in range(20)]
    assert [str(judgment.kind or "") for judgment in judged[:15]] == [""] * 15
    assert judged[-1].kind == "freeze"


def test_slow_movement_adds_up(bowel: list[Image]) -> None:
    """Each picture is nearly the one before it, but not the first."""
    still = cv2.GaussianBlur(bowel[0], (0, 0), 1.5).astype(np.float32)
    moved = np.roll(still, 1, axis=1)
    drift = [np.asarray(still + (moved - still) * (n / 12), np.uint8) for n in range(60)]
    assert kinds(Feed()(drift)) == {""}


def test_a_room_is_out_of_the_body(bowel: list[Image]) -> None:
    feed = Feed()
    feed(bowel)
    judged = feed(room(number) for number in range(30))
    assert judged[10].fit, "the scope may pass something gray"
    assert judged[-1].kind == "out-of-body"


def test_a_blur_beyond_use_is_told_and_a_mild_one_is_not() -> None:
    pictures = [render(seed, size=SIZE).image[..., ::-1] for seed in range(3)]
    counted = 0
    for picture in pictures:
        for share, word in ((0.0, ""), (0.005, ""), (0.06, "blurred")):
            image = cv2.GaussianBlur(picture, (0, 0), share * SIZE[1]) if share else picture
            judged = Feed()(noisy(np.asarray(image, np.uint8), number) for number in range(12))
            counted += str(judged[-1].kind or "") == word
    assert counted == 3 * len(pictures)


def test_letters_over_the_view_do_not_hide_a_blur() -> None:
    blurred = cv2.GaussianBlur(render(3, size=SIZE).image[..., ::-1], (0, 0), 29)
    for row in range(5):
        cv2.putText(blurred, "18/03/2013", (100, 60 + 20 * row), 0, 0.4, (255, 255, 255), 1)
    assert Feed()(noisy(blurred, number) for number in range(15))[-1].kind == "blurred"


@pytest.mark.parametrize("other", [black, white])
def test_single_bad_frames_do_not_flicker(bowel: list[Image], other: type) -> None:
    feed = Feed(60.0)
    mixed = [other(n) if n % 3 == 0 else image for n, image in enumerate(bowel)]
    assert kinds(feed(mixed)) == {""}
    feed(black(number) for number in range(20))
    back = [bowel[n % 30] if n % 3 == 0 else black(n) for n in range(30)]
    assert kinds(feed(back)) == {"black"}


@settings(max_examples=40)
@given(st.lists(st.sampled_from("bwm"), min_size=1, max_size=60), st.sampled_from(RATES))
def test_a_kind_changes_only_after_it_was_seen_on_two_frames(order: list[str], fps: float) -> None:
    # Small frames: only the order matters here.
    moving = render(4, size=(64, 96)).image[..., ::-1]
    pictures = {"b": np.zeros((64, 96, 3), np.uint8), "w": np.full((64, 96, 3), 255, np.uint8)}
    feed, kinds = Feed(fps), list[ReasonKind | None]()
    before: ReasonKind | None = None
    for number, letter in enumerate(order):
        image = noisy(np.ascontiguousarray(moving), number) if letter == "m" else pictures[letter]
        kinds.append({"b": ReasonKind.BLACK, "w": ReasonKind.LIGHT}.get(letter))
        (judgment,) = feed([image])
        assert judgment.fit == (judgment.kind is None)
        if judgment.kind != before:
            assert kinds[-2:] == [judgment.kind] * 2
        before = judgment.kind


def test_frames_of_any_shape_are_judged_and_others_refused() -> None:
    guard = FrameGuard()
    for number, shape in enumerate(
        [(1, 1, 3), (2, 300, 3), (300, 2, 3), (1080, 1920, 3), (64, 64, 3)]
    ):
        x, y, width, height = guard.judge(
            Frame(number, np.zeros(shape, np.uint8), number * 10**8)
        ).field_of_view
        assert (x, y, width, height) == (0, 0, shape[1], shape[0])
    with pytest.raises(DataError):
        guard.judge(Frame(0, np.zeros((64, 64), np.uint8), 0))
