"""One thing has one spelling: shared options, positional bundles, and what other programs call."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click
import pytest

from edge.util.extras import resolve
from edge_difom.cli import main as cli
from edge_difom.cli.bench import BenchGroup
from edge_difom.cli.suggest import walk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def commands() -> Iterator[tuple[str, click.Command]]:
    return walk(click.Context(cli.group, info_name="edge-difom"))


def option(command: click.Command, name: str) -> click.Option | None:
    matching = [p for p in command.params if isinstance(p, click.Option) and name in p.opts]
    return matching[0] if matching else None


def test_threads_and_engine_have_one_text() -> None:
    for name in ("--threads", "--engine"):
        texts = {
            parameter.help
            for _, command in commands()
            if (parameter := option(command, name)) is not None
            and not parameter.multiple  # `verify` and `bench matrix` take several
        }
        assert len(texts) == 1, texts


def test_a_bundle_is_positional_for_bundle_verbs_alone() -> None:
    for path, command in commands():
        parameter = option(command, "--bundle")
        if path.startswith("edge-difom bundle "):
            assert parameter is None, path
        elif parameter is not None:
            assert parameter.type.name == "B", f"{path} does not take a shipped bundle's name"


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_ranges_of_numbers_are_finite(text: str) -> None:
    ranges = [
        parameter
        for _, command in commands()
        for parameter in command.params
        if isinstance(parameter.type, click.FloatRange)
    ]
    assert len(ranges) >= 10
    for parameter in ranges:
        with pytest.raises(click.BadParameter):
            parameter.type.convert(text, parameter, None)


def test_a_bench_of_no_duration_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for seconds in ("nan", "inf", "0"):
        for verb in (["bench"], ["bench", "matrix"]):
            with pytest.raises(SystemExit) as ended:
                cli.main([*verb, "--bundle", "edge-xs", "--seconds", seconds])
            assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_no_option_keeps_an_old_spelling() -> None:
    old = {"--checkpoint"}
    for path, command in commands():
        spellings = {word for p in command.params if isinstance(p, click.Option) for word in p.opts}
        assert not spellings & old, path


@pytest.mark.parametrize(
    "line",
    [
        "bench --bundle edge-s --json FILE",
        "bench run --bundle edge-s --json -",
        "evaluate --bundle edge-s --data DIR --engine openvino --json FILE",
        "verify --bundle edge-s --json FILE",
        "run --bundle edge-s --source synthetic: --sink jsonl:FILE",
        "doctor --json",
        "phantom --out DIR --train 4 --validation 2 --negatives 1",
        "distill --data DIR --student edge-s --recipe none --size 64 --epochs 1 "
        "--set lr=1 --out RUN",
        "demo --out DIR",
        "qat RUN --negatives DIR --negatives DIR2",
        "bundle weights edge-s --out WEIGHTS.pt",
        "device still IMAGE --bundle edge-s --no-burned-in-text --out DIR",
    ],
)
def test_what_others_call_is_understood(line: str) -> None:
    verb, *words = shlex.split(line)
    command: click.Command = resolve(cli.VERBS[verb][0])
    while isinstance(command, click.Group):
        if isinstance(command, BenchGroup):
            words = command.with_default(words)
        name, *words = words
        inner = command.get_command(click.Context(command), name)
        assert inner is not None
        command = inner
    command.make_context(command.name, words)


def test_bench_help_shows_the_options_of_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name in ("--bundle", "--rate", "--soak", "--threads"):
        assert f"  {name} " in text


@pytest.mark.slow
def test_weights_of_a_shipped_bundle_start_a_student(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("nncf")
    from distill.run_folder import load_start
    from distill.students.build import build_student

    out = tmp_path / "weights.pt"
    with pytest.raises(SystemExit) as ended:
        cli.main(["bundle", "weights", "edge-xs", "--out", str(out)])
    assert ended.value.code == 0
    assert f"made: {out}" in capsys.readouterr().out
    missing = load_start(out, build_student("edge-xs", pretrained=False))
    assert all(name.startswith("presence.") for name in missing)
    with pytest.raises(SystemExit) as ended:
        cli.main(["bundle", "weights", "edge-xs", "--out", str(out)])
    assert ended.value.code == 2
