"""The command that starts a module of this project in a Python process of its own.

The child runs isolated (`-I`): neither `PYTHONPATH` nor the working folder nor the home of the user
(`usercustomize.py`, user site-packages) can add code to it. It does import `site`, because engines
and editable installations are found through `.pth` files of the environment, which only those can
write who install packages. The child imports this project from where its parent has it, so that
both always speak the same version of their messages.
"""

from __future__ import annotations

import sys
from pathlib import Path

import edge

ROOTS = (str(Path(edge.__file__).parents[1]),)
"""Folders from which a child imports this project."""

_START = (
    "import runpy, sys; count = int(sys.argv[1]); roots = sys.argv[2 : 2 + count]; "
    "module = sys.argv[2 + count]; del sys.argv[1 : 3 + count]; "
    "sys.path[:0] = [root for root in roots if root not in sys.path]; "
    "runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module as a program, like `python -m`, but isolated.

    Args:
        module: Full name of the module, such as `edge.inference.worker`.
        *arguments: Its command line arguments.
    """
    return [sys.executable, "-I", "-c", _START, str(len(ROOTS)), *ROOTS, module, *arguments]
