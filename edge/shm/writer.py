"""The writing end of the shared-memory stream: one writer, any number of readers, nobody waits."""

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
from edge.shm.layout import HEADER, MAGIC, MAX_REGIONS, REGION, SLOT, SLOTS, VERSION, Plan, aligned, fence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from edge.frame import ImageU8


class Slot:
    """One slot's memory.

    Attributes:
        head: The fields of `SLOT`, as an array without dimensions.
        regions: (MAX_REGIONS,) of `REGION`.
    """

    def __init__(self, memory: mmap.mmap, begin: int, plan: Plan) -> None:
        regions, scores, overlay, picture = plan.offsets
        self._bytes = np.frombuffer(memory, np.uint8, plan.slot_bytes, begin)
        self._scores, self._overlay, self._picture = scores, overlay, picture
        self.head: NDArray[Any] = self._bytes[: SLOT.itemsize].view(SLOT).reshape(())
        self.regions: NDArray[Any] = self._bytes[regions : regions + MAX_REGIONS * REGION.itemsize].view(
            REGION
        )
        self.head["regions_at"], self.head["scores_at"] = regions, scores
        self.head["overlay_at"], self.head["picture_at"] = overlay, picture if plan.picture else 0

    def scores(self, height: int, width: int) -> ImageU8:
        """Room for a score map, (height, width)."""
        return self._bytes[self._scores :][: height * width].reshape(height, width)

    def overlay(self, height: int, width: int) -> ImageU8:
        """Room for a layer, (height, width, 4) RGBA."""
        return self._bytes[self._overlay :][: 4 * height * width].reshape(height, width, 4)

    def picture(self, height: int, width: int) -> ImageU8:
        """Room for a frame, (height, width, 3) RGB."""
        return self._bytes[self._picture :][: 3 * height * width].reshape(height, width, 3)


class SegmentWriter:
    """A segment that takes its name when it is ready, and loses it when it is closed.

    Its memory is reserved when it is made, so that a full disk is an error here and not a signal later; it is
    readable by its owner alone, and locked as long as its writer lives.

    Args:
        path: Its name; a segment under that name is replaced, and its readers are told to open the name again.
        plan: Sizes.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Raises:
        OSError: No room for it, or no right to make it.
    """

    def __init__(self, path: Path, plan: Plan, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.path, self.plan, self._clock = path, plan, clock
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            os.posix_fallocate(handle, 0, plan.total_bytes)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._memory = mmap.mmap(handle, plan.total_bytes)
            self._header: NDArray[Any] = np.frombuffer(self._memory, HEADER, 1).reshape(())
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
                self._header[key] = value
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
        """Whether frames of a plan fit into this segment."""
        room = self.plan
        return (
            plan.height * plan.width <= room.height * room.width
            and plan.scores <= room.scores
            and plan.picture <= room.picture
        )

    @contextmanager
    def publication(self) -> Iterator[Slot]:
        """The slot to fill; readers see it, whole, when the block ends without an error."""
        number = self._number + 1
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
        self._header["newest"] = self._number = number
        self._header["news_ns"] = now

    def alive(self) -> None:
        """Give a sign of life without news."""
        self._header["news_ns"] = self._clock()

    def retire(self) -> None:
        """Tell readers that nothing comes any more in this segment, and let go of it; its name stays."""
        self._header["retired"] = 1
        del self._header, self._slots
        with suppress(BufferError):  # somebody still holds an array of it; then it goes with that array
            self._memory.close()
        os.close(self._handle)

    def close(self) -> None:
        """Remove the name, unless another segment has it by now, and let go."""
        with suppress(FileNotFoundError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        self.retire()


def sweep(folder: Path, prefix: str) -> None:
    """Remove the segments of dead writers.

    Args:
        folder: Where they lie.
        prefix: Begin of their names.
    """
    for path in folder.glob(f"{prefix}*"):
        with suppress(UsageError, OSError):  # a living writer's, or somebody else's
            claim(path, force=False)
            path.unlink()


def claim(path: Path, *, force: bool) -> None:
    """Make sure that a name may be taken: it is free, or what a dead writer left.

    Args:
        path: Of a segment.
        force: Take it whatever it is, but from a living writer.

    Raises:
        UsageError: A living writer has it, or it is no segment.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path} cannot be a segment", got=str(error), hint="another name") from error
    try:
        is_segment = os.read(handle, len(MAGIC)) == MAGIC
        if is_segment:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"{path} has a writer", expected="a name of its own", hint="--sink shm:OTHER"
        ) from None
    except OSError:
        is_segment = False
    finally:
        os.close(handle)
    if not is_segment and not force:
        raise UsageError(f"{path} exists already", expected="a new name", hint="another one, or --force")
