"""Where results go, by text: `shm:NAME`, `window`, `web[:PORT]`, `video:PATH`, `jsonl[:PATH]`, `null`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import UsageError
from edge.sinks.base import SinkOptions
from edge.util.extras import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.contracts import Sink

SINKS: dict[str, str] = {
    "shm": "edge.sinks.shm:ShmSink",
    "window": "edge.presenter.window_sink:WindowSink",
    "web": "edge.sinks.web:WebSink",
    "video": "edge.sinks.video:VideoSink",
    "jsonl": "edge.sinks.jsonl:JsonlSink",
    "null": "edge.sinks.null:NullSink",
}
"""Kind -> class, in the order in which sinks take a frame; only the chosen module is imported.

What somebody looks at comes first. `jsonl` comes late, so that its line knows what the outputs before it took.
"""

_FORMS = "shm:NAME | window[:OPTIONS] | web[:PORT] | video:FILE.mp4 | jsonl[:FILE] | null"


def open_sinks(
    texts: Sequence[str], *, fps: float | None = None, force: bool = False, live: bool = False
) -> list[Sink]:
    """The sinks that texts name; each opens its file when it is entered.

    Args:
        texts: `KIND[:PATH]`, see `SINKS`.
        fps: Frames per second of a video.
        force: Replace files that exist.
        live: Of a source whose frames come at their own pace, so that no sink may wait.

    Raises:
        UsageError: Unknown kind, a path too many or missing, or one that exists or is given twice.
    """
    parts = [text.partition(":") for text in texts]
    for text, (kind, _, _) in zip(texts, parts, strict=True):
        if kind not in SINKS:
            raise UsageError(f"unknown sink {text!r}", expected=_FORMS, hint="--sink null")
    paths = [path for _, _, path in parts if path]
    if len(set(paths)) != len(paths):
        raise UsageError("two sinks share a path", expected="one path for each", got=", ".join(paths))
    ranked = sorted(parts, key=lambda part: list(SINKS).index(part[0]))
    options = SinkOptions(fps=fps, force=force, live=live)
    return [resolve(SINKS[kind]).from_text(path, options) for kind, _, path in ranked]
