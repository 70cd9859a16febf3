"""Faults of the machine are told from faults of a file, whoever words them."""

from __future__ import annotations

import errno
import itertools
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge.bundle.reader import Bundle, pack
from edge.errors import BundleError, MachineError, ParityError
from edge.util.machine_fault import machine_fault, refuse_machine_fault

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED = [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC]


def raised(*errors: Exception) -> Exception:
    """An error that was caused by the others."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


@pytest.mark.parametrize("number", [*SHARED, errno.EIO])
def test_a_fault_of_the_machine_is_found_below_other_errors(number: int) -> None:
    fault = machine_fault(
        raised(BundleError("cannot be read"), ValueError("bad"), OSError(number, "x"))
    )
    assert fault is not None
    assert os.strerror(number) in fault.text
    assert fault.spares_others == (number == errno.EIO)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOENT, "No such file or directory"),
        PermissionError(errno.EACCES, "Permission denied"),
        BundleError("Too many open files"),  # a name that a bundle chose
        ParityError("golden frames differ"),
        RuntimeError("an operation failed"),
    ],
)
def test_a_fault_of_a_file_is_none_of_the_machine(error: Exception) -> None:
    assert machine_fault(error) is None
    refuse_machine_fault("x", error)


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libopenvino.so: cannot open shared object file: Too many open files"),
        RuntimeError("can't start new thread"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
)
def test_a_library_without_numbers_is_understood(
    error: Exception,
) -> None:
    """A library without version numbers is understood, and others are tried too."""
    fault = machine_fault(error)
    assert fault is not None
    assert fault.spares_others


def test_the_refusal_names_file_and_fault() -> None:
    with pytest.raises(MachineError, match="Too many open files") as caught:
        refuse_machine_fault("b.difom cannot be read", OSError(errno.EMFILE, "x"))
    assert caught.value.what == "b.difom cannot be read"
    again = machine_fault(caught.value)
    assert again is not None
    assert not again.spares_others


@pytest.mark.row(51, "no free file descriptor while a bundle is read")
@pytest.mark.parametrize("number", SHARED)
@pytest.mark.parametrize("kind", ["folder", "open", "entry"])
def test_a_bundle_that_the_machine_cannot_read_is_not_damaged(
    kind: str, number: int, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    path = tiny_bundle if kind == "folder" else pack(tiny_bundle, tmp_path / "b.difom")
    bundle = Bundle.open(path)
    name = next(iter(bundle.manifest.files))
    read: Callable[[], object] = lambda: bundle.read(name)  # noqa: E731
    if kind == "folder":
        monkeypatch.setattr(os, "open", refuse)
    elif kind == "open":
        monkeypatch.setattr(Path, "open", refuse)
        read = lambda: Bundle.open(path)  # noqa: E731
    else:
        monkeypatch.setattr(zipfile, "ZipFile", refuse)
    with pytest.raises(MachineError, match="cannot be read"):
        read()


@pytest.mark.parametrize("size", [0, 1, 21, 22, 100, -1, -22, -23, -100, -1000])
def test_an_empty_or_cut_bundle_is_a_damaged_one(
    size: int, tiny_bundle: Path, tmp_path: Path
) -> None:
    packed = pack(tiny_bundle, tmp_path / "b.difom")
    data = packed.read_bytes()
    packed.write_bytes(data[:size])
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle.open(packed)
