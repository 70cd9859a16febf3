"""Every step on the built-in phantom: distill, quantize, bundle, verify, run, measure, report."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from edge.datasets.pairs import find_pairs
from edge.errors import UsageError
from edge.evaluation.bundle import evaluate_bundle
from edge.util.files import atomic_write, refuse_existing, write_json
from edge_difom.cli import console
from edge_difom.demo.record import DemoSettings, DemoSummary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.bench.report.record import BenchReport
    from edge.bundle.reader import Bundle
    from edge.evaluation.metrics import EvaluationReport

ENGINES = ("openvino", "tflite")
TEACHER = "efficientnet_lite2"
CLIP_SIZE, CLIP_FPS = (480, 640), 25.0
CALIBRATION = 32


class Demo:
    """A demo in one folder.

    Args:
        out: Folder for the results; intermediate results go to `out/work`.
        settings: The settings of the demo.
    """

    STEPS = 8

    def __init__(self, out: Path, settings: DemoSettings) -> None:
        self.out, self.settings = out, settings
        self.work = out / "work"
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, text: str) -> Iterator[None]:
        """Print and time a step."""
        console.step(len(self.seconds) + 1, self.STEPS, text)
        begin = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - begin, 2)

    def run(self) -> DemoSummary:
        """Run every step; `summary.json` is written last."""
        from edge.datasets.phantom.render import write_clip, write_dataset

        settings = self.settings
        phantom, clip = self.work / "phantom", self.work / "clip.mp4"
        with self.step("phantom", "phantom: images, masks, polyp-free images and a clip"):
            write_dataset(
                phantom,
                train=settings.train,
                validation=settings.validation,
                negatives=settings.negatives,
                seed=settings.seed,
            )
            write_clip(
                clip, seed=settings.seed, frames=settings.clip_frames, size=CLIP_SIZE, fps=CLIP_FPS
            )
        with self.step("distill", f"distill {TEACHER} into {settings.student}"):
            run = self._distill(phantom)
        with self.step(
            "quantize", "quantization-aware training to INT8, and engines for OpenVINO and TFLite"
        ):
            self._quantize(run)
        with self.step("bundle", "bundle with golden frames and parity"):
            from quantize.bundle.make import make_bundle

            bundle = make_bundle(
                run, self.out / "bundle", name=f"{settings.student}-demo", force=True
            )
        with self.step(
            "prove", "verify the bundle, and score it on validation and polyp-free frames"
        ):
            accuracy = self._prove(bundle, run, phantom)
        with self.step("run", "run the clip"):
            summary = self._run(bundle, clip)
        with self.step("measure", f"measure latency, {settings.bench_seconds:g} s per engine"):
            bench, samples = self._bench(bundle)
        with self.step("report", "report"):
            result = self._summary(bundle, accuracy, summary, bench)
            self._report(result, bench, samples, run)
        result = msgspec.structs.replace(result, seconds=self.seconds)
        write_json(self.out / "summary.json", result)
        return result

    def _distill(self, phantom: Path) -> Path:
        from distill.config import make_config
        from distill.train.runs import start_run

        values = {
            "data": [str(phantom.resolve())],
            "student": self.settings.student,
            "teachers": [f"{TEACHER}?size={2 * self.settings.size}"],
            "size": self.settings.size,
            "epochs": self.settings.epochs,
            "batch_size": 8,
            "pretrained": self.settings.pretrained,
            "seed": self.settings.seed,
        }
        config = make_config(values)
        return start_run(config, out=self.work / "run", force=True, report=console.progress)

    def _quantize(self, run: Path) -> None:
        # A demo shows the cost of INT8 and never refuses it.
        from quantize.runs.folder import QatConfig
        from quantize.runs.train import train_qat

        config = QatConfig(
            epochs=self.settings.qat_epochs,
            calibration=CALIBRATION,
            max_drop=1.0,
            max_small_drop=1.0,
        )
        train_qat(run, config, force=True, report=console.progress)

    def _prove(self, bundle: Bundle, run: Path, phantom: Path) -> dict[str, EvaluationReport]:
        from distill.train.evaluation import evaluate_run
        from edge.engines.golden_check import verify_bundle

        verify_bundle(bundle).raise_for_problems()
        pairs = find_pairs(phantom / "validation") + find_pairs(phantom / "negatives")
        with console.progress(len(pairs) * (len(ENGINES) + 1), "score") as bar:
            reports = {
                name: evaluate_bundle(bundle, pairs, engine=name, done=lambda _: bar.update())
                for name in ENGINES
            }
            reports["f32"] = evaluate_run(run, pairs)
            bar.update(len(pairs))
        return reports

    def _run(self, bundle: Bundle, clip: Path) -> Any:
        from edge.engines.open import open_engine
        from edge.pipeline.loop import FrameLoop
        from edge.sinks.open import open_sinks
        from edge.sources.open import open_source

        source = open_source(f"file:{clip}")
        sinks = (f"video:{self.out / 'overlay.mp4'}", f"jsonl:{self.out / 'frames.jsonl'}")
        with (
            closing(open_engine(bundle, "openvino")) as engine,
            console.progress(self.settings.clip_frames, "frames") as bar,
        ):
            loop = FrameLoop(
                source=source,
                engine=engine,
                manifest=lambda: bundle.manifest,
                sinks=open_sinks(sinks, fps=CLIP_FPS, force=True),
                on_frame=lambda *_: bar.update(),
            )
            return loop.run()

    def _bench(self, bundle: Bundle) -> tuple[dict[str, BenchReport], dict[str, list[float]]]:
        from edge.bench.measure.run import BenchOptions, run_bench

        reports = {
            name: run_bench(bundle, BenchOptions(engine=name, seconds=self.settings.bench_seconds))
            for name in ENGINES
        }
        samples = {
            name: [value / 1e3 for value in report.first.samples_us]
            for name, report in reports.items()
        }
        return reports, samples

    def _summary(
        self,
        bundle: Bundle,
        accuracy: dict[str, EvaluationReport],
        run: Any,
        bench: dict[str, BenchReport],
    ) -> DemoSummary:
        parity = bundle.manifest.parity
        engines = [
            row
            for row in parity
            if (row.left, row.right, row.on) == ("openvino int8", "tflite int8", "validation")
        ]
        size = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
        device = bench[ENGINES[0]].device
        return DemoSummary(
            dice={name: report.dice for name, report in accuracy.items()},
            dice_ci95={name: report.dice_ci95 for name, report in accuracy.items()},
            negatives={
                name: {"n": report.negatives.n, "flagged": report.negatives.flagged}
                for name, report in accuracy.items()
            },
            parity_iou=engines[0].mask_iou if engines else None,
            parity=parity,
            latency_ms={name: report.first.latency_ms for name, report in bench.items()},
            latency_valid={name: report.reason for name, report in bench.items()},
            run={
                "frames": run.frames,
                "frames_with_mask": run.frames_with_mask,
                "fps": round(run.fps, 2),
            },
            bundle_bytes=size,
            seconds=self.seconds,
            device=f"{device.cpu}, {device.cores} cores" if device.cpu else f"{device.cores} cores",
            versions=bundle.manifest.provenance.versions,
        )

    def _report(
        self,
        summary: DemoSummary,
        bench: dict[str, BenchReport],
        samples: dict[str, list[float]],
        run: Path,
    ) -> None:
        from edge_difom.demo.page import demo_report

        metrics = [
            msgspec.json.decode(line) for line in (run / "metrics.jsonl").read_bytes().splitlines()
        ]
        page = demo_report(
            summary, bench, samples, metrics, self.out / "overlay.mp4", self.settings
        )
        atomic_write(self.out / "report.html", page)


def run_demo(
    out: Path, settings: DemoSettings | None = None, *, force: bool = False
) -> DemoSummary:
    """Run every step and write OUT/{bundle/, report.html, overlay.mp4, summary.json}.

    Args:
        out: Folder for the results.
        settings: The settings of the demo.
        force: Replace the results of an earlier demo.

    Raises:
        UsageError: `out` is a file, or not empty without `force`.
        EdgeDifomError: A step failed; the results of earlier steps stay.
    """
    refuse_existing(out, force=force)
    if out.is_file():
        raise UsageError(f"{out} is a file", expected="a folder", hint="another --out")
    return Demo(out, settings or DemoSettings()).run()
