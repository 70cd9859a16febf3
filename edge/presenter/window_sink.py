"""`window[:OPTIONS]`: the overlay in a window or on a whole display, shown by a process of its own.

Options, comma between them: `fullscreen`, `display=N`, `size=WxH`, `background=black|chroma|key`, and `picture` for the frame
behind the overlay. The process is `python -m edge.presenter`; when it dies it is started again, and when this one
dies it says NO NEWS.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from edge.presenter.display_options import Look
from edge.shm.layout import segment_path
from edge.shm.writer import sweep
from edge.sinks.shm import ShmSink
from edge.util.extras import require

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Self

    from edge.sinks.base import SinkOptions

_PREFIX = "edge-difom-window-"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_LOOK_S, _TERMINATE_S = 0.05, 0.5


class Keeper:
    """Keeps a process running, from a thread of its own.

    Args:
        command: What is run; an exit code of 0 is its wish to end.
        first_pause_s: Before the first new start; doubled for each one after it, up to 5 s.
    """

    def __init__(self, command: Sequence[str], *, first_pause_s: float = _FIRST_PAUSE_S) -> None:
        self.restarts = 0
        """How often it was started again."""
        self.process: subprocess.Popen[bytes] | None = None
        self._command, self._pause_s = list(command), first_pause_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the process."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while self._once() != 0 and not self._end.wait(self._pause_s):
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self.restarts += 1

    def _once(self) -> int | None:
        """Run the process to its end; its exit code, None where there is no room for a process."""
        try:
            # A session of its own: Ctrl-C ends the runtime, which then ends the process.
            process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, start_new_session=True)
        except OSError:
            return None
        with process:
            self.process = process
            while process.poll() is None and not self._end.wait(_LOOK_S):
                pass
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_TERMINATE_S)
                process.kill()
        return process.returncode


class WindowSink(ShmSink):
    """A stream of its own in shared memory, and the process that shows it.

    Args:
        look: How the overlay is shown.
        options: What the run's sinks are opened with.

    Raises:
        MissingDependencyError: pygame is not installed.
    """

    def __init__(self, look: Look, options: SinkOptions) -> None:
        require("pygame")
        path = segment_path(f"{_PREFIX}{os.getpid()}-{id(self):x}")
        sweep(path.parent, _PREFIX)  # of runtimes that were killed
        super().__init__(path, options, picture=look.picture)
        self._look = look
        self.keeper: Keeper | None = None

    @classmethod
    def from_text(cls, target: str, options: SinkOptions) -> Self:
        """The sink of its options as text.

        Raises:
            UsageError: An option does not fit.
        """
        return cls(Look.from_text(target), options)

    def __enter__(self) -> Self:
        super().__enter__()
        command = [sys.executable, "-m", "edge.presenter", str(self.segment), "--look", str(self._look)]
        self.keeper = Keeper([*command, "--parent", str(os.getpid())])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        keeper, self.keeper = self.keeper, None
        if keeper is not None:
            self.counters["restarts"] = keeper.restarts
            keeper.close()
        super().__exit__(kind, error, trace)
