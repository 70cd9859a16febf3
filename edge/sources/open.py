"""Opens a source by its description, `scheme:target?key=value&key=value` (`edge.util.spec`).

`file:PATH`, `images:DIR`, `synthetic:`, `v4l2:DEVICE`, `rtsp:URL` and `gst:PIPELINE` are built in;
`edge.sources.options` lists their options. Other
distributions add sources by entry points (`edge.util.plugins`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from edge.errors import UsageError
from edge.sources.base import BaseSource
from edge.sources.reconnect import ReopeningSource
from edge.util import plugins
from edge.util.extras import resolve
from edge.util.plugins import find_plugin, plugin_names
from edge.util.redact import redact
from edge.util.spec import Spec, expand, parse

SOURCES: dict[str, str] = {
    "file": "edge.sources.clip:ClipSource",
    "images": "edge.sources.images:ImagesSource",
    "synthetic": "edge.sources.synthetic:SyntheticSource",
    "v4l2": "edge.sources.camera:CameraSource",
    "rtsp": "edge.sources.gst_sources:RtspSource",
    "gst": "edge.sources.gst_sources:TextSource",
}
"""Scheme to class; only the chosen module is imported."""


def open_source(text: str, *, realtime: bool = False) -> BaseSource:
    """Build the source that a description names; its device or file is opened on enter.

    Args:
        text: `scheme:target?key=value&...` with a scheme of `SOURCES`.
        realtime: Whether a clip is replayed at its own rate, as if it were a camera.

    Raises:
        UsageError: The scheme or an option is unknown, or a value does not fit.
    """
    spec = parse(text)
    if realtime and spec.scheme != "file":
        raise UsageError(
            f"replay in real time does not apply to {redact(spec.scheme)}:", expected="file:CLIP"
        )
    if realtime:
        spec = replace(spec, options={**spec.options, "realtime": "1"})
    source = _build(spec)
    if not source.reopens:
        return source

    def build_again(lasting: str | None) -> BaseSource:
        return _build(replace(spec, target=lasting or spec.target))

    return ReopeningSource(build_again)


def _build(spec: Spec) -> BaseSource:
    if spec.scheme not in SOURCES:
        plugin = find_plugin(plugins.SOURCES, spec.scheme)
        if plugin is None:
            raise _unknown(spec)
        built: BaseSource = plugin.build(BaseSource, spec, method="from_spec")
        return built
    source: BaseSource = resolve(SOURCES[spec.scheme]).from_spec(spec)
    return source


def _unknown(spec: Spec) -> UsageError:
    text, hint = str(spec), ""
    with suppress(OSError):  # a name that is too long for the file system
        path = expand(text)
        if path.exists():
            hint = f"{'images' if path.is_dir() else 'file'}:{text}"
    return UsageError(
        f"unknown source {redact(text)!r}",
        expected=" | ".join(f"{name}:..." for name in (*SOURCES, *plugin_names(plugins.SOURCES))),
        hint=hint,
    )
