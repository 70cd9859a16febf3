"""The bundles that come with the package: `edge/bundles/NAME/`, found by their names. To drop a folder in ships it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

DEFAULT = "edge-s"
"""The one that is run where no bundle is named."""


def shipped_bundles() -> dict[str, Path]:
    """Name -> folder of every bundle that is shipped, sorted; empty where none is."""
    root = files("edge").joinpath("bundles")
    # A bundle is opened by its path, so a package inside a zip ships none.
    if not isinstance(root, Path) or not root.is_dir():
        return {}
    return {
        folder.name: folder
        for folder in sorted(root.iterdir())
        if (folder / "manifest.json").is_file()
    }


def default_bundle() -> Path | None:
    """Folder of the bundle that is run where none is named, None where it is not shipped."""
    return shipped_bundles().get(DEFAULT)


def find_bundle(given: Path | str) -> Path:
    """The bundle that a user names.

    Args:
        given: A path, or the name of a shipped bundle. What exists under that name in the working
            folder comes first.

    Returns:
        The path; `given` itself where neither is there, which opening it then tells.
    """
    path = Path(given)
    if path.exists():
        return path
    return shipped_bundles().get(str(given), path)
