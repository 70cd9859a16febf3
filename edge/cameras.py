"""The V4L2 capture devices of this machine, as the kernel lists them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Camera:
    """A capture device of this machine: node, the driver's name for it, and its lasting names by id."""

    node: str
    name: str
    ids: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.node} ({', '.join([self.name, *self.ids])})"


def find_cameras(root: Path = Path("/")) -> list[Camera]:
    """The V4L2 capture devices, without the metadata nodes that cameras also have.

    Args:
        root: Where `dev` and `sys` are.
    """
    by_id: dict[str, list[str]] = {}
    for link in sorted((root / "dev/v4l/by-id").glob("*")):
        by_id.setdefault(link.resolve().name, []).append(link.name)
    cameras = []
    for node in sorted((root / "dev").glob("video*"), key=lambda path: (len(path.name), path.name)):
        about = root / "sys/class/video4linux" / node.name
        if _text(about / "index", "0") == "0":
            name = _text(about / "name", "unnamed")
            cameras.append(Camera(str(node), name, tuple(by_id.get(node.name, ()))))
    return cameras


def _text(path: Path, otherwise: str) -> str:
    try:
        return path.read_text().strip() or otherwise
    except OSError:
        return otherwise
