"""Glass to glass on a fake clock: known delays are found, phases are random, blindness fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.bench.measure.displays import FramebufferDisplay, Loopback, SinkDisplay, open_display
from edge.bench.measure.glass import Marker, measure_glass
from edge.errors import Interruption, SourceError, UsageError
from edge.status import Reason, ReasonKind, State
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import Frame, Result


def measure(pulses: int, **loopback: Any) -> Any:
    clock = FakeClock(step_ns=1000)
    display = Loopback(clock=clock, sleep=clock.sleep, **loopback)
    return measure_glass(display, display.source, pulses=pulses, clock=clock, sleep=clock.sleep)


def test_a_known_delay_is_found_with_the_wait_for_a_picture() -> None:
    """A known delay is found with the wait for the next picture."""
    report = measure(700, delay_s=0.05, fps=50)
    assert (report.pulses, report.lost) == (700, 0)
    assert report.period_ms == pytest.approx(20, abs=0.1)
    samples = np.array(report.samples_ms)
    # Light after 50 ms, then the rest of a period of 20 ms: uniform, if the phases are random.
    assert 50 <= samples.min() < 51
    assert 69 < samples.max() <= 70.1
    assert np.histogram(samples, bins=10, range=(50, 70.1))[0].min() > 40
    assert report.delay_empirical_ms["p50"] == pytest.approx(60, abs=1)
    assert report.delay_ms["p99"] == pytest.approx(70, abs=0.2)
    assert report.notes == []
    x, y, width, height = report.marker
    assert (x, y) == pytest.approx((53, 40), abs=3)
    assert (width, height) == pytest.approx((53, 40), abs=5)


def test_too_few_pulses_give_no_p99() -> None:
    report = measure(70)
    assert report.delay_ms["p99"] is None
    assert report.delay_ms["p90"] is not None
    assert any("too few for p99" in note for note in report.notes)


def test_a_camera_that_does_not_see_the_marker_is_an_error() -> None:
    clock = FakeClock(step_ns=1000)
    screen, eye = (Loopback(clock=clock, sleep=clock.sleep) for _ in range(2))
    with pytest.raises(SourceError, match="does not see the marker"):
        measure_glass(screen, eye.source, pulses=5, clock=clock, sleep=clock.sleep)


def test_many_lost_pulses_are_an_error_and_a_few_are_noted() -> None:
    """Pulses that are lost too often are an error and a few are noted."""

    def lossy(every: int) -> Any:
        clock = FakeClock(step_ns=1000)
        display = Loopback(clock=clock, sleep=clock.sleep)
        show, count = display.show, 0

        def sometimes(lit: bool) -> None:
            nonlocal count
            count += lit
            if not (lit and count > 1 and count % every == 0):
                show(lit)

        display.show = sometimes  # type: ignore[method-assign]
        return measure_glass(display, display.source, pulses=100, clock=clock, sleep=clock.sleep)

    report = lossy(40)
    assert report.lost == 2
    assert report.pulses == 98
    assert any("2 pulses were not seen" in note for note in report.notes)
    with pytest.raises(SourceError, match="lost too often"):
        lossy(4)


def test_a_paused_camera_is_waited_for_but_an_ended_one_fails() -> None:
    clock = FakeClock(step_ns=1000)
    display = Loopback(clock=clock, sleep=clock.sleep)
    read, calls = display.source.read, 0

    def pausing() -> Frame | None:
        nonlocal calls
        calls += 1
        if calls % 7 == 0:
            clock.sleep(0.001)
            raise (
                TimeoutError
                if calls % 2
                else Interruption(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED))
            )
        return None if calls > 3000 else read()

    display.source.read = pausing  # type: ignore[method-assign]
    report = measure_glass(display, display.source, pulses=70, clock=clock, sleep=clock.sleep)
    assert report.pulses == 70
    calls = 2990
    with pytest.raises(SourceError, match="ended"):
        measure_glass(display, display.source, pulses=70, clock=clock, sleep=clock.sleep)


def test_a_marker_is_lit_over_the_middle_of_its_levels() -> None:
    marker = Marker((2, 1, 4, 3), dark=10, lit=90)
    image = np.zeros((6, 9, 3), np.uint8)
    image[1:4, 2:6] = 51
    assert marker.is_lit(image)
    image[1:4, 2:6] = 49
    assert not marker.is_lit(image)


def test_a_framebuffer_gets_the_marker_in_its_middle(tmp_path: Path) -> None:
    device, facts = tmp_path / "fb0", tmp_path / "class" / "fb0"
    facts.mkdir(parents=True)
    # 30 x 12 pixels of 4 bytes in lines of 128.
    for name, text in (("virtual_size", "30,12"), ("bits_per_pixel", "32"), ("stride", "128")):
        (facts / name).write_text(text + "\n")
    device.write_bytes(bytes([7]) * 128 * 12)
    with FramebufferDisplay(device, tmp_path / "class") as display:
        display.show(True)
        lit = np.frombuffer(device.read_bytes(), np.uint8).reshape(12, 128)
        assert (lit[4:8, 40:80] == 255).all()
        assert (lit == 255).sum() == 4 * 40
        display.show(False)
    dark = np.frombuffer(device.read_bytes(), np.uint8).reshape(12, 128)
    assert (dark[4:8, 40:80] == 0).all()
    assert (dark == 7).sum() == 12 * 128 - 4 * 40
    (facts / "bits_per_pixel").write_text("8")
    with pytest.raises(SourceError, match="unsupported pixel format"):
        FramebufferDisplay(device, tmp_path / "class")
    with pytest.raises(SourceError, match="not a framebuffer"):
        FramebufferDisplay(tmp_path / "fb7", tmp_path / "class")


def test_a_sink_can_be_the_display() -> None:
    class Kept:
        def __init__(self) -> None:
            self.written: list[tuple[Frame, Result]] = []
            self.open = False

        def __enter__(self) -> Kept:
            self.open = True
            return self

        def __exit__(self, *_: object) -> None:
            self.open = False

        def write(self, frame: Frame, result: Result) -> None:
            assert self.open
            self.written.append((frame, result))

        def outputs(self) -> list[Path]:
            return []

        def notify(self, status: object) -> None:
            pass

    sink = Kept()
    with SinkDisplay(sink, "kept", size=(30, 60)) as display:
        display.show(True)
        display.show(False)
    (lit, result), (dark, _) = sink.written
    assert lit.image[15, 30].tolist() == [255] * 3
    assert dark.image[15, 30].tolist() == [0] * 3
    assert lit.image[2, 2].tolist() == dark.image[2, 2].tolist() == [64] * 3
    assert (dark.index, result.regions, result.reason) == (1, (), None)
    assert not sink.open


def test_displays_by_text() -> None:
    display, source = open_display("loopback")
    assert source is not None
    assert source.live
    assert "50 ms" in display.description
    assert open_display("null")[1] is None
    with pytest.raises(UsageError, match="loopback"):
        open_display("hologram")
