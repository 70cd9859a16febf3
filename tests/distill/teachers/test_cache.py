"""The teacher cache: what it stores, and that neither a kill nor a damaged byte shows in it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.teachers.base import resample
from distill.teachers.build import Teacher
from distill.teachers.cache import maps as cache_module
from distill.teachers.cache.maps import BLOCK, CachePlan, TeacherCache
from distill.teachers.cache.rows import _fitting_batch
from edge.errors import DataError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ROWS, GRID, SIDE = 2 * BLOCK + 7, (3, 5), 20


class Pictures:
    """Random pictures of the size that is asked for."""

    def __init__(self, key: str = "key", *, blank: bool = False) -> None:
        self.key = key
        shape = (ROWS, SIDE, SIDE, 3)
        self.images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        if blank:
            self.images[:] = 90

    def __len__(self) -> int:
        return ROWS

    def batch(self, rows: slice, size: int) -> NDArray[np.uint8]:
        assert size == SIDE
        return self.images[rows]


class Colors(Teacher):
    """Means of the colors, a constant, and how often it was asked."""

    def __init__(
        self,
        gain: float = 50.0,
        kill_at: int | None = None,
        grid: tuple[int, int] = GRID,
    ) -> None:
        super().__init__("colors", 4, "plain", size=SIDE, cells=max(grid))
        self.grid = grid
        self.gain = nn.Parameter(torch.tensor(gain))
        self.kill_at = kill_at
        self.seen = 0
        self.freeze()

    def native_features(self, pixels: Tensor) -> Tensor:
        self.seen += len(pixels)
        if self.kill_at is not None and self.seen > self.kill_at:
            raise KeyboardInterrupt
        colors = resample(pixels / 255, self.grid) * self.gain + torch.tensor(
            [1.0, 20.0, -3.0]
        ).view(3, 1, 1)
        return torch.cat([colors, torch.full_like(colors[:, :1], 7)], dim=1)


@pytest.fixture
def store() -> Pictures:
    return Pictures()


def build(
    teacher: Teacher,
    frames: Pictures,
    grid: tuple[int, int],
    folder: Path,
    batch_size: int | None = None,
    **options: Any,
) -> TeacherCache:
    return CachePlan(teacher, frames, grid, folder, batch_size).build(**options)


def exact(teacher: Teacher, store: Pictures) -> Tensor:
    return teacher.features(torch.from_numpy(store.images).permute(0, 3, 1, 2), GRID)


def test_maps_come_back_standardized(tmp_path: Path, store: Pictures) -> None:
    teacher = Colors()
    calls: list[int] = []
    cache = build(teacher, store, GRID, tmp_path, progress=lambda done, _: calls.append(done))
    assert (len(cache), cache.channels, cache.grid) == (ROWS, 4, GRID)
    assert calls == sorted(calls)
    assert calls[-1] == ROWS
    maps = cache.batch(np.arange(ROWS))
    assert maps.dtype == torch.float32
    assert torch.allclose(maps[:, :3].mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-3)
    assert torch.allclose(maps[:, :3].std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3)
    raw = cache.standardizer.invert(maps)
    assert torch.allclose(raw, exact(teacher, store), rtol=1e-3, atol=1e-2)
    assert torch.equal(cache.batch([5, 2]), maps[[5, 2]])


def test_a_silent_channel_stays_silent(tmp_path: Path, store: Pictures) -> None:
    cache = build(Colors(), store, GRID, tmp_path)
    assert torch.equal(cache.batch([0, 1])[:, 3], torch.zeros(2, *GRID))


def test_a_second_time_the_teacher_is_not_asked(tmp_path: Path, store: Pictures) -> None:
    first = build(Colors(), store, GRID, tmp_path).batch(range(ROWS))
    again = Colors(kill_at=0)
    assert torch.equal(build(again, store, GRID, tmp_path).batch(range(ROWS)), first)


def test_another_teacher_store_or_grid_is_another_cache(tmp_path: Path, store: Pictures) -> None:
    other_store = Pictures("other key")
    for teacher, images, grid in (
        (Colors(), store, GRID),
        (Colors(gain=51.0), store, GRID),
        (Colors(), other_store, GRID),
        (Colors(grid=(2, 2)), store, (2, 2)),
    ):
        build(teacher, images, grid, tmp_path)
        assert teacher.seen == ROWS


@pytest.mark.parametrize("killed_at", [1, BLOCK, BLOCK + 3, 2 * BLOCK + 1])
def test_a_killed_run_goes_on_and_ends_the_same(
    tmp_path: Path, store: Pictures, killed_at: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(Colors(kill_at=killed_at), store, GRID, tmp_path / "killed", batch_size=1)
    rest = Colors()
    resumed = build(rest, store, GRID, tmp_path / "killed", batch_size=5)
    uncut = build(Colors(), store, GRID, tmp_path / "whole")
    assert rest.seen == ROWS - killed_at // BLOCK * BLOCK
    assert torch.equal(resumed.batch(range(ROWS)), uncut.batch(range(ROWS)))
    assert torch.equal(resumed.standardizer.scale, uncut.standardizer.scale)
    assert not list((tmp_path / "killed").glob("*.partial"))


def test_a_marker_without_its_rows_is_not_believed(tmp_path: Path, store: Pictures) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(Colors(kill_at=BLOCK + 1), store, GRID, tmp_path)
    (partial,) = tmp_path.glob("*.partial")
    (partial / "maps.npy").unlink()
    teacher = Colors()
    build(teacher, store, GRID, tmp_path)
    assert teacher.seen == ROWS


def test_what_a_killed_builder_left_does_not_stay(tmp_path: Path, store: Pictures) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(Colors(kill_at=BLOCK + 1), store, GRID, tmp_path)
    (partial,) = tmp_path.glob("*.partial")
    (marker,) = [path for path in partial.iterdir() if path.suffix == ".json"]
    (partial / f".{marker.name}.0badcafe").write_bytes(b"half")
    build(Colors(), store, GRID, tmp_path)
    (final,) = [path.parent for path in tmp_path.glob("*/maps.npy")]
    assert not [path.name for path in final.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("block", [0, 1, 2])
def test_a_damaged_block_is_computed_again(tmp_path: Path, store: Pictures, block: int) -> None:
    expected = build(Colors(), store, GRID, tmp_path).batch(range(ROWS))
    (path,) = tmp_path.glob("*/maps.npy")
    data = bytearray(path.read_bytes())
    row = 2 * 4 * GRID[0] * GRID[1]
    data[len(data) - ROWS * row + block * BLOCK * row + 11] ^= 0x40
    path.write_bytes(data)
    teacher = Colors()
    mended = build(teacher, store, GRID, tmp_path)
    assert teacher.seen == min(BLOCK, ROWS - block * BLOCK)
    assert torch.equal(mended.batch(range(ROWS)), expected)
    build(Colors(kill_at=0), store, GRID, tmp_path)


@pytest.mark.parametrize("victim", ["maps.npy", "cache.json"])
def test_a_cache_cut_short_is_made_again(tmp_path: Path, store: Pictures, victim: str) -> None:
    expected = build(Colors(), store, GRID, tmp_path).batch(range(ROWS))
    (path,) = tmp_path.glob(f"*/{victim}")
    path.write_bytes(path.read_bytes()[:60])
    assert torch.equal(build(Colors(), store, GRID, tmp_path).batch(range(ROWS)), expected)


def test_a_full_disk_is_told_before_the_work(
    tmp_path: Path, store: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    teacher = Colors()
    with pytest.raises(DataError, match="the maps of colors"):
        build(teacher, store, GRID, tmp_path)
    assert teacher.seen == 0


def test_values_that_float16_cannot_hold_are_refused(tmp_path: Path, store: Pictures) -> None:
    with pytest.raises(DataError, match="float16 cannot hold"):
        build(Colors(gain=1e6), store, GRID, tmp_path)
    assert all(path.suffix in {".partial", ".lock"} for path in tmp_path.iterdir())


def test_other_rules_are_another_cache(
    tmp_path: Path, store: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(Colors(), store, GRID, tmp_path)
    monkeypatch.setattr(cache_module, "RULES", "other rules")
    teacher = Colors()
    build(teacher, store, GRID, tmp_path)
    assert teacher.seen == ROWS


def test_phi_s_gives_channels_of_equal_variance_and_is_undone(
    tmp_path: Path, store: Pictures
) -> None:
    teacher = Colors()
    cache = build(teacher, store, GRID, tmp_path, standardize="phi-s")
    maps = cache.batch(np.arange(ROWS))
    assert torch.allclose(maps.std(dim=(0, 2, 3), correction=0), torch.ones(4), atol=1e-3)
    assert torch.allclose(
        cache.standardizer.invert(maps), exact(teacher, store), rtol=1e-3, atol=2e-2
    )


def test_another_standardization_needs_no_teacher(tmp_path: Path, store: Pictures) -> None:
    """The other standardization needs the maps and not the teacher."""
    at_once = build(Colors(), store, GRID, tmp_path / "a", standardize="phi-s")
    build(Colors(), store, GRID, tmp_path / "b")
    later = build(Colors(kill_at=0), store, GRID, tmp_path / "b", standardize="phi-s")
    assert torch.equal(later.batch(range(ROWS)), at_once.batch(range(ROWS)))


def test_sums_of_a_killed_run_go_on(tmp_path: Path, store: Pictures) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(Colors(kill_at=BLOCK + 1), store, GRID, tmp_path / "k", standardize="phi-s")
    (sums,) = tmp_path.glob("k/*.partial/phi-s-sums.npz")
    assert np.load(sums)["progress"].tolist() == [1, BLOCK * GRID[0] * GRID[1]]
    resumed = build(Colors(), store, GRID, tmp_path / "k", standardize="phi-s")
    uncut = build(Colors(), store, GRID, tmp_path / "w", standardize="phi-s")
    assert torch.equal(resumed.batch(range(ROWS)), uncut.batch(range(ROWS)))


def test_a_block_damaged_before_its_sum_is_computed_again(tmp_path: Path, store: Pictures) -> None:
    """A block damaged before it is summed up is computed again."""
    with pytest.raises(KeyboardInterrupt):
        build(Colors(kill_at=2 * BLOCK + 1), store, GRID, tmp_path)
    (maps,) = tmp_path.glob("*.partial/maps.npy")
    (sums,) = tmp_path.glob("*.partial/channel-sums.npz")
    sums.unlink()
    data = bytearray(maps.read_bytes())
    data[200] ^= 0x40
    maps.write_bytes(data)
    teacher = Colors()
    mended = build(teacher, store, GRID, tmp_path)
    assert teacher.seen == ROWS - BLOCK
    uncut = build(Colors(), store, GRID, tmp_path / "whole")
    assert torch.equal(mended.batch(range(ROWS)), uncut.batch(range(ROWS)))


class Recorded(Colors):
    """Counts its frames and has a size of its own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


def test_the_key_has_the_size(tmp_path: Path, store: Pictures) -> None:
    folders = set()
    for size in (SIDE, 2 * SIDE):
        plan = CachePlan(Recorded(size), store, GRID, tmp_path)
        folders.add(plan._own.final)
    assert len(folders) == 2


FINE = (8, 9)


def test_a_large_grid_is_reduced_once(tmp_path: Path, store: Pictures) -> None:
    teacher = Colors(grid=FINE)
    plan = CachePlan(teacher, store, (4, 40), tmp_path)
    assert plan.grid == (4, 9), "no finer than the teacher's own"
    sizes = 2 * ROWS * 4 * (8 * 9 + 4 * 9)
    assert (plan.bytes_to_write, plan.frames_to_see) == (sizes, ROWS)
    calls: list[int] = []
    cache = plan.build(progress=lambda done, _: calls.append(done))
    assert (cache.grid, len(cache), teacher.seen) == ((4, 9), ROWS, ROWS)
    assert calls == sorted(calls)
    assert calls[-1] == ROWS
    assert (plan.bytes_to_write, plan.frames_to_see) == (0, 0)
    maps = cache.batch(range(ROWS))
    assert torch.allclose(maps[:, :3].std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3)
    images = torch.from_numpy(store.images).permute(0, 3, 1, 2)
    reduced = resample(teacher.features(images).half().float(), (4, 9))
    assert torch.allclose(cache.raw(range(ROWS)), reduced, atol=0.1)
    # A different grid needs the teacher's own maps and not the teacher.
    again = Colors(kill_at=0, grid=FINE)
    assert build(again, store, (2, 3), tmp_path).grid == (2, 3)
    # The maps that training reads are enough, and a damaged block of theirs is mended.
    for own in tmp_path.glob("*/maps.npy"):
        if np.load(own, mmap_mode="r").shape[2:] == FINE:
            shutil.rmtree(own.parent)
    expected = cache.raw(range(ROWS)).clone()
    (path,) = [each for each in tmp_path.glob("*/maps.npy") if np.load(each).shape[2:] == (4, 9)]
    data = bytearray(path.read_bytes())
    data[-9] ^= 0x40
    path.write_bytes(data)
    mended = Colors(grid=FINE)
    assert torch.equal(build(mended, store, (4, 40), tmp_path).raw(range(ROWS)), expected)
    assert mended.seen == ROWS - 2 * BLOCK


def test_other_frames_are_standardized_like_the_training_frames(
    tmp_path: Path, store: Pictures
) -> None:
    first = build(Colors(), store, GRID, tmp_path)
    other = Pictures("other")
    other.images = other.images // 2
    second = build(Colors(), other, GRID, tmp_path, standardizer=first.standardizer)
    joined = TeacherCache.joined([first, second])
    assert len(joined) == 2 * ROWS
    rows = [ROWS + 3, 2, 2 * ROWS - 1, ROWS]
    expected = torch.stack([second.batch([3])[0], first.batch([2])[0], *second.batch([-1, 0])])
    assert torch.equal(joined.batch(rows), expected)
    assert not torch.allclose(second.batch(range(ROWS)).std(), torch.tensor(1.0), atol=0.1)


class Positions(Colors):
    """Maps that depend on the cell and not on the frame, as those of random weights may."""

    def native_features(self, pixels: Tensor) -> Tensor:
        maps = super().native_features(pixels)
        return maps.mean(dim=0, keepdim=True).expand(len(maps), -1, -1, -1) + 0 * maps + 1e-6 * maps


def test_a_teacher_that_ignores_the_frame_is_named(tmp_path: Path, store: Pictures) -> None:
    teacher = Positions()
    with pytest.raises(DataError, match="teacher colors gives the same map for every") as caught:
        build(teacher, store, GRID, tmp_path, BLOCK)
    assert "random, missing" in caught.value.hint
    assert teacher.seen == BLOCK, "told after the first frames"
    build(Positions(), Pictures(blank=True), GRID, tmp_path, BLOCK)


def test_larger_frames_are_computed_in_smaller_batches() -> None:
    device = torch.device("cpu")
    assert [_fitting_batch(Recorded(size), device) for size in (64, 512, 1024, 4096)] == [
        8, 8, 2, 1,
    ]  # fmt: skip


def test_an_unknown_standardization_names_the_legal_ones(tmp_path: Path, store: Pictures) -> None:
    with pytest.raises(UsageError, match="phi-s"):
        build(Colors(), store, GRID, tmp_path, standardize="whiten")
