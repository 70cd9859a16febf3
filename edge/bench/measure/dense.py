"""A network that runs at a processor's peak: dense 3x3 convolutions with many channels.

It is built on the device with the tools of the runtime, in INT8 and in f32, with random weights,
which do not affect the speed. It fulfills the contract of `edge.contracts.Engine`, so that it is
opened and timed like any engine.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.bench.report.profile_record import Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CHANNELS, DEPTH, CELL = 256, 6, 8
_RANGE = 6.0
"""Maximum of every activation: a ReLU6 follows each convolution."""


def dense_work(size: tuple[int, int]) -> Work:
    """Count the operations of the stack.

    Args:
        size: Height and width of the input, multiples of 8.
    """
    cells = (size[0] // CELL) * (size[1] // CELL)
    macs = values = 0
    for _, inputs, outputs, kernel, stride in _layers():
        macs += cells * outputs * inputs * kernel**2
        values += cells * (inputs * stride**2 + outputs) + outputs * inputs * kernel**2
    return Work(macs=macs, values=values)


def dense_files(engine: str, precision: str, size: tuple[int, int]) -> list[bytes]:
    """Build the stack as the files of an engine.

    Args:
        engine: A name in `DENSE`.
        precision: `int8` or `f32`.
        size: Height and width of the input, multiples of 8.

    Raises:
        ModuleNotFoundError: The engine's runtime is not installed.
    """
    return DENSE[engine](precision, size)


def _layers() -> list[tuple[str, int, int, int, int]]:
    """Return name, input channels, output channels, kernel and stride of each layer."""
    stack = [(f"stack {number}", CHANNELS, CHANNELS, 3, 1) for number in range(DEPTH)]
    return [("patches", 3, CHANNELS, CELL, CELL), *stack, ("head", CHANNELS, 1, 1, 1)]


def _weights(name: str, shape: tuple[int, ...]) -> tuple[NDArray[np.int8], float]:
    """Draw int8 weights (O, kernel, kernel, I); their scale preserves the range of activations."""
    generator = np.random.default_rng(sum(name.encode()))
    return generator.integers(-127, 128, shape, dtype=np.int8), float(
        2 / (127 * np.sqrt(np.prod(shape[1:])))
    )


def _openvino(precision: str, size: tuple[int, int]) -> list[bytes]:
    from edge.engines.openvino import load_openvino

    ov = load_openvino()
    op = ov.opset13

    image = op.parameter([1, *size, 3], np.uint8)
    x = op.divide(op.subtract(op.convert(image, "f32"), np.float32(127)), np.float32(128))
    x = op.transpose(x, np.array([0, 3, 1, 2]))
    low, high = np.float32(-1), np.float32(1)
    for name, inputs, outputs, kernel, stride in _layers():
        integers, scale = _weights(name, (outputs, kernel, kernel, inputs))
        integers = np.ascontiguousarray(integers.transpose(0, 3, 1, 2))
        if precision == "int8":
            x = op.fake_quantize(x, low, high, low, high, 256)
            weights = op.multiply(op.convert(op.constant(integers), "f32"), np.float32(scale))
        else:
            weights = op.constant((integers * scale).astype(np.float32))
        margin = [kernel // 2 if stride == 1 else 0] * 2
        x = op.convolution(x, weights, [stride] * 2, margin, margin, [1, 1])
        x = op.clamp(x, 0.0, _RANGE)
        low, high = np.float32(0), np.float32(_RANGE)
    model = ov.Model(
        [op.convert(op.clamp(op.multiply(x, np.float32(256)), 0.0, 255.0), "u8")], [image], "dense"
    )
    with tempfile.TemporaryDirectory() as folder:
        xml, weights_file = Path(folder) / "dense.xml", Path(folder) / "dense.bin"
        ov.serialize(model, xml, weights_file)
        return [xml.read_bytes(), weights_file.read_bytes()]


def _tflite(precision: str, size: tuple[int, int]) -> list[bytes]:
    from edge.bench.measure.dense_tflite import dense_model

    layers = [
        (name, kernel, stride, *_weights(name, (outputs, kernel, kernel, inputs)))
        for name, inputs, outputs, kernel, stride in _layers()
    ]
    return [dense_model(layers, size, precision=precision, highest=_RANGE)]


DENSE: dict[str, Callable[[str, tuple[int, int]], list[bytes]]] = {
    "openvino": _openvino,
    "tflite": _tflite,
}
"""Engine -> function that builds its files. ONNX files need a package that no device has."""
