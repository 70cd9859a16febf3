"""Hints that name options of the command line, for errors of libraries that know no options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_difom.cli.console import quote

if TYPE_CHECKING:
    from edge.errors import EdgeDifomError

OPTION_HINTS = {
    "archive-with-folder": "pack the bundle with `edge-difom bundle pack`",
    "bf16-not-executed": "--precision f32",
    "bf16-unsupported": "--engine openvino",
    "bundle-marked-bad": "publish a better one, or install it again with --again",
    "bundle-not-found": "edge-difom bundle make RUN --out DIR",
    "camera-failed": "check cable and power; `edge-difom doctor` lists the cameras",
    "cue-needs-cart": "--cart sim",
    "device-not-found": "--engine openvino:AUTO",
    "engine-not-in-bundle": "choose a different --engine or --precision",
    "invalid-offer": "edge-difom bundle publish B --repository DIR --keys KEYS",
    "negatives-need-calibration": "--calibrate-threshold with --negatives",
    "no-calibration-images": "--calibrate DIR with training images, or --precision f32",
    "no-data": "--data DIR",
    "no-keys": "edge-difom bundle keygen DIR",
    "no-pin": "--pin-file FILE",
    "no-publisher": "edge-difom device trust ROOT.json",
    "no-room-for-bundle": "edge-difom device gc",
    "no-runtime-fits": "edge-difom doctor",
    "f16-unsupported": "--engine onnx",
    "gate-both": "{hint} (--epochs, --lr, --calibration, --distill-weight, --bits, --layers), or "
    "edge-difom qat RUN --judge-again with larger --max-drop and --max-small-drop",
    "gate-max_drop": "{hint} (--epochs, --lr, --calibration, --distill-weight, --bits, --layers), "
    "or edge-difom qat RUN --judge-again with a larger --max-drop",
    "gate-max_small_drop": "{hint} (--epochs, --lr, --calibration, --distill-weight, --bits, "
    "--layers), or edge-difom qat RUN --judge-again with a larger --max-small-drop",
    "gate-not-accepted": "edge-difom qat RUN --judge-again with a larger --max-drop or "
    "--max-small-drop, or edge-difom bundle make RUN --out B --accept REASON",
    "no-bundle": "edge-difom device install REPOSITORY --state DIR, or choose a --bundle",
    "no-student": "edge-difom doctor",
    "not-a-fitted-teacher": "edge-difom teacher fit NAME --data DIR --out DIR",
    "not-exportable": "choose a different student, or train without the trial: --no-export-trial",
    "not-a-run": "edge-difom distill --data DIR prints its run's folder",
    "not-a-still": "`edge-difom run --stills DIR` writes stills",
    "not-quantized": "edge-difom qat {run} --bits {bits}",
    "not-wheels": "tools/make-wheelhouse --out WHEELS",
    "nothing-decided": "edge-difom review DIR",
    "nothing-to-review": "`edge-difom run --marks DIR` writes marks, --record DIR recordings",
    "nothing-published": "edge-difom bundle publish B --repository DIR --keys KEYS",
    "onnx-device-not-found": "edge-difom doctor, or --engine onnx:cpu",
    "older-than-installed": "publish the older bundle again with a later version, or "
    "edge-difom device rollback",
    "other-keys": "--keys KEYS",
    "path-exists": "choose a different path, or replace it with --force",
    "provision-needs-root": "sudo edge-difom device provision",
    "quantization-damaged": "edge-difom qat {run} --force starts over",
    "quantization-unfit": "edge-difom qat RUN --force starts over",
    "record-without-froc": "edge-difom evaluate --bundle B --data DIR --json FILE",
    "several-bundles": "--target NAME",
    "slots-unreadable": "edge-difom device gc --reset, then install again",
    "stills-need-guard": "leave out --no-guard; for a single image use "
    "`edge-difom device still IMAGE --bundle B`",
    "student-teaches": "edge-difom distill --data DIR --set task_teachers=[run:{run}] --teacher "
    "run:{run}",
    "student-uncertain": "edge-difom distill --config {run}/resolved.yaml --set uncertainty=false",
    "test-frames-unknown": "give the TestDataset folder, list the test frames with --names FILE, "
    "or use all frames with --data DIR",
    "too-few-golden-masks": "train longer, or add the phantom to the training data: "
    "edge-difom phantom --out DIR",
    "trust-unreadable": "edge-difom device trust ROOT.json --replace",
    "unknown-display": "--display loopback",
    "unknown-load": "--rate max --rate 30",
    "untrusted-metadata": "copy the repository as it was published; "
    "`edge-difom device trust ROOT.json --replace` for a different publisher",
}
"""`EdgeDifomError.code` -> hint that replaces the error's own.

`{name}` is one of its `values`, and `{hint}` its own hint.
"""


def explain(error: EdgeDifomError) -> str:
    """Return the message of an error, with a hint that names the command line's options."""
    if error.code not in OPTION_HINTS:
        return error.message(error.hint)
    values = {name: quote(str(value)) for name, value in error.values.items()}
    values["hint"] = error.hint
    return error.message(OPTION_HINTS[error.code].format_map(values))
