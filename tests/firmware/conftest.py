"""The firmware for its board in an emulator; the test controls line, registers and reset."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge.contracts import CartReport
from edge.status import State, Status
from firmware_bridge.cart.link.cart import ThreadedCart
from firmware_bridge.cart.protocol import messages as m
from firmware_bridge.cart.protocol.framing import Deframer, frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRMWARE = Path(__file__).parents[2] / "firmware_bridge" / "cart" / "firmware"
RELAY_REGISTER = 0x40028000
RUNNING = Status(State.RUNNING, None, 0)
START_S = 60.0


class Line:
    """`Transport` over the emulated UART, with a cable that a test may spoil.

    Attributes:
        cut: Nothing passes.
        spoil: Made of the bytes that the host sends.
    """

    def __init__(self, path: Path) -> None:
        self.cut = False
        self.spoil: Callable[[bytes], bytes] = lambda data: data
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> bytes:
        data = self._socket.recv(4096)
        if not data:
            raise OSError("the emulator is gone")
        return b"" if self.cut else data

    def write(self, data: bytes) -> int:
        spoilt = b"" if self.cut else self.spoil(data)
        with contextlib.suppress(BlockingIOError):
            self._socket.sendall(spoilt)
        return len(data)

    def hang_up(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)

    def pending(self) -> int:
        return 0

    def close(self) -> None:
        self._socket.close()


class Board:
    """A running board.

    Attributes:
        elf: What runs on it.
        uart: Socket of its UART.
    """

    def __init__(self, elf: Path, folder: Path, *, terminal: bool = False) -> None:
        self.elf, self.uart = elf, folder / "uart"
        self._gdb_path = folder / "gdb"
        self._monitor_path = folder / "monitor"
        self._process = subprocess.Popen(
            [
                *("qemu-system-arm", "-M", "mps2-an385", "-kernel", str(elf), "-display", "none"),
                # Its time is the machine's, because the controller compares its clock with the
                # host's: on a busy machine the board may be late, and refuse what it gets late.
                *(
                    "-monitor",
                    "none",
                    "-serial",
                    "pty" if terminal else f"unix:{self.uart},server=on,wait=off",
                ),
                *("-qmp", f"unix:{self._monitor_path},server=on,wait=off"),
                *("-gdb", f"unix:{self._gdb_path},server=on,wait=off"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            self._monitor = self._connect()
            self._lines = self._monitor.makefile("rw")
            self._lines.readline()
            self.order("qmp_capabilities")
        except BaseException:
            self.close()
            raise

    def _connect(self) -> socket.socket:
        end = time.monotonic() + START_S
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self._monitor_path))
            except OSError:
                connection.close()
                assert time.monotonic() < end, "the emulator does not start"
                assert self._process.poll() is None, "the emulator ended"
                time.sleep(0.02)
            else:
                connection.settimeout(START_S)
                return connection

    def order(self, command: str, **arguments: Any) -> Any:
        self._lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._lines.flush()
        while True:
            reply = json.loads(self._lines.readline())
            if "error" in reply:
                raise AssertionError(reply["error"])
            if "return" in reply:
                return reply["return"]

    def word(self, address: int) -> int:
        """A word of the board's memory or of a register."""
        text = self.order("human-monitor-command", **{"command-line": f"xp /1wx {address:#x}"})
        return int(text.split(":")[1], 16)

    @property
    def relay(self) -> bool:
        """Whether the relay is powered, as its register says."""
        return bool(self.word(RELAY_REGISTER) & 1)

    @property
    def device(self) -> str:
        """The UART's pseudo-terminal, where it has one."""
        serial = next(entry for entry in self.order("query-chardev") if entry["label"] == "serial0")
        return str(serial["filename"]).removeprefix("pty:")

    def hang(self, function: str) -> None:
        """Let a function of the firmware hang from its next call on, until a reset reloads it."""
        symbols = subprocess.run(
            ["arm-none-eabi-nm", str(self.elf)], check=True, capture_output=True, text=True
        ).stdout
        address = next(
            int(line.split()[0], 16) & ~1
            for line in symbols.splitlines()
            if line.split()[-1] == function
        )
        with socket.socket(socket.AF_UNIX) as debugger:
            debugger.settimeout(START_S)
            debugger.connect(str(self._gdb_path))  # which halts the board
            for packet in (f"M{address:x},2:fee7", "D"):  # a branch to itself; detach
                checksum = sum(packet.encode()) & 0xFF
                debugger.sendall(f"+${packet}#{checksum:02x}".encode())
                reply = b""
                while b"$OK#" not in reply:
                    piece = debugger.recv(1024)
                    assert piece, f"the debugger's end closed after {reply!r}"
                    reply += piece

    def close(self) -> None:
        if hasattr(self, "_lines"):
            self._lines.close()
        if hasattr(self, "_monitor"):
            self._monitor.close()
        self._process.kill()
        self._process.wait()


class Bench:
    """A board and the runtime's link to it.

    Attributes:
        events: What the link reported so far.
    """

    def __init__(self, board: Board) -> None:
        self.board, self.events = board, list[CartReport]()
        self.line: Line | None = None
        self.absent = False
        self.link = ThreadedCart(self)
        self._entered = contextlib.ExitStack()

    def enter(self) -> None:
        self._entered.enter_context(self.link)

    def leave(self) -> None:
        """Close the link; nothing where that was done."""
        self._entered.close()

    def open(self) -> Line:
        if self.absent:
            raise OSError("unplugged")
        self.line = Line(self.board.uart)
        return self.line

    def close(self) -> None:
        return

    def beat(self, seconds: float = 0.0, *, mask: bool = True) -> None:
        """The frame loop makes progress for a while, at 60 Hz."""
        end = time.monotonic() + seconds
        while True:
            self.link.beat(RUNNING, frame_age_ms=20.0, mask=mask)
            self.events += self.link.events()
            if time.monotonic() >= end:
                return
            time.sleep(1 / 60)

    def beat_until(
        self, condition: Callable[[], bool], seconds: float = 30.0, *, mask: bool = True
    ) -> float:
        """As long as a condition does not hold; returns how long that was."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, f"it does not come; {self.events}"
            self.beat(1 / 60, mask=mask)
        return time.monotonic() - began

    def unplug(self) -> None:
        self.absent = True
        assert self.line is not None
        self.line.hang_up()

    def links(self) -> list[str]:
        """How the link came and went."""
        return [event.kind for event in self.events if event.kind.startswith("link")]


class Raw:
    """The line without the runtime's link."""

    def __init__(self, line: Line) -> None:
        self._line, self._deframer = line, Deframer()

    def ask(self, payload: bytes, accepts: Callable[[m.AnyMessage], bool]) -> m.AnyMessage:
        """Send a payload until an answer comes that is wanted."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            self._line.write(frame(payload))
            time.sleep(0.05)
            with contextlib.suppress(BlockingIOError):
                for content in self._deframer.feed(self._line.read()):
                    if accepts(message := m.decode(content).msg):
                        return message
        raise AssertionError("no such answer")


@pytest.fixture(scope="session")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The firmware for the board."""
    out = tmp_path_factory.mktemp("firmware")
    subprocess.run(["make", "-s", "-C", str(FIRMWARE), f"OUT={out}"], check=True)
    return out / "mps2_an385" / "cart.elf"


@pytest.fixture
def board(elf: Path, tmp_path: Path) -> Iterator[Board]:
    with contextlib.closing(Board(elf, tmp_path)) as running:
        yield running


@pytest.fixture
def terminal_board(elf: Path, tmp_path: Path) -> Iterator[Board]:
    """A board whose UART is a pseudo-terminal."""
    with contextlib.closing(Board(elf, tmp_path, terminal=True)) as running:
        yield running


@pytest.fixture
def raw(board: Board) -> Iterator[Raw]:
    with contextlib.closing(Line(board.uart)) as line:
        yield Raw(line)


@pytest.fixture
def bench(board: Board) -> Iterator[Bench]:
    """A board that was greeted and shows the overlay."""
    assembled = Bench(board)
    assembled.enter()
    try:
        assembled.beat_until(lambda: board.relay)
        assert assembled.links()[-1] == "link-up"
        yield assembled
    finally:
        assembled.leave()
