"""A kernel that hangs, and the watchdog that gets the machine out of it.

Of the tests of the machine this file's are the first: it restarts the machine, after which all of
them run.
"""

from __future__ import annotations

import fcntl
import struct
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm

BEFORE = Path("/results/crashed")
SET_TIMEOUT = 0xC0045706
"""WDIOC_SETTIMEOUT of linux/watchdog.h."""


@pytest.mark.row(25, "kernel panics while the watchdog is fed")
def test_the_watchdog_restarts_a_machine_whose_kernel_hangs() -> None:
    if not BEFORE.exists():
        subprocess.run(["modprobe", "i6300esb"], check=True)
        with Path("/dev/watchdog0").open("wb", buffering=0) as watchdog:
            fcntl.ioctl(watchdog, SET_TIMEOUT, struct.pack("i", 4))
            for _ in range(3):
                watchdog.write(b"1")
                time.sleep(0.5)
            BEFORE.write_text(Path("/proc/sys/kernel/random/boot_id").read_text())
            subprocess.run(["sync"], check=True)
            Path("/proc/sysrq-trigger").write_text("c")
            time.sleep(60)
        pytest.fail("the kernel did not hang")
    assert BEFORE.read_text() != Path("/proc/sys/kernel/random/boot_id").read_text()
