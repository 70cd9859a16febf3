"""Color bars through a capture path: right ones pass, known faults are named."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edge.bench.measure.colors import (
    BARS,
    TOLERANCE,
    draw_card,
    faulty_cards,
    judge_colors,
    measure_bars,
    measure_colors,
)
from edge.errors import DataError, MissingDependencyError, UsageError
from edge.sources import gst_bindings
from edge.sources.open import open_source
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.frame import ImageU8


def status(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def drawn(bars: NDArray[np.float64]) -> ImageU8:
    """The card with these RGB levels, slightly noisy."""
    card = np.repeat(bars[None, :, ::-1].astype(np.float64), 60, axis=0).repeat(40, axis=1)
    noise = np.random.default_rng(1).normal(0, 3, card.shape)
    return np.clip(card + noise, 0, 255).astype(np.uint8)


def test_the_card_that_is_drawn_is_the_card_that_is_measured() -> None:
    for size in ((720, 1280), (1080, 1920), (480, 643)):
        report = judge_colors(measure_bars(draw_card(*size)))
        assert (report.ok, report.error, report.fault) == (True, 0.0, "")


@pytest.mark.parametrize("fault", list(faulty_cards()))
def test_a_known_fault_is_named(fault: str) -> None:
    report = judge_colors(measure_bars(drawn(faulty_cards()[fault])))
    assert not report.ok
    assert report.fault == fault


def test_faults_can_be_told_apart() -> None:
    cards = [BARS, *faulty_cards().values()]
    for number, card in enumerate(cards):
        for other in cards[number + 1 :]:
            assert np.abs(card - other).max() > TOLERANCE


def test_a_different_picture_is_no_known_fault() -> None:
    report = judge_colors(measure_bars(np.full((90, 160, 3), 90, np.uint8)))
    assert report.fault == "no known fault"


@pytest.mark.parametrize(
    ("made", "declared", "fault"),
    [
        ("bt709", "bt709", ""),
        ("bt601", "bt601", ""),
        ("bt709", "bt601", "BT.709 is decoded as BT.601"),
        ("bt601", "bt709", "BT.601 is decoded as BT.709"),
    ],
)
def test_a_pipeline_is_read_by_the_matrix_that_it_declares(
    made: str, declared: str, fault: str, tmp_path: Path
) -> None:
    """Y'CbCr of studio range through the sources' own conversion; a wrong declaration is named."""
    try:
        gst_bindings.load()
    except MissingDependencyError as error:
        pytest.skip(f"GStreamer's bindings: {error.got}")
    cv2.imwrite(str(tmp_path / "card.png"), draw_card(480, 640))
    report = measure_colors(
        open_source(
            f"gst:filesrc location={tmp_path}/card.png ! pngdec ! imagefreeze num-buffers=30 "
            f"! videoconvert ! video/x-raw,format=NV12,framerate=30/1,colorimetry={made} "
            f"! capssetter join=true caps=video/x-raw,colorimetry={declared}"
        )
    )
    assert report.fault == fault
    assert report.ok is (fault == "")


def test_the_command_draws_and_judges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card, folder = tmp_path / "card.png", tmp_path / "seen"
    folder.mkdir()
    assert status("bench", "colors", "--card", card) == 0
    for number in range(10):
        shutil.copyfile(card, folder / f"{number}.png")
    assert status("bench", "colors", "--source", f"images:{folder}") == 0
    assert "the colors are right" in capsys.readouterr().out
    flat = np.rint(16 + draw_card().astype(float) * (219 / 255)).astype(np.uint8)
    for number in range(10):
        cv2.imwrite(str(folder / f"{number}.png"), flat)
    record = tmp_path / "colors.json"
    code = status("bench", "colors", "--source", f"images:{folder}", "--json", record)
    assert code == DataError.exit_code
    assert "studio range is shown as full range" in capsys.readouterr().err
    assert record.exists()


def test_exactly_one_of_source_and_card() -> None:
    assert status("bench", "colors") == UsageError.exit_code
    assert status("bench", "colors", "--card", "a.png", "--source", "v4l2:0") == 2
