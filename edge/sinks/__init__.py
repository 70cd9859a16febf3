"""Where results go, by text: `video:PATH`, `jsonl[:PATH]`, `null`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import UsageError
from edge.lookup import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.types import Sink

SINKS: dict[str, str] = {
    "video": "edge.sinks.video:VideoSink",
    "jsonl": "edge.sinks.jsonl:JsonlSink",
    "null": "edge.sinks.null:NullSink",
}
"""Kind -> class, in the order in which sinks take a frame; only the chosen module is imported.

`jsonl` comes after `video`, so that its line knows what the drawing took.
"""


def open_sinks(texts: Sequence[str], *, fps: float | None = None, force: bool = False) -> list[Sink]:
    """The sinks that texts name; each opens its file when it is entered.

    Args:
        texts: `KIND[:PATH]`, see `SINKS`.
        fps: Frames per second of a video.
        force: Replace files that exist.

    Raises:
        UsageError: Unknown kind, a path too many or missing, or one that exists or is given twice.
    """
    parts = [text.partition(":") for text in texts]
    for text, (kind, _, _) in zip(texts, parts, strict=True):
        if kind not in SINKS:
            raise UsageError(
                f"unknown sink {text!r}", expected="video:FILE.mp4 | jsonl[:FILE] | null", mend="--sink null"
            )
    paths = [path for _, _, path in parts if path]
    if len(set(paths)) != len(paths):
        raise UsageError("two sinks share a path", expected="one path for each", got=", ".join(paths))
    ranked = sorted(parts, key=lambda part: list(SINKS).index(part[0]))
    return [resolve(SINKS[kind]).from_text(path, fps=fps, force=force) for kind, _, path in ranked]
