"""Describe the engine that a worker process opens, in plain values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge.bundle.reader import Bundle
from edge.engines.open import choose_engine, needs_drivers, open_engine, split_name
from edge.engines.openvino_cache import claim_cache
from edge.inference.messages import EngineSpec
from edge.sandbox.grants import MEMORY_MB, Grants

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
    runtime, declared = split_name(chosen)[0], bundle.manifest
    path, drivers = str(bundle.path.absolute()), needs_drivers(chosen)
    cache = claim_cache(bundle.digest) if cached and runtime == "openvino" else None
    return EngineSpec(
        factory="edge.inference.engine_spec:open_bundle_engine",
        arguments={
            "path": path,
            "digest": bundle.digest,
            "engine": chosen,
            "threads": threads,
            "precision": precision,
            "cache": None if cache is None else str(cache),
        },
        input_size=(declared.input.height, declared.input.width),
        output_size=declared.output.map_size,
        grants=Grants(
            reads=[path],
            writes=[] if cache is None else [str(cache)],
            drivers=drivers,
            memory_mb=None if drivers else MEMORY_MB,
        ),
        scratch=runtime == "onnx",
    )


def open_bundle_engine(
    path: str,
    digest: str,
    engine: str,
    threads: int | None,
    precision: str,
    cache: str | None = None,
) -> Engine:
    """Open an engine of the bundle at a path, provided that it still has the given digest."""
    bundle = Bundle.open(path)
    if bundle.digest != digest:
        raise RuntimeError(f"{path} was replaced while it was being opened")
    folder = None if cache is None else Path(cache)
    return open_engine(bundle, engine, threads=threads, precision=precision, cache=folder)
