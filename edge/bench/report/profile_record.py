"""Records of a machine's peak performance and of the work of an inference."""

from __future__ import annotations

import msgspec

# msgspec reads the annotations when a profile is decoded.
from edge.util.host import Device  # noqa: TC001

BYTES = {"int8": 1, "bf16": 2, "f32": 4}
"""Precision -> bytes of a value."""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """The work of one inference in convolutions and matrix products.

    Attributes:
        macs: Multiply-accumulate operations.
        values: Weights, inputs and outputs of these layers, each counted once.
    """

    macs: int
    values: int

    @property
    def giga_operations(self) -> float:
        """Multiplications and additions, 10^9."""
        return 2 * self.macs / 1e9

    def intensity(self, precision: str) -> float:
        """Return operations per byte, for the minimum memory traffic in a precision of `BYTES`."""
        return 2 * self.macs / (self.values * BYTES[precision])


class Peak(msgspec.Struct, frozen=True, kw_only=True):
    """The speed of an engine on a stack of dense convolutions.

    Attributes:
        engine: `openvino` or `tflite`.
        precision: `int8` or `f32`, as the engine executed it.
        giga_operations_per_second: Speed at the median time.
        samples_ms: Time of each inference.
    """

    engine: str
    precision: str
    giga_operations_per_second: float
    samples_ms: list[float]


class DeviceProfile(msgspec.Struct, frozen=True, kw_only=True):
    """Peak performance of a machine.

    Attributes:
        valid: Whether the environment guard saw no disturbance.
        reason: The disturbances; None without any.
        unknown: Counters that could not be read.
        threads: Threads of engines and of the memory test.
        copy_gb_s: Memory bandwidth of a copy, bytes read and written, 10^9 per second.
        triad_gb_s: Memory bandwidth of the triad a = b + s c, 10^9 bytes per second.
        peaks: Speeds of the engines on dense convolutions.
        missing: Engine that was not measured -> why.
        device: The machine.
        machine: Settings of the machine, such as governor and power mode.
        versions: Versions of the software.
        created: Time of the measurement, UTC, ISO 8601.
    """

    valid: bool
    reason: str | None
    unknown: list[str]
    threads: int
    copy_gb_s: float
    triad_gb_s: float
    peaks: list[Peak]
    missing: dict[str, str]
    device: Device
    machine: dict[str, str]
    versions: dict[str, str | None]
    created: str

    def peak(self, engine: str, precision: str) -> float | None:
        """Return 10^9 operations per second of an engine in a precision; None if not measured."""
        matching = (row for row in self.peaks if (row.engine, row.precision) == (engine, precision))
        return next((row.giga_operations_per_second for row in matching), None)
