"""The measurement of the spectral loss on a GPU, by the same calls on the CPU."""

from __future__ import annotations

import msgspec
import pytest
import torch
from click.testing import CliRunner

from benchmarks import results_page, templates
from benchmarks.micro import gpu
from edge.errors import UsageError


def test_each_row_has_times_a_ratio_and_the_error_of_our_loss() -> None:
    record = gpu.measure(torch.device("cpu"), rounds=3, shape=(2, 32, 32))
    assert [row.what.split(",")[0] for row in record.gpu_rows] == [
        "6 x 2 x 32 x 32",
        "16 x 2 x 32 x 32",
    ]
    for row in record.gpu_rows:
        assert 0 < row.largest_error < 1e-5
        assert row.ratio == pytest.approx(row.published_ms / row.ours_ms)
        assert row.share_of_copy > 0
    content = msgspec.json.decode(msgspec.json.encode(record))
    assert results_page.kind_of(content) == "gpu"
    assert templates.gpu(content).count("| 6 x 2 x 32 x 32") == 1


def test_rows_get_fewer_rounds_once_their_time_is_spent() -> None:
    record = gpu.measure(torch.device("cpu"), rounds=50, shape=(2, 32, 32), seconds=0.0)
    assert [row.rounds for row in record.gpu_rows] == [gpu.LEAST_ROUNDS] * 2
    for row in record.gpu_rows:
        low, high = row.ratio_quantiles
        assert low <= high


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_a_gpu_is_refused() -> None:
    with pytest.raises(UsageError, match="no CUDA device"):
        CliRunner().invoke(gpu.main, ["--out", "gpu.json"], catch_exceptions=False)
