"""Write the system files of a cart computer under a root.

Written files are recorded with their hashes, so that a later version replaces its own files and
keeps those that were edited.
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
"""Record of written files (path -> SHA-256); the runtime cannot write there."""

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
"""Maps files of this package to their destinations."""

_RAUC = {"rauc/system.conf": "etc/rauc/system.conf"}

HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
"""Folders that the units cannot see (ProtectHome=, PrivateTmp=)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Values that are filled into the files.

    Attributes:
        python: Path of the interpreter with this package on the cart computer.
        cart: Port of the controller's line, as a pattern of udev's ID_PATH.
        camera: Port of the camera, as a pattern of udev's ID_PATH.
        rauc: Whether to configure the update slots of the root file system too.

    Raises:
        UsageError: A value is invalid.
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
                hint="install into /opt/edge-difom, as install.sh does, "
                "or choose a different python",
            )
        for field, pattern in (("cart port", self.cart), ("camera port", self.camera)):
            if not re.fullmatch(r"[\w.:+*?\[\]-]+", pattern):
                raise UsageError(
                    f"invalid {field} {pattern!r}",
                    expected="a port's ID_PATH, such as pci-0000:00:14.0-usb-0:3:1.0, "
                    "or a pattern of it",
                    hint="ls /dev/serial/by-path /dev/v4l/by-path",
                )


@dataclass(frozen=True, slots=True)
class Change:
    """The planned change of one file.

    Attributes:
        action: `write` if there is no file, `update` if there is an older one of ours, `replace` to
            overwrite an edited one, `keep` to leave an edited one, `same` if nothing changes.
        before: Current content.
        after: Intended content.
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
        """Return the change as a unified diff."""
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
    """Return the files as a map from path under the root to content."""
    values = {"@PYTHON@": settings.python, "@CART@": settings.cart, "@CAMERA@": settings.camera}
    targets = _TARGETS | (_RAUC if settings.rauc else {})
    return {target: _filled(name, values).encode() for name, target in targets.items()}


def plan(root: Path, settings: Settings, *, force: bool = False) -> list[Change]:
    """Compare the files with those under a root without changing anything.

    Args:
        root: Root of the system.
        settings: Values that are filled into the files.
        force: Overwrite edited files.

    Raises:
        DataError: The record of written files cannot be read.
        UsageError: The root is not a folder, or a file cannot be read.
    """
    if not root.is_dir():
        raise UsageError(
            f"{root} is not a folder", expected="the root of a system, such as a mounted image"
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
    """Write the files of a plan, then the record.

    Args:
        root: Root that the plan was made for.
        changes: The plan.

    Raises:
        UsageError: A file may not be written; nothing was written.
    """
    due = [change for change in changes if change.writes]
    own_changes = [change for change in changes if change.action != "keep"]
    record = _read_record(root) | {
        str(c.path.relative_to(root)): sha256(c.after) for c in own_changes
    }
    if not due and record == _read_record(root):
        return
    refused = [
        str(path) for path in (*(c.path for c in due), root / RECORD) if not _may_write(path)
    ]
    if refused:
        raise UsageError(
            f"no permission to write {', '.join(refused)}",
            expected="the rights of root, or a root that you own",
            hint="run it as root",
            code="provision-needs-root",
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
    """Return whether a file can be made or replaced, by rights on its nearest existing folder."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
