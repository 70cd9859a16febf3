"""docs/jetson.md: its pipelines deliver frames, and its table tells measured from estimated."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from edge.errors import MissingDependencyError
from edge.sources import gst_bindings
from edge.sources.gst_sources import TextSource

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/jetson.md").read_text()
PIPELINES = re.findall(r"'gst:(.+?)'", PAGE)
KEYERS = re.findall(r"--keyer '(.+?)'", PAGE)
CAMERA = "videotestsrc is-live=true ! video/x-raw,format=UYVY,width=1920,height=1080,framerate={}/1"
FAKES = {
    r"decklinkvideosrc mode=1080i50[^!]*": f"{CAMERA.format(50)} ! interlace field-pattern=1:1 ",
    r"(decklinkvideosrc|ajasrc)[^!]*": f"{CAMERA.format(60)} ",
    r"nvarguscamerasrc": "videotestsrc is-live=true",
    r"\(memory:NVMM\)": "",
    r"nvvidconv": "videoconvert",
}
"""Hardware element, as a pattern -> what takes its place."""
XEON_MS, XEON_PEAK, XEON_GHZ = 4.64, 1344, 2.6


@pytest.fixture
def bindings() -> gst_bindings.Bindings:
    try:
        return gst_bindings.load()
    except MissingDependencyError as error:
        pytest.skip(f"GStreamer's bindings: {error.got}")


def rows() -> list[list[str]]:
    section = PAGE.partition("## Expected frame rates")[2].partition("\n## ")[0]
    table = section.partition("| --- |")[2]
    lines = [line for line in table.splitlines()[1:] if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]


def figures(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def record(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "benchmarks/results" / path).read_bytes())
    return content


def test_the_page_has_the_cards_that_it_promises() -> None:
    text = " ".join(PIPELINES)
    assert all(name in text for name in ("decklinkvideosrc", "ajasrc", "nvarguscamerasrc"))
    assert len(KEYERS) == 1


@pytest.mark.parametrize("text", PIPELINES, ids=[text.split()[0] for text in PIPELINES])
def test_a_pipeline_delivers_with_a_fake_element(text: str, bindings: object) -> None:
    for pattern, fake in FAKES.items():
        text = re.sub(pattern, fake, text)
    with TextSource(text) as source:
        end, frame = time.monotonic() + 30, None
        while frame is None:
            assert time.monotonic() < end
            try:
                frame = source.read()
            except TimeoutError:
                continue
        assert frame.image.shape == (1080, 1920, 3)


def test_elements_that_are_installed_know_the_options(bindings: gst_bindings.Bindings) -> None:
    """Names and values of options, if the plug-in is installed; no card is opened."""
    found = 0
    whole = [f"{text} ! fakesink" for text in PIPELINES] + [f"fakesrc ! {text}" for text in KEYERS]
    for text in whole:
        names = [part.split()[0] for part in text.split(" ! ") if not part.startswith("video/")]
        if all(gst_bindings.elements_found(names).values()):
            bindings.gst.parse_launch_full(text, None, bindings.gst.ParseFlags.FATAL_ERRORS)
            found += 1
    if not found:
        pytest.skip("no plug-in of a card is installed")


def test_a_measured_row_is_that_of_its_record() -> None:
    zen, xeon = [row for row in rows() if row[-1].startswith("measured")]
    cell = record("epyc-zen5-2-cores-shipped/matrix.json")["rows"][0]
    load = record("xeon-emerald-rapids-2-cores-edge-s/report.json")["loads"][0]
    for row, p50 in ((zen, cell["p50_ms"]), (xeon, load["latency_ms"]["p50"])):
        assert figures(row[3]) == [round(p50, 1)]
        assert figures(row[4]) == [round(1000 / p50)]
        assert "record" in row[-1]
    assert round(load["latency_ms"]["p50"], 2) == XEON_MS


def test_every_other_row_is_an_estimate_by_the_stated_rule() -> None:
    profile = record("xeon-emerald-rapids-2-cores-edge-s/report.json")["profile"]
    assert round(profile["peaks"][0]["giga_operations_per_second"]) == XEON_PEAK
    estimated = [row for row in rows() if not row[-1].startswith("measured")]
    assert len(estimated) >= 5
    for name, clock, width, ms, rate, kind in estimated:
        assert kind == "estimated", name
        (ghz,), (wide,) = figures(clock), figures(width)
        fast, slow = sorted((XEON_MS * XEON_GHZ / ghz, XEON_MS * XEON_PEAK / (4 * wide * ghz)))
        assert figures(ms) == pytest.approx([fast, slow], abs=0.051), name
        assert figures(rate) == pytest.approx([1000 / slow, 1000 / fast], abs=0.51), name
