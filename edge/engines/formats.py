"""Check that an engine's files are of its own format and need no other file.

The runtimes accept more than a bundle's engines need: OpenVINO guesses the format of a model from
its content, and an ONNX model may take weights from any file, or from an address of this process's
memory. Such weights are neither listed nor hashed, so these models are refused before a runtime
sees them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edge.engines.onnx_fields import OnnxError, foreign_parts
from edge.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Sequence

_IR = re.compile(rb"(?:<\?xml [^<>]{0,100}\?>\s{0,8})?<net[ >]")
_LARGEST_XML = 64 << 20

_TFLITE = b"TFL3"
_ORT = b"ORTM"
"""File identifiers at byte 4 of a flatbuffer."""

_EXTERNAL_BUFFERS = 8
"""First field of a TFLite model that names buffers outside it; later fields do so too."""


def check_ir(files: Sequence[bytes]) -> None:
    """Refuse anything but an OpenVINO IR.

    Args:
        files: XML and weights.

    Raises:
        BundleError: The first file is not the XML of an IR, or has a document type.
    """
    xml = files[0]
    if not _IR.match(xml) or len(xml) > _LARGEST_XML or b"<!" in xml:
        raise _other_format("OpenVINO", "model.xml of an IR, without declarations", xml)


def check_tflite(model: bytes) -> None:
    """Refuse anything but a TFLite flatbuffer with all its buffers in it.

    Raises:
        BundleError: It is something else, or names buffers outside it.
    """
    if model[4:8] != _TFLITE:
        raise _other_format("TFLite", "a flatbuffer TFL3", model)
    root = int.from_bytes(model[:4], "little")
    table = root - int.from_bytes(model[root : root + 4], "little", signed=True)
    size = int.from_bytes(model[table : table + 2], "little") if table >= 0 else 0
    if not 4 <= size <= len(model) - table or root + 4 > len(model):
        raise _other_format("TFLite", "a flatbuffer TFL3", model)
    if any(model[table + 4 + 2 * _EXTERNAL_BUFFERS : table + size]):
        raise BundleError(
            "the TFLite model needs data outside its file", expected="all buffers in the model"
        )


def check_onnx(model: bytes) -> None:
    """Refuse anything but an ONNX model with all its tensors in it.

    Raises:
        BundleError: It is something else, or takes data from elsewhere.
    """
    if model[4:8] == _ORT:
        raise _other_format("ONNX", "an ONNX protobuf", model)
    try:
        foreign = foreign_parts(model)
    except OnnxError as error:
        raise BundleError(
            "the ONNX engine is of another format", expected="an ONNX protobuf", got=str(error)
        ) from error
    if foreign:
        raise BundleError(
            "the ONNX model needs data outside its file",
            expected="all tensors in the model",
            got=foreign,
        )


def _other_format(engine: str, expected: str, data: bytes) -> BundleError:
    return BundleError(
        f"the {engine} engine is of another format",
        expected=expected,
        got=f"a file that begins with {data[:12]!r}",
    )
