"""Single changes of a picture, their effect on accuracy, and unchanged draws in training."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest

from distill.data.appearance import shift_domain
from edge.bundle.reader import Bundle, write_bundle
from edge.datasets import appearance_shift as shifts
from edge.datasets.negatives import phantom_negatives, polyp_free_crops, polyp_free_window
from edge.datasets.pairs import find_pairs, read_mask
from edge.datasets.phantom.render import render
from edge.evaluation.bundle import evaluate_bundle_shifts
from edge.evaluation.intervals import wilson
from edge.evaluation.shift_report import NONE, SHIFTS, ShiftInput, evaluate_shifts
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.bundle import manifest as m

    U8 = NDArray[np.uint8]


@pytest.fixture
def data(tmp_path: Path, tiny_scene: Callable[..., U8]) -> Path:
    """Three pictures with a red disc and one without."""
    for number in range(4):
        image = tiny_scene(number, height=96, width=128, polyp=number < 3)
        mask = (image[..., 0] > 180).astype(np.uint8) * 255
        for folder, picture in (("images", image[..., ::-1]), ("masks", mask)):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "data" / folder / f"{number}.png"), picture)
    return tmp_path / "data"


def given(seed: int = 3) -> ShiftInput:
    frame, other = render(seed, size=(96, 256), polyp=True), render(seed + 1, size=(96, 128))
    return ShiftInput(frame.image, frame.mask.astype(np.uint8) * 255, other.image)


@pytest.mark.parametrize("name", SHIFTS)
def test_a_change_is_a_function_of_its_strength_and_seed(name: str) -> None:
    before = given()
    original = before.image.copy()
    far = []
    for strength in SHIFTS[name].strengths:
        image, mask = SHIFTS[name].apply(before, strength, np.random.default_rng(0))
        again, _ = SHIFTS[name].apply(before, strength, np.random.default_rng(0))
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(before.image, original)
        assert image.dtype == np.uint8
        assert image.shape == original.shape
        assert mask.shape == before.mask.shape
        assert not np.any((mask > 0) & (before.mask == 0)), "no change makes polyp"
        far.append(float(np.abs(image.astype(int) - original).mean()))
    assert far[-1] > 0.1
    if name not in (
        "exposure",
        "motion blur",
    ):  # darker and brighter; a stroke in another direction blurs less
        assert far == sorted(far), "stronger changes more"


def test_outside_of_the_view_the_mask_is_empty() -> None:
    image, mask = given()[:2]
    full = np.full_like(mask, 255)
    for view in (shifts.octagon((96, 256), 0.2), shifts.circle((96, 256), (128, 48), 40)):
        narrowed, left = shifts.narrow(image, full, view, 7)
        np.testing.assert_array_equal(left, view)
        assert (narrowed[view == 0] == 7).all()
        np.testing.assert_array_equal(narrowed[view > 0], image[view > 0])


def test_training_draws_in_the_order_of_runs_that_are_to_resume() -> None:
    """The next random number tells how many were drawn; the hash predates the move of the code."""
    frame = render(0, size=(64, 64), polyp=True)
    mask = frame.mask.astype(np.uint8) * 255
    after = []
    for seed in range(256):
        rng = np.random.default_rng(seed)
        shift_domain(frame.image, mask, frame.image, rng)
        after.append(rng.integers(1 << 30))
    assert hashlib.sha256(np.array(after, "<i8").tobytes()).hexdigest()[:16] == "b78712a4ebb60da5"


def test_the_report_compares_each_picture_with_itself(
    data: Path, tiny_student: Callable[[U8], U8]
) -> None:
    def score(image: U8) -> U8:
        return tiny_student(cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA))

    names: list[str] = []
    pairs = find_pairs(data)
    report = evaluate_shifts(
        {"openvino int8": score, "openvino f32": score}, pairs, done=names.append
    )
    assert names == list("0123")
    assert report == evaluate_shifts({"openvino int8": score, "openvino f32": score}, pairs)
    first, *rows = report.rows
    assert first.shift == NONE
    assert first.engines["openvino int8"].change == 0
    assert {row.shift for row in rows} == set(SHIFTS)
    assert len(rows) == sum(len(shift.strengths) for shift in SHIFTS.values())
    for row in rows:
        assert row.engines["openvino int8"] == row.engines["openvino f32"]
        figures = row.engines["openvino int8"]
        assert (figures.n, figures.negatives.n) == (3, 1)
        assert figures.change is not None
        assert figures.change_ci95 is not None
        assert figures.change_ci95[0] <= figures.change <= figures.change_ci95[1]
        assert first.engines["openvino int8"].dice is not None
        assert figures.dice == pytest.approx(first.engines["openvino int8"].dice + figures.change)
    dark = next(row for row in rows if (row.shift, row.strength) == ("exposure", -2.0))
    assert (dark.engines["openvino int8"].change or 0) < -0.3, "the tiny student needs bright red"


def test_f32_stands_beside_int8_where_the_bundle_has_it(
    tiny_parts: tuple[m.Manifest, dict[str, bytes]], data: Path, tmp_path: Path
) -> None:
    manifest, files = tiny_parts
    float_engine = msgspec.structs.replace(manifest.engines[0], precision="f32")
    bundle = write_bundle(
        tmp_path / "bundle",
        msgspec.structs.replace(manifest, engines=[*manifest.engines, float_engine]),
        files,
    )
    pairs = find_pairs(data)[:1]
    for engine, engines in (
        ("openvino", ["openvino int8", "openvino f32"]),
        ("tflite", ["tflite int8"]),
    ):
        report = evaluate_bundle_shifts(Bundle.open(bundle.path), pairs, engine=engine, threads=1)
        assert list(report.rows[0].engines) == engines


def test_the_command_writes_changes_and_clean_pictures(
    tiny_bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, page = tmp_path / "out.json", tmp_path / "page.html"
    arguments = [
        "evaluate",
        "--bundle",
        tiny_bundle,
        "--data",
        data,
        "--engine",
        "tflite",
        "--protocol",
        "b",
    ]
    arguments += ["--shifts", "--clean-frames", 3, "--json", out, "--report", page]
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 0
    record = json.loads(out.read_text())
    assert record["clean"]["phantom"]["n"] == 3
    assert 1 <= record["clean"]["polyp-free windows"]["n"] <= 4
    assert record["clean"]["polyp-free windows"]["flagged"] == 0
    assert record["shifts"]["rows"][0]["shift"] == "none"
    assert "motion blur" in capsys.readouterr().out
    text = page.read_text()
    assert "Under changes" in text
    assert "polyp-free windows" in text
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--run", "R", "--data", str(data), "--shifts"])
    assert ended.value.code == 2


def test_windows_of_a_frame_hold_none_of_its_polyp(data: Path) -> None:
    pairs = find_pairs(data)
    crops = list(polyp_free_crops(pairs))
    names = [name.partition(" ")[0] for name, _ in crops]
    assert "3" in names, "a frame without a polyp has a window for certain"
    assert 2 <= len(names) == len(set(names))
    for _, crop in crops:
        assert not (crop[..., 0] > 180).any()
        assert 0.29 * 96 <= crop.shape[0] <= 0.66 * 96
    assert polyp_free_window(np.ones((40, 40), np.uint8), np.random.default_rng(0)) is None
    assert not any(read_mask(pair.mask).any() for pair in pairs[3:])


def test_clean_phantoms_are_the_same_in_every_run() -> None:
    first, again = list(phantom_negatives(2)), list(phantom_negatives(2))
    assert [name for name, _ in first] == [name for name, _ in again]
    for (_, a), (_, b) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("count", "n", "interval"),
    [
        (0, 10, (0.0, 0.2775)),
        (1, 10, (0.0179, 0.4042)),
        (10, 10, (0.7225, 1.0)),
        (15, 148, (0.0624, 0.1605)),
    ],
)
def test_the_interval_of_a_share_is_wilsons(
    count: int, n: int, interval: tuple[float, float]
) -> None:
    assert wilson(count, n) == pytest.approx(interval, abs=2e-4)
