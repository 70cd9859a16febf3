"""The error of an engine that is used after `close`."""

from __future__ import annotations

from edge.errors import UsageError


def closed(name: str) -> UsageError:
    """Return the error to raise; `name` is the engine's name, such as `openvino`."""
    return UsageError(
        f"the {name} engine is closed", expected="an open engine", hint="open the engine again"
    )
