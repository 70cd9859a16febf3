"""The compiled application as an object: its inputs are attributes, its clock is the caller's."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any

from firmware_bridge.cart.simcart.build import library

if TYPE_CHECKING:
    from pathlib import Path

_ROOM = 4096


class Inputs(ctypes.Structure):
    """What the board's inputs read; `struct host_inputs` of boards/host/host.h.

    Attributes:
        temperature_cc: Hundredths of a degree Celsius.
        supply_mv: Supply in millivolts.
        contact_ms: How long the relay takes to follow its coil.
        stuck: -1 the relay follows, 0 it stays open, 1 it is welded.
        holdup_ms: How long the supply holds once it fails.
        pedals: Bit per pedal that is pressed.
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
        path: The library; compiled on the first use by default.

    Attributes:
        inputs: What its inputs read; set at any time.
        now_ms: Its clock.
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
        """Power on, or reset: everything but the inputs is as new."""
        self.now_ms = self.now_ms if now_ms is None else now_ms
        self._library.host_start(self._state, boot_id, cause, self.now_ms & 0xFFFFFFFF)

    def receive(self, data: bytes) -> None:
        """Bytes from the host, at the controller's present time."""
        self._library.host_receive(self._state, data, len(data))

    def advance(self, now_ms: int) -> None:
        """Let time pass, a tick for each millisecond."""
        self._library.host_advance(self._state, now_ms & 0xFFFFFFFF)
        self.now_ms = now_ms

    def take(self) -> bytes:
        """Bytes to the host since the last call."""
        length = self._library.host_take(self._state, self._room, _ROOM)
        return self._room.raw[:length]

    @property
    def coil(self) -> bool:
        """Whether the relay is powered, which is overlay."""
        return bool(self._library.host_coil(self._state))

    @property
    def contact(self) -> bool:
        """Where the relay is: True is overlay."""
        return bool(self._library.host_contact(self._state))

    @property
    def lamp(self) -> int:
        """Colour of the lamp now."""
        return int(self._library.host_lamp(self._state))

    @property
    def faults(self) -> int:
        """Bits of `firmware_bridge.cart.protocol.messages.FAULTS`."""
        return int(self._library.host_faults(self._state))

    @property
    def drops(self) -> int:
        """Frames that its link lost."""
        return int(self._library.host_drops(self._state))

    @property
    def refused(self) -> int:
        """Whole frames that were no message for it."""
        return int(self._library.host_refused(self._state))


def reencode(payload: bytes) -> bytes | None:
    """A payload decoded and encoded again by the C codec; None where it refuses it."""
    return _call("host_reencode", payload)


def reframe(frames: bytes) -> bytes | None:
    """The frames of a stream as C finds and frames them again; None where it finds none."""
    return _call("host_reframe", frames)


def _call(name: str, data: bytes) -> bytes | None:
    room = ctypes.create_string_buffer(2 * len(data) + 128)
    length = getattr(_load(library()), name)(data, len(data), room, len(room))
    return room.raw[:length] if length else None
