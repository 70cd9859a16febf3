"""A supervisor of two slots with fake engines, which the picture controls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.errors import InferenceFault
from edge.inference.messages import EngineSpec
from edge.inference.supervisor import Supervisor

if TYPE_CHECKING:
    from edge.contracts import BundleStore
    from edge.frame import ImageU8

HANG, CRASH, NAN, SHAPE = 201, 202, 204, 205
SIZE = 8


def fake(**arguments: Any) -> EngineSpec:
    return EngineSpec(
        factory="fake_engines:FakeEngine",
        arguments={"size": SIZE, **arguments},
        input_size=(SIZE, SIZE),
        output_size=(SIZE, SIZE),
    )


def picture(value: int) -> ImageU8:
    return np.full((SIZE, SIZE, 3), value, np.uint8)


class TwoSlots:
    """A store of two folders."""

    def __init__(self, *paths: Path) -> None:
        self.paths, self.bad, self.good = list(paths), list[tuple[Path, str]](), list[Path]()
        self.refunded = list[Path]()
        self.shipped: Path | None = None
        self.signed: dict[Path, str] = {}

    def current(self) -> Path | None:
        return self.paths[0] if self.paths else None

    def previous(self) -> Path | None:
        return self.paths[1] if len(self.paths) > 1 else None

    def fallback(self) -> Path | None:
        return self.shipped

    def digest(self, path: Path) -> str | None:
        return self.signed.get(path)

    def trouble(self) -> str:
        return ""

    def refund(self, path: Path) -> None:
        self.refunded.append(path)

    def mark_bad(self, path: Path, reason: str) -> None:
        self.bad.append((path, reason))
        self.paths.remove(path)

    def mark_good(self, path: Path) -> None:
        self.good.append(path)


class Watched:
    """A supervisor of both slots with a fake engine, which the picture controls."""

    def __init__(
        self, store: BundleStore, monkeypatch: pytest.MonkeyPatch, **settings: Any
    ) -> None:
        monkeypatch.setattr("edge.inference.supervisor.check_process", lambda *_: None)
        self.now = 0
        self.supervisor = Supervisor(
            store,
            spec=lambda _: fake(),
            clock=lambda: self.now,
            timeout_ms=1000,
            hang_ms=1000,
            **settings,
        )

    def suffers(self, order: int) -> InferenceFault:
        assert self.supervisor.wait(20)
        with pytest.raises(InferenceFault) as caught:
            self.supervisor.infer(picture(order))
        return caught.value
