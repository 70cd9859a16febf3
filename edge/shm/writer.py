"""Writes the shared-memory stream: one writer, any number of readers, no locks."""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.errors import UsageError
from edge.shm.layout import (
    HEADER,
    MAGIC,
    MAX_REGIONS,
    REGION,
    SLOT,
    SLOTS,
    VERSION,
    Plan,
    aligned,
    fence,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from edge.frame import ImageU8


class Slot:
    """Memory of one slot.

    Attributes:
        head: The fields of `SLOT`, as an array without dimensions.
        regions: (MAX_REGIONS,) array of `REGION`.
    """

    def __init__(self, memory: mmap.mmap, begin: int, plan: Plan) -> None:
        regions, scores, overlay, picture = plan.offsets
        self._bytes = np.frombuffer(memory, np.uint8, plan.slot_bytes, begin)
        self._scores, self._overlay, self._picture = scores, overlay, picture
        self.head: NDArray[Any] = self._bytes[: SLOT.itemsize].view(SLOT).reshape(())
        self.regions: NDArray[Any] = self._bytes[
            regions : regions + MAX_REGIONS * REGION.itemsize
        ].view(REGION)
        self.head["regions_at"], self.head["scores_at"] = regions, scores
        self.head["overlay_at"], self.head["picture_at"] = overlay, picture if plan.picture else 0

    def scores(self, height: int, width: int) -> ImageU8:
        """Return the memory of a score map, (height, width)."""
        return self._bytes[self._scores :][: height * width].reshape(height, width)

    def overlay(self, height: int, width: int) -> ImageU8:
        """Return the memory of a layer, (height, width, 4) RGBA."""
        return self._bytes[self._overlay :][: 4 * height * width].reshape(height, width, 4)

    def picture(self, height: int, width: int) -> ImageU8:
        """Return the memory of an image, (height, width, 3) RGB."""
        return self._bytes[self._picture :][: 3 * height * width].reshape(height, width, 3)


class SegmentWriter:
    """A segment that gets its name when it is ready, and loses it when it is closed.

    Its memory is reserved at creation, so that a full disk is an error here and not a signal later.
    Only its owner can read it, and it is locked as long as its writer lives.

    Args:
        path: Path of the segment; a segment under that name is replaced.
        plan: Layout of its slots.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Raises:
        OSError: There is no space or no permission for it.
    """

    def __init__(
        self, path: Path, plan: Plan, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.path, self.plan, self._clock = path, plan, clock
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            os.posix_fallocate(handle, 0, plan.total_bytes)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._memory = mmap.mmap(handle, plan.total_bytes)
            header = np.frombuffer(self._memory, HEADER, 1).reshape(())
            self._header: NDArray[Any] | None = header
            at = aligned(HEADER.itemsize)
            self._slots = [Slot(self._memory, at + n * plan.slot_bytes, plan) for n in range(SLOTS)]
            for key, value in (
                ("magic", MAGIC),
                ("version", VERSION),
                ("header_bytes", at),
                ("slots", SLOTS),
                ("writer_pid", os.getpid()),
                ("slot_bytes", plan.slot_bytes),
                ("total_bytes", plan.total_bytes),
                ("news_ns", clock()),
            ):
                header[key] = value
            fence()
            Path(name).replace(path)
        except BaseException:
            os.close(handle)
            Path(name).unlink(missing_ok=True)
            raise
        self._handle = handle
        self._inode = os.fstat(handle).st_ino
        self._number = 0

    def fits(self, plan: Plan) -> bool:
        """Return whether frames of a plan fit into this segment."""
        room = self.plan
        return (
            plan.height * plan.width <= room.height * room.width
            and plan.scores <= room.scores
            and plan.picture <= room.picture
        )

    @contextmanager
    def publication(self) -> Iterator[Slot]:
        """Yield the slot to fill; readers see it when the block ends without an error."""
        header, number = self._require_open(), self._number + 1
        slot = self._slots[number % SLOTS]
        odd = int(slot.head["sequence"]) | 1
        slot.head["sequence"] = odd
        fence()
        yield slot
        now = self._clock()
        slot.head["number"], slot.head["done_ns"] = number, now
        fence()
        slot.head["sequence"] = odd + 1
        fence()
        header["newest"] = self._number = number
        header["news_ns"] = now

    def alive(self) -> None:
        """Publish a heartbeat without a new publication."""
        self._require_open()["news_ns"] = self._clock()

    def _require_open(self) -> NDArray[Any]:
        if self._header is None:
            raise RuntimeError(f"{self.path} is written after it was closed")
        return self._header

    def retire(self) -> None:
        """Mark the segment as abandoned and release it; its name stays."""
        self._require_open()["retired"] = 1
        self._header, self._slots = None, []
        with suppress(BufferError):  # an array of it is still in use and keeps the memory
            self._memory.close()
        os.close(self._handle)

    def close(self) -> None:
        """Remove the name, unless a newer segment has it, and release the segment."""
        with suppress(FileNotFoundError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        self.retire()


def sweep(folder: Path, prefix: str) -> None:
    """Remove the segments of dead writers.

    Args:
        folder: Folder of the segments.
        prefix: Prefix of their names.
    """
    for path in folder.glob(f"{prefix}*"):
        with suppress(UsageError, OSError):  # it has a running writer, or is not a segment
            claim(path, force=False)
            path.unlink()


def claim(path: Path, *, force: bool) -> None:
    """Check that a name may be used: it is free, or a dead writer left it.

    Args:
        path: Path of a segment.
        force: Whether a file that is not a segment may be replaced too.

    Raises:
        UsageError: The name has a running writer, or the file is not a segment.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(
            f"{path} cannot be a segment", got=str(error), hint="choose a different name"
        ) from error
    try:
        is_segment = os.read(handle, len(MAGIC)) == MAGIC
        if is_segment:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"{path} has a writer",
            expected="a name that no running writer uses",
            hint="choose a different name",
        ) from None
    except OSError:
        is_segment = False
    finally:
        os.close(handle)
    if not is_segment and not force:
        raise UsageError(
            f"{path} exists already",
            expected="a new name",
            hint="choose a different name, or allow replacing files",
        )
