"""Queries a V4L2 device without streaming from it: its formats, and whether it has a signal.

Layouts and numbers are those of `linux/videodev2.h`. A query that the device does not support
counts as no information.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from edge.status import Reason, ReasonKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Ioctl = Callable[[int, int, bytearray], int]

_CAPTURE = 1
_DISCRETE = 1
_MAX_ENTRIES = 64
"""Limit on every enumeration, in case a driver never ends one."""


def _request(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | ord("V") << 8 | number


ENUM_FMT = _request(3, 2, 64)
ENUMINPUT = _request(3, 26, 80)
G_INPUT = _request(2, 38, 4)
ENUM_FRAMESIZES = _request(3, 74, 44)
ENUM_FRAMEINTERVALS = _request(3, 75, 52)
QUERY_DV_TIMINGS = _request(2, 99, 132)

_INPUT_STATUS = {
    0x0001: Reason(ReasonKind.NO_SIGNAL, "the input has no power"),
    0x0002: Reason(ReasonKind.NO_SIGNAL, "the input has no signal"),
    0x0100: Reason(ReasonKind.NO_LOCK, "no horizontal lock"),
    0x0200: Reason(ReasonKind.NO_LOCK, "no vertical lock"),
    0x0400: Reason(ReasonKind.NO_LOCK, "no lock on the standard"),
    0x10000: Reason(ReasonKind.NO_LOCK, "no sync lock"),
    0x40000: Reason(ReasonKind.NO_SIGNAL, "no carrier"),
}
"""V4L2_IN_ST_* flags that mean no image, and the reason to report."""

_TIMINGS_ERRORS = {
    errno.ENOLINK: Reason(ReasonKind.NO_SIGNAL, "no link on the input"),
    errno.ENOLCK: Reason(ReasonKind.NO_LOCK, "the signal is unstable"),
    errno.ERANGE: Reason(
        ReasonKind.OUT_OF_RANGE, "the signal's timing is beyond what the card takes"
    ),
}
"""Errors of VIDIOC_QUERY_DV_TIMINGS, and the reason to report; others carry no information."""


class SignalProbe:
    """Queries whether the input of a device has a signal, on its own file descriptor.

    Args:
        node: Device node.
        ioctl: Function to call, by default `fcntl.ioctl`.
    """

    def __init__(self, node: str, *, ioctl: Ioctl = fcntl.ioctl) -> None:
        self._ioctl = ioctl
        try:
            self._descriptor: int | None = os.open(node, os.O_RDWR | os.O_NONBLOCK)
        except OSError:
            self._descriptor = None

    def signal_problem(self) -> Reason | None:
        """Return why there is no image; None if there is one, or if the device cannot tell."""
        if self._descriptor is None:
            return None
        # This query is more specific than the status, which reports a bad timing as no lock.
        failed = _query(self._ioctl, self._descriptor, QUERY_DV_TIMINGS, bytearray(132))
        if reason := _TIMINGS_ERRORS.get(failed or 0):
            return reason
        current = bytearray(80)
        if _query(self._ioctl, self._descriptor, G_INPUT, number := bytearray(4)) is None:
            current[:4] = number
            if _query(self._ioctl, self._descriptor, ENUMINPUT, current) is None:
                (status,) = struct.unpack_from("=I", current, 56)
                return next((reason for bit, reason in _INPUT_STATUS.items() if status & bit), None)
        return None

    def close(self) -> None:
        """Close the device."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def device_number(node: str) -> int | None:
    """Return the device number of a node for `release`, or None if there is no such node."""
    try:
        return Path(node).stat().st_rdev
    except OSError:
        return None


def release(device: int | None) -> int:
    """Redirect every descriptor of this process on an unused device to `/dev/null`.

    GStreamer 1.22's v4l2src leaks one descriptor for each start, and a device with open descriptors
    never leaves the kernel when it is unplugged. The descriptors keep their numbers, because their
    owners may still close them.

    Args:
        device: Result of `device_number`.

    Returns:
        The number of descriptors that were redirected.
    """
    if device is None:
        return 0
    released = 0
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
            try:
                about = os.fstat(descriptor)
            except OSError:
                continue  # the descriptor of the listing itself, or closed meanwhile
            if stat.S_ISCHR(about.st_mode) and about.st_rdev == device:
                os.dup2(nothing, descriptor, inheritable=False)
                released += 1
    finally:
        os.close(nothing)
    return released


def read_formats(node: str, *, ioctl: Ioctl = fcntl.ioctl) -> tuple[str, ...]:
    """Read the formats of a capture device, such as `YUYV 1920x1080@60`.

    Args:
        node: Device node.
        ioctl: Function to call, by default `fcntl.ioctl`.

    Returns:
        Each pixel format with its largest size and the highest rate at that size; empty if the
        device cannot be opened or does not list its formats.
    """
    try:
        descriptor = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return ()
    try:
        return tuple(_formats(descriptor, ioctl))
    finally:
        os.close(descriptor)


def _formats(descriptor: int, ioctl: Ioctl) -> Iterator[str]:
    for index in range(_MAX_ENTRIES):
        entry = bytearray(struct.pack("=II", index, _CAPTURE)).ljust(64, b"\0")
        if _query(ioctl, descriptor, ENUM_FMT, entry) is not None:
            return
        pixels = bytes(entry[44:48])
        size = _largest(descriptor, ioctl, pixels)
        name = pixels.decode("ascii", "replace").strip()
        if size is None:
            yield name
            continue
        rate = _fastest(descriptor, ioctl, pixels, size)
        yield f"{name} {size[0]}x{size[1]}" + (f"@{rate:.4g}" if rate else "")


def _largest(descriptor: int, ioctl: Ioctl, pixels: bytes) -> tuple[int, int] | None:
    best: tuple[int, int] | None = None
    for index in range(_MAX_ENTRIES):
        entry = bytearray(struct.pack("=I4s", index, pixels)).ljust(44, b"\0")
        if _query(ioctl, descriptor, ENUM_FRAMESIZES, entry) is not None:
            break
        kind, *sides = struct.unpack_from("=7I", entry, 8)
        # Discrete: width, height. Otherwise minimum, maximum and step of width, then of height.
        size = (sides[0], sides[1]) if kind == _DISCRETE else (sides[1], sides[4])
        best = size if best is None or size[0] * size[1] > best[0] * best[1] else best
        if kind != _DISCRETE:
            break
    return best


def _fastest(descriptor: int, ioctl: Ioctl, pixels: bytes, size: tuple[int, int]) -> float | None:
    best = 0.0
    for index in range(_MAX_ENTRIES):
        entry = bytearray(struct.pack("=I4sII", index, pixels, *size)).ljust(52, b"\0")
        if _query(ioctl, descriptor, ENUM_FRAMEINTERVALS, entry) is not None:
            break
        kind, numerator, denominator = struct.unpack_from("=3I", entry, 16)
        # A range begins with its shortest interval.
        best = max(best, denominator / numerator if numerator else 0.0)
        if kind != _DISCRETE:
            break
    return best or None


def _query(ioctl: Ioctl, descriptor: int, request: int, entry: bytearray) -> int | None:
    """Fill in an entry; return the error number if the device refuses, else None."""
    try:
        ioctl(descriptor, request, entry)
    except OSError as error:
        return error.errno or errno.EIO
    return None
