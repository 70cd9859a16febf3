"""The table of verbs: lightness, errors and exit codes, help with examples."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from edge import __version__, errors
from edge.errors import EdgeDifomError, MissingDependencyError
from edge.util.extras import EXTRA_OF, missing
from edge_difom.cli import main as cli

ROOT = Path(__file__).parents[2]


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_difom", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def status(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def with_verb(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None, returns: object = None
) -> None:
    """Give the verb `doctor` another body."""

    @click.command()
    def command() -> object:
        if error:
            raise error
        return returns

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: command)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_loads_and_has_three_examples(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = cli.resolve(cli.VERBS[verb][0])
    assert isinstance(command, click.Command)
    assert status(verb, "--help") == 0
    text = capsys.readouterr().out
    assert text.count(f"    edge-difom {verb}") >= 3


def test_help_lists_every_verb_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom edge_difom.cli.main import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n    print(sorted(set(sys.modules) & {'numpy', 'cv2', 'torch', "
        "'openvino', 'ai_edge_litert', 'msgspec', 'matplotlib', 'distill', 'quantize', "
        "'firmware_bridge'}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    for verb, (_, text) in cli.VERBS.items():
        assert f"  {verb} " in done.stdout
        assert text in " ".join(done.stdout.split())
    assert "not a medical device" in " ".join(done.stdout.split())


def test_the_module_is_the_command() -> None:
    done = call("--version")
    assert (done.returncode, done.stdout) == (0, f"edge-difom, version {__version__}\n")


def test_an_unknown_verb_lists_the_legal_ones_and_the_nearest() -> None:
    done = call("banch")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no command 'banch'" in done.stderr
    assert all(verb in done.stderr for verb in cli.VERBS)
    assert "edge-difom bench --help" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("doctor", "--nonsense") == 2
    assert "no option --nonsense" in capsys.readouterr().err


KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, EdgeDifomError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_one_message_and_its_own_exit_code(
    kind: type[EdgeDifomError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_verb(monkeypatch, kind("B is broken", expected="a bundle", got="a stone", hint="make one"))
    assert status("doctor") == kind.exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (
        captured.err
        == "error: B is broken\n  expected: a bundle\n  got:      a stone\n  hint:     make one\n"
    )


def test_exit_codes_are_distinct() -> None:
    own = [kind for kind in KINDS if "exit_code" in vars(kind)]  # others share that of their kind
    assert len({kind.exit_code for kind in own}) == len(own) > 10


def test_interruption_and_operating_system_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_verb(monkeypatch, KeyboardInterrupt())
    assert status("doctor") == 130
    with_verb(monkeypatch, PermissionError(13, "Permission denied", "/there"))
    assert status("doctor") == 1
    assert "error: /there: Permission denied" in capsys.readouterr().err
    with_verb(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["doctor"])


@pytest.mark.parametrize(("returned", "code"), [(None, 0), ("text", 0), (True, 0), (5, 5)])
def test_what_a_command_returns(
    returned: object, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_verb(monkeypatch, returns=returned)
    assert status("doctor") == code


@pytest.mark.parametrize(("root", "extra"), [*EXTRA_OF.items(), ("numpy", "")])
def test_a_missing_package_names_its_extra(root: str, extra: str) -> None:
    error = missing(ModuleNotFoundError("No module", name=f"{root}.part"))
    assert error is not None
    assert error.exit_code == 8
    install = f"edge-difom[{extra}]" if extra else "edge-difom"
    assert f"pip install {install}" in str(error)


def test_resolving_reports_a_missing_package_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependencyError, match=r"edge-difom\[report\]"):
        cli.resolve("jinja2:Template")
    with pytest.raises(ModuleNotFoundError, match="edge_nowhere"):
        cli.resolve("edge_nowhere:thing")
    with pytest.raises(AttributeError):
        cli.resolve("edge_difom.cli.main:thing")
    assert cli.resolve("edge_difom.cli.main:main") is cli.main


def test_a_verb_that_misses_a_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A verb that misses a package while it runs names the extra."""
    with_verb(monkeypatch, ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert status("doctor") == 8
    assert "pip install 'edge-difom[train]'" in capsys.readouterr().err
    with_verb(monkeypatch, ModuleNotFoundError("No module named 'edge.typo'", name="edge.typo"))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["doctor"])


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN])
@pytest.mark.parametrize("kind", [errors.UsageError, MissingDependencyError])
def test_a_short_machine_does_not_look_like_a_wrong_option(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[EdgeDifomError]
) -> None:
    """A service manager does not start the program again after the codes of wrong options."""
    error = kind("the journal cannot be written", hint="choose a different path")
    with_verb(monkeypatch, error)
    assert status("doctor") == kind.exit_code
    error.__cause__ = OSError(number, os.strerror(number))
    with_verb(monkeypatch, error)
    assert status("doctor") == errors.MachineError.exit_code
    unit = ROOT / "firmware_bridge/fleet/system/systemd/edge-difom.service"
    (never,) = re.findall(r"^RestartPreventExitStatus=(.*)$", unit.read_text(), re.MULTILINE)
    assert str(kind.exit_code) in never.split()
    assert str(errors.MachineError.exit_code) not in never.split()


def test_a_journal_that_lacks_a_descriptor_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The real command: what has no descriptor at its start is no wrong path."""
    from edge.util.append_file import LineFile

    def short(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(LineFile, "open", short)
    given = ("--source", "synthetic:?frames=2", "--bundle", "edge-xs", "--log")
    assert status("run", *given, str(tmp_path / "journal")) == errors.MachineError.exit_code
