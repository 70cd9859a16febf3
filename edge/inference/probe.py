"""Probe the engines of a bundle: what each executes on this machine, as its process reports."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec

from edge.engines.open import DEVICES
from edge.errors import EdgeDifomError, InferenceFault
from edge.inference.engine_spec import bundle_spec
from edge.inference.process import ProcessEngine
from edge.sandbox.grants import Sandbox  # noqa: TC001 - msgspec reads annotations

if TYPE_CHECKING:
    from edge.bundle.reader import Bundle


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Result for one engine of a bundle.

    Attributes:
        engine: Name of the engine, as `edge.engines.open.open_engine` takes it.
        declared: Precision according to the bundle's manifest.
        executed: Precision of most convolutions as the runtime reports it; None if the engine did
            not open.
        device: Device that runs the engine; empty if its runtime has only one kind of device.
        settings: All settings that the runtime reports.
        problem: Why the engine does not open; empty if it does.
        sandbox: What this kernel applied of its process's sandbox; None if it did not open.
    """

    engine: str
    declared: str
    executed: str | None = None
    device: str = ""
    settings: dict[str, Any] = {}
    problem: str = ""
    sandbox: Sandbox | None = None


def probe_engines(bundle: Bundle, *, threads: int | None = None) -> list[Probe]:
    """Open every engine of a bundle, and on `AUTO` too if its runtime has several devices.

    Args:
        bundle: An open bundle.
        threads: CPU threads; None for every core.
    """
    probes = []
    for entry in bundle.manifest.engines:
        names = [entry.runtime]
        if "AUTO" in DEVICES.get(entry.runtime, ()):
            names.append(f"{entry.runtime}:AUTO")
        probes += [_probe(bundle, name, entry.precision, threads) for name in names]
    return probes


def _probe(bundle: Bundle, name: str, precision: str, threads: int | None) -> Probe:
    try:
        spec = bundle_spec(bundle, name, threads=threads, precision=precision)
        with closing(ProcessEngine(spec)) as engine:
            engine.wait_ready()
            settings, sandbox = engine.settings(), engine.sandbox
    except (EdgeDifomError, InferenceFault, OSError) as error:
        return Probe(engine=name, declared=precision, problem=str(error).partition("\n")[0])
    device = settings.get("device") or ", ".join(settings.get("providers", ()))
    return Probe(
        engine=name,
        declared=precision,
        executed=settings["precision"],
        device=device,
        settings=settings,
        sandbox=sandbox,
    )
