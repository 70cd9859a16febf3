"""Opens sinks by their descriptions, `scheme:target?key=value&key=value` (`edge.util.spec`).

`shm:NAME`, `window`, `web[:PORT]`, `events:PATH`, `mqtt:HOST`, `video:PATH`, `jsonl[:PATH]` and
`null` are built in.
Other distributions add sinks by entry points (`edge.util.plugins`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import UsageError
from edge.sinks.base import BaseSink, SinkOptions
from edge.util import plugins
from edge.util.extras import resolve
from edge.util.files import refuse_same_file
from edge.util.plugins import find_plugin, plugin_names
from edge.util.redact import redact
from edge.util.spec import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.contracts import Sink
    from edge.util.plugins import Plugin
    from edge.util.spec import Spec

SINKS: dict[str, str] = {
    "shm": "edge.sinks.shm:ShmSink",
    "window": "edge.presenter.window_sink:WindowSink",
    "web": "edge.sinks.web:WebSink",
    "events": "edge.sinks.event_socket:EventSocketSink",
    "mqtt": "edge.sinks.mqtt:MqttSink",
    "video": "edge.sinks.video:VideoSink",
    "jsonl": "edge.sinks.jsonl:JsonlSink",
    "null": "edge.sinks.null:NullSink",
}
"""Scheme to class, in the order in which sinks get a frame; only the chosen module is imported.

What somebody looks at comes first. `jsonl` comes late, so that its line includes the time that the
outputs before it took.
"""

_FORMS = (
    "shm:NAME | window[:OPTIONS] | web[:PORT] | events:SOCKET | mqtt:HOST[:PORT] | video:FILE.mp4"
    " | jsonl[:FILE] | null"
)


def open_sinks(
    texts: Sequence[str], *, fps: float | None = None, force: bool = False, live: bool = False
) -> list[Sink]:
    """Build the sinks that descriptions name; each opens its output on enter.

    Args:
        texts: `scheme[:target][?key=value&...]` with schemes of `SINKS`.
        fps: Frames per second of a video.
        force: Whether files that exist are replaced.
        live: Whether frames arrive at their own pace, so that no sink may wait.

    Returns:
        The sinks in the order in which they get a frame.

    Raises:
        UsageError: A scheme or option is unknown, or a target is missing, superfluous, in use or
            given twice.
    """
    specs = [parse(text) for text in texts]
    added = {spec.scheme: _plugin(spec) for spec in specs if spec.scheme not in SINKS}
    targets = [spec.target for spec in specs if spec.target]
    if len(set(targets)) != len(targets):
        raise UsageError(
            "two sinks share a path",
            expected="one path for each",
            got=", ".join(targets),
        )
    options = SinkOptions(fps=fps, force=force, live=live)

    def build(spec: Spec) -> Sink:
        sink: Sink
        if spec.scheme in added:
            sink = added[spec.scheme].build(BaseSink, spec, options, method="from_spec")
        else:
            sink = resolve(SINKS[spec.scheme]).from_spec(spec, options)
        return sink

    sinks = [build(spec) for spec in sorted(specs, key=_rank)]
    refuse_same_file([path for sink in sinks for path in sink.outputs()])
    return sinks


def _plugin(spec: Spec) -> Plugin:
    plugin = find_plugin(plugins.SINKS, spec.scheme)
    if plugin is None:
        raise UsageError(
            f"unknown sink {redact(str(spec))!r}",
            expected=" | ".join([_FORMS, *plugin_names(plugins.SINKS)]),
        )
    return plugin


def _rank(spec: Spec) -> float:
    """Place in the order of `SINKS`; plug-ins come just before the sinks that record."""
    order = list(SINKS)
    return order.index(spec.scheme) if spec.scheme in SINKS else order.index("video") - 0.5
