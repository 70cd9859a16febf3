"""What `edge-difom run` chooses if the command line does not say it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edge.bundle import shipped
from edge.errors import UsageError
from edge.util.spec import parse

if TYPE_CHECKING:
    from pathlib import Path


def endless(source: str) -> str:
    """Let the phantom play until the run is stopped, unless its description says otherwise."""
    spec = parse(source)
    if spec.scheme != "synthetic" or {"frames", "live"} & set(spec.options):
        return source
    return str(replace(spec, options={**spec.options, "frames": "0"}))


def default_bundle() -> Path:
    """Return the shipped bundle.

    Raises:
        UsageError: The package ships none.
    """
    path = shipped.default_bundle()
    if path is None:
        others = " | ".join(shipped.shipped_bundles())
        raise UsageError(
            f"no bundle is given, and this package ships no {shipped.DEFAULT}",
            expected="--bundle B, a folder or a .difom file" + (f", or {others}" if others else ""),
            hint="edge-difom demo --out demo, then --bundle demo/bundle",
        )
    return path
