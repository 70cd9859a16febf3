"""`images:DIR`: the images of a folder in natural order, in any sizes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import cv2

from edge.datasets.pairs import SUFFIXES, read_image
from edge.errors import DataError, SourceError
from edge.sources.base import BaseSource
from edge.util.natural_order import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self

    from edge.frame import Frame
    from edge.util.spec import Spec


_log = logging.getLogger(__name__)


class ImagesSource(BaseSource):
    """Every image of a folder once; folders, pipes and other files are passed over.

    An image that cannot be read is logged, counted as `unreadable`, and leaves a gap in the numbers
    of the frames.

    Args:
        folder: Folder of the images.
        **timing: `clock` and `sleep` of `BaseSource`.
    """

    continuous = False

    def __init__(self, folder: Path, **timing: Any) -> None:
        super().__init__(**timing)
        self.folder = folder
        self.description = f"images of {folder}"
        self._left: Iterator[Path] = iter(())

    @classmethod
    def from_spec(cls, spec: Spec) -> Self:
        """Build the source of `images:DIR`, which has no options."""
        spec.refuse_options()
        return cls(spec.path)

    def inputs(self) -> list[Path]:
        """Return the folder and its images."""
        return [self.folder, *(self.folder.iterdir() if self.folder.is_dir() else ())]

    def _open(self) -> None:
        if not self.folder.is_dir():
            raise SourceError(
                f"{self.folder} is not a folder",
                expected="a folder of images",
                hint=f"file:{self.folder}" if self.folder.is_file() else "check the path",
            )
        pictures = [
            path
            for path in self.folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
        ]
        if not pictures:
            inner = self.folder / "images"
            raise SourceError(
                f"{self.folder} holds no image",
                expected=f"files ending in {', '.join(sorted(SUFFIXES))}",
                hint=f"images:{inner}" if inner.is_dir() else "choose a folder with images",
            )
        self.description = f"{len(pictures)} images of {self.folder}"
        self._left = iter(sorted(pictures, key=lambda path: natural_key(path.name)))

    def _next(self) -> Frame | None:
        skipped, last = 0, None
        for path in self._left:
            try:
                image = read_image(path)
            except DataError as error:
                _log.warning("left out: %s (%s)", error.what, error.got)
                self.counters["unreadable"] += 1
                skipped, last = skipped + 1, error
                continue
            return self._frame(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), skipped=skipped)
        if last is not None and self._index == 0:
            raise _as_source_error(last) from last  # none of them could be read
        return None

    def _close(self) -> None:
        self._left = iter(())


def _as_source_error(error: DataError) -> SourceError:
    return SourceError(error.what, expected=error.expected, got=error.got, hint=error.hint)
