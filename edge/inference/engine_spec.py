"""Describes the engine that a worker process opens, in plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.bundle.reader import Bundle
from edge.engines.open import choose_engine, open_engine
from edge.engines.openvino_cache import cache_folder
from edge.inference.messages import EngineSpec

if TYPE_CHECKING:
    from edge.contracts import Engine


def bundle_spec(
    bundle: Bundle, engine: str = "auto", *, threads: int | None = None, precision: str = "int8"
) -> EngineSpec:
    """What to tell a process that is to run an engine of a bundle.

    Args:
        bundle: An open bundle.
        engine: As `edge.engines.open.open_engine`.
        threads: CPU threads; None for every usable core.
        precision: Precision of the engine, as the bundle's manifest declares it.

    Raises:
        EdgeDifomError: The engine cannot run on this machine, as `edge.engines.open.choose_engine`
            has it.
    """
    chosen = choose_engine(bundle, engine, precision)
    declared = bundle.manifest
    return EngineSpec(
        factory="edge.inference.engine_spec:open_bundle_engine",
        arguments={
            "path": str(bundle.path.absolute()),
            "digest": bundle.digest,
            "engine": chosen,
            "threads": threads,
            "precision": precision,
        },
        input_size=(declared.input.height, declared.input.width),
        output_size=(declared.output.height, declared.output.width),
    )


def open_bundle_engine(
    path: str, digest: str, engine: str, threads: int | None, precision: str
) -> Engine:
    """An engine of the bundle that lies at a path, which must still be the one with that digest."""
    bundle = Bundle.open(path)
    if bundle.digest != digest:
        raise RuntimeError(f"{path} was replaced while it was opened")
    return open_engine(bundle, engine, threads=threads, precision=precision, cache=cache_folder())
