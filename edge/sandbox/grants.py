"""What is handed over to a process in a sandbox, and what became of the sandbox."""

from __future__ import annotations

import msgspec

MEMORY_MB = 4096
"""Memory that an engine on the CPU may add: thirty times the weights of the largest student."""


class Grants(msgspec.Struct, frozen=True, kw_only=True):
    """What is handed over to the process.

    Attributes:
        reads: Files and folders to read.
        writes: Folders in which files may be read, made, changed and removed.
        drivers: Whether it needs drivers of devices, whose files and calls nobody can list. It may
            then read everything, write to devices, and ask the kernel for more.
        memory_mb: Memory in MiB that the process may add after it entered; None sets no limit.
    """

    reads: list[str] = []
    writes: list[str] = []
    drivers: bool = False
    memory_mb: int | None = MEMORY_MB


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """The sandbox of a process, or what a kernel has for one.

    Attributes:
        landlock: Version of Landlock's interface, 0 without it.
        filtered: Whether system calls are filtered.
        drivers: Whether it is the wider one of an engine that needs drivers.
        missing: Parts that are not applied, each with the reason.
    """

    landlock: int = 0
    filtered: bool = False
    drivers: bool = False
    missing: list[str] = []
