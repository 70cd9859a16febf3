"""Stills as DICOM, read back: black outside the view, the mask pixel for pixel, nobody's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage, SegmentationStorage

from edge.bundle.manifest import RESEARCH_USE
from edge.bundle.reader import Bundle
from edge.errors import MissingDependencyError, UsageError
from edge.frame import Frame, OperatingPoint, Result
from edge.imaging.field_of_view import estimate
from edge.imaging.postprocess import regions
from edge.imaging.view import View
from edge.status import Reason, ReasonKind, State, Status
from edge.stills import dicom
from edge.stills.files import write_still
from edge.stills.record import BundleIdentity
from edge.stills.still import Still, compose
from edge_difom.cli.device_still import IMAGE, SEGMENTATION
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.frame import ImageU8

WHO = BundleIdentity(
    name="polyps\\" + "x" * 80,
    digest="d" * 64,
    student="edge-s",
    created="2031-05-01T12:00:00+00:00",
    threshold=0.5,
    engine="tflite",
)
SIZES = [(64, 96), (67, 101), (241, 319), (1080, 1920)]


def still(size: tuple[int, int] = (67, 101), **changes: Any) -> Still:
    cells = np.zeros((size[0] // 4, size[1] // 4), np.uint8)
    cv2.ellipse(
        cells,
        (cells.shape[1] // 2, cells.shape[0] // 2),
        (cells.shape[1] // 3, cells.shape[0] // 3),
        0, 0, 360, 255, cv2.FILLED,
    )  # fmt: skip
    x, y, w, h = cv2.boundingRect(cells)
    scores = np.full((16, 16), 20, np.uint8)
    scores[6:10, 7:12] = 220
    result = Result(scores, regions(scores, size, OperatingPoint(WHO.threshold, 0.001)), 0.08, None)
    values: dict[str, Any] = {
        "frame": Frame(
            7, np.random.default_rng(0).integers(1, 256, (*size, 3)).astype(np.uint8), 1
        ),
        "result": result,
        "view": View((4 * x, 4 * y, 4 * w, 4 * h), cells, size),
        "status": Status(State.RUNNING, None, 0),
        "bundle": WHO,
    }
    return compose(
        **(values | changes), version="1", taken="2031-05-01T12:00:00+00:00", asked_by="pedal 1"
    )


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["device", "still", *map(str, arguments)])
    return int(str(ended.value.code))


def read(folder: Path) -> tuple[pydicom.Dataset, pydicom.Dataset | None]:
    path = folder / SEGMENTATION
    return pydicom.dcmread(folder / IMAGE), pydicom.dcmread(path) if path.exists() else None


@pytest.mark.parametrize("size", SIZES)
def test_a_still_becomes_an_image_and_its_segmentation(
    size: tuple[int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = still(size)
    write_still(original, tmp_path / "s")
    assert run(tmp_path / "s", "--out", tmp_path / "d") == 0
    assert "BurnedInAnnotation is YES" in capsys.readouterr().out
    image, segmentation = read(tmp_path / "d")
    assert segmentation is not None
    assert image.SOPClassUID == SecondaryCaptureImageStorage
    assert (image.Rows, image.Columns, image.PhotometricInterpretation) == (*size, "RGB")
    np.testing.assert_array_equal(image.pixel_array[..., ::-1], original.image)
    outside = cv2.resize(original.view.mask, size[::-1], interpolation=cv2.INTER_NEAREST) == 0
    assert outside.sum() > 0.3 * outside.size
    assert image.pixel_array[outside].max() == 0
    assert segmentation.SOPClassUID == SegmentationStorage
    assert (
        segmentation.Rows,
        segmentation.Columns,
        segmentation.NumberOfFrames,
        segmentation.SegmentationType,
    ) == (
        *size,
        1,
        "BINARY",
    )
    assert original.mask is not None
    assert 0 < np.count_nonzero(original.mask) < original.mask.size / 2
    np.testing.assert_array_equal(np.squeeze(segmentation.pixel_array) * 255, original.mask)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "d").iterdir()} == {0o600}
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700


def test_the_segmentation_names_image_maker_and_finding() -> None:
    """The segmentation names its image, its maker and what it shows."""
    original = still()
    image = dicom.secondary_capture(original)
    segmentation = dicom.segmentation(original, image)
    assert segmentation is not None
    (series,) = segmentation.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == image.SeriesInstanceUID
    (of,) = (
        segmentation.PerFrameFunctionalGroupsSequence[0]
        .DerivationImageSequence[0]
        .SourceImageSequence
    )
    for reference in (series.ReferencedInstanceSequence[0], of):
        assert reference.ReferencedSOPInstanceUID == image.SOPInstanceUID
        assert reference.ReferencedSOPClassUID == image.SOPClassUID
    assert segmentation.StudyInstanceUID == image.StudyInstanceUID
    assert segmentation.SeriesInstanceUID != image.SeriesInstanceUID
    assert (segmentation.ContentLabel, segmentation.ContentDescription) == (
        "RESEARCH",
        dicom.NOTICE,
    )
    assert image.ImageComments == RESEARCH_USE
    (segment,) = segmentation.SegmentSequence
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    coded = [
        getattr(segment, f"{what}CodeSequence")[0]
        for what in ("SegmentedPropertyCategory", "SegmentedPropertyType")
    ] + [segment.AnatomicRegionSequence[0]]
    assert [(code.CodingSchemeDesignator, code.CodeValue) for code in coded] == [
        ("SCT", "49755003"), ("SCT", "68496003"), ("SCT", "71854001"),
    ]  # fmt: skip
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "polyps/" + "x" * 57
    assert algorithm.AlgorithmVersion == WHO.created
    assert f"bundle_sha256={WHO.digest}" in algorithm.AlgorithmParameters
    assert "threshold=0.5" in algorithm.AlgorithmParameters


def leaves(dataset: pydicom.Dataset, path: list[str]) -> list[pydicom.Dataset]:
    """The items at a path of sequences, as far as they are there."""
    if not path:
        return [dataset]
    return [leaf for item in dataset.get(path[0]) or [] for leaf in leaves(item, path[1:])]


def test_every_mandatory_module_of_the_standard_is_complete(tmp_path: Path) -> None:
    # The tables of PS3.3 and PS3.4 that the library carries; it reads them to no such end itself.
    from highdicom import _standard_utils as standard

    iods, modules = standard.get_iod_module_map(), standard.get_module_attribute_map()
    original = still()
    image = dicom.secondary_capture(original)
    checked = 0
    for number, dataset in enumerate([image, dicom.segmentation(original, image)]):
        assert dataset is not None
        (tmp_path / f"{number}").write_bytes(dicom.encode(dataset))
        back = pydicom.dcmread(tmp_path / f"{number}")
        for module in iods[standard.get_sop_class_iod_map()[back.SOPClassUID]]:
            # Functional groups stand once for all frames or in each, and places in space are not
            # known here.
            if module["usage"] != "M" or module["key"].endswith("functional-groups"):
                continue
            for attribute in modules[module["key"]]:
                for item in leaves(back, attribute["path"]):
                    name, kind = attribute["keyword"], attribute["type"]
                    where = f"{module['key']}: {name} of type {kind}"
                    assert kind not in ("1", "2") or name in item, where
                    assert kind != "1" or not item[name].is_empty, where
                    checked += kind in ("1", "2")
    assert checked > 90


IDENTITIES = [
    ({}, "", "YES", "NO"),
    ({"patient_id": "study-7"}, "study-7", "YES", "NO"),
    ({"clean": True}, "", "NO", "YES"),
    ({"clean": True, "patient_id": "Nr. ä"}, "Nr. ä", "NO", "NO"),
]


@pytest.mark.parametrize(("options", "patient", "burned_in", "removed"), IDENTITIES)
def test_nothing_names_the_patient_but_a_given_id(
    options: dict[str, Any], patient: str, burned_in: str, removed: str, tmp_path: Path
) -> None:
    original = still()
    image = dicom.secondary_capture(original, **options)
    both = [image, dicom.segmentation(original, image)]
    for number, dataset in enumerate(both):
        assert dataset is not None
        (tmp_path / f"{number}").write_bytes(dicom.encode(dataset))
        back = pydicom.dcmread(tmp_path / f"{number}")
        assert (back.PatientID or "") == patient
        assert back.SpecificCharacterSet == "ISO_IR 192"
        assert back.PatientIdentityRemoved == removed
        assert ("DeidentificationMethod" in back) == (removed == "YES")
        empty = (
            "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
            "AccessionNumber", "ReferringPhysicianName",
        )  # fmt: skip
        assert not any(back[name].value for name in empty)
        assert "InstitutionName" not in back
    assert image.BurnedInAnnotation == burned_in


def test_the_stills_of_a_run_share_a_study_unless_told_otherwise() -> None:
    frame, first_still = Frame(0, np.full((64, 96, 3), 90, np.uint8), 0), still((64, 96))
    result = Result(None, (), 0.0, None)
    status = Status(State.RUNNING, None, 0)
    one, other = (
        compose(
            frame, status=status, version="1", taken="now", asked_by="signal",
            study_uid="2.25.77", result=result, view=first_still.view, bundle=None,
        )
        for _ in range(2)
    )  # fmt: skip
    images = [dicom.secondary_capture(each) for each in (one, other)]
    assert [image.StudyInstanceUID for image in images] == ["2.25.77"] * 2
    assert images[0].SeriesInstanceUID != images[1].SeriesInstanceUID
    assert dicom.secondary_capture(one, study_uid="2.25.9").StudyInstanceUID == "2.25.9"
    alone = [dicom.secondary_capture(first_still).StudyInstanceUID for _ in range(2)]
    assert alone[0] != alone[1], "a still without a run has a study of its own"
    with pytest.raises(UsageError, match="study UID"):
        dicom.secondary_capture(one, study_uid="1.02.x")


def test_attributes_of_type_2c_are_there_and_empty() -> None:
    image = dicom.secondary_capture(still())
    segmentation = dicom.segmentation(still(), image)
    assert segmentation is not None
    assert "Laterality" in image
    assert not image.Laterality
    assert "PatientOrientation" in segmentation
    assert not segmentation.PatientOrientation


@pytest.mark.parametrize("wrong", ["x" * 65, "a\\b", "a\nb"])
def test_a_patient_id_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="invalid patient ID"):
        dicom.secondary_capture(still(), patient_id=wrong)


def test_without_a_polyp_or_a_mask_there_is_no_segmentation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = Result(np.zeros((16, 16), np.uint8), (), 0.0, None)
    for number, (result, says) in enumerate(
        [
            (nothing, "no polyp was found"),
            (Result(None, (), 0.0, Reason(ReasonKind.LATE, "131 ms")), "late: 131 ms"),
        ]
    ):
        write_still(still(result=result), tmp_path / f"s{number}")
        assert (
            run(tmp_path / f"s{number}", "--out", tmp_path / f"d{number}", "--no-burned-in-text")
            == 0
        )
        assert f"no Segmentation: {says}" in capsys.readouterr().out
        assert [path.name for path in (tmp_path / f"d{number}").iterdir()] == [IMAGE]


@pytest.fixture
def picture(tiny_scene: Callable[..., ImageU8], tmp_path: Path) -> Path:
    """A round view of a red disc, a name written beside it."""
    scene = tiny_scene(0, height=241, width=319)
    mask = np.zeros(scene.shape[:2], np.uint8)
    cv2.circle(mask, (160, 120), 110, 255, cv2.FILLED)
    view = cv2.bitwise_and(scene, scene, mask=mask)
    cv2.putText(view, "A B", (2, 20), 0, 0.4, (230, 230, 230), 1)
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), cv2.cvtColor(view, cv2.COLOR_RGB2BGR))
    return path


def test_an_image_is_looked_at_once_by_a_bundle(
    picture: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "d"
    command = (picture, "--bundle", tiny_bundle, "--engine", "tflite", "--out", out)
    assert run(*command) == 0
    image, segmentation = read(out)
    original = np.asarray(cv2.imread(str(picture)), np.uint8)
    view = estimate(original)
    inside = cv2.resize(view.mask, (319, 241), interpolation=cv2.INTER_NEAREST) > 0
    assert original[~inside].max() > 200, "something is written there"
    assert image.pixel_array[~inside].max() == 0
    np.testing.assert_array_equal(image.pixel_array[inside][:, ::-1], original[inside])
    assert segmentation is not None
    disc = (original[..., 2] > 200) & (original[..., 1] < 100)
    mask = np.squeeze(segmentation.pixel_array) > 0
    assert (mask & disc).sum() / (mask | disc).sum() > 0.8
    algorithm = segmentation.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert Bundle.open(tiny_bundle).digest in algorithm.AlgorithmParameters
    assert run(*command) == 2
    assert run(*command, "--force") == 0


def test_bad_input_is_one_clear_error(
    picture: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    cv2.imwrite(str(tmp_path / "dark.png"), np.full((240, 320, 3), 3, np.uint8))
    write_still(still(), tmp_path / "s")
    (tmp_path / "empty").mkdir()
    bundle = ("--bundle", tiny_bundle)
    for arguments, code, says in (
        ((tmp_path / "none",), 3, "does not exist"),
        ((picture,), 2, "--bundle B"),
        ((tmp_path / "text.png", *bundle), 3, "text.png"),
        ((tmp_path / "dark.png", *bundle), 3, "shows no field of view"),
        ((tmp_path / "empty",), 3, "is not a still"),
        ((tmp_path / "s", *bundle), 2, "has its own mask"),
        ((picture, "--bundle", tmp_path / "empty"), 4, "empty"),
        ((tmp_path / "s", "--patient-id", "a\\b"), 2, "invalid patient ID"),
    ):
        assert run(*arguments, "--out", tmp_path / "d") == code, arguments
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert says in err
        assert not (tmp_path / "d").exists()


def test_a_missing_extra_names_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib.util import find_spec

    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "highdicom" else find_spec(name)
    )
    assert run(tmp_path, "--out", tmp_path / "d") == MissingDependencyError.exit_code
    assert "pip install 'edge-difom[dicom]'" in capsys.readouterr().err
