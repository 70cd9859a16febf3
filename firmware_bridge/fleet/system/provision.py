"""Files of a cart computer's system, written under a root.

What was written is recorded with its hash, so that a later version replaces its own files and keeps
those that somebody changed.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge.errors import DataError, UsageError
from edge.util.files import atomic_write, sha256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RECORD = "var/lib/edge-difom-provision/files.json"
"""What was written: path -> SHA-256. Not in the runtime's state folder, which the runtime may write."""

_SERVICES = ("edge-difom", "edge-difom-presenter", "edge-difom-exporter")
_TARGETS = {
    **{f"systemd/{name}.service": f"etc/systemd/system/{name}.service" for name in _SERVICES},
    "systemd/watchdog.conf": "etc/systemd/system.conf.d/50-edge-difom.conf",
    "devices.rules": "etc/udev/rules.d/70-edge-difom.rules",
    "modules.conf": "etc/modules-load.d/edge-difom.conf",
    "sysusers.conf": "etc/sysusers.d/edge-difom.conf",
    "tmpfiles.conf": "etc/tmpfiles.d/edge-difom.conf",
    "runtime.env": "etc/edge-difom/runtime.env",
    "presenter.env": "etc/edge-difom/presenter.env",
    "exporter.env": "etc/edge-difom/exporter.env",
}
"""File of this package -> where it goes."""

_RAUC = {"rauc/system.conf": "etc/rauc/system.conf"}

HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
"""What the units cannot see (ProtectHome=, PrivateTmp=)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the files are filled in with.

    Attributes:
        python: The interpreter that this package is installed for, as the cart computer will have
            it.
        cart: Socket of the controller's line, as a pattern of udev's ID_PATH.
        camera: Likewise, of the camera.
        rauc: Whether the update slots of the root file system are configured too.

    Raises:
        UsageError: One cannot be used.
    """

    python: str
    cart: str = "*"
    camera: str = "*"
    rauc: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"/[\w./+-]+", self.python):
            raise UsageError(
                f"invalid path of a Python: {self.python!r}",
                expected="an absolute path without spaces",
            )
        if any(Path(self.python).is_relative_to(folder) for folder in HIDDEN):
            raise UsageError(
                f"the services could not see {self.python}",
                expected=f"a Python outside {', '.join(HIDDEN)}",
                hint="install into /opt/edge-difom, as install.sh does, or name that one with --python",
            )
        for field, pattern in (("cart port", self.cart), ("camera port", self.camera)):
            if not re.fullmatch(r"[\w.:+*?\[\]-]+", pattern):
                raise UsageError(
                    f"invalid {field} {pattern!r}",
                    expected="a port's ID_PATH, such as pci-0000:00:14.0-usb-0:3:1.0, or a pattern of it",
                    hint="ls /dev/serial/by-path /dev/v4l/by-path",
                )


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of one file.

    Attributes:
        path: Under the root.
        action: `write` where there is none, `update` where there is an older one of ours, `replace`
            where a changed one is overwritten, `keep` where a changed one stays, `same` where
            nothing is to be done.
        before: What is there.
        after: What belongs there.
    """

    path: Path
    action: str
    before: bytes | None
    after: bytes

    @property
    def writes(self) -> bool:
        """Whether the file is written."""
        return self.action in ("write", "update", "replace")

    def diff(self) -> str:
        """What changes, as a unified diff."""
        before, after = (
            (data or b"").decode(errors="replace") for data in (self.before, self.after)
        )
        lines = difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            "/dev/null" if self.before is None else str(self.path),
            str(self.path),
        )
        return "".join(lines)


def render(settings: Settings) -> dict[str, bytes]:
    """The files: path under a root -> content."""
    values = {"@PYTHON@": settings.python, "@CART@": settings.cart, "@CAMERA@": settings.camera}
    targets = _TARGETS | (_RAUC if settings.rauc else {})
    return {target: _filled(name, values).encode() for name, target in targets.items()}


def plan(root: Path, settings: Settings, *, force: bool = False) -> list[Change]:
    """Compare the files with what is under a root; changes nothing.

    Args:
        root: Of the system.
        settings: What the files are filled in with.
        force: Overwrite files that somebody changed.

    Raises:
        DataError: The record of what was written cannot be read.
        UsageError: The root is no folder, or a file cannot be read.
    """
    if not root.is_dir():
        raise UsageError(
            f"{root} is no folder", expected="the root of a system, such as a mounted image"
        )
    written = _read_record(root)
    changes = []
    for target, after in render(settings).items():
        path = root / target
        try:
            before = path.read_bytes()
        except FileNotFoundError:
            before = None
        except OSError as error:
            raise UsageError(
                f"{path}: {error.strerror}", expected="a file that can be read, or none"
            ) from error
        if before is None:
            action = "write"
        elif before == after:
            action = "same"
        elif sha256(before) == written.get(target):
            action = "update"
        else:
            action = "replace" if force else "keep"
        changes.append(Change(path, action, before, after))
    return changes


def apply(root: Path, changes: Sequence[Change]) -> None:
    """Write what a plan says, then the record of it.

    Args:
        root: As the plan's.
        changes: The plan.

    Raises:
        UsageError: There is no right to write one of them; nothing was written.
    """
    due = [change for change in changes if change.writes]
    ours = [change for change in changes if change.action != "keep"]
    record = _read_record(root) | {str(c.path.relative_to(root)): sha256(c.after) for c in ours}
    if not due and record == _read_record(root):
        return
    refused = [
        str(path) for path in (*(c.path for c in due), root / RECORD) if not _may_write(path)
    ]
    if refused:
        raise UsageError(
            f"no right to write {', '.join(refused)}",
            expected="the rights of root, or a --root of one's own",
            hint="sudo edge-difom device provision",
        )
    for change in due:
        atomic_write(change.path, change.after)
    atomic_write(
        root / RECORD, msgspec.json.format(msgspec.json.encode(record, order="sorted"), indent=2)
    )


def _filled(name: str, values: Mapping[str, str]) -> str:
    text = (files("firmware_bridge.fleet.system") / name).read_text()
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text


def _read_record(root: Path) -> dict[str, str]:
    path = root / RECORD
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise DataError(
            f"{path} cannot be read",
            expected="the record of an earlier `device provision`",
            got=str(error),
            hint=f"remove {path}: files that differ from this version's are then kept",
        ) from error


def _may_write(path: Path) -> bool:
    """Whether a file can be made or replaced: by a right on the nearest folder above it that exists."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
