"""tflite-runtime 2.14, the package that LiteRT replaced, with its integers in XNNPACK as LiteRT has them.

Left alone, it runs the convolutions of an INT8 model in TFLite's own kernels. These are slower, and
they round twice: a sum is first rounded to the bits that its factor is shifted by, so one just
short of a tie goes up, which no choice of scales prevents (`quantize.graph.grids` keeps sums from a
tie, not that far). XNNPACK rounds once, as the canonical graph does, and the library holds it, with
8-bit integers left out by default.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

from edge.errors import MissingDependencyError

_SIGNED, _UNSIGNED = 1, 2
"""`TFLITE_XNNPACK_DELEGATE_FLAG_QS8` and `_QU8` of TensorFlow Lite's `xnnpack_delegate.h`."""


class _Options(ctypes.Structure):
    """`TfLiteXNNPackDelegateOptions` of that header; what follows its flags keeps the default, zero."""

    _fields_ = (
        ("num_threads", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("rest", ctypes.c_uint64 * 8),
    )


class _Xnnpack:
    """XNNPACK's delegate for 8-bit integers and float32, freed when nothing holds it any more."""

    def __init__(self, library: ctypes.CDLL, threads: int) -> None:
        create, delete = library.TfLiteXNNPackDelegateCreate, library.TfLiteXNNPackDelegateDelete
        create.argtypes, create.restype = [ctypes.POINTER(_Options)], ctypes.c_void_p
        delete.argtypes, delete.restype = [ctypes.c_void_p], None
        self._pointer = create(
            ctypes.byref(_Options(num_threads=threads, flags=_SIGNED | _UNSIGNED))
        )
        if not self._pointer:
            raise RuntimeError("XNNPACK does not run on this processor")
        # When Python ends, an interpreter may outlive this and still use it.
        weakref.finalize(self, delete, self._pointer).atexit = False

    def _get_native_delegate_pointer(self) -> int:
        """What the interpreter asks a delegate for."""
        pointer: int = self._pointer
        return pointer


def open_interpreter(model: bytes, threads: int) -> Any:
    """An interpreter of tflite-runtime; it frees XNNPACK after itself.

    Args:
        model: Content of a `.tflite`. A damaged one may end the process: nothing checks it before
            it is used.
        threads: CPU threads.

    Raises:
        MissingDependencyError: This build of the package comes without XNNPACK.
        ValueError: The library cannot read the model.
        RuntimeError: It cannot run it.
    """
    from tflite_runtime import _pywrap_tensorflow_interpreter_wrapper as wrapper
    from tflite_runtime.interpreter import Interpreter, OpResolverType

    try:
        delegate = _Xnnpack(ctypes.CDLL(wrapper.__file__), threads)
    except AttributeError as error:
        raise MissingDependencyError(
            "this build of tflite-runtime has no XNNPACK, so its INT8 masks would not be the student's",
            expected="tflite-runtime 2.14 as it is published",
            got=f"{wrapper.__file__} without {error.args[0].rpartition(' ')[2]}",
            hint="pip install --force-reinstall 'edge-difom[tflite-runtime]'",
        ) from error
    return Interpreter(
        model_content=model,
        num_threads=threads,
        experimental_delegates=[delegate],
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
