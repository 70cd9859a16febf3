"""The front of the encoder's variants and the burned boxes of a clip."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest

from benchmarks import results_page, templates
from benchmarks.studies import front
from benchmarks.studies.clips import burned_boxes, read_burned
from edge.errors import DataError, ParityError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import ImageU8


@pytest.mark.slow
def test_variants_are_measured_beside_the_dense_peak() -> None:
    study = front.measure_front(("edge-xs", "edge-xs+plain+fpn8"), rounds=2, size=64, runs=1)
    base, variant, dense = study.front_rows
    assert [row.network for row in study.front_rows] == ["edge-xs", "edge-xs+plain+fpn8", "dense"]
    assert [row.base for row in study.front_rows] == ["edge-xs", "edge-xs", "dense"]
    assert base.ratio == 1
    assert variant.ratio == pytest.approx(variant.ms / base.ms)
    assert dense.share_of_peak == 1
    assert variant.macs != base.macs > 0
    for row in study.front_rows:
        assert len(row.samples) == 2
        assert row.giga_operations_per_second == pytest.approx(2 * row.macs / row.ms / 1e6)
    assert "openvino and tflite within" in study.check
    content: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(study))
    assert results_page.kind_of(content) == "front"
    page = templates.front(content)
    assert "`edge-xs+plain+fpn8`" in page
    assert "stack of dense convolutions" in page


def test_an_engine_that_computes_something_else_is_not_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from quantize.certify import parity
    from quantize.export import engines
    from quantize.graph import canonical
    from quantize.qat import nncf

    exported = [SimpleNamespace(runtime=runtime) for runtime in ("openvino", "tflite")]
    monkeypatch.setattr(nncf, "quantize_student", lambda *_: None)
    monkeypatch.setattr(canonical, "canonicalize", lambda *_: None)
    monkeypatch.setattr(engines, "export_engines", lambda _: exported)
    monkeypatch.setattr(parity, "canonical_scores", lambda *_: np.zeros((4, 16, 16)))
    apart = {"openvino": 1, "tflite": 2}
    monkeypatch.setattr(
        parity,
        "engine_scores",
        lambda engine, *_, threads: np.full((4, 16, 16), threads * apart[engine.runtime], np.uint8),
    )
    with pytest.raises(ParityError, match="tflite does not compute"):
        front.checked_engine(torch.nn.Identity(), 64, 1)


def test_untrained_students_have_settled_statistics() -> None:
    student = front.settled("edge-xs+fused", 64)
    assert not student.training
    variances = [
        module.running_var
        for module in student.modules()
        if getattr(module, "running_var", None) is not None
    ]
    assert variances
    assert all((variance != 1).any() for variance in variances)


def test_a_student_without_a_size_needs_one() -> None:
    with pytest.raises(UsageError, match="unet-32 has no input size"):
        front.measure_front(("unet-32",), rounds=2)


def picture(box: tuple[int, int, int, int] | None) -> ImageU8:
    """A reddish frame, with an outline and its label as tracking programs draw them."""
    frame = np.full((120, 160, 3), (60, 80, 190), np.uint8)
    if box is not None:
        x, y, width, height = box
        cv2.rectangle(frame, (x, y), (x + width - 1, y + height - 1), (255, 20, 10), 2)
        cv2.rectangle(frame, (x, y - 14), (x + 50, y), (255, 20, 10), cv2.FILLED)
        cv2.putText(frame, "polyp", (x, y - 3), cv2.FONT_HERSHEY_PLAIN, 0.8, (255, 255, 255))
    return frame


def test_burned_boxes_are_read_without_their_labels() -> None:
    assert burned_boxes(picture(None)) == []
    ((x, y, width, height),) = burned_boxes(picture((40, 50, 60, 40)))
    for read, drawn in zip((x, y, x + width, y + height), (40, 50, 100, 90), strict=True):
        assert abs(read - drawn) <= 3


def test_a_clip_ends_with_its_last_lasting_box(tmp_path: Path) -> None:
    clip = tmp_path / "burned.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"FFV1"), 25.0, (160, 120))
    boxed = [4, 5, 6, 7, 12]  # the last one is a flash of the detector
    for number in range(15):
        writer.write(picture((40, 50, 60, 40) if number in boxed else None))
    writer.release()
    truth = read_burned(clip, tmp_path)
    assert truth.path is not None
    frames = json.loads(truth.path.read_text())["frames"]
    assert [number for number, boxes in frames.items() if boxes] == ["4", "5", "6", "7"]
    assert len(frames) == 8
    assert cv2.VideoCapture(str(truth.clip)).get(cv2.CAP_PROP_FRAME_COUNT) == 8
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"FFV1"), 25.0, (160, 120))
    writer.write(picture(None))
    writer.release()
    with pytest.raises(DataError, match="no burned boxes"):
        read_burned(clip, tmp_path)
