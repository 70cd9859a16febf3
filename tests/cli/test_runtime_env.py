"""The settings of the process that the command line applies."""

import subprocess
import sys


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
