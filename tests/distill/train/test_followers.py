"""A run describes itself while it is trained: log, page, pictures, trackers."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from distill.config import make_config
from distill.run_folder import append_metrics, describe_run, load_run
from distill.run_progress import LOCK
from distill.run_table import read_runs
from distill.train.callbacks import Followers, RunCallback, RunContext
from distill.train.followers import TRACKERS, make_callbacks
from distill.train.run_page import RunPage, curves, mark_stopped
from distill.train.runs import start_run
from distill.train.trainer import Trainer
from edge.errors import MissingDependencyError, TrainingError
from edge.record_header import make_header
from edge.util.files import locked
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edge.frame import ImageU8


class Recorder(RunCallback):
    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def begin(self, context: RunContext) -> None:
        self.calls.append(("begin", context.done))

    def picture(self, name: str, image: ImageU8) -> None:
        self.calls.append((name, image.shape))

    def epoch(self, row: Mapping[str, float]) -> None:
        self.calls.append(("epoch", row["epoch"]))

    def end(self, best: Mapping[str, float]) -> None:
        self.calls.append(("end", best["epoch"]))

    def fail(self, reason: str) -> None:
        self.calls.append(("fail", reason))


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "runs"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from edge.datasets.phantom.render import write_dataset

    folder = tmp_path_factory.mktemp("phantom")
    write_dataset(folder, train=8, validation=5, negatives=1, seed=2)
    return {
        "data": [str(folder)],
        "student": "edge-xs",
        "recipe": "none",
        "size": 64,
        "epochs": 2,
        "batch_size": 4,
        "pretrained": False,
    }


def test_a_run_keeps_log_page_and_pictures(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(
        "distill.train.runs.make_callbacks", lambda track: [*make_callbacks(track), recorder]
    )
    run = start_run(make_config(settings), out=tmp_path / "run")
    names = [name for name, _ in recorder.calls]
    assert names[:2] == ["begin", "batch"]
    assert [value for name, value in recorder.calls if name == "epoch"] == [1, 2]
    assert names[-1] == "end"
    log = (run / "train.log").read_text().splitlines()
    assert f"begun: {make_header().command}" in log[0]
    assert "epoch 2 of 2" in log[-2]
    assert "complete; best epoch" in log[-1]
    page = (run / "results.html").read_text()
    assert "COMPLETE" in page
    assert "epoch 2 of 2" in page
    assert page.count("<svg") == 2
    assert page.count("data:image/jpeg") == 2
    assert 'http-equiv="refresh"' not in page
    for name in ("results.html", "batch.jpg", "worst.jpg"):
        assert (run / name).stat().st_mode & 0o777 == 0o600
    picture: Any = cv2.imread(str(run / "batch.jpg"))
    assert picture.std() > 10
    environment = json.loads((run / "env.json").read_text())
    assert {"command", "machine", "torch", "commit", "date"} <= environment.keys()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(row["images_per_second"] > 0 for row in rows)
    assert load_run(run).metrics["epoch"] in (1, 2)


def test_a_run_that_fails_says_so(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.train_step

    def fails(self: Trainer, batch: Any) -> dict[str, float]:
        if self.epoch == 1:
            raise TrainingError("the loss became nan")
        return step(self, batch)

    monkeypatch.setattr(Trainer, "train_step", fails)
    with pytest.raises(TrainingError):
        start_run(make_config(settings), out=tmp_path / "run")
    assert "stopped: the loss became nan" in (tmp_path / "run" / "train.log").read_text()
    page = (tmp_path / "run" / "results.html").read_text()
    assert "STOPPED" in page
    assert "the loss became nan" in page
    assert "epoch 1 of 2" in page


def test_a_follower_that_fails_leaves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Lost(RunCallback):
        def epoch(self, row: Mapping[str, float]) -> None:  # noqa: ARG002
            raise OSError("no route to the tracker")

    good = Recorder()
    followers = Followers([Lost(), good])
    for number in (1, 2):
        followers.notify(lambda one, number=number: one.epoch({"epoch": number}))  # type: ignore[misc]
    assert [value for _, value in good.calls] == [1, 2]
    assert caplog.text.count("no route to the tracker") == 1


def test_a_missing_tracker_is_refused_before_the_training(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS, "wandb", "wandb_that_is_not_there:X")
    monkeypatch.setitem(
        __import__("edge.util.extras", fromlist=["EXTRA_OF"]).EXTRA_OF,
        "wandb_that_is_not_there",
        "wandb",
    )
    with pytest.raises(MissingDependencyError, match=r"\[wandb\]"):
        start_run(make_config(settings | {"track": ["wandb"]}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def followed(name: str, settings: dict[str, Any], path: Path) -> None:
    """Follow two epochs with a tracker, stopped and continued in between."""
    path.mkdir(exist_ok=True)
    config = make_config(settings | {"track": [name]})
    for done in (0, 1):
        tracker = make_callbacks(config.run.track)[-1]
        tracker.begin(RunContext(path, "edge-xs", config.flat(), config.run.epochs, done))
        tracker.picture("batch", np.zeros((8, 8, 3), np.uint8))
        tracker.epoch({"epoch": done + 1, "dice_val": 0.5 + 0.1 * done, "r2_low/sam": 0.3})
        if done:
            tracker.end({"epoch": 2.0, "dice_val": 0.6})
        else:
            tracker.fail("the power failed")


def test_tensorboard_holds_the_curves(settings: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    followed("tensorboard", settings, tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [(e.step, round(e.value, 3)) for e in events.Scalars("dice_val")] == [(1, 0.5), (2, 0.6)]
    assert events.Images("batch")


@pytest.mark.filterwarnings("ignore")  # of other packages, with every release anew
def test_mlflow_holds_the_curves(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy", reason="stores runs in a local file")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    followed("mlflow", settings, tmp_path / "run")
    run = mlflow.get_run((tmp_path / "run" / "mlflow-run-id").read_text())
    assert run.data.metrics["dice_val"] == pytest.approx(0.6)
    assert run.data.metrics["best/epoch"] == 2
    assert run.data.params["student"] == "edge-xs"
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "dice_val")
    assert [point.step for point in history] == [1, 2]


@pytest.mark.filterwarnings("ignore")  # of other packages, with every release anew
def test_wandb_holds_the_curves(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    followed("wandb", settings, tmp_path / "run")
    assert (tmp_path / "run" / "wandb-run-id").read_text()
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) >= 1


def test_curves_need_figures() -> None:
    assert curves([{"epoch": 1}], ("dice_val",)) == ""
    assert "<svg" in curves([{"epoch": 1, "dice_val": 0.5}], ("dice_val",))


def staged(settings: dict[str, Any]) -> dict[str, Any]:
    stages = [{"name": "one", "settings": {"epochs": 1}}, {"name": "two", "after": "one"}]
    return settings | {"stages": stages, "freeze_batchnorm": True}


def test_a_run_with_stages_has_a_page_as_a_whole(settings: dict[str, Any], tmp_path: Path) -> None:
    run = start_run(make_config(staged(settings)), out=tmp_path / "run")
    page = (run / "results.html").read_text()
    assert "COMPLETE" in page
    assert "epoch 3 of 3" in page
    assert "mean of the stages" in page
    assert f"{load_run(run).metrics['dice_val']:.4f}" in page
    for name, of in (("one", 1), ("two", 2)):
        assert f'<a href="stages/{name}/results.html">{name}</a>' in page
        assert f"<td>complete</td><td>{of} of {of}</td>" in page
        assert (run / "stages" / name / "results.html").is_file()
    (row,) = read_runs(run)
    assert (row.state, row.epochs, row.of) == ("complete", 3, 3)
    assert row.dice == load_run(run).metrics["dice_val"]


def test_the_page_of_all_stages_says_which_one_failed(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Trainer, batch: Any) -> dict[str, float]:
        raise TrainingError("the loss became nan")

    monkeypatch.setattr(Trainer, "train_step", fails)
    with pytest.raises(TrainingError):
        start_run(make_config(staged(settings)), out=tmp_path / "run")
    page = (tmp_path / "run" / "results.html").read_text()
    assert "STOPPED" in page
    assert "the loss became nan" in page
    assert "<td>stopped</td><td>0 of 1</td>" in page
    assert "<td>waiting</td><td>0</td>" in page


@pytest.fixture
def killed(settings: dict[str, Any], tmp_path: Path) -> Path:
    """A run as a process leaves it that was killed after its first epoch."""
    run = tmp_path / "runs" / "killed"
    config = make_config(settings)
    describe_run(run, config)
    (run / LOCK).touch()
    page = RunPage()
    page.begin(RunContext(run, "edge-xs, recipe none", config.flat(), 2, 0))
    row = {"epoch": 1, "dice_val": 0.5, "score": 0.5, "loss": 0.3, "seconds": 1.0}
    append_metrics(run, row)
    page.epoch(row)
    assert "TRAINING" in (run / "results.html").read_text()
    for path in (run / "resolved.yaml", run / "metrics.jsonl"):
        os.utime(path, (1e9, 1e9))
    return run


def test_a_killed_run_is_stopped(killed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["runs", str(killed.parent)])
    assert "stopped" in capsys.readouterr().out
    assert read_runs(killed.parent)[0].changed.startswith("2001-09-0")
    page = (killed / "results.html").read_text()
    assert "STOPPED" in page
    assert "epoch 1 of 2: the process ended without a word" in page
    assert "min left" not in page
    assert 'http-equiv="refresh"' not in page
    assert not mark_stopped(killed)


def test_a_run_whose_process_lives_goes_on_training(killed: Path) -> None:
    before = (killed / "results.html").read_text()
    with locked(killed / LOCK):
        assert not mark_stopped(killed)
        (row,) = read_runs(killed.parent)
    assert row.state == "training"
    assert (killed / "results.html").read_text() == before


def test_a_damaged_progress_is_no_state(killed: Path) -> None:
    (killed / "progress.json").write_text("{")
    (row,) = read_runs(killed.parent)
    assert row.state == ""
    assert not mark_stopped(killed)
