"""The page of an evaluation: in one file, with the figures of the record and the right frames."""

from __future__ import annotations

import base64
import json
import re
import sys
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edge.datasets.phantom.render import write_dataset
from edge.errors import DataError, MissingDependencyError
from edge.evaluation.evaluator import evaluate
from edge.evaluation.gallery import Gallery
from edge.evaluation.metrics import ImageScore, summarize
from edge.evaluation.page import evaluation_page, read_metrics
from edge.evaluation.page_charts import dice_histogram, fit_curves
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.datasets.pairs import Pair
    from edge.evaluation.metrics import EvaluationReport


def row(name: str, dice: float | None, *, flagged: bool = True, area: float = 0.05) -> ImageScore:
    iou = None if dice is None else dice / (2 - dice)
    return ImageScore(
        name=name, dice=dice, iou=iou, area_true=area, area_found=area, flagged=flagged
    )


def frame() -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    true, predicted = np.zeros((60, 80), bool), np.zeros((60, 80), bool)
    true[10:40, 10:40], predicted[15:50, 15:50] = True, True
    return np.full((60, 80, 3), 90, np.uint8), true, predicted


def gallery_of(*rows: ImageScore) -> Gallery:
    gallery = Gallery()
    for item in rows:
        gallery.add(item, *frame())
    return gallery


def names(pictures: list[Any]) -> list[str]:
    return [picture.row.name for picture in pictures]


def test_the_best_the_worst_and_the_false_alarms_are_kept() -> None:
    values = [0.5, 0.9, 0.1, 0.7, 0.3, 0.8, 0.2, 0.6, 0.4]
    gallery = gallery_of(
        *(row(str(value), value) for value in values),
        row("clean", None, flagged=False),
        row("alarm", None, area=0.02),
        row("loud alarm", None, area=0.2),
    )
    assert names(gallery.best) == ["0.9", "0.8", "0.7", "0.6"]
    assert names(gallery.worst) == ["0.1", "0.2", "0.3", "0.4"]
    assert names(gallery.alarms) == ["loud alarm", "alarm"]


def test_of_a_few_frames_none_is_shown_twice() -> None:
    gallery = gallery_of(*(row(str(value), value) for value in (0.5, 0.1, 0.9, 0.3, 0.7)))
    assert names(gallery.worst) == ["0.1", "0.3", "0.5", "0.7"]
    assert names(gallery.best) == ["0.9"]


def decoded(url: str) -> NDArray[np.uint8]:
    data = base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))
    bgr: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def test_a_frame_shows_both_outlines_beside_the_original() -> None:
    (picture,) = gallery_of(row("a", 0.5)).worst
    outlined, original = decoded(picture.url), decoded(picture.original)
    assert original.shape == outlined.shape
    assert np.abs(original.astype(int) - 90).max() <= 2, "nothing is drawn on it"
    assert outlined.shape == (330, 440, 3)
    for color in ((64, 200, 255), (255, 176, 0)):
        assert np.count_nonzero(np.abs(outlined.astype(int) - color).max(axis=2) < 60) > 200


def test_the_page_is_one_file_with_the_figures_and_the_warning() -> None:
    rows = [row("a<b>", 0.8123), row("c", 0.25, area=0.005), row("d", None, flagged=False)]
    page = evaluation_page(summarize(rows), gallery_of(*rows), subject="RUN", data="kvasir:DIR")
    assert "contains patient images" in page
    assert "must not leave this machine" in page
    assert "not measured" in page
    assert "a&lt;b&gt;" in page
    assert "a<b>" not in page
    assert f"{(0.8123 + 0.25) / 2:.3f}" in page
    assert "medium: 1 % or more, under 10 %" in page
    assert page.count("<img") == 4
    assert page.count("<svg") == 2
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)


def test_a_run_brings_its_curves() -> None:
    metrics = [
        {
            "epoch": n,
            "dice_val": 0.5,
            "task": 1.0,
            "distill": 0.7,
            "r2_low/sam": 0.1 * n,
            "r2_high/sam": 0.0,
        }
        for n in range(3)
    ]
    rows = [row("a", 0.5)]
    page = evaluation_page(summarize(rows), Gallery(), subject="RUN", data="DIR", metrics=metrics)
    assert page.count("<svg") == 4
    assert "Training" in page
    assert fit_curves(metrics)
    assert fit_curves([{"epoch": 0, "dice_val": 0.5}]) == ""


def test_polyp_free_data_has_no_distribution() -> None:
    rows = [row("a", None)]
    assert dice_histogram(rows) == ""
    assert "<svg" not in evaluation_page(
        summarize(rows), gallery_of(*rows), subject="B", data="DIR"
    )


def test_metrics_that_cannot_be_read_are_a_data_error(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 0}\n{"epoch": 1}\n')
    assert read_metrics(tmp_path) == [{"epoch": 0}, {"epoch": 1}]
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 0}\n{"epo')
    with pytest.raises(DataError, match=r"metrics\.jsonl cannot be read"):
        read_metrics(tmp_path)


def test_the_command_writes_the_page_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluate_run(run: Path, pairs: list[Pair], **options: Any) -> EvaluationReport:
        return evaluate(
            pairs,
            lambda image: image[::4, ::4, 0].astype(np.float32) / 32 - 4,
            logits=True,
            **options,
        )

    monkeypatch.setattr("distill.train.evaluation.evaluate_run", evaluate_run)
    data, run, page = tmp_path / "data", tmp_path / "run", tmp_path / "out" / "report.html"
    write_dataset(data, train=1, validation=4, negatives=1, seed=1)
    run.mkdir()
    (run / "metrics.jsonl").write_text(
        json.dumps({"epoch": 0, "dice_val": 0.5, "task": 1.0}) + "\n"
    )
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "evaluate",
                "--run",
                str(run),
                "--data",
                str(data / "validation"),
                "--report",
                str(page),
            ]
        )
    assert ended.value.code == 0
    text = page.read_text()
    assert "logits brought to native size" in text
    assert text.count("<img") == 8
    for part in ("sensitivity: polyps found", "false alarms", "FROC", "Dice over the threshold"):
        assert part in text
    assert "must not leave this machine" in capsys.readouterr().out


def test_a_missing_extra_is_named_before_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "evaluate",
                "--bundle",
                str(tmp_path),
                "--data",
                str(tmp_path),
                "--report",
                str(tmp_path / "r.html"),
            ]
        )
    assert ended.value.code == MissingDependencyError.exit_code
