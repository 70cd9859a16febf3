"""The whole path on a small phantom: what the demo makes is what the verbs of the device take."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import cv2
import msgspec
import pytest

from edge.errors import UsageError
from edge_difom.cli.main import main
from edge_difom.demo.record import DemoSettings, DemoSummary
from edge_difom.demo.run import run_demo

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def status(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


SMALL = DemoSettings(
    student="edge-xs",
    train=48,
    validation=8,
    negatives=4,
    size=96,
    epochs=32,
    qat_epochs=1,
    clip_frames=20,
    bench_seconds=2,
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_DIFOM_RUNS", str(root / "runs"))
        run_demo(root / "out", SMALL)
    return root / "out"


def test_the_demo_leaves_bundle_report_overlay_and_summary(demo: Path) -> None:
    summary = msgspec.json.decode((demo / "summary.json").read_bytes(), type=DemoSummary)
    assert set(summary.dice) == {"f32", "openvino", "tflite"}
    for name, dice in summary.dice.items():
        assert dice is not None
        assert dice > 0.2, name
    assert summary.parity_iou is not None
    assert summary.parity_iou == 1
    assert set(summary.seconds) == {
        "phantom", "distill", "quantize", "bundle", "prove", "run", "measure", "report",
    }  # fmt: skip
    assert summary.negatives["openvino"]["n"] == SMALL.negatives
    page = (demo / "report.html").read_text()
    assert "Not a medical device" in page
    assert page.count("<svg") == 3
    assert not re.search(r"""(src|href)=["']?https?:|url\(["']?https?:""", page), "it loads nothing"


def test_the_overlay_shows_every_frame_and_each_has_its_line(demo: Path) -> None:
    video = cv2.VideoCapture(str(demo / "overlay.mp4"))
    frames = 0
    while video.read()[0]:
        frames += 1
    video.release()
    lines = [json.loads(line) for line in (demo / "frames.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "frame" in line]
    assert frames == SMALL.clip_frames == len(lines)
    for line in lines:
        assert set(line) == {
            "frame",
            "captured_ns",
            "clip_ms",
            "stages_ms",
            "age_ms",
            "mask_area",
            "regions",
            "reason",
        }
    assert any(line["regions"] for line in lines)


def test_the_bundle_verifies_until_a_byte_is_changed(demo: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(demo / "bundle", bundle)
    assert status("verify", "--bundle", str(bundle), "--json", str(tmp_path / "ok.json")) == 0
    assert json.loads((tmp_path / "ok.json").read_text())["ok"] is True
    (model,) = bundle.rglob("*.tflite")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    assert status("verify", "--bundle", str(bundle), "--json", str(tmp_path / "bad.json")) == 4
    assert json.loads((tmp_path / "bad.json").read_text())["ok"] is False


def test_a_packed_bundle_scores_like_its_directory_and_manifest(demo: Path, tmp_path: Path) -> None:
    packed = tmp_path / "b.difom"
    assert status("bundle", "pack", str(demo / "bundle"), "--out", str(packed)) == 0
    data = demo / "work" / "phantom" / "validation"
    reports = {}
    for name, bundle in (("directory", demo / "bundle"), ("packed", packed)):
        target = tmp_path / f"{name}.json"
        arguments = [
            "--bundle",
            str(bundle),
            "--data",
            str(data),
            "--engine",
            "tflite",
            "--json",
            str(target),
        ]
        assert status("evaluate", *arguments) == 0
        reports[name] = json.loads(target.read_text())
    headers = [record.pop("header") for record in reports.values()]
    assert headers[0]["digest"] == headers[1]["digest"]
    assert reports["directory"] == reports["packed"]
    assert reports["packed"]["n"] == SMALL.validation
    manifest = json.loads((demo / "bundle" / "manifest.json").read_text())
    stated = next(row for row in manifest["accuracy"] if row["engine"].startswith("tflite"))
    assert stated["dice"] == pytest.approx(reports["packed"]["dice"])


def test_a_checkpoint_is_scored_on_its_run_s_validation_pairs(demo: Path, tmp_path: Path) -> None:
    """A checkpoint is scored on the validation pairs of its run."""
    run, target = demo / "work" / "run", tmp_path / "f32.json"
    arguments = ["--run", str(run), "--pairs", str(run / "splits.json"), "--json", str(target)]
    assert status("evaluate", *arguments) == 0
    summary = json.loads((demo / "summary.json").read_text())
    assert json.loads(target.read_text())["dice"] == pytest.approx(summary["dice"]["f32"])


def test_bench_writes_a_record_with_both_estimates(demo: Path, tmp_path: Path) -> None:
    target = tmp_path / "bench.json"
    arguments = ["--bundle", str(demo / "bundle"), "--engine", "openvino", "--seconds", "2"]
    assert status("bench", *arguments, "--json", str(target), "--out", str(tmp_path / "run")) == 0
    record = json.loads(target.read_text())
    assert {"valid", "reason", "loads"} <= set(record)
    (load,) = record["loads"]
    assert load["latency_ms"]["p50"] >= load["latency_empirical_ms"]["p50"]


def test_a_demo_is_not_overwritten_without_force(demo: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        run_demo(demo, SMALL)
