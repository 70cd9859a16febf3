"""Describes this machine: processor, memory, accelerators, versions; unreadable values are None."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import msgspec

from edge import __version__

FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx_vnni",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)
"""Instruction sets that determine the speed of INT8 and bf16, as named in `/proc/cpuinfo`."""

PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "click",
    "msgspec",
    "openvino",
    "ai-edge-litert",
    "tflite-runtime",
    "onnxruntime",
)
"""Distributions whose versions are recorded."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One machine.

    Attributes:
        architecture: Architecture of the processor, as Linux names it.
        cpu: Model name of the processor.
        board: Name of an embedded board, from the device tree.
        cores: Number of logical processors.
        usable_cores: Number of logical processors that this process may use.
        memory_mb: Installed memory, MiB.
        flags: Instruction sets of `FLAGS` that the processor has.
        governor: Frequency governors in use.
        cuda: Names of the CUDA devices.
        system: Operating system and kernel.
    """

    architecture: str
    cpu: str | None
    board: str | None
    cores: int | None
    usable_cores: int
    memory_mb: int | None
    flags: list[str]
    governor: list[str] | None
    cuda: list[str]
    system: str


def read_device() -> Device:
    """Read the description of this machine."""
    info = read_text("/proc/cpuinfo") or ""
    board = read_text("/proc/device-tree/model")
    return Device(
        architecture=architecture(),
        cpu=processor_name(info) or platform.processor() or None,
        board=board.strip("\0\n ") if board else None,
        cores=os.cpu_count(),
        usable_cores=len(usable_cpus()),
        memory_mb=_memory_mb(),
        flags=known_flags(info),
        governor=governors(),
        cuda=_cuda(),
        system=f"{platform.system()} {platform.release()}",
    )


def machine() -> str:
    """Describe this machine in one line: board or processor, cores, architecture, system."""
    board = read_text("/proc/device-tree/model")
    name = (board or "").strip("\0\n ") or processor_name(read_text("/proc/cpuinfo") or "")
    cores = f"{len(usable_cpus())} of {os.cpu_count()} cores"
    system = f"{platform.system()} {platform.release()}"
    return f"{name or 'unknown processor'}, {cores}, {architecture()}, {system}"


def processor_name(info: str) -> str | None:
    """Return the processor's name in /proc/cpuinfo; None if there is none.

    A virtual machine may hide the number of the product ("AMD EPYC"); family and model of the
    processor are added then, which tell one generation from the next.

    Args:
        info: Text of /proc/cpuinfo.
    """
    name = _field(info, "model name")
    family, model = _field(info, "cpu family"), _field(info, "model")
    if name is None or any(letter.isdigit() for letter in name) or not (family and model):
        return name
    return f"{name} (family {family}, model {model})"


def architecture() -> str:
    """Return the architecture as Linux names it, `x86_64` or `aarch64`, on every system."""
    machine = platform.machine()
    return {"AMD64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def at_least(version: str, minimum: str) -> bool:
    """Compare versions by their leading numbers: `2026.4.1-123-abc` counts as 2026.4.1."""
    return _numbers(version) >= _numbers(minimum)


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = tuple(int(part) for part in match[0].split(".")) if match else ()
    while numbers and numbers[-1] == 0:
        numbers = numbers[:-1]  # 2026.4 and 2026.4.0 are one version
    return numbers


def known_flags(cpuinfo: str) -> list[str]:
    """Return the `FLAGS` listed in a `/proc/cpuinfo` (`flags` on x86, `Features` on ARM)."""
    has = set((_field(cpuinfo, "flags") or _field(cpuinfo, "Features") or "").split())
    return [flag for flag in FLAGS if flag in has]


def versions() -> dict[str, str | None]:
    """Return the versions of this project, Python and `PACKAGES`; None if not installed."""
    return {
        "edge-difom": __version__,
        "python": platform.python_version(),
        **{name: _package_version(name) for name in PACKAGES},
    }


def _package_version(name: str) -> str | None:
    """Return the version of a distribution, None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def read_text(path: str | Path) -> str | None:
    """Return the content of a file of `/proc` or `/sys`, None if it cannot be read."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return None


def usable_cpus() -> set[int]:
    """Return the numbers of the logical processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def governors() -> list[str] | None:
    """Return the frequency governors in use, sorted, None if the kernel shows none."""
    texts = [
        read_text(path)
        for path in Path("/sys/devices/system/cpu/cpufreq").glob("policy*/scaling_governor")
    ]  # fmt: skip
    return sorted({text.strip() for text in texts if text}) or None


def memory_used_mb() -> tuple[float | None, float | None]:
    """Return the current and peak resident memory of this process, MiB."""
    status = read_text("/proc/self/status") or ""
    now, highest = (_field(status, name) for name in ("VmRSS", "VmHWM"))
    return _kib_to_mb(now), _kib_to_mb(highest)


def _memory_mb() -> int | None:
    total = _kib_to_mb(_field(read_text("/proc/meminfo") or "", "MemTotal"))
    return None if total is None else round(total)


def _kib_to_mb(text: str | None) -> float | None:
    return None if text is None else int(text.split()[0]) / 1024


def _field(text: str, name: str) -> str | None:
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return None


def _cuda() -> list[str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return (
        [line.strip() for line in result.stdout.splitlines() if line.strip()]
        if not result.returncode
        else []
    )
