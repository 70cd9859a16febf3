"""Connectors to the controller: a serial line, ISO-TP on a CAN bus, or a simulated cart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.errors import UsageError
from edge.util.spec import option, whole
from edge.util.spec import parse as parse_spec
from firmware_bridge.cart.link.cart import ThreadedCart
from firmware_bridge.cart.link.transports import BAUD, CAN_IDS, IsoTpTransport, SerialTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_bridge.cart.link.transports import Connector, Transport


class Plain:
    """A connector without resources of its own.

    Args:
        opener: Opens a connection.
    """

    def __init__(self, opener: Callable[[], Transport]) -> None:
        self.open = opener

    def close(self) -> None:
        """Do nothing: no resource outlives a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialOptions:
    """Options of `serial:`.

    Attributes:
        baud: Bits per second on the line.
    """

    baud: int = option(whole(1, 100_000_000), BAUD)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanOptions:
    """Options of `can:`.

    send: Identifier of sent frames.
        receive: Identifier of received frames.
        receive: Identifier of the frames that are received.
    """

    send: int = option(whole(0, 0x1FFFFFFF, base=0), CAN_IDS[0])
    receive: int = option(whole(0, 0x1FFFFFFF, base=0), CAN_IDS[1])


def parse(text: str) -> Connector:
    """Make the connector to the controller that a text names.

    Args:
        text: `serial:DEVICE[,BAUD]`, `can:INTERFACE[,SEND,RECEIVE]` with identifiers, or
            `sim[:FAULTS]`. The values after a comma may also be written as options,
            `serial:DEVICE?baud=9600` (`edge.util.spec`).

    Raises:
        UsageError: The text does not name a controller, or an option is invalid.
    """
    spec = parse_spec(text)
    if spec.scheme == "serial":
        line = spec.with_positional("baud")
        baud = line.read(SerialOptions).baud
        if line.target:
            return Plain(lambda: SerialTransport(line.target, baud))
    elif spec.scheme == "can":
        bus = spec.with_positional("send", "receive")
        identifiers = bus.read(CanOptions)
        ids = identifiers.send, identifiers.receive
        # A single identifier would be paired with the default of the other one.
        if bus.target and len(bus.options) in (0, 2):
            return Plain(lambda: IsoTpTransport(bus.target, ids))
    elif spec.scheme == "sim":
        from firmware_bridge.cart.simcart.process import SimConnector  # builds the firmware

        spec.refuse_options()
        try:
            return SimConnector([fault for fault in spec.target.split(",") if fault])
        except ValueError as error:
            raise UsageError(f"cart {text}: {error}") from error
    raise UsageError(
        f"{text!r} does not name a cart",
        expected="serial:DEVICE[,BAUD], can:INTERFACE[,SEND,RECEIVE], sim[:SECONDS=FAULT,...]",
        hint="sim is a simulated cart",
    )


def open_cart(text: str) -> ThreadedCart:
    """Open the cart that a text names; the result is a context manager.

    A device that is missing is not an error: the link keeps looking for it.

    Args:
        text: `serial:DEVICE[,BAUD]`, `can:INTERFACE[,SEND,RECEIVE]`, or `sim[:SECONDS=FAULT,...]`.

    Raises:
        UsageError: The text does not name a cart.
        MissingDependencyError: The cart needs a package or a compiler that is not installed.
    """
    return ThreadedCart(parse(text))
