"""Count the operations of an inference from an engine's files, without its runtime."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from edge.bench.report.profile_record import Work
from edge.engines.formats import check_ir
from edge.errors import BundleError

if TYPE_CHECKING:
    from edge.bundle.reader import Bundle

_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_TRANSPOSED = ("ConvolutionBackpropData", "GroupConvolutionBackpropData")


def bundle_work(bundle: Bundle) -> Work | None:
    """Count the work of a bundle's student from its OpenVINO engine; None if that is impossible.

    Raises:
        BundleError: The engine's files are damaged.
    """
    for entry in bundle.manifest.engines:
        if entry.runtime == "openvino":
            return ir_work(bundle.engine_files("openvino", entry.precision)[0])
    return None


def ir_work(xml: bytes) -> Work | None:
    """Count the operations of an OpenVINO IR; None with dynamic shapes or without operations.

    Args:
        xml: The model's XML in OpenVINO's IR format, version 10 or 11.

    Raises:
        BundleError: It is not the XML of an IR.
    """
    check_ir([xml])  # which also refuses entities
    try:
        return _count(ET.fromstring(xml))
    except (ET.ParseError, ValueError, ArithmeticError, IndexError) as error:
        raise BundleError("the OpenVINO engine's XML cannot be read", got=str(error)) from error


def _count(model: ET.Element) -> Work | None:
    macs = values = 0
    for layer in model.iter("layer"):
        kind = layer.get("type")
        if kind not in (*_CONVOLUTIONS, *_TRANSPOSED, "MatMul"):
            continue
        ports = [
            [int(dim.text or 0) for dim in port.iter("dim")]
            for side in ("input", "output")
            for port in layer.iterfind(f"{side}/port")
        ]
        if len(ports) < 3 or any(extent < 0 for shape in ports for extent in shape):
            return None
        input_shape, weights, output_shape = ports[0], ports[1], ports[-1]
        values += prod(input_shape) + prod(weights) + prod(output_shape)
        if kind == "MatMul":
            data = layer.find("data")
            across = data is not None and data.get("transpose_a") == "true"
            macs += prod(output_shape) * input_shape[-2 if across else -1]
        elif kind in _TRANSPOSED:
            # Every input value is multiplied by all the weights of its channel.
            macs += prod(input_shape) * prod(weights) // input_shape[1]
        else:
            # Weights are (O, I, ...), or (G, O/G, I/G, ...): without the output channels, their
            # number is the number of products per output value.
            macs += prod(output_shape) * prod(weights) // output_shape[1]
    return Work(macs=macs, values=values) if macs else None
