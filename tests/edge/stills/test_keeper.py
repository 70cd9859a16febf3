"""The keeper of stills: names, bounds and permissions, a full or slow disk, one owner."""

from __future__ import annotations

import errno
import threading
import time
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.errors import UsageError
from edge.imaging.view import whole_frame
from edge.stills import keeper as keeping
from edge.stills.files import read_still
from edge.stills.keeper import StillKeeper
from edge.stills.still import Still, compose
from tests.support.stills import RUNNING, WHO, circle, frame, full, result, still

if TYPE_CHECKING:
    from pathlib import Path


def keep(keeper: StillKeeper, count: int = 1, **changes: Any) -> list[keeping.KeeperEvent]:
    """Take frames, one after the other, and what became of them."""
    events: list[keeping.KeeperEvent] = []
    for index in range(count):
        values = {"view": circle((67, 101))} | changes
        keeper.keep(frame(index=index), result(), values["view"], RUNNING, WHO, asked_by="pedal 1")
        while len(events) <= index:
            events += keeper.pop_events()
            time.sleep(0.001)
    return events


def test_stills_are_named_told_and_bounded_in_number(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "stills"
    keeper = StillKeeper(
        folder,
        max_stills=3,
        reserve_bytes=0,
        date=lambda: datetime(2031, 5, 1, 12, tzinfo=timezone.utc),
    )
    events = keep(keeper, 4)
    keeper.close()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [one.kind for one in events] == ["still"] * 3 + ["still-refused"]
    assert events[3].detail == "full: 3 stills, at most 3 are kept"
    assert [one.frame for one in events] == [0, 1, 2, 3]
    assert {path.name for path in folder.iterdir()} == {one.detail for one in events[:3]}
    assert all(one.detail.startswith("still-20310501T120000Z-") and one.mask for one in events[:3])
    inside = full(circle((67, 101))) > 0
    for one in events[:3]:
        assert one.frame is not None
        image = read_still(folder / one.detail).image
        np.testing.assert_array_equal(image[inside], frame(index=one.frame).image[inside])


def test_stills_are_bounded_in_size(tmp_path: Path) -> None:
    keeper = StillKeeper(tmp_path / "s", max_bytes=1, reserve_bytes=0)
    events = keep(keeper, 2)
    keeper.close()
    assert [one.kind for one in events] == ["still", "still-refused"]
    assert events[1].detail.startswith("full: 0 MB of stills")


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

    def slow(still_made: Still, path: Path) -> None:
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
    assert [event.detail for event in keeper.pop_events()] == [
        "busy: 4 stills wait for the disk"
    ] * 2
    go.set()
    keeper.close(10)
    assert [event.detail for event in keeper.pop_events()] == ["the disk: Input/output error"] * 5


def test_the_next_frame_does_not_reach_a_still_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, real = threading.Event(), compose

    def late(*arguments: Any, **names: Any) -> Still:
        assert go.wait(10)
        return real(*arguments, **names)

    monkeypatch.setattr(keeping, "compose", late)
    keeper = StillKeeper(tmp_path / "s", reserve_bytes=0)
    original, judged = frame(), result()
    keeper.keep(original, judged, circle((67, 101)), RUNNING, WHO, asked_by="signal")
    original.image[:] = 0
    assert judged.scores is not None
    judged.scores[:] = 0
    go.set()
    keeper.close(10)
    (event,) = keeper.pop_events()
    back, expected = read_still(tmp_path / "s" / event.detail), still()
    assert back.mask is not None
    assert expected.mask is not None
    np.testing.assert_array_equal(back.mask, expected.mask)
    np.testing.assert_array_equal(back.image, expected.image)


def test_without_a_view_there_is_no_still(tmp_path: Path) -> None:
    keeper = StillKeeper(tmp_path / "s", reserve_bytes=0)
    for view in (None, whole_frame((67, 101))):
        assert keep(keeper, view=view)[0].detail.startswith("no field of view")
    keeper.close()
    assert list((tmp_path / "s").iterdir()) == []


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    """A folder that others may enter is refused and leftovers go."""
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
    with pytest.raises(UsageError, match="stills or marks are kept there already"):
        StillKeeper(folder)
    keeper.close()
    StillKeeper(folder).close()
