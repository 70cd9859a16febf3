"""The options of a run: flat for users, nested for modules, each explained in one place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from distill.config import (
    PARTS,
    config_options,
    dump_config,
    make_config,
    parse_assignments,
    read_config_file,
    resolve_config,
)
from edge.errors import UsageError

OLD_RUN = """\
data: [/data/a, /data/b]
val_sequences: [3, 8]
val_fraction: 0.2
negatives: [/data/clean]
negative_share: 0.3
val_negatives: 0.1
student: edge-xs
decoder: fpn
dynamic_head: true
attention: softmax
teachers: [dinov2, sam]
recipe: paper
pretrained: false
start: /runs/old
size: 192
field_of_view: full-frame
scales: [0.75, 1.0]
epochs: 7
batch_size: 4
lr: 0.002
encoder_lr: 0.5
weight_decay: 0.02
task_loss: bce
clean_weight: 1.5
presence_weight: 0.5
background: true
background_weight: 0.4
reconstruction_weight: 0.02
distill_weight: 0.1
standardize: phi-s
radius: 3
band: radial
similarity_weight: 0.1
focal_weight: 0.2
task_teachers: ['run:x']
cwd_weight: 4.0
teacher_dropping: 0.25
schedule: distil-first
shuffle_teacher: true
shifted_views: 0.4
polyp_free_views: 0.1
removed_polyps: 0.2
precision: bf16
accumulate: 2
ema: 0.99
frozen_stages: 1
drop_path: 0.1
freeze_batchnorm: true
patience: 3
checkpoint_minutes: 2.0
seed: 9
"""
"""Every key that a run folder holds, each with a value that is not its default."""


def test_every_option_of_an_existing_run_survives_the_round_trip() -> None:
    values = yaml.safe_load(OLD_RUN)
    config = make_config(values)
    again = yaml.safe_load(dump_config(config))
    assert {key: again[key] for key in values} == values
    assert make_config(again) == config
    defaults = make_config({"data": ["x"]}).flat()
    assert all(defaults[key] != value for key, value in values.items())


def test_every_option_reaches_its_part() -> None:
    config = make_config(yaml.safe_load(OLD_RUN))
    assert config.data.folders == ["/data/a", "/data/b"]
    assert (config.student.name, config.student.start) == ("edge-xs", "/runs/old")
    assert (config.teachers.specs, config.teachers.task_specs) == (["dinov2", "sam"], ["run:x"])
    assert config.teachers.shuffle
    assert (config.loss.clean_weight, config.loss.presence_weight) == (1.5, 0.5)
    assert (config.optimizer.ema, config.augmentation.shifted_views) == (0.99, 0.4)
    assert config.run.seed == 9


def test_every_option_has_type_default_and_one_sentence() -> None:
    """Every option has a type, a default and one sentence of help."""
    options = config_options()
    assert len({option.key for option in options}) == len(options)
    assert {option.part for option in options} == set(PARTS)
    assert [option.key for option in options if option.default is None] == ["data"]
    for option in options:
        assert option.type, option.key
        assert option.help[0] == "`" or option.help[0].isupper(), option.key
        assert option.help.endswith("."), option.key
        assert ". " not in option.help, option.key
    by_key = {option.key: option for option in options}
    assert by_key["epochs"].type == "int >= 1"
    assert by_key["ema"].type == "float >= 0 and < 1"
    assert by_key["scales"].type == "list of float > 0 and <= 2"
    assert by_key["student"].default == '"edge-s"'


@pytest.mark.parametrize(
    ("values", "error", "expected", "hint"),
    [
        ({"lerning_rate": 1}, "unknown key 'lerning_rate'", "encoder_lr", "correct"),
        ({"epoch": 1}, "unknown key 'epoch'", "patience", "did you mean epochs"),
        ({"epochs": 0}, r"\$\.epochs", "epochs: int >= 1", "correct"),
        ({"epochs": "many"}, r"\$\.epochs", "epochs: int >= 1", "correct"),
        ({"band": "round"}, r"\$\.band", "box | radial", "correct"),
        ({"data": "x"}, r"\$\.data", "data: list of str", "correct"),
    ],
)
def test_an_error_says_what_is_legal(
    values: dict[str, object], error: str, expected: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=error) as refused:
        make_config({"data": ["x"]} | values)
    assert expected in str(refused.value)
    assert hint in str(refused.value)


def test_missing_data_is_named() -> None:
    with pytest.raises(UsageError, match="missing required field `data`"):
        make_config({})


def test_a_changed_copy_is_checked() -> None:
    config = make_config({"data": ["x"], "epochs": 3})
    assert config.changed(batch_size=2).run.batch_size == 2
    assert config.changed(batch_size=2).run.epochs == 3
    with pytest.raises(UsageError, match="batch_size"):
        config.changed(batch_size=0)


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("data: [a]\nnegatives: [b]\nstart: w.pt\n")
    config = resolve_config(Path("c.yaml"), {"epochs": 2})
    assert config.data.folders == [str(tmp_path / "a")]
    assert config.data.negatives == [str(tmp_path / "b")]
    assert config.student.start == str(tmp_path / "w.pt")
    assert make_config(read_config_file(Path("c.yaml"))).student.start == "w.pt"


BROKEN_VALUES = [
    "[" * 20_000,
    "2031-13-45",
    "0x_",
    "!!int x",
    "{[]: 1}",
    "'",
    "\x00",
    "!!python/name:os.x",
]


@pytest.mark.parametrize("value", BROKEN_VALUES)
def test_a_value_that_breaks_yaml_is_an_error(value: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="invalid setting"):
        parse_assignments((f"lr={value}",))
    path = tmp_path / "config.yaml"
    path.write_text(f"lr: {value}\n")
    with pytest.raises(UsageError, match="configuration"):
        read_config_file(path)
