"""Detect, then delimit: causes of lost Dice, boxes, and detectors and delineators by name."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edge.bundle.reader import Bundle
from edge.datasets.pairs import find_pairs, read_pair
from edge.errors import DataError, UsageError
from edge.evaluation.bundle import evaluate_bundle
from edge.evaluation.delimit import boxes
from edge.evaluation.delimit.base import (
    BoxDelineator,
    OracleDelineator,
    OracleDetector,
    Proposal,
    WholeFrameDetector,
    clip_box,
    ellipse,
    mask_box,
    polyp_masks,
)
from edge.evaluation.delimit.build import (
    DELINEATORS,
    DETECTORS,
    Opening,
    build_delineator,
    build_detector,
)
from edge.evaluation.delimit.judge import judge_frame, split_loss
from edge.evaluation.delimit.page import CauseGallery, delimit_page
from edge.evaluation.delimit.run import evaluate_delimit
from edge.evaluation.metrics import dice_iou
from edge_difom.cli.main import main
from tests.support.tiny_student import scene

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]


def rectangles(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (100, 100)) -> Mask:
    mask = np.zeros(size, bool)
    for x, y, width, height in boxes:
        mask[y : y + height, x : x + width] = True
    return mask


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three pictures with a polyp and one without; the masks are the red discs."""
    for number, (height, width) in enumerate([(128, 128), (240, 320), (90, 64), (128, 160)]):
        image = scene(number, height=height, width=width, polyp=number < 3)
        mask = (image[..., 0] > 180).astype(np.uint8) * 255
        for folder, picture in (("images", image[..., ::-1]), ("masks", mask)):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "data" / folder / f"{number}.png"), picture)
    return tmp_path / "data"


def test_causes_by_hand() -> None:
    true = rectangles((0, 0, 10, 10), (50, 50, 10, 10))
    predicted = rectangles((5, 0, 10, 10), (80, 0, 5, 10))
    loss = split_loss(predicted, true)
    total = 200 + 150
    assert loss.missed == pytest.approx(100 / total)
    assert loss.false == pytest.approx(50 / total)
    assert loss.drawn == pytest.approx(100 / total)


def test_causes_sum_to_the_lost_dice() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        true, predicted = (
            cv2.GaussianBlur(rng.normal(size=(40, 50)), (0, 0), 3) > level
            for level in (0.05, rng.uniform(0, 0.1))
        )
        if not true.any():
            continue
        loss, figures = split_loss(predicted, true), dice_iou(predicted, true)
        assert figures is not None
        assert min(loss.missed, loss.false, loss.drawn) >= 0
        assert loss.missed + loss.false + loss.drawn == pytest.approx(1 - figures[0])


def test_an_object_is_matched_once_and_the_best_pair_first() -> None:
    true = rectangles((0, 0, 20, 20), (22, 0, 20, 20))
    both = rectangles((0, 0, 42, 20))
    row = judge_frame("a", "d", [both], true)
    assert (row.objects, len(row.polyps), row.matched) == (1, 2, 0)
    assert all(polyp.met for polyp in row.polyps)
    assert sorted(polyp.iou for polyp in row.polyps) == [0.0, pytest.approx(400 / 840)]
    exact = judge_frame("a", "d", [rectangles((0, 0, 20, 20)), rectangles((22, 0, 20, 20))], true)
    assert (exact.objects, exact.matched, exact.dice) == (2, 2, 1.0)


def test_average_precision_against_the_definition() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        scores = rng.choice([0.1, 0.2, 0.5, 0.9], 12)
        hits = rng.random(12) < 0.5
        count = int(hits.sum()) + 3
        points = []
        for level in np.unique(scores):
            above = scores >= level
            points.append((hits[above].sum() / count, hits[above].sum() / above.sum()))
        area = last = 0.0
        for recall, _ in sorted(points):
            area += (recall - last) * max(p for r, p in points if r >= recall)
            last = recall
        assert boxes.average_precision(scores, hits, count) == pytest.approx(area)
    assert boxes.average_precision(np.empty(0), np.empty(0, bool), 2) == 0.0


def test_a_second_box_on_a_polyp_is_wrong() -> None:
    proposals = [
        Proposal((0, 0, 10, 10), 0.6),
        Proposal((1, 0, 10, 10), 0.9),
        Proposal((50, 0, 9, 9), 0.8),
    ]
    figures = boxes.box_figures([proposals, []], [[(0, 0, 10, 10)], [(5, 5, 5, 5)]])
    assert (figures.true, figures.proposed, figures.right) == (2, 3, 1)
    assert figures.precision == pytest.approx(1 / 3)
    assert figures.recall == 0.5
    assert figures.f1 == pytest.approx(0.4)
    assert figures.average_precision == pytest.approx(0.5)
    nothing = boxes.box_figures([[]], [[]])
    assert (nothing.precision, nothing.recall, nothing.f1, nothing.average_precision) == (None,) * 4


def test_an_iou_of_boxes_equals_that_of_their_pixels() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        one, other = (tuple(int(v) for v in rng.integers(1, 30, 4)) for _ in range(2))
        a, b = rectangles(one), rectangles(other)  # type: ignore[arg-type]
        expected = (a & b).sum() / (a | b).sum()
        assert boxes.box_iou(one, other) == pytest.approx(expected)  # type: ignore[arg-type]


def test_the_oracle_gives_boxes_and_moves_them_alike_each_time() -> None:
    true = rectangles((10, 20, 30, 40), (80, 80, 10, 10))
    image = np.zeros((100, 100, 3), np.uint8)
    boxes_found = [item.box for item in OracleDetector().detect(image, true)]
    assert boxes_found == [(10, 20, 30, 40), (80, 80, 10, 10)]
    moved = OracleDetector(0.1).detect(image, true)
    assert (
        moved
        == OracleDetector(0.1).detect(image, true)
        != OracleDetector(0.1, 1).detect(image, true)
    )
    for before, (after, _) in zip(boxes_found, moved, strict=True):
        assert before != after
        assert boxes.box_iou(before, after) > 0.6
    assert OracleDetector().detect(image, np.zeros((100, 100), bool)) == []


def test_parts_without_a_network() -> None:
    true = rectangles((10, 10, 20, 20), (60, 60, 9, 9))
    image = np.zeros((100, 100, 3), np.uint8)
    near, far = Proposal((25, 25, 10, 10), 1.0), Proposal((90, 0, 10, 6), 1.0)
    first, second = OracleDelineator().delineate(image, [near, far], true)
    assert (first == rectangles((10, 10, 20, 20))).all()
    assert mask_box(second) == far.box, "a wrong box stays wrong"
    (proposal,) = WholeFrameDetector().detect(image, true)
    assert (OracleDelineator().delineate(image, [proposal], true)[0] == true).all()
    (mask,) = BoxDelineator().delineate(image, [Proposal((0, 0, 100, 60), 1.0)], true)
    assert mask.mean() == pytest.approx(0.6 * np.pi / 4, abs=0.002)
    assert ellipse((3, 4, 1, 1), true).sum() == 1
    assert clip_box((-5, 98.6, 7.2, 140), (100, 100)) == (0, 99, 7, 1)
    specks = rectangles((0, 0, 50, 50), (99, 99, 1, 1), size=(200, 200))
    assert len(polyp_masks(specks)) == 1


def test_whole_frame_and_student_equal_a_bundles_evaluation(tiny_bundle: Path, data: Path) -> None:
    """Whole frame and student equal the evaluation of a bundle."""
    pairs = find_pairs(data)
    plain = evaluate_bundle(Bundle.open(tiny_bundle), pairs, engine="openvino", threads=1)
    with ExitStack() as stack:
        opening = Opening(stack, "openvino", 1)
        report = evaluate_delimit(
            pairs,
            build_detector("whole-frame", opening),
            build_delineator(f"student:{tiny_bundle}", opening),
            names=("whole-frame", "student"),
        )
    assert [row.dice for row in report.per_frame] == [row.dice for row in plain.per_image]
    assert [row.area_found for row in report.per_frame] == [r.area_found for r in plain.per_image]


def test_a_student_detects_and_delimits(tiny_bundle: Path, data: Path) -> None:
    pairs = find_pairs(data)
    gallery, page = CauseGallery(), ""
    with ExitStack() as stack:
        opening = Opening(stack, "openvino", 1)
        student = f"student:{tiny_bundle}"
        detector = build_detector(student, opening)
        for delineator, least in ((student, 0.8), ("oracle", 1.0), ("box", 0.7)):
            report = evaluate_delimit(
                pairs,
                detector,
                build_delineator(delineator, opening),
                names=(student, delineator),
                on_frame=gallery.add,
            )
            assert report.dice is not None
            assert report.dice >= least
            assert (report.n, report.clean, report.clean_flagged) == (3, 1, 0)
            assert (report.precision, report.recall, report.f1) == (1.0, 1.0, 1.0)
            assert (report.boxes.proposed, report.boxes.right) == (3, 3)
            assert report.polyps.missed_share == 0
            page = delimit_page(report, gallery, data="here")
        image, true = read_pair(pairs[1].image, pairs[1].mask)
        (proposal,) = detector.detect(image, true)
        assert boxes.box_iou(proposal.box, mask_box(true)) > 0.6
    assert "badly drawn" in page
    assert page.count("<figure>") == 4
    assert "must not leave this machine" in page


def test_parts_are_refused_by_name(tiny_bundle: Path) -> None:
    with ExitStack() as stack:
        opening = Opening(stack)
        for text, words in (
            ("yolo", "unknown detector 'yolo'"),
            ("student", "student:BUNDLE_OR_RUN"),
            ("oracle:x", "unknown detector"),
            ("oracle?jitter=2", "share of the side"),
            ("whole-frame?jitter=1", "unknown option 'jitter'"),
            (f"detection:{tiny_bundle}", "gives no boxes"),
        ):
            with pytest.raises(UsageError) as caught:
                build_detector(text, opening)
            assert words in str(caught.value)
        with pytest.raises(UsageError, match="unknown option 'margins'"):
            build_delineator(f"student:{tiny_bundle}?margins=1", opening)
        with pytest.raises(UsageError, match="unknown delineator"):
            build_delineator("whole-frame", opening)
    assert all(form.help.endswith(".") for form in (*DETECTORS.values(), *DELINEATORS.values()))


def test_masks_that_do_not_fit_are_refused(data: Path) -> None:
    class Small:
        def delineate(self, *_: Any) -> list[Any]:
            return [np.zeros((2, 2), bool)]

    with pytest.raises(DataError, match="delineator small does not fit frame 0"):
        evaluate_delimit(find_pairs(data), OracleDetector(), Small(), names=("oracle", "small"))
    with pytest.raises(DataError, match="nothing was evaluated"):
        evaluate_delimit([], OracleDetector(), BoxDelineator(), names=("oracle", "box"))


def test_the_command_writes_record_and_page(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, page = tmp_path / "a.json", tmp_path / "a.html"
    arguments = ["evaluate", "--detector", "oracle", "--delineator", "box", "--data", str(data)]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json", str(record), "--report", str(page)])
    assert ended.value.code == 0
    content = json.loads(record.read_text())
    assert (content["detector"], content["boxes"]["f1"], content["n"]) == ("oracle", 1.0, 3)
    assert content["dice"] == pytest.approx(1 - sum(content["loss"].values()))
    assert content["header"]["data"] == str(data)
    assert "Where the Dice is lost" in page.read_text()
    assert "badly drawn" in capsys.readouterr().out
    for wrong in (
        ["evaluate", "--detector", "oracle", "--data", str(data)],
        [*arguments, "--bundle", "edge-s"],
        [*arguments, "--shifts"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2
