"""Which way to the controller a text names: a serial line, ISO-TP on a CAN bus, a simulated cart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import UsageError
from firmware_bridge.cart.link.transports import BAUD, CAN_IDS, IsoTpTransport, SerialTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_bridge.cart.link.transports import Connector, Transport


class Plain:
    """A connector with nothing to keep.

    Args:
        opener: Opens a connection.
    """

    def __init__(self, opener: Callable[[], Transport]) -> None:
        self.open = opener

    def close(self) -> None:
        """Nothing outlives a connection."""


def parse(text: str) -> Connector:
    """The connector of the controller that a text names.

    Args:
        text: `serial:DEVICE[,BAUD]`, `can:INTERFACE[,SEND,RECEIVE]` with identifiers, or `sim[:FAULTS]`.

    Raises:
        UsageError: The text names none.
    """
    kind, _, rest = text.partition(":")
    name, *options = rest.split(",")
    try:
        if kind == "serial" and name and len(options) <= 1:
            baud = int(options[0]) if options else BAUD
            return Plain(lambda: SerialTransport(name, baud))
        if kind == "can" and name and len(options) in (0, 2):
            ids = (int(options[0], 0), int(options[1], 0)) if options else CAN_IDS
            return Plain(lambda: IsoTpTransport(name, ids))
        if kind == "sim":
            from firmware_bridge.cart.simcart.process import SimConnector  # which builds the firmware

            return SimConnector([fault for fault in rest.split(",") if fault])
    except ValueError as error:
        raise UsageError(f"--cart {text}: {error}") from error
    raise UsageError(
        f"--cart {text} names no cart",
        expected="serial:DEVICE[,BAUD], can:INTERFACE[,SEND,RECEIVE], sim[:SECONDS=FAULT,...]",
        hint="--cart sim",
    )
