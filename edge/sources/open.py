"""Where frames come from, by text: `file:PATH`, `images:DIR`, `synthetic:`, `v4l2:DEVICE`, `rtsp:URL`, `gst:PIPELINE`.

Each takes options behind it, `?key=value&...`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import UsageError
from edge.sources.base import switch
from edge.sources.reconnect import ReopeningSource
from edge.util.extras import resolve

if TYPE_CHECKING:
    from edge.sources.base import BaseSource

SOURCES: dict[str, str] = {
    "file": "edge.sources.clip:ClipSource",
    "images": "edge.sources.images:ImagesSource",
    "synthetic": "edge.sources.synthetic:SyntheticSource",
    "v4l2": "edge.sources.camera:CameraSource",
    "rtsp": "edge.sources.gst_sources:RtspSource",
    "gst": "edge.sources.gst_sources:TextSource",
}
"""Scheme -> class; only the chosen module is imported."""

REOPENED = ("v4l2", "rtsp", "gst")
"""Schemes whose source is opened again where it fails, unless `?reopen=0`."""

_OPTIONS = re.compile(r"\?(?P<pairs>(\w+=[^&?=]*(&\w+=[^&?=]*)*)?)$")


def open_source(text: str, *, realtime: bool = False) -> BaseSource:
    """The source that a text names; it opens its device or file when it is entered.

    Args:
        text: `SCHEME:TARGET?key=value&...`, see `SOURCES`.
        realtime: Replay a clip at its own rate, as if it were a camera (`file:` only).

    Raises:
        UsageError: Unknown scheme or option, or a value that does not fit.
    """
    scheme, target, options = parse_source(text)
    if realtime:
        if scheme != "file":
            raise UsageError(
                f"--realtime does not apply to {scheme}:", expected="--source file:CLIP --realtime"
            )
        options["realtime"] = "1"
    reopen = scheme in REOPENED and switch(options.pop("reopen", "1"))
    made: BaseSource = resolve(SOURCES[scheme]).from_text(target, options)
    if not reopen:
        return made
    return ReopeningSource(lambda lasting: resolve(SOURCES[scheme]).from_text(lasting or target, options))


def parse_source(text: str) -> tuple[str, str, dict[str, str]]:
    """Scheme, target and options of a source's text.

    A `?` that is not followed by `key=value` belongs to the file's name.

    Raises:
        UsageError: Unknown scheme, or an option given twice.
    """
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in SOURCES:
        guess = "images" if Path(text).is_dir() else "file"
        raise UsageError(
            f"unknown source {text!r}",
            expected=" | ".join(f"{name}:..." for name in SOURCES),
            hint=f"--source {guess}:{text}" if Path(text).exists() else "--source file:CLIP",
        )
    found = _OPTIONS.search(rest)
    if found is None:
        return scheme, rest, {}
    pairs = [pair.split("=", 1) for pair in found["pairs"].split("&") if pair]
    options: dict[str, Any] = dict(pairs)
    if len(options) != len(pairs):
        raise UsageError(f"an option of source {text!r} is given twice", expected="each option once")
    return scheme, rest[: found.start()], options
