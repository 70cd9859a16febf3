"""Several processes compute what one does."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from distill.run_folder import load_run
from edge.datasets.phantom.render import write_dataset

if TYPE_CHECKING:
    from pathlib import Path

STEP = """
import sys
from pathlib import Path
import torch
from distill.data.load import open_data
from distill.config import make_config
from distill.train.trainer import Trainer

data, out, frozen = sys.argv[1:]
config = make_config({
    "data": [data], "student": "edge-xs", "size": 64, "batch_size": 4, "epochs": 1,
    "pretrained": False,
    "freeze_batchnorm": frozen == "frozen",
})
trainer = Trainer(Path(out).parent, config, open_data(config))
trainer.prepare_epoch()
(batch,) = trainer.data.batches(0, part=trainer.share())
losses = trainer.train_step(batch)
names = sorted(losses)
mean = trainer.accelerator.reduce(torch.tensor([losses[name] for name in names]), "mean")
named = trainer.objective.named_parameters()
grads = {name: each.grad for name, each in named if each.requires_grad}
if trainer.accelerator.is_main_process:
    torch.save({"losses": dict(zip(names, mean.tolist())), "grads": grads}, out)
"""


def launch(processes: int, *arguments: str) -> None:
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--num_cpu_threads_per_process",
        "1",
    ]
    command += ["--num_processes", str(processes), "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", "0"]
    if processes > 1:
        command.append("--multi_gpu")  # several processes; on the CPU where there is no GPU
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("processes")
    write_dataset(root / "data", train=4, validation=2, negatives=0, seed=1, size=(72, 72))
    (root / "step.py").write_text(STEP)
    return root


def one_step(
    root: Path, processes: int, frozen: str
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    out = root / f"{processes}-{frozen}.pt"
    launch(processes, str(root / "step.py"), str(root / "data"), str(out), frozen)
    result = torch.load(out, weights_only=True)
    return result["losses"], result["grads"]


def distance(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    """Of all gradients together, relative."""
    assert left.keys() == right.keys()
    one, two = (
        torch.cat([grads[name].flatten() for name in sorted(grads)]) for grads in (left, right)
    )
    return float((one - two).norm() / two.norm())


@pytest.mark.slow
def test_two_processes_give_the_losses_and_gradients_of_one(
    phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(phantom / "runs"))
    losses, grads = one_step(phantom, 1, "frozen")
    shared_losses, shared_grads = one_step(phantom, 2, "frozen")
    assert shared_losses == pytest.approx(losses, rel=1e-5)
    assert set(losses) == {"loss", "task", "distill"}
    assert distance(shared_grads, grads) < 1e-5
    # Live statistics are those of each process's own samples, which is what makes the difference.
    _, live = one_step(phantom, 1, "live")
    _, shared_live = one_step(phantom, 2, "live")
    assert distance(shared_live, live) > 1e-3


@pytest.mark.slow
def test_a_command_launched_twice_trains_one_run(
    phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(phantom / "runs"))
    run = phantom / "run"
    arguments = [
        "--data",
        str(phantom / "data"),
        "--student",
        "edge-xs",
        "--size",
        "64",
        "--batch-size",
        "2",
    ]
    launch(
        2,
        "-m",
        "edge_difom",
        "distill",
        *arguments,
        "--epochs",
        "2",
        "--set",
        "pretrained=false",
        "--out",
        str(run),
    )
    assert load_run(run).metrics["dice_val"] >= 0
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
