"""The camera source on a fake `cv2.VideoCapture`: devices, stamps, newest frame, failures."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edge.errors import EdgeDifomError, SourceError
from edge.frame import Frame
from edge.sources.camera_discovery import find_cameras
from edge.sources.latest_frame import NewestFrame
from edge.sources.opencv_camera import V4l2Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEIGHT, WIDTH, COUNT = 48, 64, 8


def picture(number: int) -> NDArray[np.uint8]:
    return np.full((HEIGHT, WIDTH, 3), number, np.uint8)


class FakeCamera:
    """A `cv2.VideoCapture` that delivers pictures, then fails or hangs."""

    def __init__(self, count: int = COUNT, *, period: float = 0.005, then: str = "fail") -> None:
        self.count, self.period, self.then = count, period, then
        self.opened, self.released, self.hang = True, threading.Event(), threading.Event()
        self.settings: dict[int, float] = {}
        self.stamp_ms: float | None = None
        self.number = 0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.opened

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        assert not self.released.is_set(), "read after release"
        time.sleep(self.period)
        if self.number < self.count:
            self.number += 1
            return True, picture(self.number % 8)
        if self.then == "hang":
            self.hang.wait(10)
        if self.then == "other size":
            return True, np.zeros((HEIGHT * 2, WIDTH, 3), np.uint8)
        return False, None

    def get(self, key: int) -> float:
        if key == cv2.CAP_PROP_POS_MSEC and self.stamp_ms is not None:
            return self.stamp_ms
        if key == cv2.CAP_PROP_POS_MSEC:
            return (time.monotonic_ns() - 3_000_000) / 1e6
        return self.settings.get(key, 0.0)

    def set(self, key: int, value: float) -> bool:
        self.settings[key] = value
        return True

    def release(self) -> None:
        self.released.set()
        self.hang.set()


def machine(root: Path, *cameras: str) -> Path:
    """A `/dev` and `/sys` with cameras, each followed by its metadata node."""
    (root / "dev/v4l/by-id").mkdir(parents=True)
    for number, name in enumerate(cameras):
        for offset in (0, 1):
            node = root / f"dev/video{2 * number + offset}"
            node.touch()
            about = root / "sys/class/video4linux" / node.name
            about.mkdir(parents=True)
            (about / "name").write_text(f"{name}\n")
            (about / "index").write_text(f"{offset}\n")
        (root / f"dev/v4l/by-id/usb-{name}").symlink_to(f"../../video{2 * number}")
    return root


def read_forever(source: V4l2Source) -> None:
    while True:
        assert source.read() is not None


def test_cameras_are_listed_without_their_metadata_nodes(tmp_path: Path) -> None:
    cameras = find_cameras(machine(tmp_path, "Cart", "Spare"))
    assert [Path(camera.node).name for camera in cameras] == ["video0", "video2"]
    assert [camera.ids for camera in cameras] == [("usb-Cart",), ("usb-Spare",)]
    assert "Spare" in str(cameras[1])
    assert find_cameras(tmp_path / "nothing") == []


@pytest.mark.parametrize("device", ["2", "/dev/video2", "usb-Spare"])
def test_a_camera_by_number_path_or_id(tmp_path: Path, device: str) -> None:
    opened: list[str] = []

    def capture(node: str) -> FakeCamera:
        opened.append(node)
        return FakeCamera()

    with V4l2Source(device, root=machine(tmp_path, "Cart", "Spare"), capture=capture):
        assert opened == [str(tmp_path / "dev/video2")]


def test_without_a_name_the_first_camera_that_delivers_is_taken(tmp_path: Path) -> None:
    cameras = {"video0": FakeCamera(), "video2": FakeCamera(0), "video4": FakeCamera()}
    cameras["video0"].opened = False
    source = V4l2Source(
        root=machine(tmp_path, "A", "B", "C"), capture=lambda n: cameras[Path(n).name]
    )
    with source:
        assert "video4" in source.description
        assert source.read() is not None
    assert all(camera.released.wait(1) for camera in cameras.values())


def test_a_camera_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    root = machine(tmp_path, "Cart")
    for device in ("7", "/dev/video7", "usb-Other"):
        with (
            pytest.raises(SourceError) as caught,
            V4l2Source(device, root=root, capture=lambda _: FakeCamera()),
        ):
            pass
        assert device in caught.value.what
        assert "usb-Cart" in caught.value.got
    with pytest.raises(SourceError, match="no camera") as none, V4l2Source(root=tmp_path / "bare"):
        pass
    assert "synthetic:" in none.value.hint
    dead = FakeCamera()
    dead.opened = False
    with (
        pytest.raises(SourceError, match="cannot be opened"),
        V4l2Source("0", root=root, capture=lambda _: dead),
    ):
        pass


@pytest.mark.parametrize(
    ("then", "says"),
    [("fail", "stopped delivering"), ("hang", "stalls"), ("other size", "changed its format")],
)
def test_a_camera_that_fails_ends_with_an_error(tmp_path: Path, then: str, says: str) -> None:
    camera = FakeCamera(3, then=then)
    source = V4l2Source("0", root=machine(tmp_path, "Cart"), capture=lambda _: camera, stall_ms=100)
    begin = time.monotonic()
    with pytest.raises(SourceError, match=says), source:
        read_forever(source)
    camera.hang.set()
    assert camera.released.wait(1)
    assert time.monotonic() - begin < 3


def test_only_the_newest_frame_of_a_camera_waits(tmp_path: Path) -> None:
    camera = FakeCamera(10_000, period=0.002)
    with V4l2Source("0", root=machine(tmp_path, "Cart"), capture=lambda _: camera) as source:
        first = source.read()
        time.sleep(0.1)
        second = source.read()
        age = time.monotonic_ns() - (second.captured_ns if second else 0)
    assert first is not None
    assert second is not None
    assert second.index - first.index > 5
    assert age < 50_000_000


@pytest.mark.parametrize("offset_s", [-3600.0, 1.7e9, 5.0])
def test_a_stamp_of_another_clock_is_not_believed(tmp_path: Path, offset_s: float) -> None:
    camera = FakeCamera()
    camera.stamp_ms = time.monotonic() * 1e3 + offset_s * 1e3
    with V4l2Source("0", root=machine(tmp_path, "Cart"), capture=lambda _: camera) as source:
        frame = source.read()
        assert frame is not None
        assert 0 <= time.monotonic_ns() - frame.captured_ns < 1_000_000_000
        assert "stamped when read" in source.description


def test_the_kernels_stamp_is_taken(tmp_path: Path) -> None:
    with V4l2Source("0", root=machine(tmp_path, "Cart"), capture=lambda _: FakeCamera()) as source:
        frame = source.read()
        assert frame is not None
        assert time.monotonic_ns() - frame.captured_ns >= 3_000_000
        assert "kernel stamps" in source.description


def test_what_is_asked_of_a_camera_reaches_it(tmp_path: Path) -> None:
    camera = FakeCamera()
    root = machine(tmp_path, "Cart")
    with V4l2Source(
        "0", width=1280, height=720, fps=60.0, root=root, capture=lambda _: camera
    ) as source:
        assert source.fps == 60
    assert camera.settings[cv2.CAP_PROP_FRAME_WIDTH] == 1280
    assert camera.settings[cv2.CAP_PROP_FRAME_HEIGHT] == 720
    assert camera.settings[cv2.CAP_PROP_BUFFERSIZE] == 1


def test_the_newest_frame_is_overwritten_never_queued() -> None:
    go, done = threading.Event(), threading.Event()
    numbers = iter(range(5))

    def read() -> Frame | None:
        number = next(numbers, None)
        if number is None:
            done.set()
            return None
        if number == 1:
            go.wait(5)
        return Frame(index=number, image=picture(0), captured_ns=number)

    with NewestFrame(read) as newest:
        first = newest.next_frame(5)
        with pytest.raises(TimeoutError):
            newest.next_frame(0.01)
        go.set()
        assert done.wait(5)
        last = newest.next_frame(5)
        assert newest.next_frame(5) is None
    assert first is not None
    assert last is not None
    assert (first.index, last.index) == (0, 4)


def test_an_error_comes_after_the_last_frame() -> None:
    frames = iter([Frame(index=0, image=picture(0), captured_ns=0)])
    released = threading.Event()

    def read() -> Frame | None:
        frame = next(frames, None)
        if frame is None:
            raise SourceError("unplugged")
        return frame

    def release() -> None:
        released.set()

    with NewestFrame(read, release=release) as newest:
        assert released.wait(5)
        assert newest.next_frame(1) is not None
        with pytest.raises(EdgeDifomError, match="unplugged"):
            newest.next_frame(1)
