"""Boxes of a detection head on the whole way: a run, integers, a bundle, and `edge-difom run`."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch

from distill.config import make_config
from distill.data.load import open_data
from distill.data.split_record import write_splits
from distill.data.tensors import to_tensor
from distill.run_folder import describe_run, save_checkpoint
from distill.students.build import build_student
from distill.students.edge import EdgeXS
from edge.bundle.reader import Bundle
from edge.datasets.phantom.render import render, write_clip, write_dataset
from edge.pipeline.smoothing import overlap
from edge_difom.cli.main import main
from quantize.bundle.make import make_bundle
from quantize.runs.folder import QatConfig
from quantize.runs.train import train_qat

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

FRAMES = 16
HEAT, SIZE = 0.7, 0.3


COVERED = 0.03
"""Share of the phantom that the student's mask covers, so that golden frames can be chosen."""


def boxes_everywhere() -> EdgeXS:
    """A student with some mask, and a box of `SIZE` with the score `HEAT` in every cell."""
    torch.manual_seed(0)
    student = build_student("edge-xs+detection", pretrained=False)
    assert isinstance(student, EdgeXS)
    assert student.detection is not None
    for branch, value in ((student.detection.heat, HEAT), (student.detection.size, SIZE)):
        layer = branch[-1]
        assert isinstance(layer, torch.nn.Conv2d)
        assert layer.bias is not None
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(layer.bias, math.log(value / (1 - value)))
    images = np.stack([render(seed, size=(64, 64)).image for seed in range(8)])
    student.eval()
    with torch.no_grad():
        logits = student(to_tensor(images))
        assert student.head.bias is not None
        student.head.weight.mul_(2 / logits.std())
        student.head.bias.sub_(student(to_tensor(images)).quantile(1 - COVERED))
    return student


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("boxes")
    write_dataset(root / "data", train=8, validation=4, negatives=0, seed=3, size=(96, 96))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_DIFOM_RUNS", str(root / "runs"))
        settings = {"student": "edge-xs", "detection": True, "pretrained": False, "recipe": "none"}
        config = make_config({"data": [str(root / "data")], "size": 64, "batch_size": 4} | settings)
        describe_run(root / "run", config)
        write_splits(root / "run" / "splits.json", open_data(config).splits)
        state = {"student": boxes_everywhere().state_dict(), "metrics": {"dice_val": 0.0}}
        save_checkpoint(root / "run" / "checkpoints" / "best.pt", state)
        train_qat(root / "run", QatConfig(epochs=0, calibration=8, max_drop=1.0))
        make_bundle(root / "run", root / "bundle")
    return root / "bundle"


@pytest.mark.parametrize("engine", ["openvino", "tflite"])
def test_run_shows_boxes_where_no_mask_is(bundle: Path, tmp_path: Path, engine: str) -> None:
    assert Bundle.open(bundle).manifest.output.boxes
    clip, lines, video = (tmp_path / name for name in ("clip.mp4", "lines.jsonl", "overlay.mp4"))
    write_clip(clip, seed=3, frames=FRAMES, size=(360, 480))
    sinks = ["--sink", f"jsonl:{lines}", "--sink", f"video:{video}"]
    given = ["--source", f"file:{clip}", "--bundle", str(bundle), "--engine", engine, *sinks]
    with pytest.raises(SystemExit) as ended:
        main(["run", *given])
    assert ended.value.code in (0, None)
    _, *frames = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(frames) == FRAMES
    judged = [frame for frame in frames if frame["reason"] is None]
    assert len(judged) >= FRAMES - 2
    assert not judged[0].get("boxes"), "one frame is too little"
    boxed = [frame for frame in judged if frame.get("boxes")]
    assert len(boxed) > FRAMES / 4
    for frame in boxed:
        for region in frame["regions"]:
            assert all(overlap(box["box"], region["box"]) == 0 for box in frame["boxes"])
    number, boxes = boxed[-1]["frame"], boxed[-1]["boxes"]
    for box in boxes:
        assert box["score"] == pytest.approx(HEAT, abs=1 / 256)
        x, y, width, height = box["box"]
        assert x >= 0
        assert y >= 0
        assert x + width <= 480
        assert y + height <= 360
    inner = [box["box"] for box in boxes if box["box"][0] > 0]
    assert any(abs(width - SIZE * 480) <= 480 / 256 + 1 for _, _, width, _ in inner)
    shown, source = read_frame(video, number), read_frame(clip, number)
    x, y, width, height = boxes[0]["box"]
    low, across = y + height - 1, slice(x + 10, x + width - 10)
    change = shown[low, across].astype(int) - source[low, across]
    assert change[:, 1].mean() > 40, "the outline is green"
    assert change[:, 1].mean() > change[:, 2].mean() + 40


def read_frame(path: Path, number: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """Frame of a video, BGR."""
    video = cv2.VideoCapture(str(path))
    for _ in range(number):
        assert video.grab()
    read, image = video.read()
    video.release()
    assert read
    return np.asarray(image, np.uint8)


def test_its_boxes_are_those_of_a_detector(bundle: Path, tmp_path: Path) -> None:
    report = tmp_path / "boxes.json"
    data = bundle.parent / "data" / "validation"
    with pytest.raises(SystemExit) as ended:
        main([
            "evaluate", "--detector", f"detection:{bundle}", "--delineator", "box", "--data",
            str(data), "--json", str(report)
        ])  # fmt: skip
    assert ended.value.code in (0, None)
    boxes = json.loads(report.read_text())["boxes"]
    assert boxes["proposed"] >= boxes["true"] > 0
    assert boxes["iou"] == 0.5
