"""The compiled application as an object: inputs are attributes, the caller supplies the clock."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any

from firmware_bridge.cart.simcart.build import library

if TYPE_CHECKING:
    from pathlib import Path

_ROOM = 4096


class Inputs(ctypes.Structure):
    """Readings of the board's inputs; `struct host_inputs` of boards/host/host.h.

    Attributes:
        temperature_cc: Temperature in hundredths of a degree Celsius.
        supply_mv: Supply in millivolts.
        contact_ms: Milliseconds that the relay takes to follow its coil.
        stuck: -1 if the relay follows its coil, 0 if it stays open, 1 if it is welded.
        holdup_ms: Milliseconds for which the supply holds after it fails.
        pedals: One bit per pressed pedal.
    """

    _fields_ = (
        ("temperature_cc", ctypes.c_int32),
        ("supply_mv", ctypes.c_uint32),
        ("contact_ms", ctypes.c_uint32),
        ("stuck", ctypes.c_int32),
        ("holdup_ms", ctypes.c_uint32),
        ("pedals", ctypes.c_uint32),
    )


@cache
def _load(path: Path) -> Any:
    # PyDLL keeps the interpreter's lock: the library serves one controller at a time.
    library = ctypes.PyDLL(str(path))
    u32, size, handle, data = ctypes.c_uint32, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("host_size", size, ()),
        ("host_inputs_of", ctypes.POINTER(Inputs), (handle,)),
        ("host_start", None, (handle, u32, u32, u32)),
        ("host_receive", None, (handle, data, size)),
        ("host_advance", None, (handle, u32)),
        ("host_take", size, (handle, data, size)),
        ("host_coil", ctypes.c_bool, (handle,)),
        ("host_contact", ctypes.c_bool, (handle,)),
        ("host_lamp", u32, (handle,)),
        ("host_faults", u32, (handle,)),
        ("host_drops", u32, (handle,)),
        ("host_refused", u32, (handle,)),
        ("host_reencode", size, (data, size, data, size)),
        ("host_reframe", size, (data, size, data, size)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, list(arguments)
    return library


class Controller:
    """One controller, powered on by `start`.

    Args:
        path: Path of the library; by default it is compiled on first use.

    Attributes:
        inputs: Readings of its inputs; may be set at any time.
        now_ms: Clock of the controller in milliseconds.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._library = _load(path or library())
        self._state = ctypes.create_string_buffer(self._library.host_size())
        self._room = ctypes.create_string_buffer(_ROOM)
        self.inputs: Inputs = self._library.host_inputs_of(self._state).contents
        self.inputs.temperature_cc = 2500
        self.inputs.supply_mv = 12000
        self.inputs.contact_ms = 10
        self.inputs.stuck = -1
        self.inputs.holdup_ms = 3000
        self.now_ms = 0

    def start(self, boot_id: int, *, cause: int = 1, now_ms: int | None = None) -> None:
        """Power on or reset: the state is reset, the inputs stay."""
        self.now_ms = self.now_ms if now_ms is None else now_ms
        self._library.host_start(self._state, boot_id, cause, self.now_ms & 0xFFFFFFFF)

    def receive(self, data: bytes) -> None:
        """Receive bytes from the host at the controller's current time."""
        self._library.host_receive(self._state, data, len(data))

    def advance(self, now_ms: int) -> None:
        """Let time pass, one tick per millisecond."""
        self._library.host_advance(self._state, now_ms & 0xFFFFFFFF)
        self.now_ms = now_ms

    def read_output(self) -> bytes:
        """Return the bytes to the host since the last call."""
        length = self._library.host_take(self._state, self._room, _ROOM)
        return self._room.raw[:length]

    @property
    def coil(self) -> bool:
        """Whether the relay is powered, which selects the overlay."""
        return bool(self._library.host_coil(self._state))

    @property
    def contact(self) -> bool:
        """Position of the relay: True is overlay."""
        return bool(self._library.host_contact(self._state))

    @property
    def lamp(self) -> int:
        """Color of the lamp now."""
        return int(self._library.host_lamp(self._state))

    @property
    def faults(self) -> int:
        """Bits of `firmware_bridge.cart.protocol.messages.FAULTS`."""
        return int(self._library.host_faults(self._state))

    @property
    def drops(self) -> int:
        """Number of invalid frames on its link."""
        return int(self._library.host_drops(self._state))

    @property
    def refused(self) -> int:
        """Number of complete frames that held no valid message for it."""
        return int(self._library.host_refused(self._state))


def reencode(payload: bytes) -> bytes | None:
    """Decode and encode a payload with the C codec; None if the codec refuses it."""
    return _call("host_reencode", payload)


def reframe(frames: bytes) -> bytes | None:
    """Find the frames of a stream in C and frame them again; None if there are none."""
    return _call("host_reframe", frames)


def _call(name: str, data: bytes) -> bytes | None:
    room = ctypes.create_string_buffer(2 * len(data) + 128)
    length = getattr(_load(library()), name)(data, len(data), room, len(room))
    return room.raw[:length] if length else None
