"""Files of weights that other programs wrote: their wrappers, and what may be wrong.

A state dict comes nested (`{"model": ...}`), under the prefixes of wrappers (`module._orig_mod.`),
beside counters of profilers and weights of losses.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

NESTED = (
    "student",
    "state_dict",
    "model",
    "model_state_dict",
    "net",
    "network",
    "weights",
    "params",
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "params_ema",
)
"""Keys under which training programs keep the weights beside other things, the first found wins."""
COUNTERS = ("total_ops", "total_params", "n_averaged")
"""Names of what profilers and weight averages leave in a state dict."""
_LOSS = re.compile(r"(\w*_)?(loss|losses|loss_fn|loss_func|criterion|criteria|metric|metrics)\.")
_TEXT = frozenset(b"\t\n\r") | frozenset(range(32, 127))

logger = logging.getLogger(__name__)


def find_weights(state: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, or of the one that is nested in it.

    Args:
        state: What a file holds.
        path: The file, for a warning if it holds several state dicts.

    Returns:
        Tensors by their names in the file; empty if there are none.
    """
    while nested := [key for key in NESTED if isinstance(state.get(key), dict) and state[key]]:
        if len(nested) > 1:
            logger.warning(
                "%s holds several sets of weights, %s; using %s",
                path,
                ", ".join(nested),
                nested[0],
            )
        state = state[nested[0]]
    return {str(key): value for key, value in state.items() if isinstance(value, torch.Tensor)}


def strip_wrappers(
    weights: Mapping[str, Tensor], expected: Sequence[str], path: Path
) -> dict[str, Tensor]:
    """The tensors under a network's own names, without what wrappers put before them.

    Args:
        weights: Tensors by their names in the file.
        expected: Names of the network's tensors.
        path: The file, for a warning if it holds the network several times.

    Returns:
        Tensors by name. Counters of profilers and weights of losses are left out; names that the
        network does not have are kept, for the caller to refuse.
    """
    filtered = {
        key: value for key, value in weights.items() if key.rpartition(".")[2] not in COUNTERS
    }
    first = expected[0]
    prefixes = {
        key.removesuffix(first) for key in filtered if key == first or key.endswith(f".{first}")
    }
    counts = {prefix: sum(prefix + name in filtered for name in expected) for prefix in prefixes}
    if not counts:
        return filtered
    most = max(counts.values())
    complete = sorted((prefix for prefix in counts if counts[prefix] == most), key=_preference)
    if len(complete) > 1:
        logger.warning(
            "%s holds the network several times, under %s; using %r", path, complete, complete[0]
        )
    prefix = complete[0]
    own = {key[len(prefix) :]: value for key, value in filtered.items() if key.startswith(prefix)}
    names = set(expected)
    return {key: value for key, value in own.items() if key in names or not _LOSS.match(key)}


def _preference(prefix: str) -> tuple[bool, bool, int, str]:
    """A student before its teacher and its average, the shortest prefix before longer ones."""
    return ("teacher" in prefix, "ema" in prefix or "averag" in prefix, len(prefix), prefix)


def explain_unreadable(path: Path, error: Exception) -> tuple[str, str]:
    """What is in a file of weights that cannot be read, and what to do about it.

    Args:
        path: The file.
        error: What the library that read it raised.
    """
    message = str(error) or type(error).__name__
    objects = sorted(set(re.findall(r"GLOBAL ([\w.]+)", message)))
    if objects:
        return (
            f"Python objects beside the weights ({', '.join(objects)})",
            'save the weights alone: torch.save(checkpoint["model"], FILE), or '
            "model.state_dict() of a whole model",
        )
    text = text_instead_of_weights(path)
    if text:
        return text, "git lfs pull, or download the file again"
    with suppress(OSError):
        if path.stat().st_size == 0:
            return "an empty file", "download or copy the file again"
    return re.sub(r"\x1b\[[0-9;]*m", "", message).strip().splitlines()[0], "restore the file"


def text_instead_of_weights(path: Path) -> str:
    """What kind of text a file of weights holds; empty if it holds none or cannot be read."""
    with suppress(OSError), path.open("rb") as file:
        start = file.read(512)
        if start.startswith(b"version https://git-lfs"):
            return f"{path.name} is text: a Git LFS pointer"
        if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
            return f"{path.name} is text: a web page"
        if start and all(byte in _TEXT for byte in start):
            return f"{path.name} is text"
    return ""
