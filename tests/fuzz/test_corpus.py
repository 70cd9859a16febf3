"""Each input of the fuzzers' corpora, and what is near it, is read or refused: no crash."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.targets import ALLOWED, CORPUS, TARGETS, clean, seeds

if TYPE_CHECKING:
    from collections.abc import Iterator

VALID = {
    *("engine-onnx", "engine-tflite", "engine-ir", "root", "slots", "audit", "picture"),
    *("attestation", "statement", "family"),
}
"""Targets of which every seed without a finding's name is valid."""


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    clean()


def accepted(name: str, data: bytes) -> bool:
    try:
        TARGETS[name](data)
    except ALLOWED:
        return False
    return True


def test_every_target_has_a_small_corpus() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 300_000


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_and_what_is_near_to_it(name: str) -> None:
    generator = random.Random(1)
    for seed in seeds(name):
        data = seed.read_bytes()
        assert accepted(name, data) or name not in VALID, seed.name
        for _ in range(40):
            changed = bytearray(data)
            for _ in range(generator.randint(1, 4)):
                changed[generator.randrange(len(changed))] = generator.randrange(256)
            accepted(name, bytes(changed[: generator.randint(1, len(changed))]))
