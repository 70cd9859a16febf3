"""What a machine reaches at best, and how much an inference asks of it."""

from __future__ import annotations

import msgspec

# msgspec reads the annotations when a profile is decoded.
from edge.util.host import Device  # noqa: TC001

BYTES = {"int8": 1, "bf16": 2, "f32": 4}
"""Precision -> bytes of a value."""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What one inference does in its convolutions and matrix products.

    Attributes:
        macs: Multiplications with an addition.
        values: Weights, inputs and outputs of those layers, each counted once.
    """

    macs: int
    values: int

    @property
    def giga_operations(self) -> float:
        """Multiplications and additions, 10^9."""
        return 2 * self.macs / 1e9

    def intensity(self, precision: str) -> float:
        """Operations per byte that must at least be moved, in a precision of `BYTES`."""
        return 2 * self.macs / (self.values * BYTES[precision])


class Peak(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine reaches on a stack of dense convolutions.

    Attributes:
        engine: `openvino` or `tflite`.
        precision: `int8` or `f32`, as the engine executed it.
        giga_operations_per_second: From the median.
        samples_ms: One inference each.
    """

    engine: str
    precision: str
    giga_operations_per_second: float
    samples_ms: list[float]


class DeviceProfile(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine reaches at best.

    Attributes:
        valid: The environment guard saw nothing that spoils the figures.
        reason: What it saw.
        unknown: What it could not read.
        threads: Of engines and of the memory's measure.
        copy_gb_s: Memory bandwidth of a copy, bytes read and written, 10^9 per second.
        triad_gb_s: Likewise of a = b + s c.
        peaks: Engines on dense convolutions.
        missing: Engines that were not measured -> why.
        device: The machine.
        machine: Governor, power mode and the like, as they were set.
        versions: Software.
        created: UTC, ISO 8601.
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
        """Operations per second, 10^9, of an engine in a precision; None where it was not measured."""
        found = (row for row in self.peaks if (row.engine, row.precision) == (engine, precision))
        return next((row.giga_operations_per_second for row in found), None)
