"""The device's wheel on emulated aarch64 against this machine: same golden frames, same regions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from edge.bundle.reader import Bundle, write_bundle
from edge.datasets.phantom.render import clip

pytestmark = pytest.mark.arm

ENVIRONMENTS = {
    name: Path(folder)
    for name, _, folder in (
        pair.partition("=") for pair in os.environ.get("EDGE_DIFOM_AARCH64", "").split(",") if pair
    )
}
"""Extra -> its environment, made by `tests.machines.arm`."""
BUNDLE = Path(os.environ.get("EDGE_DIFOM_BUNDLE", ""))
ENGINES = {"openvino": "openvino", "tflite": "tflite", "tflite-runtime": "tflite"}
"""Extra -> engine that it brings."""
FRAMES = 20
MAX_OTHERS = 3
"""Frames of OpenVINO with another mask."""
ROOT = Path(__file__).parents[3]
HERE = [sys.executable, "-m", "edge_difom"]

both = pytest.mark.parametrize("extra", sorted(ENGINES))


def call(*command: str | Path, cwd: Path, expected: int = 0) -> subprocess.CompletedProcess[str]:
    # This machine runs the tree, the other one the wheel that was made from it.
    environment = {**os.environ, "PYTHONPATH": str(ROOT) if command[0] == sys.executable else ""}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == expected, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def there(extra: str) -> list[str]:
    """The command on the emulated machine."""
    return [str(ENVIRONMENTS[extra] / "bin/edge-difom")]


def verified(command: list[str], extra: str, where: Path) -> dict[str, Any]:
    record = where / "verify.json"
    call(
        *command,
        "verify",
        "--bundle",
        BUNDLE,
        "--engine",
        ENGINES[extra],
        "--json",
        record,
        cwd=where,
    )
    (check,) = json.loads(record.read_text())["engines"]
    assert isinstance(check, dict)
    return check


def lines(command: list[str], extra: str, source: str, where: Path) -> list[dict[str, Any]]:
    record = where / "frames.jsonl"
    call(
        *command, "run", "--source", source, "--bundle", BUNDLE, "--engine", ENGINES[extra],
        "--sink", f"jsonl:{record}", "--force", cwd=where,
    )  # fmt: skip
    return [json.loads(line) for line in record.read_text().splitlines()[1:]]


def found(line: dict[str, Any]) -> tuple[Any, ...]:
    """What a line says of the picture, without times."""
    return line["frame"], line["mask_area"], line["regions"], line["reason"]


def overlap(line: dict[str, Any], other: dict[str, Any], size: tuple[int, int]) -> float:
    """IoU of the regions of two lines; 1 where neither has any."""
    masks = []
    for regions in (line["regions"] or [], other["regions"] or []):
        mask = np.zeros(size, np.uint8)
        for region in regions:
            cv2.fillPoly(mask, [np.array(region["contour"], np.int32)], 1)
        masks.append(mask > 0)
    union = int((masks[0] | masks[1]).sum())
    return int((masks[0] & masks[1]).sum()) / union if union else 1.0


@both
def test_the_golden_frames_hold_on_arm(extra: str, tmp_path: Path) -> None:
    arm, x86 = verified(there(extra), extra, tmp_path), verified(HERE, extra, tmp_path)
    assert arm["checked"]
    assert arm["ok"]
    if ENGINES[extra] == "tflite":
        assert arm["frames"] == x86["frames"]
    package = arm["settings"].get("package", "openvino")
    assert package == {"tflite": "ai-edge-litert"}.get(extra, extra)


@both
def test_masks_of_the_same_pictures_are_those_of_x86(extra: str, tmp_path: Path) -> None:
    input_spec = Bundle.open(BUNDLE).manifest.input
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    # At the size of the engine's input: OpenCV's shrinking is one level apart on some processors.
    for number, picture in enumerate(clip(3, FRAMES, size=(input_spec.height, input_spec.width))):
        cv2.imwrite(str(pictures / f"{number:03d}.png"), picture.image[..., ::-1])
    arm = lines(there(extra), extra, f"images:{pictures}", tmp_path)
    x86 = lines(HERE, extra, f"images:{pictures}", tmp_path)
    assert len(arm) == len(x86) == FRAMES
    assert any(line["regions"] for line in x86)
    if ENGINES[extra] == "tflite":
        assert [found(line) for line in arm] == [found(line) for line in x86]
    overlaps = [
        overlap(line, other, (input_spec.height, input_spec.width))
        for line, other in zip(arm, x86, strict=True)
    ]
    # OpenVINO computes the integers in float on ARM: a sum on a tie may fall to the other side, and
    # a region whose highest score lies at the least peak may come or go.
    assert sum(one < 0.9 for one in overlaps) <= MAX_OTHERS, overlaps
    assert np.mean(overlaps) >= 0.9, overlaps


@both
def test_every_frame_of_a_clip_is_taken(extra: str, tmp_path: Path) -> None:
    source = f"synthetic:?width=320&height=240&frames={FRAMES}&live=0"
    arm = lines(there(extra), extra, source, tmp_path)
    assert [line["frame"] for line in arm] == list(range(FRAMES))
    assert {line["reason"] for line in arm} == {None}
    assert any(line["regions"] for line in arm)


def test_what_the_program_starts_is_emulated_too(tmp_path: Path) -> None:
    script = (
        "import multiprocessing, platform, subprocess, sys\n"
        "if __name__ == '__main__':\n"
        "    print(subprocess.check_output([sys.executable, '-c', "
        "'import platform; print(platform.machine())'], text=True))\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(platform.machine))\n"
    )
    (tmp_path / "parent.py").write_text(script)
    output = call(
        ENVIRONMENTS["tflite"] / "bin/python3", tmp_path / "parent.py", cwd=tmp_path
    ).stdout
    assert output.split() == ["aarch64", "aarch64"]


@both
def test_doctor_sees_an_arm_processor_and_the_engine(extra: str, tmp_path: Path) -> None:
    report = json.loads(call(*there(extra), "doctor", "--json", cwd=tmp_path).stdout)
    assert report["device"]["architecture"] == "aarch64"
    assert "asimddp" in report["device"]["flags"]
    assert report["engines"][ENGINES[extra]]


@pytest.mark.row(36, "engines of x86_64 alone on aarch64")
def test_a_bundle_for_another_architecture_is_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(BUNDLE)
    files = {name: (BUNDLE / name).read_bytes() for name in bundle.manifest.files}
    engines = [
        msgspec.structs.replace(engine, architectures=["x86_64"])
        for engine in bundle.manifest.engines
    ]
    other = msgspec.structs.replace(bundle.manifest, engines=engines, files={})
    write_bundle(tmp_path / "x86", other, files)
    done = call(
        *there("tflite"), "run", "--source", "synthetic:?frames=1&live=0", "--bundle",
        tmp_path / "x86",
        cwd=tmp_path, expected=4,
    )  # fmt: skip
    assert "aarch64" in done.stderr
