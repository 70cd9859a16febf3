"""Configuration of a distillation run: typed, strict, and written beside the result.

In Python a configuration has nested parts (`distill.options`); in files and on the command line all
of its options are flat keys. `make_config` maps the one to the other, `dump_config` maps back.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from distill.options import (
    AugmentationOptions,
    DataOptions,
    LossOptions,
    OptimizerOptions,
    Options,
    RunOptions,
    StudentOptions,
    TeacherOptions,
)
from edge.errors import UsageError

PARTS: dict[str, type[Options]] = {
    "data": DataOptions,
    "student": StudentOptions,
    "teachers": TeacherOptions,
    "loss": LossOptions,
    "optimizer": OptimizerOptions,
    "augmentation": AugmentationOptions,
    "run": RunOptions,
}
"""Attribute of `DistillConfig` -> its struct."""
PATH_KEYS = ("data", "negatives", "unlabeled", "boxes", "images")
"""Options that hold lists of folders, or of files."""


class DistillConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides the outcome of `edge-difom distill`.

    Build one with `make_config`.

    Attributes:
        data: Frames to train and validate on.
        student: Network to train.
        teachers: Networks to learn from.
        loss: What is minimized.
        optimizer: How weights are updated.
        augmentation: How training views are made.
        run: Length, order and precision of the training.
    """

    data: DataOptions
    student: StudentOptions
    teachers: TeacherOptions
    loss: LossOptions
    optimizer: OptimizerOptions
    augmentation: AugmentationOptions
    run: RunOptions

    def flat(self) -> dict[str, Any]:
        """All options by their flat keys, as `make_config` takes them."""
        values: dict[str, Any] = {}
        for part in PARTS:
            values |= msgspec.to_builtins(getattr(self, part))
        return values

    @property
    def taught_by(self) -> list[str]:
        """Teachers whose maps the student learns from; empty without any."""
        by_images = self.data.images and self.loss.recipe != "blocks"
        taught = self.loss.has_teachers or by_images
        return list(self.teachers.specs) if taught else []

    @property
    def all_teachers(self) -> list[str]:
        """Teachers of maps and of logits that the student learns from."""
        by_logits = self.loss.recipe == "difom" and self.teachers.task_specs
        return [*self.taught_by, *(by_logits or [])]

    def changed(self, **values: Any) -> DistillConfig:
        """A copy with other values of some options.

        Args:
            **values: New values by flat key.

        Raises:
            UsageError: A key is unknown or a value is out of range.
        """
        return make_config(self.flat() | values)


def config_options() -> list[Option]:
    """Every option of a distillation run, for a help text."""
    return list_options(PARTS)


def make_config(values: dict[str, Any]) -> DistillConfig:
    """A checked configuration.

    Args:
        values: Options by flat key; those left out have their defaults.

    Raises:
        UsageError: A key is unknown, a required one is missing, or a value has a wrong type or
            range.
    """
    home = {option.key: option for option in config_options()}
    parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for key, value in values.items():
        if key not in home:
            near = difflib.get_close_matches(str(key), home, n=1)
            raise UsageError(
                f"configuration: unknown key {key!r}",
                expected=", ".join(home),
                hint=f"did you mean {near[0]}?" if near else "correct the setting",
            )
        parts[home[key].part][key] = value
    built = {part: _convert(parts[part], struct) for part, struct in PARTS.items()}
    return msgspec.convert(built, DistillConfig)


def _convert(values: dict[str, Any], struct: type[Options]) -> Options:
    try:
        return msgspec.convert(values, struct, strict=False)
    except (msgspec.ValidationError, OverflowError) as error:
        own = list_options({"": struct})
        invalid = [option for option in own if f"$.{option.key}" in str(error)]
        raise UsageError(
            f"configuration: {error}",
            expected="; ".join(f"{option.key}: {option.type}" for option in invalid or own),
            hint="correct the setting",
        ) from None


def find_config(name: Path) -> Path:
    """Path of the configuration file that a user names.

    Args:
        name: A path, or the name of a built-in configuration. An existing path takes precedence.

    Raises:
        UsageError: There is neither such a file nor such a configuration.
    """
    shipped = {path.stem: path for path in (Path(__file__).parent / "configs").glob("*.yaml")}
    found_path = name if name.exists() else shipped.get(str(name))
    if found_path is None:
        raise UsageError(
            f"there is no configuration {name}",
            expected=f"a YAML file, or {', '.join(sorted(shipped))}",
        )
    return found_path


def resolve_config(path: Path | None, settings: dict[str, Any]) -> DistillConfig:
    """Configuration of a run: a file, overridden by settings, with absolute paths.

    Args:
        path: A file or name for `find_config`; None for the defaults.
        settings: Values by flat key; they must name the data if the file does not.

    Raises:
        UsageError: The file cannot be read, a setting is unknown or out of its range, or there is
            no data.
    """
    values = (read_config_file(find_config(path)) if path else {}) | settings
    if not values.get("data"):
        raise UsageError(
            "no images are named",
            expected="at least one folder",
            hint="set data to a folder of images and masks",
            code="no-data",
        )
    for key in PATH_KEYS:
        if key in values:
            values[key] = _paths(values[key])
    config = make_config(values)
    absolute: dict[str, Any] = {
        key: [str(Path(folder).resolve()) for folder in config.flat()[key]] for key in PATH_KEYS
    }
    if config.student.start:
        absolute["start"] = str(Path(config.student.start).resolve())
    return config.changed(**absolute)


def _paths(value: Any) -> Any:
    """A list of paths as text: the command line gives paths, and one may stand alone."""
    items = [value] if isinstance(value, str | Path) else value
    if not isinstance(items, list | tuple):
        return value
    return [os.fspath(item) if isinstance(item, Path) else item for item in items]


_YAML_ERRORS = (yaml.YAMLError, RecursionError, ValueError, TypeError, OverflowError)
"""What reading YAML raises: impossible dates and numbers are errors of Python's own types."""


def read_config_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UsageError: The file is missing or does not hold a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, *_YAML_ERRORS) as error:
        raise UsageError(
            f"cannot read the configuration {path}", expected="YAML in UTF-8", got=str(error)
        ) from None
    if not isinstance(values, dict):
        raise UsageError(
            f"{path} holds no configuration", expected="key: value lines", got=type(values).__name__
        )
    return values


def parse_assignments(assignments: tuple[str, ...]) -> dict[str, Any]:
    """`key=value` pairs, each value read as YAML.

    Raises:
        UsageError: A pair without `=`, or a value that is not YAML.
    """
    values = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(
                f"invalid setting {assignment}", expected="key=value", hint="lr=0.0005"
            )
        try:
            values[key.strip()] = yaml.safe_load(value)
        except _YAML_ERRORS as error:
            problem = getattr(error, "problem", None) or str(error)
            raise UsageError(
                f"invalid setting {assignment[:200]}",
                expected="a value in YAML",
                got=problem,
                hint=f"quote the value: '{key}=\"...\"'",
            ) from None
    return values


def dump_config(config: msgspec.Struct) -> str:
    """A configuration as YAML with flat keys, for `resolved.yaml`."""
    flat = config.flat() if isinstance(config, DistillConfig) else msgspec.to_builtins(config)
    return yaml.safe_dump(flat, sort_keys=False)


class Option(NamedTuple):
    """One option, as a help text shows it.

    Attributes:
        key: The flat name that users write.
        part: The attribute of `DistillConfig` that holds it.
        type: Values that are accepted, such as `int >= 1`.
        default: The default as it is written in YAML; None for a required option.
        help: One full sentence.
    """

    key: str
    part: str
    type: str
    default: str | None
    help: str


def list_options(parts: dict[str, type[Options]]) -> list[Option]:
    """All options of the parts of a configuration, in their order.

    Args:
        parts: Attribute of the configuration -> its struct.
    """
    options = []
    for part, struct in parts.items():
        info = msgspec.inspect.type_info(struct)
        assert isinstance(info, msgspec.inspect.StructType)
        for item in info.fields:
            described = item.type
            assert isinstance(described, msgspec.inspect.Metadata)
            help_text = (described.extra_json_schema or {})["description"]
            options.append(
                Option(item.encode_name, part, _type_name(described), _default(item), help_text)
            )
    return options


def _default(item: msgspec.inspect.Field) -> str | None:
    if item.default_factory is not msgspec.NODEFAULT:
        return _yaml(item.default_factory())
    return None if item.default is msgspec.NODEFAULT else _yaml(item.default)


def _yaml(value: Any) -> str:
    text: str = msgspec.json.encode(value).decode()
    return text


def _type_name(kind: msgspec.inspect.Type) -> str:
    """Values that a type accepts, in words."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return _type_name(kind.type)
    if isinstance(kind, msgspec.inspect.LiteralType):
        return " | ".join(str(value) for value in kind.values)
    if isinstance(kind, msgspec.inspect.StructType):
        return "mapping"
    if isinstance(kind, msgspec.inspect.ListType):
        return f"list of {_type_name(kind.item_type)}"
    if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        name = "int" if isinstance(kind, msgspec.inspect.IntType) else "float"
        bounds = [(">=", kind.ge), (">", kind.gt), ("<=", kind.le), ("<", kind.lt)]
        # Larger bounds only keep numbers computable.
        limits = [
            f"{sign} {bound:g}" for sign, bound in bounds if bound is not None and bound < 1e6
        ]
        return f"{name} {' and '.join(limits)}".rstrip()
    return "bool" if isinstance(kind, msgspec.inspect.BoolType) else "str"
