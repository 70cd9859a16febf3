"""A browser without a display, for tests of pages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def browser() -> str:
    program = shutil.which("chromium")
    assert program is not None, "chromium is in system-packages.txt"
    return program


class Chromium:
    """A browser without a display, told what to do through a pipe (Chrome DevTools Protocol)."""

    def __init__(self, profile: Path) -> None:
        (read, self._out), (self._in, write) = os.pipe(), os.pipe()
        flags = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
            "--disable-background-networking --disable-component-update --disable-sync "
            "--window-size=1920,1080 --remote-debugging-pipe"
        )
        # The protocol's two ends must be 3 and 4 in the browser.
        shell = f'exec "$0" {flags} --user-data-dir="$1" about:blank 3<&{read} 4>&{write}'
        self.process = subprocess.Popen(
            ["bash", "-c", shell, browser(), profile],
            pass_fds=[read, write],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self._rest, self._number, self._session = b"", 0, ""
        page = next(
            one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"
        )
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                part = os.read(self._in, 1 << 16)
                assert part, "the browser ended"
                self._rest += part
            one, _, self._rest = self._rest.partition(b"\0")
            reply = json.loads(one)
            if reply.get("id") == self._number:
                outcome: dict[str, Any] = reply["result"]
                return outcome

    def value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)[
            "result"
        ].get("value")

    def until(self, expression: str) -> None:
        end = time.monotonic() + 60
        while not self.value(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.02)

    def close(self) -> None:
        self._session = ""
        self.call("Browser.close")
        self.process.wait(30)
        os.close(self._in)
        os.close(self._out)
