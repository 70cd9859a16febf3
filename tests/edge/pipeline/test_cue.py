"""The light cue of a run: asked for once for each finding, and only of a cart that has a lamp."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from edge.contracts import TakesCues
from edge.pipeline.observers import CueObserver
from edge_difom.cli.main import main
from firmware_bridge.cart.connectors import open_cart
from firmware_bridge.cart.link.cart import ThreadedCart
from tests.support.recordings import NONE, seen
from tests.support.stills import RUNNING, frame

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000


class Lamp:
    """A cart that counts."""

    cues = 0

    def cue(self) -> None:
        self.cues += 1


def test_each_finding_asks_for_one_cue() -> None:
    lamp, now = Lamp(), 0
    observer = CueObserver(lamp, clock=lambda: now)
    for ms, found in ((0, False), (40, True), (80, True), (500, False), (600, True), (2000, False)):
        now = ms * MS
        taken = replace(frame(index=ms), captured_ns=now)
        observer.progress(RUNNING, taken, seen() if found else NONE)
    assert lamp.cues == 1, "a flicker is one finding"
    now = 3000 * MS
    observer.progress(RUNNING, replace(frame(index=3), captured_ns=now), seen())
    assert lamp.cues == 2
    observer.progress(RUNNING, None, None)
    assert list(observer.conditions()) == []


def test_the_cart_limits_what_is_asked_of_it() -> None:
    cart = open_cart("sim")
    assert isinstance(cart, TakesCues)
    assert isinstance(cart, ThreadedCart)
    with cart:
        end = time.monotonic() + 10
        while not cart.counters["cues"]:
            cart.beat(RUNNING, frame_age_ms=20, mask=False)
            cart.cue()
            assert time.monotonic() < end
            time.sleep(0.01)
        for _ in range(20):
            cart.cue()
            cart.beat(RUNNING, frame_age_ms=20, mask=False)
            time.sleep(0.01)
        assert cart.counters["cues"] == 1


def test_a_cue_needs_a_cart(tiny_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = ["run", "--source", "synthetic:?width=96&height=64&frames=4&live=0", "--engine"]
    given += ["tflite", "--bundle", str(tiny_bundle), "--cue"]
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    assert "--cart sim" in capfd.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main([*given, "--cart", "sim"])
    assert ended.value.code == 0
