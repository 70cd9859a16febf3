"""The part of a frame that a student is shown, and everything that depends on its position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.data.image_store import decode_images
from distill.data.splits import load_splits
from edge.bundle import manifest as m
from edge.bundle.reader import Bundle, write_bundle
from edge.datasets.pairs import find_pairs
from edge.datasets.phantom.render import render
from edge.errors import BundleError
from edge.evaluation.bundle import count_clean, evaluate_bundle
from edge.evaluation.evaluator import evaluate
from edge.evaluation.protocol_a import field_map
from edge.frame import Frame, OperatingPoint, Result
from edge.imaging.crop import MARGIN, STEP, cut, part_of, seen_part
from edge.imaging.field_of_view import estimate
from edge.imaging.postprocess import native_scores, regions
from edge.imaging.preprocess import to_input
from edge.imaging.view import View, whole_frame
from edge.pipeline.analysis import analyze
from edge.pipeline.smoothing import Smoother, Smoothing
from edge.stills.still import shown_mask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.frame import Box, FieldOfView, ImageU8

SCREEN = (540, 960)
PLACE: Box = (420, 40, 480, 480)


def view_of(box: Box, size: tuple[int, int]) -> View:
    return View(box, np.full((4, 4), 255, np.uint8), size)


def screen(picture: ImageU8, *, background: int = 0) -> ImageU8:
    """A processor's screen, RGB or a mask: the picture at the right, who it is of at the left."""
    x, y, width, height = PLACE
    canvas = np.full((*SCREEN, *picture.shape[2:]), background, np.uint8)
    canvas[y : y + height, x : x + width] = cv2.resize(
        picture, (width, height), interpolation=cv2.INTER_NEAREST
    )
    if picture.ndim == 3:
        for row, line in enumerate(("Name: A B", "ID: 12345", "18/03/2031", "14:56:40")):
            cv2.putText(canvas, line, (20, 80 + 40 * row), 0, 0.9, (230, 230, 230), 2)
    return canvas


def lit(scene: ImageU8) -> ImageU8:
    """The tiny student's scenes are partly too dark to be a view."""
    return np.maximum(scene, 60)


boxes = st.tuples(
    st.integers(0, 700), st.integers(0, 500), st.integers(1, 800), st.integers(1, 600)
)


@given(boxes, st.tuples(st.integers(4, 1300), st.integers(4, 1300)))
def test_a_part_holds_the_view_and_stays_in_the_frame(box: Box, size: tuple[int, int]) -> None:
    height, width = size
    x, y = min(box[0], width - 1), min(box[1], height - 1)
    view = view_of((x, y, min(box[2], width - x), min(box[3], height - y)), size)
    part = part_of("view", view)
    left, top, wide, tall = part or (0, 0, width, height)
    assert 0 <= left <= view.box[0]
    assert 0 <= top <= view.box[1]
    assert x + view.box[2] <= left + wide <= width
    assert y + view.box[3] <= top + tall <= height
    for begin, length, side in ((left, wide, width), (top, tall, height)):
        assert begin % STEP == 0
        assert (begin + length) % STEP == 0 or begin + length == side
    assert wide <= view.box[2] * (1 + 2 * MARGIN) + 2 * STEP
    assert tall <= view.box[3] * (1 + 2 * MARGIN) + 2 * STEP


def test_the_whole_frame_stands_for_what_is_not_cut() -> None:
    view = view_of((300, 100, 600, 400), SCREEN)
    assert part_of("view", view) is not None
    assert part_of("full-frame", view) is None
    assert part_of("view", None) is None
    assert part_of("view", whole_frame(SCREEN)) is None
    assert part_of("view", view_of((0, 0, SCREEN[1], SCREEN[0]), SCREEN)) is None
    picture = np.zeros((*SCREEN, 3), np.uint8)
    assert cut(picture, None) is picture
    assert np.shares_memory(cut(picture, (8, 4, 20, 12)), picture)
    assert cut(picture, (8, 4, 20, 12)).shape == (12, 20, 3)
    assert seen_part(picture, "full-frame") is None


@pytest.mark.parametrize("seed", range(4))
def test_the_part_of_a_screen_is_where_the_picture_is(seed: int) -> None:
    part = seen_part(screen(render(seed).image), "view")
    assert part is not None
    x, y, width, height = part
    expected = (PLACE[0], PLACE[1], PLACE[0] + PLACE[2], PLACE[1] + PLACE[3])
    assert np.abs(np.subtract((x, y, x + width, y + height), expected)).max() <= 0.06 * PLACE[2]


@given(st.binary(min_size=12 * 16, max_size=12 * 16), st.integers(0, 50), st.integers(0, 70))
def test_regions_of_a_part_are_those_of_the_whole_elsewhere(data: bytes, x: int, y: int) -> None:
    scores = np.frombuffer(data, np.uint8).reshape(12, 16)
    alone = regions(scores, (96, 160), OperatingPoint(0.6, 0.001))
    moved = regions(scores, (300, 400), OperatingPoint(0.6, 0.001), part=(x, y, 160, 96))
    assert len(moved) == len(alone)
    for one, other in zip(alone, moved, strict=True):
        assert other.box == (one.box[0] + x, one.box[1] + y, *one.box[2:])
        assert other.contour == tuple((px + x, py + y) for px, py in one.contour)
        assert (other.area, other.score) == (one.area, one.score)


def test_scores_of_a_part_are_nothing_outside() -> None:
    scores = np.random.default_rng(0).integers(1, 256, (6, 8)).astype(np.uint8)
    part: Box = (10, 5, 40, 30)
    native = native_scores(scores, (60, 70), part)
    np.testing.assert_array_equal(native[5:35, 10:50], native_scores(scores, (30, 40)))
    outside = np.ones(native.shape, bool)
    outside[5:35, 10:50] = False
    assert not native[outside].any()
    logits = scores.astype(np.float32) / 16 - 8
    stored = field_map(logits, (60, 70), logits=True, part=part)
    assert stored[outside].max() == stored.min() == 0
    np.testing.assert_array_equal(stored[5:35, 10:50], field_map(logits, (30, 40), logits=True))


class Tiny:
    """The tiny student, and what it was shown."""

    input_buffer = None

    name = "fake"
    input_size = (64, 64)

    def __init__(self, student: Callable[[ImageU8], ImageU8]) -> None:
        self.student, self.shown = student, np.zeros((64, 64, 3), np.uint8)

    def infer(self, image: ImageU8) -> ImageU8:
        self.shown = image.copy()
        return self.student(image)

    def settings(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        return


def with_rule(manifest: m.Manifest, rule: FieldOfView) -> m.Manifest:
    input_spec = msgspec.structs.replace(manifest.input, field_of_view=rule)
    return msgspec.structs.replace(manifest, input=input_spec)


def test_a_student_sees_the_same_picture_on_a_screen_as_alone(
    tiny_parts: tuple[m.Manifest, dict[str, bytes]], tiny_student: Any, tiny_scene: Any
) -> None:
    manifest = with_rule(tiny_parts[0], "view")
    engine = Tiny(tiny_student)
    alone = np.ascontiguousarray(lit(tiny_scene(3, height=480, width=480))[..., ::-1])
    plain = analyze(Frame(0, alone, 0), engine, manifest, view=estimate(alone))
    before = engine.shown.astype(int)
    wide = screen(alone)
    on_screen = analyze(Frame(0, wide, 0), engine, manifest, view=estimate(wide))
    assert on_screen.part is not None
    assert np.abs(engine.shown - before)[8:-8, 8:-8].mean() < 6
    (one,), (other,) = plain.regions, on_screen.regions
    moved = (one.box[0] + PLACE[0], one.box[1] + PLACE[1], *one.box[2:])
    assert np.abs(np.subtract(moved, other.box)).max() <= 24
    assert other.area == pytest.approx(one.area, abs=0.02)
    nobody_looked = analyze(Frame(0, wide, 0), engine, manifest)
    assert nobody_looked.part is None
    full = analyze(
        Frame(0, wide, 0), engine, with_rule(manifest, "full-frame"), view=estimate(wide)
    )
    assert full.part is None
    np.testing.assert_array_equal(engine.shown, to_input(wide, (64, 64), bgr=True))


@pytest.fixture
def screens(tmp_path: Path, tiny_scene: Any) -> Path:
    """Four screens with a polyp and one without, and their masks."""
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for seed in range(5):
        scene = lit(tiny_scene(seed, height=480, width=480, polyp=seed < 4))
        red = (scene[..., 0] > scene[..., 1].astype(int) + 60).astype(np.uint8) * 255
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{seed}.png"), screen(scene)[..., ::-1])
        cv2.imwrite(str(tmp_path / "data" / "masks" / f"{seed}.png"), screen(red))
    return tmp_path / "data"


def test_evaluation_shows_the_part_and_scores_whole_frames(
    screens: Path, tiny_student: Any
) -> None:
    """Evaluation shows what the rule says and scores whole frames."""
    pairs = find_pairs(screens)

    def score(image: ImageU8) -> ImageU8:
        scores: ImageU8 = tiny_student(to_input(image, (64, 64), bgr=False))
        return scores

    cropped = evaluate(pairs, score, rule="view")
    full_frame = evaluate(pairs, score)
    assert cropped.dice is not None
    assert full_frame.dice is not None
    assert cropped.dice > full_frame.dice + 0.02
    assert cropped.dice > 0.85
    for one, other in zip(cropped.per_image, full_frame.per_image, strict=True):
        assert one.area_true == other.area_true


def test_a_bundle_is_scored_by_its_own_rule(
    tiny_parts: tuple[m.Manifest, dict[str, bytes]], screens: Path, tmp_path: Path
) -> None:
    manifest, files = tiny_parts
    pairs = find_pairs(screens)
    dice_by_rule = {}
    for rule in ("full-frame", "view"):
        path = write_bundle(tmp_path / rule, with_rule(manifest, rule), files).path
        bundle = Bundle.open(path)
        assert bundle.manifest.input.field_of_view == rule
        dice_by_rule[rule] = (
            evaluate_bundle(bundle, pairs, engine="openvino", threads=1).dice or 0.0
        )
        clean = count_clean(
            bundle, [("gray", np.full((*SCREEN, 3), 90, np.uint8))], engine="openvino"
        )
        assert (clean.n, clean.flagged) == (1, 0)
    assert dice_by_rule["view"] > dice_by_rule["full-frame"] + 0.02


def test_an_unknown_rule_is_refused(
    tiny_parts: tuple[m.Manifest, dict[str, bytes]], tmp_path: Path
) -> None:
    manifest, files = tiny_parts
    path = write_bundle(tmp_path / "b", manifest, files).path
    text = (path / "manifest.json").read_text()
    assert '"full-frame"' in text
    (path / "manifest.json").write_text(text.replace('"full-frame"', '"half-frame"'))
    with pytest.raises(BundleError, match="half-frame"):
        Bundle.open(path)


def test_a_still_masks_the_part_alone() -> None:
    scores = np.zeros((16, 16), np.uint8)
    scores[6:10, 6:10] = 220
    part: Box = (48, 16, 64, 64)
    found_regions = regions(scores, (96, 128), OperatingPoint(0.5, 0.001), part=part)
    mask = shown_mask(
        Result(scores, found_regions, 0.1, None, part=part), whole_frame((96, 128)), 0.5
    )
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max()) == pytest.approx((16 + 24, 16 + 39), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((48 + 24, 48 + 39), abs=1)


def test_smoothed_scores_begin_anew_on_another_part() -> None:
    output = m.Output(height=8, width=8, threshold=0.3)
    smoother = Smoother(Smoothing(seen=1, of=1, least_ms=0, weight=64, reach=0), lambda: output)
    scores = np.zeros((8, 8), np.uint8)
    blank = np.zeros((64, 96, 3), np.uint8)

    def look(number: int, filled: bool, part: Box) -> bool:
        scores[2:5, 2:5] = 200 if filled else 0
        found_regions = regions(scores, (64, 96), OperatingPoint(0.3, 0.001), part=part)
        result = Result(scores.copy(), found_regions, 0.1, None, part=part)
        return bool(smoother.apply(Frame(number, blank, number * 33_000_000), result).regions)

    first, second = (0, 0, 64, 64), (32, 0, 64, 64)
    assert not look(0, False, first)
    assert not look(1, True, first), "the empty map before it lowers the scores"
    assert look(2, True, second), "that map lay elsewhere"


def test_the_store_is_cut_by_the_rule(screens: Path, tmp_path: Path) -> None:
    splits = load_splits([screens], val_fraction=0.4)
    samples = [*splits.train, *splits.validation]
    full_frame = decode_images(samples, (32, 32), tmp_path / "cache")
    view_alone = decode_images(samples, (32, 32), tmp_path / "cache", rule="view")
    assert full_frame.key != view_alone.key
    assert view_alone.masks.mean() > 1.8 * full_frame.masks.mean()
    assert view_alone.images[:, :, :8].mean() > 3 * full_frame.images[:, :, :8].mean()
