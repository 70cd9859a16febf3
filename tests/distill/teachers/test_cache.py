"""The teacher cache: what it stores, and that neither a kill nor a damaged byte shows in it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.data.image_store import ImageStore
from distill.teachers.base import resample
from distill.teachers.build import Teacher
from distill.teachers.cache import maps as cache_module
from distill.teachers.cache.maps import BLOCK, TeacherCache
from edge.errors import DataError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

ROWS, GRID = 2 * BLOCK + 7, (3, 5)


class Colours(Teacher):
    """Means of the colors, a constant, and how often it was asked."""

    def __init__(self, gain: float = 50.0, kill_at: int | None = None) -> None:
        super().__init__("colors", 4, "plain")
        self.gain = nn.Parameter(torch.tensor(gain))
        self.kill_at = kill_at
        self.seen = 0
        self.freeze()

    def native_features(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        self.seen += len(images)
        if self.kill_at is not None and self.seen > self.kill_at:
            raise KeyboardInterrupt
        colors = resample(images.float() / 255, grid) * self.gain + torch.tensor(
            [1.0, 20.0, -3.0]
        ).view(3, 1, 1)
        return torch.cat([colors, torch.full_like(colors[:, :1], 7)], dim=1)


@pytest.fixture
def store() -> ImageStore:
    images = np.random.default_rng(0).integers(0, 256, (ROWS, 12, 20, 3), np.uint8)
    return ImageStore(images, images[..., 0], "key", (12, 20))


def exact(teacher: Teacher, store: ImageStore) -> Tensor:
    return teacher.features(torch.from_numpy(store.images).permute(0, 3, 1, 2), GRID)


def test_maps_come_back_standardized(tmp_path: Path, store: ImageStore) -> None:
    teacher = Colours()
    seen: list[int] = []
    cache = TeacherCache.build(
        teacher, store, GRID, tmp_path, progress=lambda done, _: seen.append(done)
    )
    assert (len(cache), cache.channels, cache.grid) == (ROWS, 4, GRID)
    assert seen == sorted(seen)
    assert seen[-1] == ROWS
    maps = cache.batch(np.arange(ROWS))
    assert maps.dtype == torch.float32
    assert torch.allclose(maps[:, :3].mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-3)
    assert torch.allclose(maps[:, :3].std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3)
    raw = cache.standardizer.invert(maps)
    assert torch.allclose(raw, exact(teacher, store), rtol=1e-3, atol=1e-2)
    assert torch.equal(cache.batch([5, 2]), maps[[5, 2]])


def test_a_silent_channel_stays_silent(tmp_path: Path, store: ImageStore) -> None:
    cache = TeacherCache.build(Colours(), store, GRID, tmp_path)
    assert torch.equal(cache.batch([0, 1])[:, 3], torch.zeros(2, *GRID))


def test_a_second_time_the_teacher_is_not_asked(tmp_path: Path, store: ImageStore) -> None:
    first = TeacherCache.build(Colours(), store, GRID, tmp_path).batch(range(ROWS))
    again = Colours(kill_at=0)
    assert torch.equal(TeacherCache.build(again, store, GRID, tmp_path).batch(range(ROWS)), first)


def test_another_teacher_store_or_grid_is_another_cache(tmp_path: Path, store: ImageStore) -> None:
    other_store = ImageStore(store.images, store.masks, "other key", store.size)
    for teacher, images, grid in (
        (Colours(), store, GRID),
        (Colours(gain=51.0), store, GRID),
        (Colours(), other_store, GRID),
        (Colours(), store, (2, 2)),
    ):
        TeacherCache.build(teacher, images, grid, tmp_path)
        assert teacher.seen == ROWS


@pytest.mark.parametrize("killed_at", [1, BLOCK, BLOCK + 3, 2 * BLOCK + 1])
def test_a_killed_run_goes_on_and_ends_the_same(
    tmp_path: Path, store: ImageStore, killed_at: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        TeacherCache.build(
            Colours(kill_at=killed_at), store, GRID, tmp_path / "killed", batch_size=1
        )
    rest = Colours()
    resumed = TeacherCache.build(rest, store, GRID, tmp_path / "killed", batch_size=5)
    whole = TeacherCache.build(Colours(), store, GRID, tmp_path / "whole")
    assert rest.seen == ROWS - killed_at // BLOCK * BLOCK
    assert torch.equal(resumed.batch(range(ROWS)), whole.batch(range(ROWS)))
    assert torch.equal(resumed.standardizer.scale, whole.standardizer.scale)
    assert not list((tmp_path / "killed").glob("*.partial"))


def test_a_marker_without_its_rows_is_not_believed(tmp_path: Path, store: ImageStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        TeacherCache.build(Colours(kill_at=BLOCK + 1), store, GRID, tmp_path)
    (partial,) = tmp_path.glob("*.partial")
    (partial / "maps.npy").unlink()
    teacher = Colours()
    TeacherCache.build(teacher, store, GRID, tmp_path)
    assert teacher.seen == ROWS


@pytest.mark.parametrize("block", [0, 1, 2])
def test_a_damaged_block_is_computed_again(tmp_path: Path, store: ImageStore, block: int) -> None:
    expected = TeacherCache.build(Colours(), store, GRID, tmp_path).batch(range(ROWS))
    (path,) = tmp_path.glob("*/maps.npy")
    data = bytearray(path.read_bytes())
    row = 2 * 4 * GRID[0] * GRID[1]
    data[len(data) - ROWS * row + block * BLOCK * row + 11] ^= 0x40
    path.write_bytes(data)
    teacher = Colours()
    mended = TeacherCache.build(teacher, store, GRID, tmp_path)
    assert teacher.seen == min(BLOCK, ROWS - block * BLOCK)
    assert torch.equal(mended.batch(range(ROWS)), expected)
    TeacherCache.build(Colours(kill_at=0), store, GRID, tmp_path)


@pytest.mark.parametrize("victim", ["maps.npy", "cache.json"])
def test_a_cache_cut_short_is_made_again(tmp_path: Path, store: ImageStore, victim: str) -> None:
    expected = TeacherCache.build(Colours(), store, GRID, tmp_path).batch(range(ROWS))
    (path,) = tmp_path.glob(f"*/{victim}")
    path.write_bytes(path.read_bytes()[:60])
    assert torch.equal(
        TeacherCache.build(Colours(), store, GRID, tmp_path).batch(range(ROWS)), expected
    )


def test_a_full_disk_is_told_before_the_work(
    tmp_path: Path, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    teacher = Colours()
    with pytest.raises(DataError, match="the maps of colors"):
        TeacherCache.build(teacher, store, GRID, tmp_path)
    assert teacher.seen == 0


def test_values_that_float16_cannot_hold_are_refused(tmp_path: Path, store: ImageStore) -> None:
    with pytest.raises(DataError, match="float16 cannot hold"):
        TeacherCache.build(Colours(gain=1e6), store, GRID, tmp_path)
    assert all(path.suffix in {".partial", ".lock"} for path in tmp_path.iterdir())


def test_other_rules_are_another_cache(
    tmp_path: Path, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    TeacherCache.build(Colours(), store, GRID, tmp_path)
    monkeypatch.setattr(cache_module, "RULES", "other rules")
    teacher = Colours()
    TeacherCache.build(teacher, store, GRID, tmp_path)
    assert teacher.seen == ROWS


def test_phi_s_gives_channels_of_equal_variance_and_is_undone(
    tmp_path: Path, store: ImageStore
) -> None:
    teacher = Colours()
    cache = TeacherCache.build(teacher, store, GRID, tmp_path, standardize="phi-s")
    maps = cache.batch(np.arange(ROWS))
    assert torch.allclose(maps.std(dim=(0, 2, 3), correction=0), torch.ones(4), atol=1e-3)
    assert torch.allclose(
        cache.standardizer.invert(maps), exact(teacher, store), rtol=1e-3, atol=2e-2
    )


def test_the_other_standardization_needs_the_maps_and_not_the_teacher(
    tmp_path: Path, store: ImageStore
) -> None:
    at_once = TeacherCache.build(Colours(), store, GRID, tmp_path / "a", standardize="phi-s")
    TeacherCache.build(Colours(), store, GRID, tmp_path / "b")
    later = TeacherCache.build(Colours(kill_at=0), store, GRID, tmp_path / "b", standardize="phi-s")
    assert torch.equal(later.batch(range(ROWS)), at_once.batch(range(ROWS)))


def test_sums_of_a_killed_run_go_on(tmp_path: Path, store: ImageStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        TeacherCache.build(
            Colours(kill_at=BLOCK + 1), store, GRID, tmp_path / "k", standardize="phi-s"
        )
    (sums,) = tmp_path.glob("k/*.partial/phi-s-sums.npz")
    assert np.load(sums)["progress"].tolist() == [1, BLOCK * GRID[0] * GRID[1]]
    resumed = TeacherCache.build(Colours(), store, GRID, tmp_path / "k", standardize="phi-s")
    whole = TeacherCache.build(Colours(), store, GRID, tmp_path / "w", standardize="phi-s")
    assert torch.equal(resumed.batch(range(ROWS)), whole.batch(range(ROWS)))


def test_a_block_damaged_before_it_is_summed_up_is_computed_again(
    tmp_path: Path, store: ImageStore
) -> None:
    with pytest.raises(KeyboardInterrupt):
        TeacherCache.build(Colours(kill_at=2 * BLOCK + 1), store, GRID, tmp_path)
    (maps,) = tmp_path.glob("*.partial/maps.npy")
    (sums,) = tmp_path.glob("*.partial/channel-sums.npz")
    sums.unlink()
    data = bytearray(maps.read_bytes())
    data[200] ^= 0x40
    maps.write_bytes(data)
    teacher = Colours()
    mended = TeacherCache.build(teacher, store, GRID, tmp_path)
    assert teacher.seen == ROWS - BLOCK
    whole = TeacherCache.build(Colours(), store, GRID, tmp_path / "whole")
    assert torch.equal(mended.batch(range(ROWS)), whole.batch(range(ROWS)))


def test_an_unknown_standardization_names_the_legal_ones(tmp_path: Path, store: ImageStore) -> None:
    with pytest.raises(UsageError, match="phi-s"):
        TeacherCache.build(Colours(), store, GRID, tmp_path, standardize="whiten")  # type: ignore[arg-type]
