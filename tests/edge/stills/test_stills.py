"""Stills: a frame with its own mask or none, black outside the view, kept in the background."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as replace_record

from edge.bundle.reader import Bundle
from edge.contracts import CartEvent, CartReport, PedalEvent
from edge.datasets.phantom.render import clip
from edge.errors import DataError, UsageError
from edge.frame import Frame, OperatingPoint, Result, Stage
from edge.imaging.postprocess import regions
from edge.imaging.view import View, whole_frame
from edge.inference.supervisor import SingleBundle
from edge.pipeline.analysis import refuse_stale
from edge.pipeline.device import DeviceOptions, open_device
from edge.pipeline.observers import CartObserver
from edge.pipeline.stills import PATIENCE_NS, StillObserver
from edge.sources.open import open_source
from edge.status import Reason, ReasonKind, State, Status
from edge.stills import keeper as keeping
from edge.stills.files import read_still, write_still
from edge.stills.keeper import StillKeeper
from edge.stills.still import BundleIdentity, Still, compose, shown_mask
from edge_difom.cli.main import main
from firmware_bridge.cart.link.cart import open_cart

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typing_extensions import Self

    from edge.frame import ImageU8

RUNNING = Status(State.RUNNING, None, 0)
WHO = BundleIdentity(
    name="tiny", digest="d" * 64, student="redness", created="2031", threshold=0.5, engine="tflite"
)
SIZES = [(64, 96), (67, 101), (241, 319)]


def circle(size: tuple[int, int]) -> View:
    """A round view on cells of a fourth of the frame."""
    cells = np.zeros((size[0] // 4, size[1] // 4), np.uint8)
    cv2.circle(
        cells, (cells.shape[1] // 2, cells.shape[0] // 2), cells.shape[0] * 2 // 5, 255, cv2.FILLED
    )
    return View((0, 0, size[1], size[0]), cells, size)


def full(view: View) -> ImageU8:
    return np.asarray(
        cv2.resize(view.mask, view.frame_size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8
    )


def frame(size: tuple[int, int] = (67, 101), index: int = 7) -> Frame:
    image = np.random.default_rng(index).integers(1, 256, (*size, 3)).astype(np.uint8)
    return Frame(index, image, 1_000_000, {Stage.INFER: (2_000_000, 3_000_000)})


def result(size: tuple[int, int] = (67, 101), *spots: tuple[int, int]) -> Result:
    """Scores of 16x16 with a spot at each place, and their regions."""
    scores = np.full((16, 16), 20, np.uint8)
    for x, y in spots or ((8, 8),):
        scores[y - 1 : y + 2, x - 1 : x + 2] = 220
    found = regions(scores, size, OperatingPoint(WHO.threshold, 0.001))
    return Result(scores, found, sum(region.area for region in found), None)


def still(size: tuple[int, int] = (67, 101), found: Result | None = None, **changes: Any) -> Still:
    values: dict[str, Any] = {
        "version": "1",
        "taken": "2031-05-01T12:00:00+00:00",
        "asked_by": "pedal 1",
    }
    return compose(
        frame(size), found or result(size), circle(size), RUNNING, WHO, **(values | changes)
    )


@pytest.mark.parametrize("size", SIZES)
def test_a_still_comes_back_from_the_disk_as_it_was(size: tuple[int, int], tmp_path: Path) -> None:
    made = still(size)
    write_still(made, tmp_path / "still")
    back = read_still(tmp_path / "still")
    assert replace_record(back.record, files={}) == made.record
    assert (back.record.state, back.record.frame, back.record.no_mask) == ("running", 7, None)
    assert back.record.part is None
    assert back.record.bundle == WHO
    assert back.mask is not None
    assert made.mask is not None
    for one, other in (
        (back.image, made.image),
        (back.mask, made.mask),
        (back.view.mask, made.view.mask),
    ):
        np.testing.assert_array_equal(one, other)
    inside = full(circle(size)) > 0
    assert back.image[~inside].max() == 0
    np.testing.assert_array_equal(back.image[inside], frame(size).image[inside])
    assert {path.name for path in (tmp_path / "still").iterdir()} == {
        "still.json", "frame.png", "view.png", "mask.png", "scores.png",
    }  # fmt: skip
    assert (tmp_path / "still").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "still").iterdir()} == {0o600}


@pytest.mark.parametrize("size", SIZES)
def test_the_mask_holds_what_was_shown_and_nothing_else(size: tuple[int, int]) -> None:
    both = result(size, (5, 5), (10, 10))
    view = View((0, 0, size[1], size[0]), np.full((1, 1), 255, np.uint8), size)
    whole = shown_mask(both, view, WHO.threshold)
    reached = cv2.resize(both.scores.astype(np.float32), size[::-1]) >= 128  # type: ignore[union-attr]
    np.testing.assert_array_equal(whole > 0, reached)
    one = replace(both, regions=both.regions[:1])
    shown = shown_mask(one, view, WHO.threshold) > 0
    assert 0 < shown.sum() < reached.sum()
    assert not (shown & ~reached).any()
    assert cv2.connectedComponents(shown.astype(np.uint8))[0] == 2
    x, y, w, h = one.regions[0].box
    assert shown[y + h // 2, x + w // 2]
    assert shown_mask(replace(both, regions=()), view, WHO.threshold).max() == 0
    assert shown_mask(both, circle(size), WHO.threshold)[full(circle(size)) == 0].max() == 0


@settings(max_examples=40)
@given(st.integers(17, 80), st.integers(17, 80), st.integers(0, 2**32 - 1))
def test_every_region_is_in_the_mask(height: int, width: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 140, (16, 16)).astype(np.uint8)
    found = regions(scores, (height, width), OperatingPoint(0.5, 0.0))
    view = whole_frame((height, width))
    mask = shown_mask(Result(scores, found, 0.1, None), view, 0.5)
    for region in found:
        x, y, w, h = region.box
        assert mask[max(y - 1, 0) : y + h + 1, max(x - 1, 0) : x + w + 1].any()
    assert bool(found) == bool(mask.any())


def test_what_is_stale_or_has_a_reason_has_no_mask() -> None:
    taken = frame()
    stale = refuse_stale(taken, result(), taken.captured_ns + 121_000_000, 120.0)
    assert stale.scores is not None, "the scores are there, and would fit"
    for found, why in (
        (stale, "stale: 121 ms old"),
        (
            Result(None, (), 0.0, Reason(ReasonKind.FREEZE, "the same picture for 0.6 s")),
            "freeze: the same picture for 0.6 s",
        ),
        (Result(None, (), 0.0, None), "no inference ran"),
    ):
        made = still(found=found)
        assert (made.mask, made.scores, made.record.bundle) == (None, None, None)
        assert made.record.no_mask == why
        assert made.record.regions == []


def test_without_a_polyp_the_mask_is_there_and_empty(tmp_path: Path) -> None:
    write_still(still(found=replace(result(), regions=(), mask_area=0.0)), tmp_path / "s")
    back = read_still(tmp_path / "s")
    assert back.record.no_mask is None
    assert back.mask is not None
    assert back.mask.max() == 0


def test_what_is_no_still_or_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with pytest.raises(DataError, match="is not a still"):
        read_still(path)
    write_still(still(), path)
    with pytest.raises(UsageError, match="exists already"):
        write_still(still(), path)
    record = (path / "still.json").read_bytes()
    for text, says in (
        (b"{}", "cannot be read"),
        (b"\xff", "cannot be read"),
        (record.replace(b'"schema": 2', b'"schema": 1'), "different schema"),
        (record.replace(b'"frame": 7', b'"polyps": 7'), "cannot be read"),
        (
            record.replace(b'"size": [', b'"size": [1'),
            "cannot be read|is not an image of this still",
        ),
    ):
        (path / "still.json").write_bytes(text)
        with pytest.raises(DataError, match=says):
            read_still(path)
    (path / "still.json").write_bytes(record)
    (path / "mask.png").write_bytes((path / "frame.png").read_bytes())
    with pytest.raises(DataError, match=r"mask\.png was changed"):
        read_still(path)
    (path / "mask.png").unlink()
    with pytest.raises(DataError, match=r"mask\.png cannot be read"):
        read_still(path)


def keep(keeper: StillKeeper, count: int = 1, **changes: Any) -> list[keeping.News]:
    """Take frames, one after the other, and what became of them."""
    news: list[keeping.News] = []
    for index in range(count):
        values = {"view": circle((67, 101))} | changes
        keeper.keep(frame(index=index), result(), values["view"], RUNNING, WHO, asked_by="pedal 1")
        while len(news) <= index:
            news += keeper.news()
            time.sleep(0.001)
    return news


def test_stills_are_named_told_and_bounded_in_number(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "stills"
    keeper = StillKeeper(
        folder,
        max_stills=3,
        reserve_bytes=0,
        date=lambda: datetime(2031, 5, 1, 12, tzinfo=timezone.utc),
    )
    news = keep(keeper, 4)
    keeper.close()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [one.kind for one in news] == ["still"] * 3 + ["still-refused"]
    assert news[3].detail == "full: 3 stills, at most 3 are kept"
    assert [one.frame for one in news] == [0, 1, 2, 3]
    assert {path.name for path in folder.iterdir()} == {one.detail for one in news[:3]}
    assert all(one.detail.startswith("still-20310501T120000Z-") and one.mask for one in news[:3])
    inside = full(circle((67, 101))) > 0
    for one in news[:3]:
        assert one.frame is not None
        image = read_still(folder / one.detail).image
        np.testing.assert_array_equal(image[inside], frame(index=one.frame).image[inside])


def test_stills_are_bounded_in_size(tmp_path: Path) -> None:
    keeper = StillKeeper(tmp_path / "s", max_bytes=1, reserve_bytes=0)
    news = keep(keeper, 2)
    keeper.close()
    assert [one.kind for one in news] == ["still", "still-refused"]
    assert news[1].detail.startswith("full: 0 MB of stills")


@pytest.mark.row(40, "stills on a tmpfs that is full: refused, told, nothing left half-written")
def test_a_full_disk_refuses_a_still_and_nothing_else(small_disk: Path) -> None:
    keeper = StillKeeper(small_disk / "s")
    assert keep(keeper)[0].detail == "disk full: 2 MB free, 32 MB are left to the journal"
    keeper.close()
    keeper = StillKeeper(small_disk / "s", reserve_bytes=0)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        fill = partial(file.write, bytes(4096))
        with pytest.raises(OSError, match="No space left"):
            all(iter(fill, None))
    assert keep(keeper)[0] == ("still-refused", "the disk: No space left on device", 0, False)
    assert list((small_disk / "s").iterdir()) == []
    filler.unlink()
    assert keep(keeper)[0].kind == "still"
    keeper.close()


def test_a_slow_disk_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(made: Still, path: Path) -> None:
        begun.set()
        assert go.wait(10)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(keeping, "write_still", slow)
    keeper = StillKeeper(tmp_path / "s", reserve_bytes=0)
    for index in range(7):
        keeper.keep(
            frame(index=index), result(), circle((67, 101)), RUNNING, WHO, asked_by="signal"
        )
        assert begun.wait(10)
    assert [news.detail for news in keeper.news()] == ["busy: 4 stills wait for the disk"] * 2
    go.set()
    keeper.close(10)
    assert [news.detail for news in keeper.news()] == ["the disk: Input/output error"] * 5


def test_the_next_frame_does_not_reach_a_still_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, real = threading.Event(), compose

    def late(*arguments: Any, **names: Any) -> Still:
        assert go.wait(10)
        return real(*arguments, **names)

    monkeypatch.setattr(keeping, "compose", late)
    keeper = StillKeeper(tmp_path / "s", reserve_bytes=0)
    taken, found = frame(), result()
    keeper.keep(taken, found, circle((67, 101)), RUNNING, WHO, asked_by="signal")
    taken.image[:] = 0
    assert found.scores is not None
    found.scores[:] = 0
    go.set()
    keeper.close(10)
    (news,) = keeper.news()
    back, made = read_still(tmp_path / "s" / news.detail), still()
    assert back.mask is not None
    assert made.mask is not None
    np.testing.assert_array_equal(back.mask, made.mask)
    np.testing.assert_array_equal(back.image, made.image)


def test_without_a_view_there_is_no_still(tmp_path: Path) -> None:
    keeper = StillKeeper(tmp_path / "s", reserve_bytes=0)
    for view in (None, whole_frame((67, 101))):
        assert keep(keeper, view=view)[0].detail.startswith("no field of view")
    keeper.close()
    assert list((tmp_path / "s").iterdir()) == []


def test_a_folder_that_others_may_enter_is_refused_and_leftovers_go(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(UsageError, match="chmod 700"):
        StillKeeper(tmp_path / "open")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="no stills can be kept"):
        StillKeeper(tmp_path / "file")
    folder = tmp_path / "mine"
    (folder / ".still-20310501T120000Z-0-1.abc").mkdir(parents=True)
    (folder / "notes").mkdir()
    folder.chmod(0o700)
    keeper = StillKeeper(folder)
    assert [path.name for path in folder.iterdir()] == ["notes"]
    with pytest.raises(UsageError, match="another run keeps stills there"):
        StillKeeper(folder)
    keeper.close()
    StillKeeper(folder).close()


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
    notes, asked, now = Notes(), threading.Event(), [0]
    link = Link(PedalEvent(2, True))
    observer = StillObserver(
        StillKeeper(tmp_path / "s", reserve_bytes=0),
        notes,  # type: ignore[arg-type] # the journal's part of it
        asked=asked,
        view=lambda: circle((67, 101)),
        supervisor=Student(Bundle.open(tiny_bundle)),  # type: ignore[arg-type] # likewise
        clock=lambda: now[0],
    )
    cart = CartObserver(link, notes, threading.Event(), observer.ask)  # type: ignore[arg-type] # likewise

    def come_round(index: int | None) -> None:
        taken = None if index is None else frame(index=index)
        for each in (cart, observer):
            each.progress(RUNNING, taken, None if taken is None else result())

    with observer:
        come_round(None)
        come_round(1)
        link.waiting = [PedalEvent(2, False), CartEvent("link-down", "it was pressed")]
        come_round(2)
        asked.set()
        come_round(3)
        come_round(4)
        link.waiting = [PedalEvent(1, True)]
        come_round(None)
        now[0] = PATIENCE_NS
        come_round(None)
        come_round(5)
        asked.set()
        come_round(None)
    assert observer.counters == {"kept": 2, "refused": 2}
    kept = [
        read_still(tmp_path / "s" / str(name)).record
        for kind, name in notes.events
        if kind == "still"
    ]
    assert [(record.frame, record.asked_by) for record in kept] == [(1, "pedal 2"), (3, "signal")]
    digest = Bundle.open(tiny_bundle).digest
    assert all(record.bundle is not None and record.bundle.digest == digest for record in kept)
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
    named = [event["details"]["detail"] for event in events if event["kind"] == "still"]
    assert sorted(path.name for path in stills.iterdir()) == sorted(named)
    back = read_still(stills / named[0])
    assert back.record.asked_by == "pedal 3"
    assert back.record.size == (241, 321)
    assert any(event["kind"] == "cart-pedal" for event in events)
    with pytest.raises(SystemExit) as ended:
        main(["device", "still", str(stills / named[0]), "--out", str(tmp_path / "dicom")])
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
