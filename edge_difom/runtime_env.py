"""Settings of the whole process, applied by the command line and by nothing that is imported.

The libraries `edge`, `distill`, `quantize` and `firmware_bridge` change neither the environment nor
other process-wide state when they are imported. A program that uses them for training or
quantization calls `configure` first, before it imports torch or NNCF.
"""

from __future__ import annotations

import os
import sys

from edge.util.process_env import quiet_ffmpeg

_VARIABLES = {
    # torch reads it at its first allocation: activations of hundreds of megabytes on pages of 2 MiB
    # avoid the page faults that took a third of a training step on a CPU.
    "THP_MEM_ALLOC_ENABLE": "1",
    # NNCF's first call compiles a C++ extension, and its default of 60 s is too short for that.
    "NNCF_EXTENSION_LOAD_TIMEOUT": "0",
    # NNCF sends no telemetry where this is set.
    "NNCF_CI": "1",
}


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's `mallopt` (mallopt(3))."""


def configure() -> None:
    """Apply every setting; values that the user set are kept, and a second call changes nothing."""
    quiet_ffmpeg()
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    # OpenVINO and NNCF send events to the network if they can import this module, and use stubs of
    # their own if they cannot. None is Python's way to say that there is no such module.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def fill_standard_descriptors() -> None:
    """Open the null device in place of a closed stdin, stdout or stderr.

    Otherwise the next file or socket that the process opens gets the number, and what a child
    process or a library prints goes into it. `sys.stdout` stays None.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def keep_freed_memory() -> bool:
    """Let the process keep the memory that it frees, for training on a CPU.

    A training step frees and allocates the same hundreds of megabytes again. Without this, glibc
    returns them to the kernel, which has to clear every page before the next step gets it back.

    Returns:
        Whether the C library took the settings; only glibc has them.
    """
    import ctypes  # the device starts without it

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 2**28}
    results = [mallopt(number, value) for number, value in settings.items()]
    return all(result == 1 for result in results)
