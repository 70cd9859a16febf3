"""`images:DIR`: the pictures of a folder in natural order, whatever their sizes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from edge.datasets.pairs import SUFFIXES, read_image
from edge.errors import DataError, SourceError
from edge.sources.base import BaseSource, read_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Self

    from edge.frame import Frame


class ImagesSource(BaseSource):
    """Every picture of a folder once; other files are passed over.

    Args:
        folder: Where the pictures are.
        **timing: `clock` and `sleep` of `BaseSource`.
    """

    continuous = False

    def __init__(self, folder: Path, **timing: Any) -> None:
        super().__init__(**timing)
        self.folder = folder
        self.description = f"images of {folder}"
        self._left: Iterator[Path] = iter(())

    @classmethod
    def from_text(cls, target: str, options: Mapping[str, str]) -> Self:
        """A folder by path; no options."""
        return cls(Path(target), **read_options("images", options, {}))

    def _open(self) -> None:
        if not self.folder.is_dir():
            raise SourceError(
                f"{self.folder} is not a folder",
                expected="a folder of images",
                hint=f"--source file:{self.folder}" if self.folder.is_file() else "check the path",
            )
        pictures = [
            path
            for path in self.folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        ]
        if not pictures:
            inner = self.folder / "images"
            raise SourceError(
                f"{self.folder} holds no image",
                expected=f"files ending in {', '.join(sorted(SUFFIXES))}",
                hint=f"--source images:{inner}" if inner.is_dir() else "another folder",
            )
        self.description = f"{len(pictures)} images of {self.folder}"
        self._left = iter(sorted(pictures, key=_natural))

    def _next(self) -> Frame | None:
        path = next(self._left, None)
        if path is None:
            return None
        try:
            image = read_image(path)
        except DataError as error:
            raise SourceError(error.what, expected=error.expected, got=error.got, hint=error.hint) from error
        return self._frame(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def _close(self) -> None:
        self._left = iter(())


def _natural(path: Path) -> list[tuple[int, str]]:
    """Order 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
