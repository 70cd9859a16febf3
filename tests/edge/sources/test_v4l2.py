"""A fake kernel's answers about a V4L2 device, and released descriptors."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from edge.sources.v4l2_ioctl import ENUMINPUT, QUERY_DV_TIMINGS, SignalProbe, device_number, release


class Kernel:
    """Answers queries: the input's status, and the error of its timings."""

    def __init__(self, status: int, timings: int) -> None:
        self.status, self.timings = status, timings

    def __call__(self, _: int, request: int, entry: bytearray) -> int:
        if request == QUERY_DV_TIMINGS and self.timings:
            raise OSError(self.timings, os.strerror(self.timings))
        if request == ENUMINPUT:
            struct.pack_into("=I", entry, 56, self.status)
        return 0


@pytest.mark.row(3, "answers of the kernel: no link, no lock, no power")
@pytest.mark.row(4, "an answer of the kernel: timing out of range, which is no lock too")
@pytest.mark.parametrize(
    ("status", "timings", "kind"),
    [
        (0, 0, ""),
        (0, errno.ENOTTY, ""),
        (0x2, errno.ENOLINK, "no-signal"),
        (0x1, errno.ENOTTY, "no-signal"),
        (0x100, errno.ENOLCK, "no-lock"),
        (0x100, errno.ENODATA, "no-lock"),
        (0x100, errno.ERANGE, "out-of-range"),
    ],
)
def test_the_trouble_of_an_input_has_its_name(status: int, timings: int, kind: str) -> None:
    probe = SignalProbe(os.devnull, ioctl=Kernel(status, timings))
    try:
        assert str(probe.signal_problem() or "").partition(":")[0] == kind
    finally:
        probe.close()


def test_a_device_is_closed_but_not_its_owners_descriptor() -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as device_file,
        Path("/dev/zero").open("rb") as other,
    ):
        with pytest.raises(OSError, match="No space"):
            device_file.write(b"x")
        assert release(device_number("/dev/full")) == 1
        assert device_file.write(b"x") == 1
        assert other.read(1) == b"\0"
    assert release(device_number("/dev/full")) == 0
    assert device_number("/dev/no-such-node") is None
    assert release(None) == 0
