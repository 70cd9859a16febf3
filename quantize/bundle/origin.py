"""When, where and how a run was trained, as its bundle records it: taken when the run began."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from distill.config import PATH_KEYS, make_config
from distill.run_folder import read_environment, training_versions

if TYPE_CHECKING:
    from distill.run_folder import LoadedRun

_BEGAN = ("date", "machine", "accelerator", "version", "commit", "command")
"""Entries of the run's record of its environment that a bundle keeps."""

_ABSOLUTE = re.compile(r"(?<![\w./])~?/(?!/)[^\s\"',\])]+")
"""An absolute path in a text; an address of the network is none."""


class OriginFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle tells about the training that it is from.

    Attributes:
        versions: Software -> version when the training began; of now, if the run records none.
        training: Date, machine, accelerator, version, commit and command, as far as recorded.
        configuration: Settings that differ from their defaults.
    """

    versions: dict[str, str]
    training: dict[str, str]
    configuration: dict[str, str]


def origin_facts(run: LoadedRun) -> OriginFacts:
    """Read the facts of a run.

    Args:
        run: The float training.

    Raises:
        DataError: The record of the run's environment is damaged.
    """
    environment = read_environment(run.path)
    versions = {
        name: str(environment[name]) for name in training_versions() if environment.get(name)
    }
    began = {name: without_folders(environment[name]) for name in _BEGAN if environment.get(name)}
    flat, plain = run.config.flat(), make_config({"data": []}).flat()
    return OriginFacts(
        versions=versions or training_versions(),
        training=began,
        configuration={
            name: without_folders(value)
            for name, value in sorted(flat.items())
            if name not in PATH_KEYS and value != plain.get(name)
        },
    )


def without_folders(value: object) -> str:
    """Return a value as text in which a path is its last part: a bundle tells no folder."""
    return _ABSOLUTE.sub(lambda found: PurePosixPath(found[0]).name, str(value))
