"""The settings of the process that the command line applies."""

import platform
import subprocess
import sys

import pytest


def test_settings_of_the_user_are_kept() -> None:
    code = (
        "import os, sys\n"
        "os.environ['OPENCV_FFMPEG_LOGLEVEL'] = '24'\n"
        "os.environ.pop('THP_MEM_ALLOC_ENABLE', None)\n"
        "from edge_difom.runtime_env import configure\n"
        "configure()\n"
        "configure()\n"
        "assert os.environ['OPENCV_FFMPEG_LOGLEVEL'] == '24'\n"
        "assert os.environ['THP_MEM_ALLOC_ENABLE'] == '1'\n"
        "assert os.environ['NNCF_CI'] == '1'\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        "assert not {'cv2', 'numpy', 'torch', 'nncf'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


FAULTS = """
import resource
from edge_difom.runtime_env import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"x") * (64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(keep_freed_memory(), faults(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True
    )
    accepted, first, second = done.stdout.split()
    assert accepted == "True"
    assert int(first) > 20 * (int(second) + 1)
