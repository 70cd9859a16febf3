"""Parity as one sentence and a matrix of the same rows."""

from __future__ import annotations

from edge.bundle.manifest import ParityRow
from edge.reports.parity import parity_view


def row(right: str, on: str, largest: float, worst: float | None) -> ParityRow:
    return ParityRow(
        left="canonical int8",
        right=right,
        on=on,
        frames=9,
        max_difference=largest,
        mean_difference=largest / 10,
        mask_iou=worst,
        worst_iou=worst,
        worst_frame="7",
        dice_difference=None,
    )


def test_the_sentence_names_the_worst_of_all_rows() -> None:
    """The sentence names the worst and the matrix has every row."""
    rows = [
        row("tflite int8", "validation", 0, 1.0),
        row("tflite int8", "hard", 0, 1.0),
        row("openvino f32", "validation", 3, 0.91),
        row("onnx int8", "hard", 2, 0.85),
    ]
    view = parity_view(rows)
    assert view is not None
    assert view.kinds == ["validation", "hard"]
    assert view.steps["canonical int8 → onnx int8"] == [None, rows[3]]
    assert sum(cell is not None for cells in view.steps.values() for cell in cells) == 4
    assert "2 of 4 comparisons" in view.sentence
    assert "3/256, between canonical int8 and openvino f32 on validation" in view.sentence
    assert "0.8500, between canonical int8 and onnx int8 on hard frames" in view.sentence


def test_equal_engines_are_said_to_be_equal() -> None:
    view = parity_view([row("tflite int8", "golden", 0, None)])
    assert view is not None
    assert view.sentence == "Every comparison gave identical scores: 1, on 9 frames each."
    assert parity_view([]) is None
