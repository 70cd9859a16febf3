"""What the linker put into the firmware, and what it left out."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def symbols(elf: Path) -> set[str]:
    listed = subprocess.run(
        ["arm-none-eabi-nm", str(elf)], check=True, capture_output=True, text=True
    ).stdout
    return {line.split()[-1] for line in listed.splitlines()}


def test_no_heap(elf: Path) -> None:
    assert not symbols(elf) & {
        "malloc",
        "_malloc_r",
        "free",
        "_free_r",
        "calloc",
        "_sbrk",
        "_sbrk_r",
    }


def test_the_codec_s_one_recursive_function_is_not_in_it(elf: Path) -> None:
    assert "cbor_decode_envelope" in symbols(elf)
    assert "zcbor_any_skip" not in symbols(elf)


def test_no_function_takes_more_stack_than_the_codec(elf: Path) -> None:
    """No function takes more of the stack than the codec's states."""
    used = {}
    for path in elf.parent.rglob("*.su"):
        for line in path.read_text().splitlines():
            place, size, kind = line.split("\t")
            assert kind == "static", line
            used[place.rsplit(":", 1)[-1]] = int(size)
    assert max(used.values()) <= 512
    assert {"app_tick", "message_decode", "link_frame"} <= set(used)
