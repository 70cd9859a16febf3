"""edge-difom: polyp segmentation for endoscopy carts, from training to the device.

This is the supported Python interface. Names are imported when they are first used, so
`import edge_difom` loads neither torch nor an engine:

    import edge_difom as ed

    with ed.load("edge-s") as model:
        found = model.predict(image)  # (H, W, 3) uint8 RGB; then found.mask, found.regions

Training needs the extra `train`; every error is an `EdgeDifomError`. Research use only: not a
medical device, not for diagnosis or treatment. Imported by programs, not by the libraries below.
"""

from __future__ import annotations

from edge import __version__ as __version__

TYPE_CHECKING = False  # as typing's, without the cost of importing typing
if TYPE_CHECKING:
    from distill.config import DistillConfig as DistillConfig
    from distill.config import make_config as make_config
    from distill.run_folder import LoadedRun as LoadedRun
    from edge.bench.report.record import BenchReport as BenchReport
    from edge.bundle.manifest import Manifest as Manifest
    from edge.bundle.reader import Bundle as Bundle
    from edge.bundle.shipped import default_bundle as default_bundle
    from edge.bundle.shipped import shipped_bundles as shipped_bundles
    from edge.contracts import Engine as Engine
    from edge.datasets.pairs import Pair as Pair
    from edge.datasets.pairs import find_pairs as find_pairs
    from edge.engines.golden_check import VerifyReport as VerifyReport
    from edge.errors import EdgeDifomError as EdgeDifomError
    from edge.evaluation.metrics import EvaluationReport as EvaluationReport
    from edge.frame import Frame as Frame
    from edge.frame import OperatingPoint as OperatingPoint
    from edge.frame import Region as Region
    from edge.frame import Result as Result
    from edge.pipeline.loop import FrameLoop as FrameLoop
    from edge.pipeline.run_stats import RunSummary as RunSummary
    from edge.prediction.predictor import Prediction as Prediction
    from edge.prediction.predictor import Predictor as Predictor
    from edge_difom.api.device import evaluate as evaluate
    from edge_difom.api.device import load as load
    from edge_difom.api.device import open_bundle as open_bundle
    from edge_difom.api.device import open_engine as open_engine
    from edge_difom.api.device import open_sinks as open_sinks
    from edge_difom.api.device import open_source as open_source
    from edge_difom.api.device import read_bench_record as read_bench_record
    from edge_difom.api.device import run_loop as run_loop
    from edge_difom.api.device import segment as segment
    from edge_difom.api.device import verify as verify
    from edge_difom.api.training import evaluate_run as evaluate_run
    from edge_difom.api.training import export_engines as export_engines
    from edge_difom.api.training import load_run as load_run
    from edge_difom.api.training import make_bundle as make_bundle
    from edge_difom.api.training import quantize as quantize
    from edge_difom.api.training import resume_run as resume_run
    from edge_difom.api.training import start_run as start_run
    from edge_difom.api.training import train_bundle as train_bundle
    from quantize.runs.folder import QatConfig as QatConfig
    from quantize.runs.folder import QuantizedRun as QuantizedRun

__all__ = [
    "BenchReport",
    "Bundle",
    "DistillConfig",
    "EdgeDifomError",
    "Engine",
    "EvaluationReport",
    "Frame",
    "FrameLoop",
    "LoadedRun",
    "Manifest",
    "OperatingPoint",
    "Pair",
    "Prediction",
    "Predictor",
    "QatConfig",
    "QuantizedRun",
    "Region",
    "Result",
    "RunSummary",
    "VerifyReport",
    "__version__",
    "default_bundle",
    "evaluate",
    "evaluate_run",
    "export_engines",
    "find_pairs",
    "load",
    "load_run",
    "make_bundle",
    "make_config",
    "open_bundle",
    "open_engine",
    "open_sinks",
    "open_source",
    "quantize",
    "read_bench_record",
    "resume_run",
    "run_loop",
    "segment",
    "shipped_bundles",
    "start_run",
    "train_bundle",
    "verify",
]

_MODULES = {
    "distill.config": ("DistillConfig", "make_config"),
    "distill.run_folder": ("LoadedRun",),
    "edge.bench.report.record": ("BenchReport",),
    "edge.bundle.manifest": ("Manifest",),
    "edge.bundle.reader": ("Bundle",),
    "edge.bundle.shipped": ("default_bundle", "shipped_bundles"),
    "edge.contracts": ("Engine",),
    "edge.frame": ("Frame", "OperatingPoint", "Region", "Result"),
    "edge.datasets.pairs": ("Pair", "find_pairs"),
    "edge.engines.golden_check": ("VerifyReport",),
    "edge.errors": ("EdgeDifomError",),
    "edge.evaluation.metrics": ("EvaluationReport",),
    "edge.pipeline.loop": ("FrameLoop",),
    "edge.pipeline.run_stats": ("RunSummary",),
    "edge.prediction.predictor": ("Prediction", "Predictor"),
    "edge_difom.api.device": (
        "evaluate",
        "load",
        "open_bundle",
        "open_engine",
        "open_sinks",
        "open_source",
        "read_bench_record",
        "run_loop",
        "segment",
        "verify",
    ),
    "edge_difom.api.training": (
        "evaluate_run",
        "export_engines",
        "load_run",
        "make_bundle",
        "quantize",
        "resume_run",
        "start_run",
        "train_bundle",
    ),
    "quantize.runs.folder": ("QatConfig", "QuantizedRun"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


# Hidden from type checkers, to which it would promise that every name exists.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Every public name, imported or not."""
    return sorted({*globals(), *__all__})
