"""Protocol A against values worked out by hand and against `pysodmetrics`.

`REFERENCE` was printed by this file, run as a program where pysodmetrics 1.6.2 (MIT, numpy < 2.3.5)
is installed: `PYTHONPATH=. python tests/edge/evaluation/test_protocol_a.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edge.evaluation.intervals import bootstrap_ci
from edge.evaluation.metrics import ProtocolA
from edge.evaluation.protocol_a import FieldScore, field_map, field_score, sigmoid, summarize_field
from edge.evaluation.saliency import (
    mean_absolute_error,
    structure_measure,
    threshold_curves,
    weighted_f,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    U8 = NDArray[np.uint8]
    Bool = NDArray[np.bool_]

REFERENCE: dict[str, dict[str, float]] = {
    "soft": {
        "mean_dice": 0.699602,
        "max_dice": 0.923153,
        "mean_iou": 0.58918,
        "max_iou": 0.857274,
        "mean_e": 0.753304,
        "max_e": 0.974443,
        "weighted_f": 0.579616,
        "s_measure": 0.881983,
        "mae": 0.136796,
    },
    "shifted": {
        "mean_dice": 0.600978,
        "max_dice": 0.714803,
        "mean_iou": 0.447701,
        "max_iou": 0.556182,
        "mean_e": 0.747708,
        "max_e": 0.897824,
        "weighted_f": 0.494379,
        "s_measure": 0.730967,
        "mae": 0.179435,
    },
    "border": {
        "mean_dice": 0.740434,
        "max_dice": 0.984772,
        "mean_iou": 0.67431,
        "max_iou": 0.97,
        "mean_e": 0.81304,
        "max_e": 0.999021,
        "weighted_f": 0.278646,
        "s_measure": 0.617924,
        "mae": 0.088842,
    },
    "missed": {
        "mean_dice": 0.009929,
        "max_dice": 0.070948,
        "mean_iou": 0.005125,
        "max_iou": 0.036779,
        "mean_e": 0.734716,
        "max_e": 0.946021,
        "weighted_f": 0.025835,
        "s_measure": 0.446295,
        "mae": 0.139598,
    },
    "tiny": {
        "mean_dice": 0.374595,
        "max_dice": 0.8,
        "mean_iou": 0.273516,
        "max_iou": 0.666667,
        "mean_e": 0.579194,
        "max_e": 0.999814,
        "weighted_f": 0.004362,
        "s_measure": 0.470156,
        "mae": 0.16234,
    },
    "full": {
        "mean_dice": 0.598548,
        "max_dice": 1.0,
        "mean_iou": 0.50124,
        "max_iou": 1.0,
        "mean_e": 0.501286,
        "max_e": 1.000093,
        "weighted_f": 0.700101,
        "s_measure": 0.499284,
        "mae": 0.500716,
    },
}


def cases() -> dict[str, tuple[U8, Bool]]:
    """Maps from 0 to 255 and masks: soft, shifted, at the border, without contact, all polyp."""
    by_name: dict[str, tuple[U8, Bool]] = {}
    y, x = np.mgrid[:90, :120]
    wave = 20 * np.sin(x / 3.0) * np.cos(y / 5.0)
    for name, center, axes, shift, soft in (
        ("soft", (60, 45), (30, 20), 0, 5.0),
        ("shifted", (50, 40), (25, 25), 12, 3.0),
        ("border", (3, 88), (22, 16), 4, 2.0),
        ("missed", (30, 30), (12, 9), 70, 2.0),
        ("tiny", (70, 50), (2, 1), 1, 1.5),
        ("full", (60, 45), (400, 400), 0, 1.0),
    ):
        true = np.zeros((90, 120), np.uint8)
        cv2.ellipse(true, center, axes, 0, 0, 360, 1, cv2.FILLED)
        gray = np.zeros((90, 120), np.uint8)
        cv2.ellipse(gray, (center[0] + shift, center[1]), axes, 20, 0, 360, 200, cv2.FILLED)
        values = cv2.GaussianBlur(gray.astype(np.float64), (0, 0), soft) + wave
        scaled = (values - values.min()) / (values.max() - values.min())
        by_name[name] = ((scaled * 255 + 0.5).astype(np.uint8), true > 0)
    return by_name


def measured(gray: U8, true: Bool) -> dict[str, float]:
    curves = threshold_curves(gray, true)
    return {
        "mean_dice": float(curves.dice.mean()),
        "max_dice": float(curves.dice.max()),
        "mean_iou": float(curves.iou.mean()),
        "max_iou": float(curves.iou.max()),
        "mean_e": float(curves.e.mean()),
        "max_e": float(curves.e.max()),
        "weighted_f": weighted_f(gray, true),
        "s_measure": structure_measure(gray, true),
        "mae": mean_absolute_error(gray, true),
    }


@pytest.mark.parametrize("name", list(cases()))
def test_every_measure_is_that_of_pysodmetrics(name: str) -> None:
    assert measured(*cases()[name]) == pytest.approx(REFERENCE[name], abs=2e-6)


def square(height: int = 100, width: int = 100, side: int = 32) -> Bool:
    true = np.zeros((height, width), bool)
    true[10 : 10 + side, 20 : 20 + side] = True
    return true


def test_a_perfect_mask_scores_under_one_in_the_mean() -> None:
    # At the lowest threshold everything is found: Dice 2 a / (a + 1) of a polyp on the share a of
    # the image.
    true = np.zeros((100, 100), bool)
    true[:10] = True
    curves = threshold_curves(true * np.uint8(255), true)
    assert curves.dice[0] == pytest.approx(0.2 / 1.1)
    assert (curves.dice[1:] == 1).all()
    assert curves.dice.mean() == pytest.approx(0.9968, abs=5e-5)
    assert curves.iou.mean() == pytest.approx((255 + 0.1) / 256)


def test_a_map_of_two_levels_by_hand() -> None:
    # Half of the polyp at 255, the other half and as much outside at 100, the rest at 0.
    true = np.zeros((10, 10), bool)
    true[:2] = True
    gray = np.zeros((10, 10), np.uint8)
    gray[0], gray[1:3] = 255, 100
    curves = threshold_curves(gray, true)
    assert curves.dice[[0, 1, 100, 101, 255]] == pytest.approx(
        [40 / 120, 40 / 50, 40 / 50, 20 / 30, 20 / 30]
    )
    assert curves.iou[[0, 1, 101]] == pytest.approx([0.2, 20 / 30, 0.5])
    assert mean_absolute_error(gray, true) == pytest.approx(
        (10 * (1 - 100 / 255) + 10 * 100 / 255) / 100
    )


@pytest.mark.parametrize("true", [square(), square(60, 80, 9)])
def test_a_perfect_map_has_the_best_measures(true: Bool) -> None:
    gray = true * np.uint8(255)
    assert weighted_f(gray, true) == pytest.approx(1)
    assert structure_measure(gray, true) == pytest.approx(1)
    assert mean_absolute_error(gray, true) == 0
    # The authors divide by one pixel less than there are.
    assert threshold_curves(gray, true).e[1:] == pytest.approx(true.size / (true.size - 1))


def test_an_error_far_from_the_polyp_costs_more() -> None:
    true = square()
    near, far = (true * np.uint8(255) for _ in range(2))
    near[45:49, 30:34] = far[90:94, 90:94] = 255
    assert weighted_f(far, true) < weighted_f(near, true) < 1


def test_an_inverted_mask_has_the_worst_measures() -> None:
    """A map that is the mask upside down has the worst measures."""
    true = square()
    assert weighted_f(~true * np.uint8(255), true) == pytest.approx(0, abs=1e-9)
    assert structure_measure(~true * np.uint8(255), true) < 0.1


def test_maps_are_stretched_from_black_to_white() -> None:
    scores = np.array([[10, 10, 60], [10, 110, 60]], np.uint8)
    assert field_map(scores, (2, 3), logits=False).tolist() == [[0, 0, 128], [0, 255, 128]]
    assert not field_map(np.full((4, 4), 200, np.uint8), (9, 7), logits=False).any()


def test_logits_are_brought_to_native_size_before_the_sigmoid() -> None:
    logits = np.array([[-8.0, 4.0]], np.float32)
    # Half-pixel grid: four pixels lie at -.25, .25, .75 and 1.25 of the two, and the outer ones are
    # clamped.
    wide = np.array([-8, -8 + 12 * 0.25, -8 + 12 * 0.75, 4])
    expected = 1 / (1 + np.exp(-wide))
    stretched = (expected - expected[0]) / (expected[-1] - expected[0]) * 255
    assert field_map(logits, (1, 4), logits=True)[0].tolist() == np.floor(stretched + 0.5).tolist()
    assert (
        field_map(sigmoid(logits), (1, 4), logits=False)[0].tolist()
        != np.floor(stretched + 0.5).tolist()
    )


def test_extreme_logits_do_not_overflow() -> None:
    assert sigmoid(np.array([-1e4, 0, 1e4], np.float32)).tolist() == pytest.approx([0, 0.5, 1])


def rows() -> list[FieldScore]:
    return [field_score(gray, true) for name, (gray, true) in cases().items() if name != "full"]


def test_means_over_images_come_before_the_maximum() -> None:
    """Means are taken over images before the maximum over thresholds."""
    scores = rows()
    report = summarize_field(scores, logits=True)
    assert isinstance(report, ProtocolA)
    table = np.stack([row.curves.dice for row in scores])
    assert report.mean_dice == pytest.approx(table.mean())
    assert report.max_dice == pytest.approx(table.mean(axis=0).max())
    assert report.max_dice < table.max(axis=1).mean()
    assert (report.n, report.upsampled) == (5, "logits")


def test_every_figure_has_an_interval_around_it() -> None:
    scores = rows()
    report = summarize_field(scores, logits=False)
    assert report is not None
    assert report.ci95.keys() == set(ProtocolA.__struct_fields__) - {"n", "upsampled", "ci95"}
    for name, (low, high) in report.ci95.items():
        assert low <= getattr(report, name) <= high
    assert report.ci95["s_measure"] == bootstrap_ci([row.s_measure for row in scores])


def test_no_polyp_no_figures() -> None:
    assert summarize_field([], logits=True) is None


def _reference(gray: U8, true: Bool) -> dict[str, float]:
    import py_sod_metrics as sod  # type: ignore[import-not-found]

    mask = true * np.uint8(255)
    options = {"with_dynamic": True, "with_adaptive": False}
    curves = sod.FmeasureV2({"dice": sod.DICEHandler(**options), "iou": sod.IOUHandler(**options)})
    e, weighted, structure, error = (
        sod.Emeasure(),
        sod.WeightedFmeasure(),
        sod.Smeasure(),
        sod.MAE(),
    )
    for measure in (curves, e, weighted, structure, error):
        measure.step(gray, mask)
    values = {name: curve["dynamic"] for name, curve in curves.get_results().items()}
    values["e"] = e.get_results()["em"]["curve"]
    figures = {
        f"{kind}_{name}": getattr(np, kind)(values[name])
        for name in values
        for kind in ("mean", "max")
    }
    figures["weighted_f"] = weighted.get_results()["wfm"]
    figures["s_measure"] = structure.get_results()["sm"]
    figures["mae"] = error.get_results()["mae"]
    return {name: round(float(value), 6) for name, value in figures.items()}


if __name__ == "__main__":
    print({name: _reference(*case) for name, case in cases().items()})  # noqa: T201
