"""Fuzz one target until its time is over; started by the driver.

libFuzzer ends the process by itself, and at a crash at once, so that counts lie in a shared file.
"""

from __future__ import annotations

import mmap
import resource
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

if TYPE_CHECKING:
    from collections.abc import Callable
    from struct import Struct

LARGEST_CASE = 1 << 16
_KEPT_FINDINGS = 20


def resident() -> int:
    """Return the memory of this process that is resident now, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def highest() -> int:
    """Return the most that was ever resident, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


class Counted:
    """A target that counts its cases and keeps what went wrong.

    Args:
        target: The target.
        allowed: Errors that are no finding.
        counts: Layout of the file `counts`.
        folder: Where `counts` is, and where findings go.
    """

    def __init__(
        self,
        target: Callable[[bytes], None],
        allowed: tuple[type[Exception], ...],
        counts: Struct,
        folder: Path,
    ) -> None:
        self._target, self._allowed, self._folder = target, allowed, folder
        self._struct = counts
        with (folder / "counts").open("r+b") as file:
            self._counts = mmap.mmap(file.fileno(), 0)
        self._seen: set[str] = set()

    def __call__(self, data: bytes) -> None:
        cases, refused, most = self._struct.unpack_from(self._counts)
        before, top = resident(), highest()
        (self._folder / "last").write_bytes(data)
        try:
            self._target(data)
        except self._allowed:
            refused += 1
        except Exception:  # noqa: BLE001 - each one is a finding
            self._keep(data)
        if highest() > top:
            most = max(most, highest() - before - len(data))
        self._struct.pack_into(self._counts, 0, cases + 1, refused, most)

    def _keep(self, data: bytes) -> None:
        """Keep one input for each place in which something is raised, and go on."""
        text = traceback.format_exc()
        where = [line for line in text.splitlines() if line.startswith("  File")]
        key = "".join(where[-2:]) + text.splitlines()[-1][:40]
        if key in self._seen or len(self._seen) >= _KEPT_FINDINGS:
            return
        self._seen.add(key)
        name = f"finding-{len(self._seen)}"
        (self._folder / name).write_bytes(data)
        (self._folder / f"{name}.txt").write_text(text)


def main(name: str, seconds: str, seed: str, folder: str) -> None:
    """Fuzz; does not return."""
    with atheris.instrument_imports(include=["edge", "distill", "edge_difom", "firmware_bridge"]):
        from tests.fuzz import targets
    if name == "training":
        with suppress(ImportError), atheris.instrument_imports(include=["yaml"]):
            import yaml  # noqa: F401
    work = Path(folder) / "corpus"
    work.mkdir()
    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={LARGEST_CASE}",
        "-rss_limit_mb=3000",
        "-timeout=30",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=0",
        str(work),
        str(targets.CORPUS / name),
    ]
    target = targets.TARGETS[name]
    counted = Counted(target, targets.ALLOWED, targets.COUNTS, Path(folder))
    atheris.Setup(arguments, counted)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
