"""`window[:OPTIONS]`: the overlay in a window or on a whole display, shown by a separate process.

The options are a list with commas, `window:fullscreen,display=1`, or pairs,
`window:?fullscreen=1&display=1`; see `DisplayOptions`. The process runs `edge.presenter`.
If it dies it is restarted, and if this process dies it shows NO NEWS.
"""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from edge.presenter.display_options import DisplayOptions
from edge.shm.layout import segment_path
from edge.shm.writer import sweep
from edge.sinks.shm import ShmSink
from edge.util.extras import require
from edge.util.python_child import python_command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Self

    from edge.sinks.base import SinkOptions
    from edge.util.spec import Spec

_PREFIX = "edge-difom-window-"
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.25, 5.0
_POLL_S, _TERMINATE_S = 0.05, 0.5


class Keeper:
    """Keeps a process running, in its own thread.

    Args:
        command: Command to run; an exit code of 0 means that it wants to end.
        first_pause_s: Pause before the first restart, seconds; doubled for each further one, up
            to 5 s.
    """

    def __init__(self, command: Sequence[str], *, first_pause_s: float = _FIRST_PAUSE_S) -> None:
        self.restarts = 0
        """Number of restarts."""
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
            self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)
            self.restarts += 1

    def _once(self) -> int | None:
        """Run the process to its end; return its exit code, or None if it could not be started."""
        try:
            # A separate session: Ctrl-C ends only the runtime, which then ends the process.
            process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError:
            return None
        with process:
            self.process = process
            while process.poll() is None and not self._end.wait(_POLL_S):
                pass
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_TERMINATE_S)
                process.kill()
        return process.returncode


class WindowSink(ShmSink):
    """Publishes its own stream in shared memory, and runs the process that shows it.

    Args:
        display: How the overlay is shown.
        options: Options that all sinks of the run share.

    Raises:
        MissingDependencyError: pygame is not installed.
    """

    def __init__(self, display: DisplayOptions, options: SinkOptions) -> None:
        require("pygame")
        path = segment_path(f"{_PREFIX}{os.getpid()}-{id(self):x}")
        sweep(path.parent, _PREFIX)  # segments of runtimes that were killed
        super().__init__(path, options, picture=display.picture)
        self._display = display
        self.keeper: Keeper | None = None

    @classmethod
    def from_spec(cls, spec: Spec, options: SinkOptions) -> Self:
        """Build the sink of `window` with the options of `DisplayOptions`.

        Raises:
            UsageError: An option is unknown or does not fit.
        """
        return cls(DisplayOptions.from_spec(spec), options)

    def __enter__(self) -> Self:
        super().__enter__()
        arguments = (str(self.segment), "--look", str(self._display), "--parent", str(os.getpid()))
        self.keeper = Keeper(python_command("edge.presenter", *arguments))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        keeper, self.keeper = self.keeper, None
        if keeper is not None:
            self.counters["restarts"] = keeper.restarts
            keeper.close()
        super().__exit__(kind, error, trace)
