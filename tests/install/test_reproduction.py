"""The shipped bundles are what the documented command makes, within a tolerance.

The training needs the public data sets and hours, so it runs only where their folders are named:

    EDGE_DIFOM_REPRODUCE=edge-s EDGE_DIFOM_DATA=KVASIR:CLINICDB:BKAI EDGE_DIFOM_NEGATIVES=CLEAN \\
    EDGE_DIFOM_UNLABELED=FRAMES \\
    python -m pytest tests/install/test_reproduction.py --timeout=0

`EDGE_DIFOM_REPRODUCE_OUT` keeps run and bundle, and a test that was stopped continues there.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from edge.bundle.reader import Bundle
from edge.bundle.shipped import shipped_bundles
from edge_difom.cli.main import main
from tests.support.reproduction import Tolerance, differences

NEEDED = ("EDGE_DIFOM_REPRODUCE", "EDGE_DIFOM_DATA", "EDGE_DIFOM_NEGATIVES")
SPECIFICITY = "0.97"


def folders(variable: str) -> list[str]:
    return [part for part in os.environ.get(variable, "").split(os.pathsep) if part]


def call(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code, arguments


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_the_documented_command_makes_the_shipped_bundle(tmp_path: Path) -> None:
    if missing := [name for name in NEEDED if not os.environ.get(name)]:
        pytest.skip(f"a training of hours on public data: set {', '.join(missing)}")
    name = os.environ["EDGE_DIFOM_REPRODUCE"]
    work = Path(os.environ.get("EDGE_DIFOM_REPRODUCE_OUT") or tmp_path)
    command = ["bundle", "train", name, "--qat-epochs", "0", "--specificity", SPECIFICITY]
    for option, variable in (("--data", "EDGE_DIFOM_DATA"), ("--negatives", NEEDED[2])):
        command += [word for folder in folders(variable) for word in (option, folder)]
    unlabeled = ",".join(folders("EDGE_DIFOM_UNLABELED"))
    command += ["--set", f"unlabeled=[{unlabeled}]"]
    call(*command, "--out", str(work / "bundle"), "--force")
    shipped = Bundle.open(shipped_bundles()[name]).manifest
    again = Bundle.open(work / "bundle").manifest
    assert again.gate is not None
    assert again.provenance.training["date"]
    assert differences(shipped, again) == []


def test_the_comparison_tells_what_differs() -> None:
    manifest = Bundle.open(shipped_bundles()["edge-s"]).manifest
    assert differences(manifest, manifest) == []
    replace = msgspec.structs.replace
    worse = [replace(row, dice=row.dice - 0.04) for row in manifest.accuracy]
    told = differences(manifest, replace(manifest, accuracy=worse))
    assert len(told) == len(manifest.accuracy)
    dice = manifest.accuracy[0].dice
    assert f"Dice {dice:.3f}, now {dice - 0.04:.3f}" in told[0]
    assert differences(manifest, replace(manifest, accuracy=worse), Tolerance(dice=0.05)) == []
    assert "not the same frames" in differences(manifest, replace(manifest, accuracy=[]))[0]
    data = replace(manifest.provenance, data={})
    assert differences(manifest, replace(manifest, provenance=data)) == [
        "the data are not the same frames"
    ]
    assert manifest.output.calibration is not None
    point = manifest.output.calibration
    noisy = replace(point, chosen=replace(point.chosen, flagged=point.chosen.flagged + 10))
    output = replace(manifest.output, calibration=noisy)
    (flagged,) = differences(manifest, replace(manifest, output=output))
    assert flagged.startswith("clean frames flagged: ")
    plain = replace(manifest, output=replace(manifest.output, calibration=None))
    assert differences(manifest, plain) == ["only one has a chosen operating point"]
