"""Walk the protobuf of an ONNX model to find what it takes from elsewhere, without `onnx`.

Field numbers are those of `onnx.proto`. Every occurrence of a field is visited, because a parser
merges them. Whatever a parser might read differently is refused: groups, oversized tags and lengths
beyond the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""Message -> field -> message; only fields that lead to a tensor or a node."""

_GRAPH = 7
_OPERATOR, _EXTERNAL_DATA, _DATA_LOCATION = 4, 13, 14
_CONTEXT = b"EPContext"
"""Operator whose attribute names a file of compiled code."""

_DEEPEST = 100
"""Nesting at which protobuf's own parser gives up."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class OnnxError(ValueError):
    """Bytes that are not an ONNX model."""


def foreign_parts(model: bytes) -> str:
    """Return what a model takes from elsewhere; empty if nothing.

    Args:
        model: A `.onnx` file.

    Raises:
        OnnxError: The bytes are not a model.
    """
    waiting = [("model", 0, len(model), 0)]
    graphs = 0
    while waiting:
        kind, begin, end, depth = waiting.pop()
        if depth > _DEEPEST:
            raise OnnxError(f"messages nested deeper than {_DEEPEST}")
        parts = _PARTS[kind]
        for field, wire, first, last in _fields(model, begin, end):
            if kind == "tensor" and field == _EXTERNAL_DATA:
                return "a tensor whose data are in another file or at an address of memory"
            if kind == "tensor" and field == _DATA_LOCATION and any(model[first:last]):
                return "a tensor whose data are outside the model"
            if kind == "node" and field == _OPERATOR and model[first:last] == _CONTEXT:
                return "compiled code in another file"
            if wire == _BYTES and field in parts:
                graphs += kind == "model" and field == _GRAPH
                waiting.append((parts[field], first, last, depth + 1))
    if not graphs:
        raise OnnxError("no graph")
    return ""


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, first byte and end of each field of a message."""
    while at < end:
        tag, at = _varint(data, at, end, 5)
        field, wire = tag >> 3, tag & 7
        if tag >= 1 << 32 or field == 0:
            raise OnnxError("a field without a valid number")
        if wire == _VARINT:
            last = _varint(data, at, end, 10)[1]
        elif wire == _BYTES:
            length, at = _varint(data, at, end, 5)
            last = at + length
        elif wire in (_FIXED64, _FIXED32):
            last = at + (8 if wire == _FIXED64 else 4)
        else:
            raise OnnxError("a field of an unknown kind")
        if last > end:
            raise OnnxError("a field that is cut off")
        yield field, wire, at, last
        at = last


def _varint(data: bytes, at: int, end: int, most: int) -> tuple[int, int]:
    """Return a number of variable length and the index behind it."""
    value = 0
    for place in range(most):
        if at >= end:
            raise OnnxError("a number that is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at
    raise OnnxError("a number that is too long")
