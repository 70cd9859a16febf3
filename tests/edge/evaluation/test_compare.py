"""Two evaluations of the same images: paired by name, judged by intervals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from edge.errors import DataError
from edge.evaluation.compare import compare_evaluations
from edge.evaluation.metrics import EvaluationReport, ImageScore, summarize
from edge.evaluation.paired import paired_difference
from edge.record_header import make_header
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

RANDOM = np.random.default_rng(0)
DICE = RANDOM.uniform(0.5, 0.9, 60)


def score(name: str, dice: float | None, *, flagged: bool = False) -> ImageScore:
    true = 0.0 if dice is None else 0.05
    return ImageScore(
        name=name, dice=dice, iou=None if dice is None else dice / (2 - dice), area_true=true,
        area_found=0.05, flagged=flagged, dataset="set",
    )  # fmt: skip


def report(
    change: float = 0.0, *, noise: float = 0.01, flagged: int = 0, first: int = 0
) -> EvaluationReport:
    noisy = DICE + change + RANDOM.normal(0, noise, len(DICE))
    rows = [score(f"set/{n}", float(value)) for n, value in enumerate(noisy) if n >= first]
    rows += [score(f"clean-{n}", None, flagged=n < flagged) for n in range(20)]
    return summarize(rows)


def test_the_verdict_follows_the_paired_interval() -> None:
    """The verdict follows the interval of the paired difference."""
    equal = compare_evaluations(report(), report())
    assert equal.verdict == "no difference shown"
    assert [figure.name for figure in equal.figures] == ["dice", "iou", "flagged"]
    dice = equal.figures[0]
    assert dice.n == 60
    assert dice.ci95[0] < 0 < dice.ci95[1]
    assert compare_evaluations(report(), report(0.02)).verdict == "better"
    worse = compare_evaluations(report(), report(-0.02))
    assert worse.verdict == worse.figures[0].verdict == "worse"
    assert worse.worst[0].right - worse.worst[0].left < -0.02


def test_more_flagged_clean_frames_are_worse_whatever_the_dice() -> None:
    comparison = compare_evaluations(report(flagged=1), report(0.02, flagged=15))
    assert [figure.verdict for figure in comparison.figures] == ["better", "better", "worse"]
    assert comparison.verdict == "worse"
    assert comparison.figures[2].difference == pytest.approx(14 / 20)


def test_images_are_paired_by_name_and_the_others_are_counted() -> None:
    left, right = report(), report(first=10)
    shuffled = msgspec.structs.replace(right, per_image=right.per_image[::-1])
    comparison = compare_evaluations(left, shuffled)
    assert (comparison.figures[0].n, comparison.only_left, comparison.only_right) == (50, 10, 0)
    with pytest.raises(DataError, match="share no image"):
        compare_evaluations(left, summarize([score("other", 0.5)]))


def test_other_data_under_the_same_names_are_told() -> None:
    left, right = report(), report()
    headers = [
        msgspec.structs.replace(make_header(data="set"), data_digest=digest) for digest in "ab"
    ]
    comparison = compare_evaluations(
        msgspec.structs.replace(left, header=headers[0]),
        msgspec.structs.replace(right, header=headers[1]),
    )
    assert any("digests" in note for note in comparison.notes)


def test_measurements_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(DataError, match="cannot be paired"):
        paired_difference([1.0], [1.0, 2.0])
    assert paired_difference([0.5, 0.7], [0.6, 0.8]).mean == pytest.approx(0.1)


@pytest.mark.parametrize("verb", [("compare",), ("evaluate", "compare")])
def test_a_worse_record_ends_with_code_6(
    tmp_path: Path, verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, out = (tmp_path / name for name in ("old.json", "new.json", "difference.json"))
    old.write_bytes(msgspec.json.encode(report()))
    new.write_bytes(msgspec.json.encode(report(-0.05)))

    def status(*arguments: object) -> object:
        with pytest.raises(SystemExit) as ended:
            main([*verb, *map(str, arguments)])
        return ended.value.code

    assert status(old, new, "--json", out) == 6
    captured = capsys.readouterr()
    assert "verdict: worse" in captured.out
    assert f"{new} is worse than {old}" in captured.err
    assert json.loads(out.read_text())["verdict"] == "worse"
    assert status(new, old) == 0
    assert status(old, tmp_path / "nothing.json") == 3
