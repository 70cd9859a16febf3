"""The pip command that installs an extra of this project, which is on no package index.

A name alone would therefore install nothing, or the package of someone else. The command names the
wheel or the checkout that this installation came from (PEP 610) if it still exists, and otherwise
the packages that the extra brings.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edge.errors import MissingDependencyError

PROJECT = "edge-difom"
"""Name of this project's distribution."""

ENGINE_EXTRAS = ("openvino", "tflite", "onnx", "tflite-runtime")
"""Extras that bring an engine; the last one is for old systems."""

UPGRADE = "install a newer version of edge-difom from its wheel or checkout"
"""What to do where this version is too old."""

_EXTRA = re.compile(r"""extra\s*==\s*['"]([\w.-]+)['"]""")


def install_command(extra: str = "") -> str:
    """Return the command that installs an extra here.

    Args:
        extra: Name of an extra; empty for what this project always needs.
    """
    try:
        distribution = importlib.metadata.distribution(PROJECT)
    except importlib.metadata.PackageNotFoundError:
        return f"pip install {shlex.quote(_with_extra('.', extra))} in the checkout"
    origin, editable = _origin(distribution)
    if origin is not None:
        flag = "-e " if editable else ""
        return f"pip install {flag}{shlex.quote(_with_extra(str(origin), extra))}"
    return " ".join(
        ["pip install", *map(shlex.quote, _packages(distribution.requires or [], extra))]
    )


def missing_extra(package: str, extra: str) -> MissingDependencyError:
    """Return the error to raise if a package of an extra is not installed.

    Args:
        package: Import name of the package.
        extra: The extra that brings it; empty for what this project always needs.
    """
    source = f"the extra `{extra}` of edge-difom" if extra else "edge-difom"
    return MissingDependencyError(
        f"the Python package `{package}` is not installed; it comes with {source}",
        expected=f"module {package}",
        got="no such module",
        hint=install_command(extra),
    )


def engine_hint() -> str:
    """Return the hint for a machine without a usable engine."""
    first, *others = ENGINE_EXTRAS
    return f"{install_command(first)}, or a different engine's extra: {', '.join(others)}"


def _origin(distribution: importlib.metadata.Distribution) -> tuple[Path | None, bool]:
    """Return wheel or folder that a distribution was installed from, and whether editable."""
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    except (OSError, ValueError):
        return None, False
    address = urlsplit(str(origin.get("url", "")))
    path = Path(unquote(address.path))
    if address.scheme != "file" or not path.exists():
        return None, False
    return path, bool(origin.get("dir_info", {}).get("editable"))


def _packages(requirements: list[str], extra: str) -> list[str]:
    """Return the packages of an extra, following extras of this project that it consists of."""
    found: dict[str, None] = {}
    for requirement in requirements:
        package, _, marker = requirement.partition(";")
        named = _EXTRA.search(marker)
        if (named[1] if named else "") != extra:
            continue
        own = re.fullmatch(rf"{PROJECT}\[([\w,. -]+)\]", package.strip())
        for part in own[1].split(",") if own else ():
            found.update(dict.fromkeys(_packages(requirements, part.strip())))
        if own is None:
            found[package.replace(" ", "").strip()] = None
    return list(found)


def _with_extra(target: str, extra: str) -> str:
    return f"{target}[{extra}]" if extra else target
