"""The bundles that ship with the package, found by name.

Any bundle folder placed at `edge/bundles/NAME/` is shipped with the wheel.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

DEFAULT = "edge-s"
"""Name of the bundle that runs if no other is named."""


def shipped_bundles() -> dict[str, Path]:
    """Return name -> folder of every shipped bundle, sorted by name."""
    root = files("edge").joinpath("bundles")
    # A bundle is opened by its path, so a package imported from a zip file has no bundles.
    if not isinstance(root, Path) or not root.is_dir():
        return {}
    return {
        folder.name: folder
        for folder in sorted(root.iterdir())
        if (folder / "manifest.json").is_file()
    }


def default_bundle() -> Path | None:
    """Return the folder of the default bundle, None if it is not shipped."""
    return shipped_bundles().get(DEFAULT)


def find_bundle(bundle: Path | str) -> Path:
    """Resolve a path or the name of a shipped bundle.

    Args:
        bundle: A path, or the name of a shipped bundle. An existing path takes precedence.

    Returns:
        The path; `bundle` unchanged if nothing matches, so that opening it reports the error.
    """
    path = Path(bundle)
    if path.exists():
        return path
    return shipped_bundles().get(str(bundle), path)
