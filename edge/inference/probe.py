"""What the engines of a bundle really do on this machine, each told by the process that runs it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec

from edge.engines.open import DEVICES
from edge.errors import EdgeDifomError, InferenceFault
from edge.inference.engine_spec import bundle_spec
from edge.inference.process import ProcessEngine

if TYPE_CHECKING:
    from edge.bundle.reader import Bundle


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One engine of a bundle.

    Attributes:
        engine: As `--engine` takes it.
        declared: Precision by the bundle's manifest.
        executed: That of most convolutions, as the runtime tells; None where it did not open.
        device: What it runs on, where its runtime has several kinds; else empty.
        settings: All that the runtime tells.
        problem: Why it does not open; empty where it does.
    """

    engine: str
    declared: str
    executed: str | None = None
    device: str = ""
    settings: dict[str, Any] = {}
    problem: str = ""


def probe_engines(bundle: Bundle, *, threads: int | None = None) -> list[Probe]:
    """Open every engine of a bundle; where one can run on several devices, also on what `AUTO` chooses.

    Args:
        bundle: An open bundle.
        threads: CPU threads; None for every core.
    """
    found = []
    for entry in bundle.manifest.engines:
        names = [entry.runtime]
        if "AUTO" in DEVICES.get(entry.runtime, ()):
            names.append(f"{entry.runtime}:AUTO")
        found += [_probe(bundle, name, entry.precision, threads) for name in names]
    return found


def _probe(bundle: Bundle, name: str, precision: str, threads: int | None) -> Probe:
    try:
        spec = bundle_spec(bundle, name, threads=threads, precision=precision)
        with closing(ProcessEngine(spec)) as engine:
            engine.wait_ready()
            settings = engine.settings()
    except (EdgeDifomError, InferenceFault, OSError) as error:
        return Probe(engine=name, declared=precision, problem=str(error).partition("\n")[0])
    device = settings.get("device") or ", ".join(settings.get("providers", ()))
    return Probe(
        engine=name,
        declared=precision,
        executed=settings["precision"],
        device=device,
        settings=settings,
    )
