"""The shared-memory stream: its content, read by Python, intact under load, gone when closed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import MissingDependencyError, UsageError
from edge.frame import Frame, Region, Result
from edge.overlay.layer_cache import LayerDrawing
from edge.presenter.display_options import DisplayOptions, compose
from edge.shm import layout as layout
from edge.shm.reader import SegmentReader
from edge.shm.writer import SegmentWriter, sweep
from edge.sinks.base import SinkOptions
from edge.sinks.shm import ShmSink
from edge.status import Reason, ReasonKind, State, Status
from edge.util.spec import Spec
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.frame import ImageU8
    from edge.shm.reader import Snapshot

HEADER = Path(layout.__file__).with_name("edge_difom_shm.h")
FOUND = Region(
    box=(20, 30, 40, 20), contour=((20, 30), (59, 30), (59, 49), (20, 49)), area=0.065, score=0.9
)
RUNNING = Status(State.RUNNING, None, 77)
MS = 1_000_000


def frame(
    index: int, clock: Callable[[], int] = lambda: 5 * MS, *, size: tuple[int, int] = (96, 128)
) -> Frame:
    image = np.random.default_rng(index).integers(0, 256, (*size, 3)).astype(np.uint8)
    return Frame(index=index, image=image, captured_ns=clock())


def result(*regions: Region, reason: Reason | None = None, scores: ImageU8 | None = None) -> Result:
    return Result(scores, regions, sum(region.area for region in regions), reason)


def read(path: Path) -> Snapshot:
    reader = SegmentReader(path)
    snapshot = reader.read()
    assert snapshot is not None
    reader.close()
    return snapshot


def test_a_frame_arrives_as_it_was_published(tmp_path: Path) -> None:
    clock = FakeClock()
    scores = np.arange(24 * 32, dtype=np.uint32).reshape(24, 32).astype(np.uint8)
    with ShmSink(tmp_path / "s", SinkOptions(), picture=True, clock=clock) as sink:
        sink.notify(RUNNING)
        original = frame(7, clock)
        clock.spend(30)
        view = Result(scores, (FOUND,), 0.065, None, (8, 4, 100, 80), (4, 0, 108, 88))
        sink.write(original, view)
        snapshot_read = read(tmp_path / "s")
        assert (snapshot_read.frame_index, snapshot_read.captured_ns, snapshot_read.done_ns) == (
            7,
            original.captured_ns,
            clock.now,
        )
        assert snapshot_read.valid_until_ns == original.captured_ns + 120 * MS
        assert (snapshot_read.state, snapshot_read.reason, snapshot_read.has_mask) == (
            State.RUNNING,
            "",
            True,
        )
        assert snapshot_read.boxes == (FOUND.box,)
        assert snapshot_read.mask_area == pytest.approx(0.065)
        assert snapshot_read.view == (8, 4, 100, 80)
        assert snapshot_read.part == (4, 0, 108, 88)
        assert snapshot_read.scores is not None
        assert np.array_equal(snapshot_read.scores, scores)
        layer = LayerDrawing().layer((96, 128), view, RUNNING)
        assert np.array_equal(snapshot_read.overlay[..., [2, 1, 0, 3]], layer)
        assert snapshot_read.picture is not None
        assert np.array_equal(snapshot_read.picture[..., ::-1], original.image)


def test_what_may_not_be_drawn_is_not_in_the_stream(tmp_path: Path) -> None:
    with ShmSink(tmp_path / "s", SinkOptions()) as sink:
        sink.notify(
            Status(State.DEGRADED, Reason(ReasonKind.IMPLAUSIBLE, "the mask covers 99 %"), 5)
        )
        scores = np.full((24, 32), 255, np.uint8)
        sink.write(
            frame(0),
            Result(scores, (), 0.0, Reason(ReasonKind.IMPLAUSIBLE, "the mask covers 99 %")),
        )
        snapshot_read = read(tmp_path / "s")
    assert (
        snapshot_read.has_mask,
        snapshot_read.scores,
        snapshot_read.boxes,
        snapshot_read.picture,
    ) == (False, None, (), None)
    assert (snapshot_read.state, snapshot_read.reason) == (
        State.DEGRADED,
        "implausible: the mask covers 99 %",
    )
    assert snapshot_read.overlay[..., 3].any(), "the glyph says why"


def test_without_frames_the_mask_is_taken_away(tmp_path: Path) -> None:
    """Without frames the status is published and the mask taken away."""
    clock = FakeClock()
    with ShmSink(tmp_path / "s", SinkOptions(), clock=clock) as sink:
        assert read(tmp_path / "s").state is State.BOOT
        sink.notify(RUNNING)
        sink.write(frame(0, clock), result(FOUND))
        number = read(tmp_path / "s").number
        reader = SegmentReader(tmp_path / "s")
        clock.spend(50)
        sink.notify(RUNNING)
        assert reader.news() == (number, clock.now), "a sign of life, and the frame stays"
        clock.spend(70)
        sink.notify(RUNNING)
        over = reader.read()
        assert over is not None
        assert (over.has_mask, over.frame_index, over.valid_until_ns) == (False, None, 0)
        for _ in range(3):
            clock.spend(50)
            sink.notify(RUNNING)
        assert reader.news() == (over.number, clock.now), "the same status is published once"
        sink.notify(
            Status(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED, "/dev/video0 is gone"), clock.now)
        )
        snapshot_read = reader.read()
        assert snapshot_read is not None
        assert (snapshot_read.state, snapshot_read.reason) == (
            State.NO_SIGNAL,
            "unplugged: /dev/video0 is gone",
        )
        reader.close()


def test_a_state_that_allows_no_mask_takes_it_away_at_once(tmp_path: Path) -> None:
    clock = FakeClock()
    with ShmSink(tmp_path / "s", SinkOptions(), clock=clock) as sink:
        sink.notify(RUNNING)
        sink.write(frame(0, clock), result(FOUND))
        assert read(tmp_path / "s").has_mask
        sink.notify(Status(State.BYPASS, Reason(ReasonKind.HANG, "3 in 60 s"), clock.now))
        snapshot_read = read(tmp_path / "s")
        assert (snapshot_read.has_mask, snapshot_read.state) == (False, State.BYPASS)


def test_a_clip_s_frames_do_not_age_on_their_way(tmp_path: Path) -> None:
    clock = FakeClock()
    with ShmSink(tmp_path / "s", SinkOptions(), clock=clock) as sink:
        old = frame(0, clock)
        clock.spend(900)
        sink.write(old, result(FOUND))
        assert read(tmp_path / "s").valid_until_ns == clock.now + 120 * MS


@pytest.mark.parametrize(("ms", "with_mask"), [(119, True), (120, False), (400, False)])
def test_a_live_frame_that_is_late_gets_no_second_life(
    tmp_path: Path, ms: float, with_mask: bool
) -> None:
    clock = FakeClock()
    with ShmSink(tmp_path / "s", SinkOptions(live=True), clock=clock) as sink:
        sink.notify(RUNNING)
        old = frame(0, clock)
        clock.spend(ms)
        sink.write(old, result(FOUND))
        snapshot_read = read(tmp_path / "s")
    assert snapshot_read.valid_until_ns == old.captured_ns + 120 * MS
    assert (snapshot_read.has_mask, bool(snapshot_read.boxes)) == (with_mask, with_mask)
    assert snapshot_read.reason == ("" if with_mask else f"stale: {ms} ms old")


def test_a_reading_without_pixels_has_everything_else(tmp_path: Path) -> None:
    with ShmSink(tmp_path / "s", SinkOptions(), picture=True) as sink:
        sink.write(frame(3), result(FOUND, scores=np.full((24, 32), 9, np.uint8)))
        complete = read(tmp_path / "s")
        reader = SegmentReader(tmp_path / "s")
        bare = reader.read(pixels=False)
        reader.close()
    assert bare is not None
    assert (bare.scores, bare.picture, bare.overlay.size) == (None, None, 0)
    assert bare.size == complete.size == complete.overlay.shape[:2] == (96, 128)
    assert (bare.frame_index, bare.boxes, bare.number) == (
        complete.frame_index,
        complete.boxes,
        complete.number,
    )


@given(
    seed=st.integers(0, 1000),
    box=st.tuples(st.integers(0, 90), st.integers(0, 60), st.integers(2, 60), st.integers(2, 50)),
    reason=st.sampled_from([None, Reason(ReasonKind.FREEZE, "3 s")]),
)
@settings(max_examples=25)
def test_pixels_outside_the_markers_are_the_frame_s(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    box: tuple[int, int, int, int],
    reason: Reason | None,
) -> None:
    x, y, w, h = box
    region = Region(box, ((x, y), (x + w, y), (x + w, y + h), (x, y + h)), 0.1, 0.8)
    path = tmp_path_factory.mktemp("shm") / "s"
    with ShmSink(path, SinkOptions(), picture=True) as sink:
        original = frame(seed)
        sink.notify(RUNNING)
        sink.write(original, result(*(() if reason else (region,)), reason=reason))
        snapshot_read = read(path)
    alpha = snapshot_read.overlay[..., 3]
    assert set(np.unique(alpha)) == {0, 255}
    assert not snapshot_read.overlay[alpha == 0].any()
    canvas = compose(
        snapshot_read.overlay, snapshot_read.picture, DisplayOptions(picture=True), (128, 96)
    )
    assert np.array_equal(canvas[alpha == 0], original.image[..., ::-1][alpha == 0])
    assert np.array_equal(canvas[alpha == 255], snapshot_read.overlay[alpha == 255][:, :3])


def test_a_larger_frame_moves_the_stream_and_readers_follow(tmp_path: Path) -> None:
    path = tmp_path / "s"
    reader = SegmentReader(path)
    assert reader.news() == (0, 0)
    with ShmSink(path, SinkOptions()) as sink:
        sink.write(frame(0), result(FOUND))
        before = reader.read()
        sink.write(frame(1, size=(800, 1000)), result(FOUND))
        after = reader.read()
        sink.write(frame(2, size=(48, 64)), result(FOUND))
        small = reader.read()
    assert before is not None
    assert after is not None
    assert small is not None
    assert [one.overlay.shape for one in (before, after, small)] == [
        (96, 128, 4),
        (800, 1000, 4),
        (48, 64, 4),
    ]
    assert reader.news() == (0, 0), "closed: nothing is under the name"
    assert reader.read() is None
    assert list(tmp_path.iterdir()) == []


def test_a_closed_writer_says_so(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "s", layout.Plan(4, 4, 0, picture=False))
    writer.close()
    for use in (writer.alive, writer.close, writer.publication().__enter__):
        with pytest.raises(RuntimeError, match="after it was closed"):
            use()


def test_it_is_its_owner_s_alone_and_lies_in_shared_memory() -> None:
    name = f"edge-difom-test-{os.getpid()}"
    sink = ShmSink.from_spec(Spec("shm", name), SinkOptions())
    with sink:
        segment = Path("/dev/shm") / name
        assert stat.S_IMODE(segment.stat().st_mode) == 0o600
    assert not segment.exists()


def test_a_name_has_one_living_writer(tmp_path: Path) -> None:
    """A name has one living writer and a dead one's is taken over."""
    path = tmp_path / "s"
    code = "import sys; from edge.sinks.open import open_sinks\n"
    code += (
        "s = open_sinks([f'shm:{sys.argv[1]}'])[0]; s.__enter__(); print('up', flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        with pytest.raises(UsageError, match="has a writer"):
            ShmSink(path, SinkOptions(force=True))
        process.kill()
    (tmp_path / "s-other").write_bytes(b"precious")
    shutil.copyfile(path, tmp_path / "s-dead")
    with ShmSink(tmp_path / "s-living", SinkOptions()):
        sweep(tmp_path, "s-")
        assert {one.name for one in tmp_path.iterdir()} == {"s", "s-other", "s-living"}
    assert path.exists()
    reader = SegmentReader(path)
    assert reader.read() is not None
    with ShmSink(path, SinkOptions()) as sink:
        sink.write(frame(4), result())
        assert reader.reopen()
        followed = reader.read()
        assert followed is not None
        assert followed.frame_index == 4
    reader.close()


@pytest.mark.row(40, "posix_fallocate refuses a larger segment")
def test_without_memory_for_a_larger_frame_the_status_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    clock = FakeClock()
    with ShmSink(tmp_path / "s", SinkOptions(), clock=clock) as sink:
        sink.notify(RUNNING)
        sink.write(frame(0, clock), result(FOUND))
        with monkeypatch.context() as context:
            context.setattr(os, "posix_fallocate", full)
            for _ in range(5):
                clock.spend(40)
                sink.notify(RUNNING)
                sink.write(frame(1, clock, size=(800, 1000)), result(FOUND))
            assert sink.counters["failed"] == 1, "tried once a second"
            assert not read(tmp_path / "s").has_mask
        clock.spend(1000)
        sink.write(frame(2, clock, size=(800, 1000)), result(FOUND))
        assert read(tmp_path / "s").overlay.shape == (800, 1000, 4)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(MissingDependencyError, match="--shm-size"):
        ShmSink(tmp_path / "s", SinkOptions()).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_was_overtaken_reads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ShmSink(tmp_path / "s", SinkOptions()) as sink:
        sink.write(frame(1), result(FOUND))
        reader = SegmentReader(tmp_path / "s")
        copy, overtaken = reader._copy, iter([2, 3])

        def slow(begin: int, head: Any, **how: Any) -> Snapshot | None:
            for index in overtaken:  # both slots, so the one that is being copied too
                sink.write(frame(index), result())
            return copy(begin, head, **how)

        monkeypatch.setattr(reader, "_copy", slow)
        snapshot_read = reader.read()
        assert snapshot_read is not None
        assert snapshot_read.frame_index == 3
        reader.close()


def test_a_slot_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    with ShmSink(tmp_path / "s", SinkOptions()) as sink:
        sink.write(frame(1), result(FOUND))
        reader = SegmentReader(tmp_path / "s")
        assert sink._writer is not None
        with suppress(RuntimeError), sink._writer.publication() as slot:
            slot.head["frame_index"] = 99
            raise RuntimeError("died")
        snapshot_read = reader.read()
        assert snapshot_read is not None
        assert snapshot_read.frame_index == 1, "the half-written slot is not the newest"
        for open_slot in sink._writer._slots:
            open_slot.head["sequence"] = int(open_slot.head["sequence"]) | 1
        assert reader.read() is None
        reader.close()


@given(data=st.binary(max_size=2000), whole_header=st.booleans())
@settings(max_examples=60)
def test_a_reader_survives_any_file(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, whole_header: bool
) -> None:
    path = tmp_path_factory.mktemp("any") / "s"
    content = bytearray(data)
    if whole_header:  # the slots are then what is random
        head = np.zeros((), layout.HEADER)
        head["magic"], head["version"], head["slots"] = layout.MAGIC, layout.VERSION, layout.SLOTS
        head["header_bytes"], head["newest"] = layout.aligned(layout.HEADER.itemsize), 1
        head["slot_bytes"] = max(layout.SLOT.itemsize, len(data) // 2)
        size = int(head["header_bytes"]) + 2 * int(head["slot_bytes"])
        content = bytearray(head.tobytes().ljust(int(head["header_bytes"]), b"\0") + data).ljust(
            size, b"\0"
        )
    path.write_bytes(content)
    reader = SegmentReader(path)
    reader.read()
    reader.close()
