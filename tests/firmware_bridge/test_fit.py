"""Whether a bundle fits a machine, and what stands in its way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bundle.manifest import (
    SCHEMA_VERSION,
    EngineEntry,
    GoldenSet,
    Input,
    Manifest,
    Output,
    Provenance,
)
from edge.engines.runtimes import Runtime
from edge.util.host import at_least
from edge.util.installation import install_command
from edge_difom.cli import main as cli
from firmware_bridge.fit import fit

if TYPE_CHECKING:
    from pathlib import Path


def manifest(*engines: EngineEntry) -> Manifest:
    provenance = Provenance(
        student="edge-s",
        teachers=[],
        recipe="none",
        data={},
        versions={},
        seed=0,
        created="2026-01-01",
    )
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name="example",
        intended_use="research",
        license="Apache-2.0",
        input=Input(height=8, width=8),
        output=Output(height=8, width=8),
        engines=list(engines),
        golden=GoldenSet(frames=[]),
        parity=[],
        accuracy=[],
        provenance=provenance,
        files={},
    )


def entry(runtime: str = "openvino", precision: str = "int8", least: str = "2025.2") -> EngineEntry:
    return EngineEntry(runtime=runtime, precision=precision, files=["model"], min_version=least)


HERE = {
    "openvino": Runtime(package="openvino", version="2026.4.1"),
    "tflite": Runtime(package="ai-edge-litert", version="2.3.0"),
}
OLD_OPENVINO = Runtime(package="openvino", version="2025.1.9")


def test_every_engine_runs() -> None:
    report = fit(
        manifest(entry(), entry("tflite", least="1.4")), runtimes=HERE, architecture="aarch64"
    )
    assert report.fits
    assert [(engine.runtime, engine.runs, engine.obstacles) for engine in report.engines] == [
        ("openvino", True, []),
        ("tflite", True, []),
    ]


@pytest.mark.parametrize(
    ("engine", "runtimes", "architecture", "words"),
    [
        (
            entry(),
            {"openvino": None},
            "x86_64",
            ["not installed", install_command("openvino")],
        ),
        (
            entry(),
            {"openvino": OLD_OPENVINO},
            "x86_64",
            ["2025.2 or newer", "2025.1.9", "--upgrade"],
        ),
        (entry(), HERE, "riscv64", ["built for x86_64, aarch64", "riscv64"]),
        (entry("hailo"), HERE, "x86_64", ["'hailo'", "openvino, tflite"]),
    ],
)
def test_an_obstacle_is_named(
    engine: EngineEntry, runtimes: dict[str, Runtime | None], architecture: str, words: list[str]
) -> None:
    report = fit(manifest(engine), runtimes=runtimes, architecture=architecture)
    assert not report.fits
    (obstacle,) = report.engines[0].obstacles
    assert all(word in obstacle for word in words)


def test_one_runnable_int8_engine_is_enough_and_float_is_not() -> None:
    runtimes = {**HERE, "openvino": None}
    both = manifest(entry(), entry("tflite", least="1.4"))
    assert fit(both, runtimes=runtimes, architecture="x86_64").fits
    floating = manifest(entry(), entry("tflite", "f32", "1.4"))
    assert not fit(floating, runtimes=runtimes, architecture="x86_64").fits
    assert not fit(manifest(), runtimes=HERE, architecture="x86_64").fits


def test_a_version_that_nobody_can_tell_is_no_obstacle() -> None:
    untold = {"openvino": Runtime(package="openvino", version="unknown")}
    assert fit(manifest(entry()), runtimes=untold, architecture="x86_64").fits


@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=4),
    st.lists(st.integers(0, 3000), min_size=1, max_size=4),
)
def test_versions_compare_by_number(left: list[int], right: list[int]) -> None:
    padded = [[*numbers, *[0] * (4 - len(numbers))] for numbers in (left, right)]
    texts = [".".join(map(str, numbers)) for numbers in (left, right)]
    assert at_least(texts[0], texts[1]) == (padded[0] >= padded[1])
    assert at_least(f"{texts[0]}-18123-abc9def", texts[0])


@given(st.text())
def test_any_version_text_is_compared(text: str) -> None:
    assert at_least(text, text)


def test_the_command(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    json_path = tmp_path / "fit.json"
    with pytest.raises(SystemExit) as ended:
        cli.main(["device", "fit", "--bundle", str(tiny_bundle), "--json", str(json_path)])
    assert ended.value.code == 0
    assert "next: edge-difom run" in capsys.readouterr().out
    assert json.loads(json_path.read_text())["fits"] is True


def test_a_bundle_that_cannot_run_exits_with_8(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "edge.engines.runtimes.find_runtimes", lambda: {"openvino": None, "tflite": None}
    )
    with pytest.raises(SystemExit) as ended:
        cli.main(["device", "fit", "--bundle", str(tiny_bundle)])
    assert ended.value.code == 8
    captured = capsys.readouterr()
    assert "openvino int8: the runtime is not installed" in captured.err
    assert "Traceback" not in captured.err
