"""Reports as one self-contained HTML file; the only module that knows jinja2."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from edge import __version__, plots
from edge.errors import MissingDependencyError
from edge.manifest import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edge.bench.record import BenchReport
    from edge.demo_record import DemoSettings, DemoSummary

STILLS = 4


def render(template: str, **values: Any) -> str:
    """Fill a template of `edge/templates`, everything escaped but what is marked safe.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "reports need jinja2", mend="pip install 'edge-difom[report]'"
        ) from error
    environment = Environment(loader=PackageLoader("edge"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(template).render(version=__version__, research_use=RESEARCH_USE, **values)


def demo_report(
    summary: DemoSummary,
    bench: Mapping[str, BenchReport],
    samples: Mapping[str, Sequence[float]],
    metrics: Sequence[Mapping[str, Any]],
    overlay: Path,
    settings: DemoSettings,
) -> str:
    """The demo's page.

    Args:
        summary: What `summary.json` will hold.
        bench: Engine -> latency record.
        samples: Engine -> whole-frame latencies in milliseconds.
        metrics: Rows of the distillation's `metrics.jsonl`.
        overlay: The clip with the overlay.
        settings: How much of everything.
    """
    means = {
        name: {stage: values.mean for stage, values in report.first.stages_ms.items()}
        for name, report in bench.items()
    }
    return render(
        "demo.html.j2",
        summary=summary,
        bench=bench,
        settings=settings,
        stills=video_stills(overlay, STILLS),
        curve=plots.training_curve(metrics),
        distribution=plots.latency_distribution(samples),
        stages=plots.stage_bars(means),
    )


def video_stills(path: Path, count: int) -> list[str]:
    """`count` frames of a video, evenly spread, as data URLs of JPEG pictures."""
    import cv2

    video = cv2.VideoCapture(str(path))
    frames = []
    while True:
        ok, frame = video.read()
        if not ok:
            break
        frames.append(frame)
    video.release()
    chosen = [
        frames[round((index + 0.5) * len(frames) / count - 0.5)] for index in range(min(count, len(frames)))
    ]
    encoded = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in chosen]
    return [f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" for data in encoded]
