"""A password in the text of a source: nobody who looks at a running device sees it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from edge.sources.gst_bindings import elements_found

PASSWORD = "hunter2"
FAILING = (
    "gst:filesrc location=there ! fakesink videotestsrc is-live=true ! "
    "video/x-raw,width=96,height=64,framerate=30/1 ! "
    f'identity name="rtsp://admin:{PASSWORD}/x@camera" error-after=40'
)


@pytest.mark.row(57, "a pipeline that fails and is reopened: page, journal, records and stdout")
@pytest.mark.skipif(not elements_found()["appsink"], reason="needs GStreamer")
def test_no_password_is_shown_while_a_source_is_reopened(tiny_bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge_difom", "run", "--bundle", str(tiny_bundle)]
    command += ["--engine", "tflite", "--source", FAILING, "--view", "--sink", "jsonl:f"]
    command += ["--log", "journal", "--json", "summary", "--metrics", "metrics"]
    root = Path(__file__).parents[2]
    (tmp_path / "there").write_bytes(bytes(100))
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    printed: list[str] = []
    try:
        assert process.stdout is not None
        for line in iter(process.stdout.readline, ""):
            printed.append(line)
            if line.startswith("view: "):
                break
        url = printed[-1].split()[1]
        (tmp_path / "there").unlink()  # the pipeline fails once more whenever it is opened again
        with urllib.request.urlopen(url, timeout=20) as page:
            printed.append(page.read().decode())
        reasons: list[str] = []
        deadline = time.monotonic() + 60
        with urllib.request.urlopen(f"{url}events", timeout=60) as events:
            while not any("unplugged" in reason for reason in reasons):
                assert time.monotonic() < deadline
                line = events.readline().decode()
                printed.append(line)
                if line.startswith("data: "):
                    reasons.append(json.loads(line[6:])["reason"])
        process.send_signal(signal.SIGINT)
        printed.append(process.communicate(timeout=60)[0])
    finally:
        process.kill()
        process.communicate()
    assert any("identity" in reason for reason in reasons), "the reason names the pipeline"
    files = ("f", "journal", "summary", "metrics")
    printed += [(tmp_path / name).read_text() for name in files]
    assert PASSWORD not in "\n".join(printed)
