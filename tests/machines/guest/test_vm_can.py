"""The link to the controller over ISO-TP, by the kernel's protocol on a virtual CAN bus."""

from __future__ import annotations

import select
import subprocess
from typing import TYPE_CHECKING

import pytest

from firmware_bridge.cart.connectors import parse
from firmware_bridge.cart.link.transports import CAN_IDS, IsoTpTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_bridge.cart.link.transports import Transport

pytestmark = pytest.mark.vm


@pytest.fixture
def bus() -> Iterator[str]:
    """A virtual CAN bus that is up."""
    for module in ("vcan", "can-isotp"):
        subprocess.run(["modprobe", module], check=True)
    subprocess.run(["ip", "link", "add", "dev", "vcan0", "type", "vcan"], check=True)
    try:
        subprocess.run(["ip", "link", "set", "vcan0", "up"], check=True)
        yield "vcan0"
    finally:
        subprocess.run(["ip", "link", "delete", "vcan0"], check=True)


def take(transport: Transport, seconds: float = 5.0) -> bytes:
    ready, _, _ = select.select([transport], [], [], seconds)
    return transport.read() if ready else b""


@pytest.mark.parametrize("length", [1, 7, 8, 300, 4000])
def test_a_message_of_any_length_arrives_as_it_was_sent(bus: str, length: int) -> None:
    host, controller = parse(f"can:{bus}").open(), IsoTpTransport(bus, CAN_IDS[::-1])
    try:
        message = bytes(number % 251 for number in range(length))
        assert host.write(message) == length
        assert take(controller) == message
        assert controller.write(message[::-1]) == length
        assert take(host) == message[::-1]
    finally:
        host.close()
        controller.close()


@pytest.mark.row(26, "CAN interface taken down and up again")
def test_a_bus_that_goes_down_is_an_error(bus: str) -> None:
    """A bus that goes down is an error and another connection works."""
    host, controller = parse(f"can:{bus}").open(), IsoTpTransport(bus, CAN_IDS[::-1])
    try:
        subprocess.run(["ip", "link", "set", bus, "down"], check=True)
        with pytest.raises(OSError, match="down"):
            host.read()
    finally:
        host.close()
        controller.close()
    subprocess.run(["ip", "link", "set", bus, "up"], check=True)
    host, controller = parse(f"can:{bus}").open(), IsoTpTransport(bus, CAN_IDS[::-1])
    try:
        host.write(b"back")
        assert take(controller) == b"back"
    finally:
        host.close()
        controller.close()
