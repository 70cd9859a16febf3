"""tflite-runtime 2.14, LiteRT's predecessor, with XNNPACK enabled for 8-bit integers.

By default it runs the convolutions of an INT8 model in TFLite's own kernels. These are slower and
round twice: a sum is first rounded to the bits that remain after its shift, so that a sum just
below a tie is rounded up. No choice of scales prevents this (`quantize.graph.grids` keeps sums away
from ties, but not that far). XNNPACK rounds once, as the canonical graph does. The library contains
XNNPACK, but does not use it for 8-bit integers by default.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

from edge.errors import MissingDependencyError

_SIGNED, _UNSIGNED = 1, 2
"""`TFLITE_XNNPACK_DELEGATE_FLAG_QS8` and `_QU8` from TensorFlow Lite's `xnnpack_delegate.h`."""


class _Options(ctypes.Structure):
    """`TfLiteXNNPackDelegateOptions` of that header; all fields after `flags` stay zero."""

    _fields_ = (
        ("num_threads", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("rest", ctypes.c_uint64 * 8),
    )


class _Xnnpack:
    """XNNPACK's delegate for 8-bit integers and float32, freed with its last reference."""

    def __init__(self, library: ctypes.CDLL, threads: int) -> None:
        create, delete = library.TfLiteXNNPackDelegateCreate, library.TfLiteXNNPackDelegateDelete
        create.argtypes, create.restype = [ctypes.POINTER(_Options)], ctypes.c_void_p
        delete.argtypes, delete.restype = [ctypes.c_void_p], None
        self._pointer = create(
            ctypes.byref(_Options(num_threads=threads, flags=_SIGNED | _UNSIGNED))
        )
        if not self._pointer:
            raise RuntimeError("XNNPACK does not run on this processor")
        # At Python's exit an interpreter may outlive this object and still use the delegate.
        weakref.finalize(self, delete, self._pointer).atexit = False

    def _get_native_delegate_pointer(self) -> int:
        """Return the pointer that the interpreter asks a delegate for."""
        pointer: int = self._pointer
        return pointer


def open_interpreter(model: bytes, threads: int) -> Any:
    """Open an interpreter of tflite-runtime, which frees XNNPACK when it is deleted.

    Args:
        model: Content of a `.tflite`. It is not checked before use, so a damaged one may crash the
            process.
        threads: CPU threads.

    Raises:
        MissingDependencyError: This build of the package lacks XNNPACK.
        ValueError: The library cannot read the model.
        RuntimeError: The library cannot run the model.
    """
    from tflite_runtime import _pywrap_tensorflow_interpreter_wrapper as wrapper
    from tflite_runtime.interpreter import Interpreter, OpResolverType

    try:
        delegate = _Xnnpack(ctypes.CDLL(wrapper.__file__), threads)
    except AttributeError as error:
        raise MissingDependencyError(
            "this build of tflite-runtime has no XNNPACK, so its INT8 masks would differ from the "
            "student's",
            expected="the published tflite-runtime 2.14",
            got=f"{wrapper.__file__} without {error.args[0].rpartition(' ')[2]}",
            hint="pip install --force-reinstall 'tflite-runtime>=2.14,<2.15'",
        ) from error
    return Interpreter(
        model_content=model,
        num_threads=threads,
        experimental_delegates=[delegate],
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
