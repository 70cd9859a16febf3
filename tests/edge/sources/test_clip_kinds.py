"""What real recorders do to clips: fields, edit lists, odd names, cut files, own stamps."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edge.errors import SourceError
from edge.pipeline.frame_time import moment_ns
from edge.sources.clip import ClipSource
from edge.sources.packets import Packets
from edge.util import ffmpeg
from edge.util.container import hides_frames, holds_its_video, is_whole_mp4, missing_bytes
from edge.util.field_order import declares_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.frame import Frame

WIDTH, HEIGHT, COUNT, FPS = 96, 64, 20, 25.0


def write(path: Path, codec: str, count: int = COUNT) -> Path:
    temporary = path.with_name(f"made{path.suffix}")
    code = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, code, FPS, (WIDTH, HEIGHT))
    for number in range(count):
        image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
        image[:, : 4 + 4 * number] = (160, 90, 200)
        writer.write(image)
    writer.release()
    temporary.rename(path)
    return path


def read(path: Path, **options: Any) -> list[Frame]:
    frames = []
    with ClipSource(path, **options) as source:
        while (frame := source.read()) is not None:
            frames.append(frame)
    return frames


def as_fields(data: bytes) -> bytes:
    """The MPEG-2 stream with every picture marked as interlaced."""
    changed, at = bytearray(data), 0
    while (at := data.find(b"\x00\x00\x01\xb5", at)) >= 0:
        at += 4
        if data[at] >> 4 == 1:
            changed[at + 1] &= ~0x08  # progressive_sequence
        elif data[at] >> 4 == 8:
            changed[at + 4] &= ~0x80  # progressive_frame
    return bytes(changed)


@pytest.mark.row(46, "MPEG-2 whose pictures are marked as fields, read and replayed")
@pytest.mark.parametrize("realtime", [False, True])
def test_an_interlaced_clip_is_refused_with_a_command(tmp_path: Path, realtime: bool) -> None:
    """An interlaced clip is refused with the command that converts."""
    clip = write(tmp_path / "dvd one.mpg", "mpg2")
    assert len(read(clip)) >= COUNT - 1, "the progressive stream is read"
    clip.write_bytes(as_fields(clip.read_bytes()))
    with pytest.raises(SourceError, match="interlaced") as caught:
        read(clip, realtime=realtime)
    assert f"ffmpeg -i '{clip}' -vf bwdif" in caught.value.hint


def test_fields_that_begin_late_are_refused_too(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mpg", "mpg2", 400)
    data = clip.read_bytes()
    half = len(data) // 2
    clip.write_bytes(data[:half] + as_fields(data[half:]))
    with pytest.raises(SourceError, match="interlaced"):
        read(clip)


def grown(data: bytes, box: bytes, *outer: bytes) -> bytes:
    """An MP4 whose first sample entry has one more box; its index is behind the pictures."""
    changed = bytearray(data)
    for name in outer:
        at = data.rindex(name) - 4
        changed[at : at + 4] = struct.pack(">I", len(box) + struct.unpack_from(">I", data, at)[0])
    entry = data.rindex(b"stsd") + 12
    size = struct.unpack_from(">I", data, entry)[0]
    changed[entry : entry + 4] = struct.pack(">I", size + len(box))
    return bytes(changed[: entry + size]) + box + bytes(changed[entry + size :])


@pytest.mark.row(46, "lossless video whose container alone declares fields")
def test_fields_that_the_container_declares_are_refused(tmp_path: Path) -> None:
    clip = write(tmp_path / "a.mov", "FFV1")
    outer = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    plain = clip.read_bytes()
    for fields in (1, 2):
        fiel = struct.pack(">I4sBB", 10, b"fiel", fields, 0)
        clip.write_bytes(grown(plain, fiel, *outer))
        assert declares_fields(clip) == (fields == 2)
        if fields == 2:
            with pytest.raises(SourceError, match="interlaced"):
                read(clip)
        else:
            assert len(read(clip)) == COUNT
    clip = write(tmp_path / "a.mkv", "FFV1")
    data = clip.read_bytes()
    display_unit = b"\x54\xb2\x81\x04"
    assert data.count(display_unit) == 1, "FFmpeg writes one"
    clip.write_bytes(data.replace(display_unit, b"\x9a\x40\x01\x01"))
    assert declares_fields(clip)
    with pytest.raises(SourceError, match="interlaced"):
        read(clip)


@pytest.mark.parametrize("cut", [0, 5, 12, 40, 200, 400])
def test_a_cut_container_declares_nothing(tmp_path: Path, cut: int) -> None:
    for name in ("a.mov", "a.mkv"):
        clip = write(tmp_path / name, "FFV1")
        clip.write_bytes(clip.read_bytes()[:cut])
        assert not declares_fields(clip)


@pytest.mark.row(59, "an edit list that hides half of an MP4")
def test_an_edit_list_may_hide_frames(tmp_path: Path) -> None:
    clip = write(tmp_path / "cut.mp4", "mp4v", 60)
    data = bytearray(clip.read_bytes())
    at = data.index(b"elst") + 12
    (duration,) = struct.unpack_from(">I", data, at)
    struct.pack_into(">I", data, at, duration // 2)
    clip.write_bytes(data)
    assert hides_frames(clip)
    assert 28 <= len(read(clip)) <= 32, "whole, without an error"


@pytest.mark.row(47, "An AVI that was cut in the middle")
def test_missing_bytes_are_told_and_whole_files_have_none(tmp_path: Path) -> None:
    kinds = (("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "mp4v"), ("a.wmv", "WMV2"))
    for name, codec in kinds:
        clip = write(tmp_path / name, codec)
        data = clip.read_bytes()
        assert missing_bytes(clip) == 0, name
        clip.write_bytes(data[: 2 * len(data) // 3])
        assert missing_bytes(clip) > 0, name
    clip = write(tmp_path / "b.avi", "MJPG")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(SourceError, match="breaks off"):
        read(clip)


def test_an_mp4_without_its_index_is_not_whole(tmp_path: Path) -> None:
    clip = write(tmp_path / "a.mp4", "mp4v")
    assert is_whole_mp4(clip)
    data = clip.read_bytes()
    clip.write_bytes(data[: data.index(b"moov") - 4])
    assert not is_whole_mp4(clip)
    clip.write_bytes(b"")
    assert not is_whole_mp4(clip)


@pytest.mark.row(45, "a playlist in a clip's place, which leads to another file or the network")
@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile '{}'\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        b"YUV4MPEG2 W1 H1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
        b"G" * 2000 + b"\nc=IN IP4 127.0.0.1\n",
    ],
)
@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.sdp"])
def test_a_list_of_other_files_is_no_clip(tmp_path: Path, content: bytes, name: str) -> None:
    other = write(tmp_path / "other.mp4", "mp4v")
    clip = tmp_path / name
    clip.write_bytes(content.replace(b"{}", os.fsencode(other)))
    with pytest.raises(SourceError, match="cannot be decoded"):
        read(clip)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "mp4v"), ("a.ts", "MPG2"), ("a.mpg", "MPG2")],
)
def test_containers_are_known(tmp_path: Path, name: str, codec: str) -> None:
    clip = write(tmp_path / name, codec)
    if clip.stat().st_size:
        assert holds_its_video(clip)


@pytest.mark.parametrize("name", [b"n\xff.mp4", b"1:2.mp4", b"concat:x|y.mp4", b"50%d.mp4"])
def test_any_name_of_a_clip_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = Path(os.fsdecode(name))
    write(tmp_path / "plain.mp4", "mp4v").rename(clip)
    assert len(read(clip)) == COUNT
    folder = Path(os.fsdecode(b"folder\xfe"))
    folder.mkdir()
    clip.rename(folder / "clip.mp4")
    assert len(read(folder / "clip.mp4")) == COUNT


def test_a_pipe_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(SourceError) as caught:
        read(tmp_path / "pipe.mp4")
    assert caught.value.got == "a pipe"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_clip_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", "mp4v")
    clip.chmod(0)
    with pytest.raises(SourceError) as caught:
        read(clip)
    assert "permission" in caught.value.got


@pytest.mark.row(59, "stamps of an MP4, read frame by frame")
def test_frames_have_their_time_in_the_clip(tmp_path: Path) -> None:
    frames = read(write(tmp_path / "clip.mp4", "mp4v"))
    assert [round(frame.clip_ns or 0, -6) for frame in frames] == [
        number * 40_000_000 for number in range(COUNT)
    ]
    assert moment_ns(frames[3], 1000.0) == frames[3].clip_ns, "not by a declared rate"


@pytest.mark.row(59, "stamps with pauses and dropped frames, and a declared rate of 1000")
@pytest.mark.parametrize(
    ("declared", "stamps", "rate"),
    [
        (25.0, [n / 25 for n in range(100)], 25.0),
        (29.97, [round(n / 29.97, 3) for n in range(100)], 29.97),
        (1000.0, [round(n / 25, 3) for n in range(100)], 25.0),
        (25.0, [n / 25 for n in range(100) if n % 7], 25.0),
        (0.0, [0.0] * 100, 25.0),
        (12.5, [0.0] * 100, 12.5),
        (90.0, [n / 10 for n in range(40)], 10.0),
        (1.8519, [n / 25 + (60 if n >= 40 else 0) for n in range(120)], 25.0),
        (14.375, [n / 25 for n in range(120) if not 40 <= n <= 90], 25.0),
    ],
)
def test_the_rate_is_that_of_the_stamps(declared: float, stamps: list[float], rate: float) -> None:
    packets = Packets.__new__(Packets)
    packets._is_open, packets._stamps = False, stamps
    assert packets.rate(declared) == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize("modern", [False, True])
def test_every_opencv_is_kept_quiet(monkeypatch: pytest.MonkeyPatch, modern: bool) -> None:
    levels: list[int] = []

    def set_level(level: int) -> int:
        levels.append(level)
        return 3

    set_levels: Callable[[int], int] = set_level
    fake: dict[str, Any] = {"utils": SimpleNamespace(), "setLogLevel": set_levels}
    if modern:
        fake = {"utils": SimpleNamespace(logging=SimpleNamespace(setLogLevel=set_levels))}
    monkeypatch.setattr(ffmpeg, "cv2", SimpleNamespace(**fake))
    with ffmpeg.quiet():
        assert levels == [0]
    assert levels == [0, 3]
