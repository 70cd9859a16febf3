"""A stick with the software of a cart: wheels and the scripts that install them as signed targets.

`firmware_bridge/fleet/system/check_stick.py` reads them on a machine on which nothing is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tuf.api.metadata import TargetFile, Targets

from edge.errors import UsageError
from firmware_bridge import durable
from firmware_bridge.fleet import system
from firmware_bridge.fleet.system.check_stick import FOLDER
from firmware_bridge.fleet.trust import repository as files
from firmware_bridge.fleet.trust.folder import TARGETS
from firmware_bridge.fleet.trust.offer import is_file_name
from firmware_bridge.fleet.trust.roles import DAYS, ONLINE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from firmware_bridge.fleet.trust.tokens import Pin


class Stick(NamedTuple):
    """What was put on a stick.

    Attributes:
        names: Files of the software.
        expires: Maps each role to the expiry of its signature, UTC.
    """

    names: list[str]
    expires: dict[str, datetime]


def scripts() -> list[Path]:
    """Return the scripts of this package that a stick carries beside the wheels.

    The first installation needs them from a place that the administrator trusts.
    """
    return [Path(system.__file__).with_name(name) for name in ("install.sh", "check_stick.py")]


def publish_system(
    wheels: Path,
    repository: Path,
    keys: Path,
    now: datetime,
    *,
    days: Mapping[str, int] = DAYS,
    pin: Pin | None = None,
) -> Stick:
    """Add the software of a cart to a repository, in the place of that before it, and sign it.

    Args:
        wheels: Folder with this project's wheel, all that it needs, and lists of their hashes.
        repository: Folder of the repository; made if it is missing.
        keys: Folder of the publisher's keys; the root key is not needed.
        now: Wall clock, UTC.
        days: Maps roles to days until expiry.
        pin: Returns the PIN of a token, if keys are on tokens.

    Raises:
        UsageError: The folder holds anything but wheels and lists, or not this project's wheel, or
            a key is missing or does not belong to the repository.
        BundleError: The repository's metadata cannot be read.
    """
    found = sorted(wheels.iterdir()) if wheels.is_dir() else []
    others = [path.name for path in found if not (_is_taken(path.name) and path.is_file())]
    if others or not any(path.name.startswith("edge_difom-") for path in found):
        raise UsageError(
            f"{wheels} is not a folder of wheels",
            expected="edge_difom-*.whl, the wheels that it needs, requirements-*.txt",
            got=", ".join(others[:8]) or f"{len(found)} other wheels",
            hint="a folder of its own for the wheels",
            code="not-wheels",
        )
    root = files.newest_root(repository, keys)
    signers = {role: files.load_signers(keys, role, root, (), pin) for role in ONLINE}
    targets = files.latest(repository, Targets) or Targets()
    place = repository / TARGETS / FOLDER
    durable.make_folder(place)
    contents = {path.name: path.read_bytes() for path in (*found, *scripts())}
    for name in [name for name in targets.targets if name.startswith(FOLDER)]:
        del targets.targets[name]
    for name, data in contents.items():
        if not is_file_name(name):
            raise UsageError(f"invalid name for a repository: {name!r}")
        entry = TargetFile.from_data(f"{FOLDER}{name}", data, ["sha256"])
        targets.targets[entry.path] = entry
        durable.write(repository / TARGETS / entry.get_prefixed_paths()[0], data)
    expires = files.write(repository, keys, targets, signers, now, days)
    for path in place.iterdir():
        named = path.name.partition(".")[2]
        held = targets.targets.get(f"{FOLDER}{named}")
        if held is None or not path.name.startswith(f"{held.hashes['sha256']}."):
            durable.remove(path)
    return Stick(sorted(contents), expires)


def _is_taken(name: str) -> bool:
    """Return whether a file of a folder of wheels goes onto the stick."""
    return name.endswith(".whl") or (name.startswith("requirements-") and name.endswith(".txt"))
