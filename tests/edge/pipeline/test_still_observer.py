"""Stills of a running loop, asked for by a pedal of the cart or by a signal."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pydicom
import pytest

from edge.bundle.reader import Bundle
from edge.contracts import CartEvent, CartReport, PedalEvent
from edge.datasets.phantom.render import clip
from edge.inference.supervisor import SingleBundle
from edge.pipeline.device import DeviceOptions, open_device
from edge.pipeline.observers import CartObserver
from edge.pipeline.stills import PATIENCE_NS, StillObserver
from edge.sources.open import open_source
from edge.stills.files import read_still
from edge.stills.keeper import StillKeeper
from edge_difom.cli.main import main
from firmware_bridge.cart.connectors import open_cart
from tests.support.stills import RUNNING, circle, frame, result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typing_extensions import Self


class Notes:
    """Telemetry that keeps events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def event(self, kind: str, /, **details: object) -> None:
        self.events.append((kind, details["detail"]))


class Student:
    """A supervisor with a bundle."""

    name = "tflite"

    def __init__(self, bundle: Bundle | None = None) -> None:
        self.bundle = bundle


class Link:
    """A cart that reports what it is told to."""

    def __init__(self, *events: CartReport) -> None:
        self.waiting: list[CartReport] = list(events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def beat(self, *_: object, **__: object) -> None:
        return

    def events(self) -> Sequence[CartReport]:
        waiting, self.waiting = self.waiting, []
        return waiting


def test_a_pressed_pedal_takes_the_newest_frame_once(tiny_bundle: Path, tmp_path: Path) -> None:
    notes, requested, now = Notes(), threading.Event(), [0]
    link = Link(PedalEvent(2, True))
    observer = StillObserver(
        StillKeeper(tmp_path / "s", reserve_bytes=0),
        notes,  # type: ignore[arg-type] # the journal's part of it
        requested=requested,
        view=lambda: circle((67, 101)),
        supervisor=Student(Bundle.open(tiny_bundle)),  # type: ignore[arg-type] # likewise
        clock=lambda: now[0],
    )
    cart = CartObserver(link, notes, threading.Event(), observer.ask)  # type: ignore[arg-type] # likewise

    def come_round(index: int | None) -> None:
        newest = None if index is None else frame(index=index)
        for each in (cart, observer):
            each.progress(RUNNING, newest, None if newest is None else result())

    with observer:
        come_round(None)
        come_round(1)
        link.waiting = [PedalEvent(2, False), CartEvent("link-down", "it was pressed")]
        come_round(2)
        requested.set()
        come_round(3)
        come_round(4)
        link.waiting = [PedalEvent(1, True)]
        come_round(None)
        now[0] = PATIENCE_NS
        come_round(None)
        come_round(5)
        requested.set()
        come_round(None)
    assert observer.counters == {"kept": 2, "refused": 2}
    records = [
        read_still(tmp_path / "s" / str(name)).record
        for kind, name in notes.events
        if kind == "still"
    ]
    assert [(record.frame, record.asked_by) for record in records] == [
        (1, "pedal 2"),
        (3, "signal"),
    ]
    digest = Bundle.open(tiny_bundle).digest
    assert all(record.bundle is not None and record.bundle.digest == digest for record in records)
    assert [why for kind, why in notes.events if kind == "still-refused"] == [
        "no frame: running",
        "the run ended before a frame came",
    ]
    assert [name for kind, name in notes.events if kind == "cart-pedal"] == [
        "pedal 2 pressed", "pedal 2 released", "pedal 1 pressed",
    ]  # fmt: skip


def options(**changes: Any) -> DeviceOptions:
    return replace(DeviceOptions(engine="tflite", threads=1), **changes)


def test_a_pedal_of_a_simulated_cart_keeps_a_still(tiny_bundle: Path, tmp_path: Path) -> None:
    stills, log, stop = tmp_path / "stills", tmp_path / "journal", threading.Event()
    chosen = options(stills=stills, log=log)
    cart = open_cart("sim:" + ",".join(f"{at}=pedal 3" for at in range(1, 30)))
    source = open_source("synthetic:?width=321&height=241&fps=30&frames=1500")

    def follow(*_: object) -> None:
        if stills.exists() and any(path.name.startswith("still-") for path in stills.iterdir()):
            stop.set()

    store = SingleBundle(tiny_bundle)
    with open_device(source, [], store, chosen, cart=cart, stop=stop, on_frame=follow) as loop:
        assert loop.run().ended == "stopped"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    names = [event["details"]["detail"] for event in events if event["kind"] == "still"]
    assert sorted(path.name for path in stills.iterdir()) == sorted(names)
    back = read_still(stills / names[0])
    assert back.record.asked_by == "pedal 3"
    assert back.record.size == (241, 321)
    assert any(event["kind"] == "cart-pedal" for event in events)
    with pytest.raises(SystemExit) as ended:
        main(["device", "still", str(stills / names[0]), "--out", str(tmp_path / "dicom")])
    assert ended.value.code == 0
    image = pydicom.dcmread(tmp_path / "dicom" / "secondary-capture.dcm")
    np.testing.assert_array_equal(image.pixel_array[..., ::-1], back.image)


def test_a_signal_keeps_stills_of_a_clip(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stills = tmp_path / "stills"
    arguments = [
        "run",
        "--source",
        "synthetic:?width=96&height=64&frames=4&live=0",
        "--engine",
        "tflite",
    ]
    arguments += ["--bundle", str(tiny_bundle), "--threads", "1"]
    before = signal.getsignal(signal.SIGUSR1)

    def run(*more: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *more])
        return int(str(ended.value.code))

    assert run() == 0
    assert not stills.exists()
    sender = threading.Thread(target=lambda: _send_when(stills.exists))
    sender.start()
    assert run("--stills", str(stills)) == 0
    sender.join()
    assert signal.getsignal(signal.SIGUSR1) == before
    (name,) = [path.name for path in stills.iterdir()]
    assert read_still(stills / name).record.asked_by == "signal"
    assert "next: edge-difom device still" in capfd.readouterr().out
    for wrong in (["--no-guard"], ["--source", f"images:{tmp_path}"]):
        cv2.imwrite(str(tmp_path / "a.png"), next(clip(1, 1)).image)
        code = run("--stills", str(stills), *wrong)
        err = capfd.readouterr().err
        assert (code, "stills need the field of view" in err) == (2, True), err


def _send_when(condition: Any) -> None:
    while not condition():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGUSR1)
