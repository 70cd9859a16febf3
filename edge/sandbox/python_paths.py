"""Where this Python finds its modules, and the system's libraries."""

from __future__ import annotations

import site
import sys
from pathlib import Path

import edge

_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")


def python_paths() -> list[str]:
    """Return the files and folders that importing modules and loading libraries needs.

    A checkout is not handed over as a whole, for its folder may lie in somebody's home: only the
    package itself is.
    """
    package = Path(edge.__file__).parent
    inside = [sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages()]
    paths = [*_SYSTEM, str(package)]
    for prefix in dict.fromkeys(inside[:3]):
        paths += [f"{prefix}/{name}" for name in ("lib", "lib64", "pyvenv.cfg")]
    paths += inside[3:]
    paths += [path for path in sys.path if path and Path(path) != package.parent]
    return list(dict.fromkeys(paths))
