"""The published table: its cells, its costs, its figures, and studies that are continued."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from distill.paper_study import costs
from distill.paper_study.cells import (
    FOUNDATIONS,
    RANDOM_MARK,
    PaperStudy,
    cell_config,
    has_no_result,
    study_cells,
)
from distill.paper_study.run import run_paper_study
from distill.paper_study.table import NO_RESULT, study_markdown
from distill.students.build import build_student
from distill.teachers.build import build_teacher
from distill.teachers.random_networks import write_random
from edge.datasets.phantom.render import write_dataset
from edge.datasets.public_sets import find_test_sets
from edge.errors import DataError, UsageError
from edge_difom.cli.main import main
from tests.support.killed_run import killed_in_step

if TYPE_CHECKING:
    from pathlib import Path

TINY = {"size": 64, "epochs": 1, "batch_size": 3, "pretrained": False}
STUDENTS = ["unet", "unetpp", "pranet", "emcad"]


@pytest.fixture(scope="module", autouse=True)
def runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One cache for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_DIFOM_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("home")
    write_dataset(root / "data", train=6, validation=3, negatives=0, seed=1, size=(72, 72))
    return root / "data"


@pytest.fixture(scope="module")
def tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TestDataset with two of the five sets."""
    root = tmp_path_factory.mktemp("tests")
    write_dataset(root / "made", train=3, validation=2, negatives=0, seed=2, size=(72, 72))
    for part, name in (("train", "Kvasir"), ("validation", "ETIS-LaribPolypDB")):
        shutil.copytree(root / "made" / part, root / "TestDataset" / name)
    return root / "TestDataset"


def study(data: Path, **changes: Any) -> PaperStudy:
    values: dict[str, Any] = {
        "data": [str(data)],
        "students": ["edge-xs"],
        "foundations": [0],
        "teachers": list(FOUNDATIONS),
        "settings": TINY,
    }
    return PaperStudy(**(values | changes))


def test_every_cell_is_a_network_with_its_teachers(data: Path) -> None:
    table = study(data, students=STUDENTS, foundations=[0, 2, 3, 4], seeds=2, settings={})
    cells = study_cells(table)
    assert len(cells) == len({cell.name for cell in cells}) == 32
    for cell in cells:
        config = cell_config(table, cell)
        assert config.taught_by == list(FOUNDATIONS[: cell.foundations])
        assert (config.data.size, config.run.epochs, config.run.seed) == (352, 75, cell.seed)
    networks = {cell_config(table, cell).student.network for cell in cells}
    assert networks == {"unet", "unetpp", "pranet", "edge-s+emcad"}
    for network in networks:
        assert 352 % build_student(network, pretrained=False).divisor == 0
    paper = study(data, foundations=[0, 2], settings={"recipe": "paper"})
    recipes = [cell_config(paper, cell).loss.recipe for cell in study_cells(paper)]
    assert recipes == ["none", "paper"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"foundations": [0, 5]}, "fewer teachers"),
        ({"foundations": [2, 2]}, "names a number twice"),
        ({"students": ["unet", "unet"]}, "names a student twice"),
    ],
)
def test_a_table_that_cannot_be_is_refused(data: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        study_cells(study(data, **changes))


def test_the_sets_that_are_there_are_found(tests: Path, data: Path) -> None:
    for where in (tests, tests.parent):
        sets = find_test_sets([str(where)])
        assert {name: len(frames.pairs) for name, frames in sets.items()} == {
            "kvasir": 3,
            "etis": 2,
        }
        assert "not comparable" in sets["etis"].notes[0]
    both = find_test_sets([f"kvasir:{tests}", str(data / "validation")])
    assert list(both) == ["kvasir", "validation"]
    with pytest.raises(UsageError, match="named kvasir"):
        find_test_sets([str(tests), f"kvasir:{tests}"])
    with pytest.raises(DataError):
        find_test_sets([str(tests / "nowhere")])


def test_random_teachers_run_and_are_known_as_such(data: Path, tmp_path: Path) -> None:
    specs = [write_random(name, tmp_path / name, RANDOM_MARK) for name in FOUNDATIONS]
    again = [write_random(name, tmp_path / "again" / name, RANDOM_MARK) for name in FOUNDATIONS]
    for one, other in zip(specs, again, strict=True):
        assert build_teacher(one).identity == build_teacher(other).identity
    table = study(data, foundations=[0, 2], teachers=["efficientnet_lite2", specs[1]])
    assert [has_no_result(table, cell) for cell in study_cells(table)] == [False, True]


def test_a_dry_run_states_hours_and_disk_and_trains_nothing(
    data: Path, tests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["study", "paper", "--data", str(data), "--test", str(tests), "--dry-run"]
    command += ["--students", "edge-xs,emcad", "--set", "size=64", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "not on this machine" in text
    assert " h and " in text
    assert not (tmp_path / "out").exists()


def test_costs_follow_epochs_and_teachers_and_what_is_done(
    data: Path, tests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "_timed", lambda _: 3600.0)
    sets = find_test_sets([str(tests)])
    spec = "efficientnet_lite2?size=64"
    table = study(data, foundations=[0, 1], teachers=[spec])
    prediction = costs.forecast(table, sets, tmp_path / "study")
    (row,) = prediction.students
    assert (row.cells, row.step_s) == (2, 3600.0)
    assert row.train_h == pytest.approx(2 * 2.03)  # two steps an epoch, with and without a teacher
    (teacher,) = prediction.teachers
    assert (teacher.frames, teacher.hours, teacher.bytes) == (6, 6.0, 2 * 6 * 120 * 4 * 4)
    run_paper_study(table, sets, tmp_path / "study")
    done = costs.forecast(table, sets, tmp_path / "study")
    assert (done.students[0].cells, done.hours, done.bytes) == (0, 0.0, 0)
    absent = costs.forecast(study(data, foundations=[1]), sets, tmp_path / "other").teachers[0]
    assert not absent.measured
    assert absent.bytes == 2 * 6 * 256 * (64**2 + 8**2)


def test_a_stopped_study_goes_on_and_gives_the_same_table(
    data: Path, tests: Path, tmp_path: Path
) -> None:
    sets = find_test_sets([str(tests)])
    settings = TINY | {"checkpoint_minutes": 1e-9}
    teachers = ["efficientnet_lite2?size=64"]
    table = study(data, foundations=[0, 1], teachers=teachers, settings=settings)
    uncut = run_paper_study(table, sets, tmp_path / "whole")
    assert [set(cell.sets) for cell in uncut.cells] == [{"etis", "kvasir"}] * 2
    with killed_in_step(4):  # the last one of the second cell
        run_paper_study(table, sets, tmp_path / "cut")
    assert not (tmp_path / "cut" / "study.json").exists()
    assert (tmp_path / "cut" / "evaluations" / "edge-xs-0f-0" / "kvasir.json").is_file()
    announced: list[tuple[int, int, str]] = []
    cut = run_paper_study(
        table, sets, tmp_path / "cut", announce=lambda *step: announced.append(step)
    )
    assert announced == [(2, 2, "edge-xs-1f-0")]
    assert cut.cells == uncut.cells
    with pytest.raises(UsageError, match="different settings"):
        run_paper_study(study(data, settings=TINY | {"epochs": 2}), sets, tmp_path / "cut")


def test_test_frames_that_are_trained_on_are_refused(data: Path, tmp_path: Path) -> None:
    sets = find_test_sets([str(data / "validation")])
    with pytest.raises(DataError, match="among the frames to train on"):
        run_paper_study(study(data), sets, tmp_path / "study")
    assert not (tmp_path / "study").exists()


@pytest.mark.slow
def test_all_cells_of_the_papers_table_run(
    data: Path, tests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "study"
    command = ["study", "paper", "--data", str(data), "--test", str(tests), "--out", str(out)]
    command += ["--random-teachers", *(f"--set={key}={value}" for key, value in TINY.items())]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    record = json.loads((out / "study.json").read_text())
    cells = {(cell["student"], cell["foundations"]): cell for cell in record["cells"]}
    assert set(cells) == {(student, n) for student in STUDENTS for n in (0, 2, 3, 4)}
    for (_, count), cell in cells.items():
        assert cell["result"] == (count == 0)
        for figures in cell["sets"].values():
            assert 0 <= figures["dice_b"] <= 1
            assert 0 <= figures["mean_dice_a"] <= 1
    table = (out / "table.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| unet |")]
    assert [NO_RESULT in row for row in rows] == [False, False, *[True] * 6]
    assert "| published: PraNet (Fan et al., MICCAI 2020) |  | A, mean Dice | 0.898 |" in table
    assert NO_RESULT in capsys.readouterr().out


def test_several_seeds_are_shown_with_their_range(data: Path, tests: Path, tmp_path: Path) -> None:
    record = run_paper_study(study(data, seeds=2), find_test_sets([str(tests)]), tmp_path / "study")
    table = study_markdown(record)
    assert "Means of 2 seeds" in table
    assert " to 0." in next(line for line in table.splitlines() if line.startswith("| edge-xs"))
