"""Evaluation of a bundle on a folder: figures worked out by hand, and the shape of the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edge.bundle.reader import Bundle
from edge.datasets.pairs import find_pairs, read_mask
from edge.errors import DataError
from edge.evaluation.bundle import evaluate_bundle
from edge.evaluation.evaluator import evaluate
from edge.evaluation.metrics import summarize
from edge.evaluation.protocol_a import sigmoid
from edge.evaluation.run_splits import read_clean_splits, read_splits
from edge.frame import OperatingPoint
from edge.util.files import sha256
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edge.datasets.pairs import Pair
    from edge.evaluation.metrics import EvaluationReport

    U8 = NDArray[np.uint8]


@pytest.fixture
def data(tmp_path: Path, tiny_scene: Callable[..., U8]) -> Path:
    """Three pictures with a polyp, of three sizes, and two without; the masks are the red discs."""
    for number, (height, width) in enumerate(
        [(128, 128), (240, 320), (90, 64), (128, 128), (128, 160)]
    ):
        image = tiny_scene(number, height=height, width=width, polyp=number < 3)
        mask = (image[..., 0] > 180).astype(np.uint8) * 255
        for folder, picture in (("images", image[..., ::-1]), ("masks", mask)):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "data" / folder / f"{number}.png"), picture)
    return tmp_path / "data"


def status(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize("engine", ["openvino", "tflite"])
def test_a_bundle_finds_the_red_discs(engine: str, tiny_bundle: Path, data: Path) -> None:
    report = evaluate_bundle(Bundle.open(tiny_bundle), find_pairs(data), engine=engine, threads=1)
    assert (report.n, report.negatives.n, report.negatives.flagged) == (3, 2, 0)
    assert report.dice is not None
    assert report.dice > 0.85
    assert [row.name for row in report.per_image] == list("01234")
    assert all(row.flagged == (row.dice is not None) for row in report.per_image)


def test_scores_are_compared_at_native_size(data: Path) -> None:
    def left_half(image: U8) -> NDArray[np.float32]:
        scores = np.zeros((2, 2), np.float32)
        scores[:, 0] = 1
        return scores

    pairs = find_pairs(data)
    report = evaluate(pairs, left_half)
    for row, pair in zip(report.per_image, pairs, strict=True):
        true = read_mask(pair.mask)
        half = np.zeros_like(true)
        half[:, : true.shape[1] // 2] = True
        assert row.area_found == pytest.approx(0.5)
        assert row.area_true == pytest.approx(true.mean())
        assert row.flagged
        if true.any():
            assert row.dice == pytest.approx(2 * (true & half).sum() / (true.sum() + half.sum()))
    assert report.negatives.flagged == 2
    curve = report.dice_by_threshold
    assert len(curve) == 19
    assert report == summarize(report.per_image, dice_by_threshold=curve)


@pytest.mark.parametrize(("cells", "flagged"), [(1, False), (3, True)])
def test_a_speck_under_a_thousandth_does_not_flag(cells: int, flagged: bool, data: Path) -> None:
    def speck(image: U8) -> U8:
        scores = np.zeros((64, 64), np.uint8)
        scores[10 : 10 + cells, 10 : 10 + cells] = 255
        return scores

    # Also where the bundle itself keeps every region.
    report = evaluate(find_pairs(data)[3:], speck, point=OperatingPoint(min_region=0))
    assert {row.flagged for row in report.per_image} == {flagged}


def test_the_command_writes_the_agreed_record(
    tiny_bundle: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"
    assert (
        status(
            "evaluate", "--bundle", tiny_bundle, "--data", data, "--engine", "tflite", "--json", out
        )
        == 0
    )
    record = json.loads(out.read_text())
    keys = {"n", "dice", "iou", "dice_ci95", "negatives", "per_image"}
    assert set(record) == keys | {
        "by_size",
        "protocol_a",
        "dice_by_threshold",
        "benchmark",
        "notes",
        "clean",
        "shifts",
        "detection",
        "header",
        "confidence",
    }
    header = record["header"]
    assert (header["engine"], header["precision"], header["threshold"]) == ("tflite", "int8", 0.5)
    assert len(header["digest"]) == len(header["data_digest"]) == 64
    assert set(record["negatives"]) == {"n", "flagged", "ci95"}
    assert {name: group["n"] for name, group in record["by_size"].items()} == {
        "small": 0,
        "medium": 2,
        "large": 1,
    }
    assert record["protocol_a"]["n"] == 3
    assert record["protocol_a"]["upsampled"] == "scores"
    assert (record["benchmark"], record["notes"]) == (None, [])
    assert record["n"] + record["negatives"]["n"] == len(record["per_image"]) == 5
    assert record["dice_ci95"][0] <= record["dice"] <= record["dice_ci95"][1]


def test_a_region_that_is_left_out_is_not_in_the_mask(data: Path) -> None:
    def two_squares(image: U8) -> U8:
        scores = np.zeros((64, 64), np.uint8)
        scores[4:20, 4:20], scores[40:60, 40:60] = 250, 150
        return scores

    pairs = find_pairs(data)
    all_regions = evaluate(pairs, two_squares).per_image
    peaked = evaluate(pairs, two_squares, point=OperatingPoint(min_peak=0.9)).per_image
    large = evaluate(pairs, two_squares, point=OperatingPoint(min_region=0.08)).per_image
    for every, bright, big in zip(all_regions, peaked, large, strict=True):
        assert every.area_found == pytest.approx(0.16, abs=0.01)
        assert bright.area_found == pytest.approx(0.0625, abs=0.005)
        assert big.area_found == pytest.approx(0.0975, abs=0.012)
    none = evaluate(pairs, two_squares, point=OperatingPoint(min_peak=0.99))
    assert {row.area_found for row in none.per_image} == {0.0}
    assert (none.dice, none.negatives.flagged) == (0.0, 0)


def test_clean_folders_are_counted_by_folder_and_sequence(
    tiny_bundle: Path, data: Path, tmp_path: Path, tiny_scene: Callable[..., U8]
) -> None:
    for name, polyp in (("s01_0001", False), ("s01_0002", True), ("s02_0001", False)):
        (tmp_path / "ward").mkdir(exist_ok=True)
        image = tiny_scene(7, height=128, width=128, polyp=polyp)
        cv2.imwrite(str(tmp_path / "ward" / f"{name}.png"), image[..., ::-1])
    out, page = tmp_path / "out.json", tmp_path / "page.html"
    command = [
        "evaluate",
        "--bundle",
        tiny_bundle,
        "--data",
        data,
        "--negatives",
        tmp_path / "ward",
    ]
    assert status(*command, "--json", out) == 0
    record = json.loads(out.read_text())
    assert (record["n"], record["negatives"]["n"], record["negatives"]["flagged"]) == (3, 5, 1)
    assert {"name", "dice", "area_true", "area_found", "flagged"} <= set(record["per_image"][0])
    detection = record["detection"]
    assert detection["by_sequence"]["ward/s01"] | {"false_regions": 1} == {
        "frames": 2, "polyps": 0, "overlapped": 0, "matched": 0, "false_regions": 1, "clean": 2,
        "flagged": 1,
    }  # fmt: skip
    assert {name: group["clean"] for name, group in detection["by_set"].items()} == {
        "data": 2,
        "ward": 3,
    }
    assert (
        detection["polyps"]["n"],
        detection["polyps"]["overlapped"],
        detection["polyps"]["matched"],
    ) == (
        3,
        3,
        3,
    )
    assert (
        detection["clean"]["clustered_ci95"][0] <= 1 / 5 <= detection["clean"]["clustered_ci95"][1]
    )
    assert status(*command, "--report", page, "--compare", out) == 0
    text = page.read_text()
    assert "What is flagged and what is missed" in text
    assert "ward/s01" in text
    assert text.count("<svg") == 7
    assert status(*command, "--compare", out) == 2, "without a page there is nothing to draw on"
    out.write_text(json.dumps(record | {"detection": None}))
    assert status(*command, "--report", page, "--compare", out) == 3
    assert status(*command[:-1], tmp_path / "absent") == 3
    assert status("evaluate", "--bundle", tiny_bundle, "--data", tmp_path / "ward") == 3


def test_validation_pairs_of_a_run(
    tiny_bundle: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [
        {"image": str(pair.image), "mask": str(pair.mask), "dataset": "D", "group": pair.name}
        for pair in find_pairs(data)
    ]
    splits = data / "splits.json"
    free = {"image": samples[4]["image"], "mask": "", "dataset": "C", "group": "C/s01"}
    splits.write_text(
        json.dumps({"train": samples, "validation": samples[1:3], "clean_validation": [free]})
    )
    assert [pair.name for pair in read_splits(splits)] == ["D/1", "D/2"]
    assert [(frame.name, frame.sequence) for frame in read_clean_splits(splits)] == [("C/4", "s01")]
    assert status("evaluate", "--bundle", tiny_bundle, "--pairs", splits, "--json", "-") == 0
    printed = capsys.readouterr()
    record = json.loads(printed.out)
    assert (record["n"], record["negatives"]["n"]) == (2, 1)
    assert set(record["detection"]["by_set"]) == {"D", "C"}
    assert "next: edge-difom bench" in printed.err


def test_frames_of_a_run_that_changed_are_refused(
    tiny_bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [{"image": str(pair.image), "mask": str(pair.mask)} for pair in find_pairs(data)]
    files = {name: sha256(Path(name)) for sample in samples for name in sample.values()}
    free = {"image": samples[4]["image"]}
    splits = tmp_path / "splits.json"
    splits.write_text(
        json.dumps({"validation": samples[:2], "clean_validation": [free], "files": files})
    )
    assert len(read_splits(splits)) == 2
    assert len(read_clean_splits(splits)) == 1
    mask = Path(samples[1]["mask"])
    mask.write_bytes(Path(samples[0]["mask"]).read_bytes())
    assert status("evaluate", "--bundle", tiny_bundle, "--pairs", splits) == 3
    assert f"1 changed: {mask}" in capsys.readouterr().err
    Path(free["image"]).write_bytes(b"another picture")
    with pytest.raises(DataError, match="are not those"):
        read_clean_splits(splits)


def test_logits_score_like_their_scores(data: Path) -> None:
    def logits(image: U8) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = cv2.resize(
            image[..., 0].astype(np.float32) / 32 - 5, (16, 16)
        )
        return logits

    pairs = find_pairs(data)
    both = evaluate(pairs, logits, logits=True, protocol_a=True)
    scores = evaluate(pairs, lambda image: sigmoid(logits(image)), protocol_a=True)
    assert both.per_image == scores.per_image
    assert both.protocol_a is not None
    assert scores.protocol_a is not None
    assert (both.protocol_a.upsampled, scores.protocol_a.upsampled) == ("logits", "scores")
    assert both.protocol_a.n == 3
    assert both.protocol_a.mean_dice != scores.protocol_a.mean_dice
    assert both.protocol_a.mean_dice == pytest.approx(scores.protocol_a.mean_dice, abs=0.05)


def test_without_a_polyp_there_is_no_protocol_a(data: Path) -> None:
    report = evaluate(find_pairs(data)[3:], lambda _: np.ones((4, 4), np.float32), protocol_a=True)
    assert report.protocol_a is None
    assert report.negatives.flagged == 2


def test_a_benchmark_is_named_in_the_record(tiny_bundle: Path, data: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "TestDataset" / "CVC-300", tmp_path / "out.json"
    folder.parent.mkdir()
    data.rename(folder)
    assert (
        status("evaluate", "--bundle", tiny_bundle, "--data", f"cvc300:{tmp_path}", "--json", out)
        == 0
    )
    record = json.loads(out.read_text())
    assert record["benchmark"] == "cvc300"
    assert "5 frames where the field's test set of CVC-300 has 60" in record["notes"][0]


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b'{"validation": []}', b'{"validation": [{"image": 1}]}', b"\xff"]
)
def test_a_bad_list_of_pairs_is_a_data_error(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"splits\.json"):
        read_splits(path)


def test_a_checkpoint_goes_to_the_training_side(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def evaluate_run(run: Path, pairs: list[Pair], **options: Any) -> EvaluationReport:
        calls.append((run, len(pairs), options["protocol_a"]))
        return evaluate(pairs, lambda _: np.ones((4, 4), np.float32))

    monkeypatch.setattr("distill.train.evaluation.evaluate_run", evaluate_run)
    assert status("evaluate", "--run", tmp_path, "--data", data) == 0
    assert status("evaluate", "--run", tmp_path, "--data", data, "--protocol", "b") == 0
    assert calls == [(tmp_path, 5, True), (tmp_path, 5, False)]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--data", "D"], 2),
        (["--bundle", "B", "--run", "R", "--data", "D"], 2),
        (["--bundle", "B"], 2),
        (["--bundle", "B", "--data", "D", "--pairs", "P"], 2),
        (["--run", "R", "--data", "D", "--engine", "tflite"], 2),
        (["--bundle", "B", "--data", "D", "--threads", "0"], 2),
        (["--bundle", "B", "--data", "D", "--protocol", "a"], 2),
        (["--bundle", "B", "--data", "D", "--report", "."], 2),
        (["--bundle", "B", "--pairs", "P", "--names", "N"], 2),
        (["--bundle", "absent", "--data", "D"], 4),
    ],
)
def test_wrong_options_end_with_their_code_and_write_nothing(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    assert status("evaluate", *arguments, "--json", out) == code
    assert not out.exists()


def test_unknown_engine_and_missing_data_end_with_their_code(
    tiny_bundle: Path, data: Path, tmp_path: Path
) -> None:
    assert status("evaluate", "--bundle", tiny_bundle, "--data", data, "--engine", "tensorrt") == 2
    assert status("evaluate", "--bundle", tiny_bundle, "--data", tmp_path / "absent") == 3
    assert status("evaluate", "--bundle", tiny_bundle, "--data", f"etis:{tmp_path / 'absent'}") == 3
    assert status("evaluate", "--bundle", tiny_bundle, "--data", f"cvc:{data}") == 2
