"""A controller on a line with faults on request; bytes in and out, clock of the caller.

Faults can be given to `--at SECONDS=FAULT` or typed on standard input:

    pedal [N]            press pedal N (1 to 4) for 80 ms
    cut SECONDS          the cable is cut: nothing passes
    unplug SECONDS       the device vanishes and comes back
    noise SHARE SECONDS  one flipped bit in this share of the pieces that pass
    garbage BYTES        random bytes to both ends
    reset [CAUSE]        the controller restarts (power, pin, watchdog, software, fault)
    version SECONDS      the controller speaks the next protocol
    deaf SECONDS         acknowledgements to the controller are lost
    power-fail [SECONDS] the supply breaks down, for ever or for so long
    temperature CELSIUS  what its sensor reads
    relay stuck|welded|good
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from firmware_bridge.cart.protocol import messages as m
from firmware_bridge.cart.protocol.framing import Deframer, frame
from firmware_bridge.cart.simcart.controller import Controller

if TYPE_CHECKING:
    from collections.abc import Callable

_PRESS_MS = 80
_GARBAGE_MAX = 1 << 20


class CartFault(NamedTuple):
    """A fault and its time.

    Attributes:
        at_ms: Milliseconds after the start.
        name: First word of the table above.
        values: Numbers that follow the name.
    """

    at_ms: int
    name: str
    values: tuple[float, ...]


_RELAY = {"good": -1.0, "stuck": 0.0, "welded": 1.0}
_ARITY = {
    "pedal": (0, 1),
    "cut": (1, 1),
    "unplug": (1, 1),
    "noise": (2, 2),
    "garbage": (1, 1),
    "reset": (0, 1),
    "version": (1, 1),
    "deaf": (1, 1),
    "power-fail": (0, 1),
    "temperature": (1, 1),
    "relay": (1, 1),
}


def parse_command(text: str, at_ms: int = 0) -> CartFault:
    """Parse a fault as it is typed.

    Raises:
        ValueError: The text is not a fault of the table.
    """
    name, *words = text.split() or [""]
    if name not in _ARITY:
        raise ValueError(f"unknown fault {name!r}; known faults: {', '.join(_ARITY)}")
    least, most = _ARITY[name]
    if not least <= len(words) <= most:
        raise ValueError(
            f"{name} takes {least if least == most else f'{least} or {most}'} values, "
            f"not {len(words)}"
        )
    if name == "relay":
        if words[0] not in _RELAY:
            raise ValueError(f"a relay fault is {', '.join(_RELAY)}, not {words[0]!r}")
        return CartFault(at_ms, name, (_RELAY[words[0]],))
    if name == "reset" and words:
        if words[0] not in m.RESET_CAUSES:
            raise ValueError(f"a reset cause is {', '.join(m.RESET_CAUSES)}, not {words[0]!r}")
        return CartFault(at_ms, name, (float(m.RESET_CAUSES.index(words[0])),))
    values = tuple(float(word) for word in words)
    if not all(-1e6 < value < 1e6 for value in values) or (
        name == "pedal" and values and not 1 <= values[0] <= 4
    ):
        raise ValueError(f"{text!r} is out of range")
    return CartFault(at_ms, name, values)


def parse_fault(text: str) -> CartFault:
    """Parse a fault with its time, `SECONDS=FAULT`.

    Raises:
        ValueError: The text is not a fault with a time.
    """
    seconds, equals, command = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} does not have the form SECONDS=FAULT")
    return parse_command(command, int(float(seconds) * 1000))


class SimCart:
    """A controller, its line, and the faults of both.

    Args:
        seed: Random seed of noise and garbage.
        faults: Scheduled faults.

    Attributes:
        controller: The firmware's application.
        unplugged_until_ms: End of the time in which the device is gone; the owner of the terminal
            acts on it.
    """

    def __init__(self, *, seed: int = 0, faults: tuple[CartFault, ...] = ()) -> None:
        self.controller = Controller()
        self.unplugged_until_ms = 0
        self._random = random.Random(seed)
        self._due = sorted(faults)
        self._boots = self._random.getrandbits(32)
        self._until: dict[str, int] = {}
        self._noise = 0.0
        self._press: dict[int, int] = {}
        self._garbage = b""
        self._from_host, self._from_controller = Deframer(), Deframer()
        self.controller.start(self._boots)

    @property
    def now_ms(self) -> int:
        """Milliseconds since the start."""
        return self.controller.now_ms

    def receive(self, data: bytes) -> None:
        """Receive bytes from the host."""
        if self._holds("cut"):
            return
        if self._holds("version"):
            data = b"".join(map(_as_next_protocol, self._from_host.feed(data)))
        if self._holds("deaf"):
            data = b"".join(
                frame(payload) for payload in self._from_host.feed(data) if not _is_ack(payload)
            )
        self.controller.receive(self._noisy(data))

    def advance(self, now_ms: int) -> bytes:
        """Let time pass and return the bytes to the host."""
        while self._due and self._due[0].at_ms <= now_ms:
            fault = self._due.pop(0)
            self.controller.advance(max(fault.at_ms, self.now_ms))
            self.order(fault)
        for pedal, until_ms in list(self._press.items()):
            if until_ms <= now_ms:
                self.controller.advance(max(until_ms, self.now_ms))
                self.controller.inputs.pedals &= ~(1 << pedal)
                del self._press[pedal]
        if self._until.get("power-fail", now_ms + 1) <= now_ms:
            del self._until["power-fail"]
            self.controller.inputs.supply_mv = 12000
        self.controller.advance(now_ms)
        data, garbage = self.controller.read_output(), self._garbage
        self._garbage = b""
        if self._holds("cut"):
            return b""
        if self._holds("version"):
            data = b"".join(map(_as_next_protocol, self._from_controller.feed(data)))
        return garbage + self._noisy(data)

    def order(self, fault: CartFault) -> None:
        """Apply a fault now."""
        _ORDERS[fault.name](self, *fault.values)

    def _holds(self, name: str) -> bool:
        return self.now_ms < self._until.get(name, 0)

    def _for(self, name: str, seconds: float) -> None:
        self._until[name] = self.now_ms + int(seconds * 1000)

    def _noisy(self, data: bytes) -> bytes:
        if not data or not self._holds("noise") or self._random.random() >= self._noise:
            return data
        noisy = bytearray(data)
        noisy[self._random.randrange(len(noisy))] ^= 1 << self._random.randrange(8)
        return bytes(noisy)

    def _pedal(self, number: float = 1) -> None:
        self.controller.inputs.pedals |= 1 << (int(number) - 1)
        self._press[int(number) - 1] = self.now_ms + _PRESS_MS

    def _unplug(self, seconds: float) -> None:
        self._for("cut", seconds)
        self.unplugged_until_ms = self.now_ms + int(seconds * 1000)

    def _set_noise(self, share: float, seconds: float) -> None:
        self._noise = share
        self._for("noise", seconds)

    def _add_garbage(self, length: float) -> None:
        amount = min(max(int(length), 0), _GARBAGE_MAX)
        self._garbage = self._random.randbytes(amount)
        self.controller.receive(self._random.randbytes(amount))

    def _reset(self, cause: float = 3) -> None:
        self._boots = (self._boots + 1) & 0xFFFFFFFF
        self.controller.start(self._boots, cause=int(cause))

    def _fail_power(self, seconds: float | None = None) -> None:
        self.controller.inputs.supply_mv = 7000
        if seconds is not None:
            self._for("power-fail", seconds)

    def _heat(self, celsius: float) -> None:
        self.controller.inputs.temperature_cc = int(celsius * 100)

    def _set_relay(self, stuck: float) -> None:
        self.controller.inputs.stuck = int(stuck)


_ORDERS: dict[str, Callable[..., None]] = {
    "pedal": SimCart._pedal,
    "cut": lambda cart, seconds: cart._for("cut", seconds),
    "unplug": SimCart._unplug,
    "noise": SimCart._set_noise,
    "garbage": SimCart._add_garbage,
    "reset": SimCart._reset,
    "version": lambda cart, seconds: cart._for("version", seconds),
    "deaf": lambda cart, seconds: cart._for("deaf", seconds),
    "power-fail": SimCart._fail_power,
    "temperature": SimCart._heat,
    "relay": SimCart._set_relay,
}


def _as_next_protocol(payload: bytes) -> bytes:
    """Return the frame of a payload as the next protocol; byte 1 of an envelope is its version."""
    return frame(payload[:1] + bytes([m.PROTOCOL + 1]) + payload[2:])


def _is_ack(payload: bytes) -> bool:
    try:
        return isinstance(m.decode(payload).msg, m.Ack)
    except m.SchemaError:
        return False
