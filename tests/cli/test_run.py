"""`edge-difom run` from the command line, on the tiny bundle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import pytest

from edge.bundle.reader import Bundle
from edge.sinks.jsonl import read_frame_lines
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

PHANTOM = "synthetic:?width=96&height=64&frames=4&live=0"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["run", *map(str, arguments)])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_masks_of_a_phantom_in_every_sink(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, lines, record = tmp_path / "o.mp4", tmp_path / "f.jsonl", tmp_path / "summary.json"
    arguments = [
        "--source",
        PHANTOM,
        "--bundle",
        tiny_bundle,
        "--engine",
        "tflite",
        "--threads",
        "1",
    ]
    sinks = ["--sink", f"video:{video}", "--sink", f"jsonl:{lines}", "--json", record]
    assert run(*arguments, *sinks) == 0
    out = capsys.readouterr().out
    for path in (video, lines, record):
        assert f"made: {path}" in out
        assert path.stat().st_size > 0
    assert f"next: edge-difom bench --bundle {tiny_bundle} --engine tflite" in out
    summary = json.loads(record.read_text())
    assert (summary["frames"], summary["dropped"], summary["ended"]) == (4, 0, "source")
    header, *frames = [json.loads(line) for line in lines.read_text().splitlines()]
    of = header["header"]
    bundle = Bundle.open(tiny_bundle)
    assert (of["bundle"], of["digest"]) == (bundle.manifest.name, bundle.digest)
    assert (of["engine"], of["precision"]) == ("tflite", "int8")
    assert of["threshold"] == bundle.manifest.output.threshold
    assert of["data"].startswith("phantom 96x64")
    assert all(of[name] for name in ("machine", "date", "version", "command"))
    assert summary["header"] == of
    assert [frame["frame"] for frame in frames] == [0, 1, 2, 3]
    assert set(frames[0]) == {
        "frame", "captured_ns", "stages_ms", "age_ms", "mask_area", "regions", "reason",
    }  # fmt: skip
    assert list(frames[0]["stages_ms"]) == [
        "capture", "guard", "preprocess", "infer", "postprocess", "output",
    ]  # fmt: skip
    assert run(*arguments, "--sink", f"video:{video}") == 2
    assert "exists already" in capsys.readouterr().err
    assert run(*arguments, "--sink", f"video:{video}", "--force") == 0


@pytest.mark.parametrize("engine", ["openvino", "tflite"])
def test_a_red_disc_is_found_and_gray_is_not(
    tiny_bundle: Path,
    tiny_scene: Callable[..., NDArray[np.uint8]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    engine: str,
) -> None:
    for number in range(4):
        image = tiny_scene(number, height=120, width=160, polyp=number < 2)
        cv2.imwrite(str(tmp_path / f"{number}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert run(
        "--source", f"images:{tmp_path}", "--bundle", tiny_bundle, "--engine", engine, "--sink",
        "jsonl"
    ) == 0  # fmt: skip
    captured = capfd.readouterr()
    frames = [json.loads(line) for line in captured.out.splitlines()][1:]
    assert [len(frame["regions"]) for frame in frames] == [1, 1, 0, 0]
    assert all(len(frame["regions"][0]["contour"]) > 4 for frame in frames[:2])
    assert "4 frames" in captured.err, "text leaves stdout to the lines"


def test_a_summary_on_stdout_stands_alone(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("--source", PHANTOM, "--bundle", tiny_bundle, "--frames", 2, "--json", "-") == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["ended"] == "frames"
    assert "next:" in captured.err
    assert run("--source", PHANTOM, "--bundle", tiny_bundle, "--sink", "jsonl", "--json", "-") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "--source S or --camera [DEVICE]"),
        (["--source", PHANTOM, "--camera"], 2, "one source is needed"),
        (["--source", "clip.mp4"], 2, "file:..."),
        (["--source", PHANTOM, "--realtime"], 2, "real time"),
        (["--source", PHANTOM, "--sink", "screen"], 2, "video:FILE.mp4"),
        (["--source", PHANTOM, "--engine", "tensorrt"], 2, "openvino | tflite"),
        (["--source", "file:/no/such/clip.mp4"], 9, "/no/such/clip.mp4"),
        (["--source", "images:/no/such/folder"], 9, "/no/such/folder"),
        (["--camera", "/dev/video99"], 9, "/dev/video99"),
    ],
)
def test_a_wrong_call_is_one_clear_error(
    tiny_bundle: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    video = tmp_path / "o.mp4"
    sink = [] if "--sink" in arguments else ["--sink", f"video:{video}"]
    assert run(*arguments, "--bundle", tiny_bundle, *sink) == code
    err = capfd.readouterr().err
    assert err.startswith("error: ")
    assert says in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == [], "nothing half-written"


@pytest.mark.row(48, "An engine for a processor that the machine lacks")
def test_a_clip_that_nothing_can_judge_ends_with_the_reason(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "o.jsonl"
    arguments = ["--source", PHANTOM, "--sink", f"jsonl:{lines}"]
    assert run(*arguments, "--bundle", tiny_bundle, "--engine", "openvino:GPU") == 2
    err = capfd.readouterr().err
    assert "no student can run" in err
    assert "GPU" in err
    assert run(*arguments, "--state", tmp_path / "nothing") == 4
    assert not lines.exists()


@pytest.fixture
def broken(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle whose golden frames are damaged."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "broken"))
    frame = min((bundle / "golden").iterdir())
    frame.write_bytes(frame.read_bytes() + b"x")
    return bundle


def test_a_live_run_that_ends_by_itself_never_succeeds_unjudged(
    broken: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    live = ["--source", "synthetic:?width=96&height=64&frames=150", "--bundle", broken]
    assert run(*live, "--frames", 5) == 4
    err = capfd.readouterr().err
    assert "golden" in err
    assert "was changed" in err
    record = tmp_path / "summary.json"
    assert run(*live, "--json", record) == 4
    captured = capfd.readouterr()
    assert "state: bypass, exhausted: " in captured.out
    assert "was changed" in captured.err
    assert json.loads(record.read_text())["judged"] == 0


def test_a_bounded_live_run_waits_for_the_student(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = "synthetic:?width=96&height=64&frames=0"
    assert run("--source", source, "--bundle", tiny_bundle, "--frames", 3, "--no-guard") == 0
    assert "3 judged" in capfd.readouterr().out


def test_names_do_not_change_the_digest_of_a_folder(
    tiny_bundle: Path, tmp_path: Path, tiny_scene: Callable[..., NDArray[np.uint8]]
) -> None:
    """The data of a folder have a digest that names do not change."""

    def digest(*names: str) -> str:
        folder = tmp_path / "-".join(names)
        folder.mkdir()
        for number, name in enumerate(names):
            cv2.imwrite(str(folder / f"{name}.png"), tiny_scene(number))
        record = tmp_path / "summary.json"
        source = f"images:{folder}"
        assert run(
            "--source", source, "--bundle", tiny_bundle, "--json", record, "--force"
        ) == 0  # fmt: skip
        digest_read = json.loads(record.read_text())["header"]["data_digest"]
        assert isinstance(digest_read, str)
        return digest_read

    assert digest("a", "b") == digest("c", "d") != digest("e")


def test_the_hint_says_how_to_install_a_missing_bundle(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without an installed bundle, the hint says how to install one."""
    assert run("--source", PHANTOM, "--state", tmp_path / "state") == 4
    err = capfd.readouterr().err
    assert "no bundle is installed" in err
    assert "edge-difom device install" in err


def test_each_change_of_state_is_a_line_with_its_reason(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each change of a live source's state is a line with its reason."""
    source = "synthetic:?width=96&height=64&fps=60&frames=0&fault=black@0.3-1"
    assert run("--source", source, "--bundle", tiny_bundle, "--seconds", 2) == 0
    states = [line for line in capfd.readouterr().out.splitlines() if line.startswith("state: ")]
    assert any(line.startswith("state: paused, black: ") for line in states)
    assert "state: running" in states


def test_a_page_stays_until_the_run_is_stopped(tiny_bundle: Path) -> None:
    command = [sys.executable, "-m", "edge_difom", "run", "--bundle", str(tiny_bundle)]
    process = subprocess.Popen(
        [*command, "--engine", "tflite", "--source", PHANTOM, "--view"],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        url = next(line.split()[1] for line in lines if line.startswith("view: "))
        assert any("stay open until the run is stopped" in line for line in lines)
        with urllib.request.urlopen(f"{url}events", timeout=10) as events:
            data_line = next(line for line in events if line.startswith(b"data: "))
        view = json.loads(data_line[6:])
        assert (view["state"], view["reason"]) == ("no-signal", "closed: the source has ended")
        assert view["frame"] == 3
        assert view["jpeg"], "the last picture stays"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_an_output_is_never_the_source_or_another_output(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "c.mp4"
    clip.write_bytes(b"a clip")
    arguments = ["--source", f"file:{clip}", "--bundle", tiny_bundle]
    for wrong in (
        ["--json", clip],
        ["--json", clip, "--force"],
        ["--metrics", clip],
        ["--log", clip],
        ["--sink", f"video:{clip}", "--force"],
        ["--sink", f"jsonl:{tmp_path}/a", "--log", tmp_path / "a"],
    ):
        assert run(*arguments, *wrong) == 2, wrong
    assert clip.read_bytes() == b"a clip"
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("seconds", ["nan", "inf"])
def test_seconds_are_a_number(tiny_bundle: Path, seconds: str) -> None:
    assert run("--source", PHANTOM, "--bundle", tiny_bundle, "--seconds", seconds) == 2


@pytest.mark.row(56, "stdout, stderr, and all three descriptors closed at the start")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_change_no_result(
    tiny_bundle: Path, tmp_path: Path, closed: str
) -> None:
    summary = tmp_path / "summary.json"
    words = [sys.executable, "-m", "edge_difom", "run", "--source", PHANTOM, "--bundle",
             str(tiny_bundle), "--json", str(summary)]  # fmt: skip
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *words],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert json.loads(summary.read_text())["frames"] == 4


def test_a_full_stdout_is_a_full_disk(tiny_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edge_difom", "run", "--source", PHANTOM, "--bundle",
             str(tiny_bundle), "--engine", "tflite", "--sink", "jsonl"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
    assert done.returncode == 11, done.stderr
    assert "the disk is full" in done.stderr
    assert run("--source", PHANTOM, "--bundle", tiny_bundle, "--json", "/dev/full") == 11
    assert Path("/dev/full").is_char_device(), "a device is written to, never replaced"
    assert "the disk is full" in capfd.readouterr().err


def test_help_has_examples_and_the_notice(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert "RESEARCH USE ONLY, NOT A MEDICAL DEVICE" in " ".join(out.split())
    assert out.count("  edge-difom run ") >= 3


@pytest.mark.row(43, "SIGTERM and SIGINT in the middle of a run")
@pytest.mark.row(50, "SIGHUP in the middle of a run")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_live_run_with_whole_outputs(
    tiny_bundle: Path, tmp_path: Path, number: signal.Signals
) -> None:
    video, lines = tmp_path / "o.mp4", tmp_path / "f.jsonl"
    command = [
        sys.executable,
        "-m",
        "edge_difom",
        "run",
        "--bundle",
        str(tiny_bundle),
        "--engine",
        "tflite",
    ]
    command += ["--source", "synthetic:?width=96&height=64&frames=0&fps=60", "--threads", "1"]
    command += ["--sink", f"video:{video}", "--sink", f"jsonl:{lines}"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        # A run under nohup ignores SIGHUP, and so would its child.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 60
        while not (lines.exists() and lines.read_text().count("\n") > 5):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert not video.exists()
        begin = time.monotonic()
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert time.monotonic() - begin < 3
    assert process.returncode == 0
    assert "error" not in err.lower()
    assert "Traceback" not in err
    assert f"made: {video}" in out
    written = read_frame_lines(lines)
    capture = cv2.VideoCapture(str(video))
    decoded = 0
    while capture.read()[0]:
        decoded += 1
    # A live recording drops what it cannot encode in time, and is whole all the same.
    assert 0 < decoded <= len(written)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.jsonl", "o.mp4"]
