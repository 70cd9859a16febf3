"""Describe the engine that a worker process opens, in plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.bundle.reader import Bundle
from edge.engines.open import choose_engine, open_engine
from edge.engines.openvino_cache import cache_folder
from edge.inference.messages import EngineSpec

if TYPE_CHECKING:
    from edge.contracts import Engine


def bundle_spec(
    bundle: Bundle,
    engine: str = "auto",
    *,
    threads: int | None = None,
    precision: str = "int8",
    cached: bool = True,
) -> EngineSpec:
    """Describe an engine of a bundle for the worker process that will run it.

    Args:
        bundle: An open bundle.
        engine: As in `edge.engines.open.open_engine`.
        threads: CPU threads; None for every usable core.
        precision: Precision of the engine, as the bundle's manifest declares it.
        cached: Whether a model that was compiled before may be loaded.

    Raises:
        EdgeDifomError: The engine cannot run on this machine; any error of
            `edge.engines.open.choose_engine`.
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
            "cached": cached,
        },
        input_size=(declared.input.height, declared.input.width),
        output_size=declared.output.map_size,
    )


def open_bundle_engine(
    path: str, digest: str, engine: str, threads: int | None, precision: str, cached: bool = True
) -> Engine:
    """Open an engine of the bundle at a path, provided that it still has the given digest."""
    bundle = Bundle.open(path)
    if bundle.digest != digest:
        raise RuntimeError(f"{path} was replaced while it was being opened")
    cache = cache_folder() if cached else None
    return open_engine(bundle, engine, threads=threads, precision=precision, cache=cache)
