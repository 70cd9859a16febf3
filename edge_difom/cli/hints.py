"""Hints that name options of the command line, for errors of libraries that know no options."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.errors import EdgeDifomError

OPTION_HINTS = {
    "bf16-not-executed": "--precision f32",
    "bf16-unsupported": "--engine openvino",
    "bundle-not-found": "edge-difom bundle make RUN --out DIR",
    "device-not-found": "--engine openvino:AUTO",
    "engine-not-in-bundle": "choose a different --engine or --precision",
    "no-student": "edge-difom doctor",
    "not-a-still": "`edge-difom run --stills DIR` writes stills",
    "path-exists": "choose a different path, or replace it with --force",
    "record-without-froc": "edge-difom evaluate --bundle B --data DIR --json FILE",
    "stills-need-guard": "leave out --no-guard; for a single image use "
    "`edge-difom device still IMAGE --bundle B`",
    "test-frames-unknown": "give the TestDataset folder, list the test frames with --names FILE, "
    "or use all frames with --data DIR",
    "unknown-display": "--display loopback",
    "unknown-load": "--rate max --rate 30",
}
"""`EdgeDifomError.code` -> hint that replaces the error's own."""


def explain(error: EdgeDifomError) -> str:
    """Return the message of an error, with a hint that names the command line's options."""
    return error.message(OPTION_HINTS.get(error.code, error.hint))
