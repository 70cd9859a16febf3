"""Lists the V4L2 capture devices of this machine and finds the one that a text names."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path

from edge.errors import SourceError
from edge.sources.v4l2_ioctl import read_formats


class NoCameraError(SourceError):
    """The requested camera is not present, or the machine has no camera."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A capture device of this machine.

    Attributes:
        node: Device node under `/dev`.
        name: Name given by the driver.
        ids: Stable names under `/dev/v4l/by-id`.
        paths: Stable names by socket, under `/dev/v4l/by-path`.
        formats: Formats that it delivers; empty if they were not queried or cannot be read.
    """

    node: str
    name: str
    ids: tuple[str, ...]
    paths: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.node} ({', '.join([self.name, *self.ids])})"

    @property
    def lasting(self) -> str:
        """Name under which the camera is found again on another node; its node if it has none."""
        return next(iter((*self.ids, *self.paths)), self.node)


def find_cameras(root: Path = Path("/")) -> list[Camera]:
    """List the V4L2 capture devices, without the metadata nodes that cameras also have.

    Args:
        root: Folder that contains `dev` and `sys`.
    """
    by_id, by_path = _links(root / "dev/v4l/by-id"), _links(root / "dev/v4l/by-path")
    cameras = []
    for node in sorted((root / "dev").glob("video*"), key=lambda path: (len(path.name), path.name)):
        about = root / "sys/class/video4linux" / node.name
        if _text(about / "index", "0") == "0":
            name = _text(about / "name", "unnamed")
            ids, paths = (tuple(links.get(node.name, ())) for links in (by_id, by_path))
            cameras.append(Camera(str(node), name, ids, paths))
    return cameras


def with_formats(camera: Camera) -> Camera:
    """Return the camera with its formats; opens the device to query them."""
    return replace(camera, formats=read_formats(camera.node))


def pick_cameras(device: str, root: Path = Path("/")) -> list[Camera]:
    """Return the cameras to try for a device, as the machine has them at this moment.

    Args:
        device: Path, number, name under `/dev/v4l/by-id` or `by-path`, or empty for every camera.
        root: Folder that contains `dev` and `sys`.

    Raises:
        NoCameraError: There is no such camera; the error lists those that are present.
    """
    cameras = find_cameras(root)
    if not device:
        if not cameras:
            raise NoCameraError(
                "no camera gives a picture",
                expected="a V4L2 device that delivers frames",
                got="no /dev/video* on this machine",
                hint=choices(cameras),
            )
        return cameras
    for camera in cameras:
        if device in (*camera.ids, *camera.paths):
            return [camera]
    node = f"/dev/video{device}" if device.isdecimal() else device
    path = Path(node) if Path(node).is_relative_to(root) else root / node.lstrip("/")
    if not node.startswith("/") or not path.exists():
        raise NoCameraError(
            f"there is no camera {device}",
            expected="a path such as /dev/video0, its number, or a name under /dev/v4l/by-id",
            got=f"found: {', '.join(map(str, cameras)) or 'no /dev/video* on this machine'}",
            hint=choices(cameras),
        )
    actual = path.resolve()
    return [camera for camera in cameras if Path(camera.node) == actual] or [
        Camera(str(path), "unnamed", ())
    ]


def open_trouble(node: str) -> str:
    """Return why a camera's node cannot be opened; empty if it can."""
    try:
        os.close(os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except PermissionError:
        return "no permission (add the user to the group `video`)"
    except OSError as error:
        texts = {errno.EBUSY: "busy: a different program uses it", errno.ENOENT: "no such device"}
        texts |= dict.fromkeys((errno.ENXIO, errno.ENODEV), "no such device behind this node")
        return texts.get(error.errno or 0) or error.strerror or str(error)
    return ""


def choices(cameras: list[Camera]) -> str:
    """Return a hint that lists the cameras which can be chosen."""
    if cameras:
        return f"choose one of: {', '.join(map(str, cameras))}"
    return "plug in a camera (docker run needs --device /dev/video0), or use the source synthetic:"


def _links(folder: Path) -> dict[str, list[str]]:
    """Map the name of each node to the names of the links that point to it."""
    names: dict[str, list[str]] = {}
    for link in sorted(folder.glob("*")):
        names.setdefault(link.resolve().name, []).append(link.name)
    return names


def _text(path: Path, otherwise: str) -> str:
    try:
        return path.read_text().strip() or otherwise
    except OSError:
        return otherwise
