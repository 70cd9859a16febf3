"""Importing the project changes nothing in the process that imports it."""

import json
import subprocess
import sys

import pytest

IMPORT_ALL = """
import importlib, json, os, pkgutil, signal, sys
import cv2
cv2.setNumThreads(2)
package = importlib.import_module(sys.argv[1])
optional = {"gi", "pygame", "serial", "can", "tuf", "securesystemslib"}
optional |= {"tflite_runtime", "tensorflow", "mlperf_loadgen", "tensorboard", "mlflow", "wandb"}

theirs = {"TORCHINDUCTOR_CACHE_DIR"}  # set by torch's compiler, which NNCF imports

def state():
    return {
        "environment": {name: value for name, value in os.environ.items() if name not in theirs},
        "signals": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "opencv": cv2.getNumThreads(),
        "hidden": sorted(name for name, module in sys.modules.items() if module is None),
    }

before, changes, imported = state(), {}, 0
for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
    if found.name.endswith("__main__") and not found.name.startswith("benchmarks."):
        continue
    try:
        importlib.import_module(found.name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in optional:
            raise
    imported += 1
    after = state()
    for name, value in after.items():
        if value != before[name]:
            if isinstance(value, dict):
                value = sorted(set(value.items()) ^ set(before[name].items()))
            changes[f"{found.name}: {name}"] = value
    before = after
print(json.dumps({"changes": changes, "imported": imported}))
"""


@pytest.mark.parametrize(
    "package", ["edge", "firmware_bridge", "edge_difom", "distill", "quantize", "benchmarks"]
)
def test_importing_changes_nothing(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, package], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["imported"] > 5
    assert report["changes"] == {}
