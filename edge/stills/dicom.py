"""Converts a still to DICOM: a Secondary Capture image, and a Segmentation if a polyp was found.

The objects follow PS3.3 A.8.1 and A.51. This is the only module that imports pydicom and highdicom
(extra `[dicom]`).
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import cv2
import highdicom as hd
import numpy as np
from pydicom import config
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from edge import __version__
from edge.bundle.manifest import RESEARCH_USE
from edge.errors import UsageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from edge.stills.record import BundleIdentity
    from edge.stills.still import Still

MAKER = "edge-difom"
LABEL = "RESEARCH"
"""Content label of a segmentation (CS: at most 16 capital letters)."""

NOTICE = "RESEARCH USE ONLY, not a medical device"
"""Short notice for fields of 64 characters."""

_MAX_LENGTH = 64
"""Maximum length of a text of the value representation LO (PS3.5 6.2), characters."""
_UTF8 = "ISO_IR 192"
_BLACKED = "Pixels outside the field of view were made black"
_METHOD = "No identity was written; black outside the field of view"


def secondary_capture(
    still: Still, *, patient_id: str = "", clean: bool = False, study_uid: str = ""
) -> Dataset:
    """Build the image of a still, without a patient name, a study date or a place.

    Args:
        still: A still that was read or composed.
        patient_id: Patient ID to write; empty leaves the field empty.
        clean: Whether a person has checked that no text inside the field of view reveals the
            patient or the date. Otherwise the image declares that it may contain such text.
        study_uid: UID of the study to put it into; empty for the study of the still's run.

    Returns:
        An uncompressed Secondary Capture in a series of its own.

    Raises:
        UsageError: The patient ID or the UID is invalid.
    """
    _check_id(patient_id)
    study = UID(study_uid or still.record.study_uid or generate_uid(), config.IGNORE)
    if not study.is_valid:
        raise UsageError(
            "invalid study UID",
            expected="numbers without leading zeros between dots, at most 64 characters",
            got=repr(str(study)),
        )
    rgb = np.ascontiguousarray(cv2.cvtColor(still.image, cv2.COLOR_BGR2RGB))
    image = hd.sc.SCImage(
        rgb,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=study,
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MAKER,
        patient_id=patient_id,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set=_UTF8,
    )
    # The library requires an orientation; an endoscope image has none, and type 2 may be empty.
    image.PatientOrientation = []
    image.Laterality = ""  # type 2C: required and empty for an organ that has no sides
    image.Modality = "ES"
    image.SecondaryCaptureDeviceManufacturer = MAKER
    image.SecondaryCaptureDeviceManufacturerModelName = NOTICE
    image.SecondaryCaptureDeviceSoftwareVersions = _short(f"{MAKER} {still.record.version}")
    image.SeriesDescription = NOTICE
    image.ImageComments = RESEARCH_USE
    image.DerivationDescription = _BLACKED
    image.BurnedInAnnotation = "NO" if clean else "YES"
    image.LossyImageCompression = "00"
    _mark_identity(image, removed=clean and not patient_id)
    return image


def segmentation(still: Still, image: Dataset) -> Dataset | None:
    """Build the segmentation of a still.

    Args:
        still: A still that was read or composed.
        image: Its image from `secondary_capture`.

    Returns:
        A binary Segmentation with one frame and one segment, or None if the mask is empty or
        missing.
    """
    bundle = still.record.bundle
    if still.mask is None or bundle is None or not still.mask.any():
        return None
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Polyp",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.PolypOfColon,
        algorithm_type="AUTOMATIC",
        algorithm_identification=_algorithm(bundle),
        anatomic_regions=[codes.SCT.Colon],
    )
    segmentation_image = hd.seg.Segmentation(
        [image],
        (still.mask > 0).astype(np.uint8),
        "BINARY",
        [segment],
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=NOTICE,
        software_versions=_short(f"{MAKER} {__version__}"),
        device_serial_number="none",
        content_label=LABEL,
        content_description=NOTICE,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set=_UTF8,
    )
    segmentation_image.SeriesDescription = NOTICE
    segmentation_image.PatientOrientation = []
    _mark_identity(segmentation_image, removed=image.PatientIdentityRemoved == "YES")
    return segmentation_image


def encode(dataset: Dataset) -> bytes:
    """Encode a DICOM file (PS3.10)."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _algorithm(bundle: BundleIdentity) -> hd.AlgorithmIdentificationSequence:
    return hd.AlgorithmIdentificationSequence(
        name=_short(bundle.name),
        family=codes.DCM.ArtificialIntelligence,
        version=_short(bundle.created),
        source=_short(f"{MAKER} {__version__}"),
        parameters={
            "bundle_sha256": bundle.digest,
            "student": bundle.student,
            "engine": bundle.engine,
            "threshold": f"{bundle.threshold:g}",
        },
    )


def _mark_identity(dataset: Dataset, *, removed: bool) -> None:
    dataset.PatientIdentityRemoved = "YES" if removed else "NO"
    if removed:
        dataset.DeidentificationMethod = _METHOD


def _short(text: str) -> str:
    """Shorten a text for LO and replace backslashes, which separate values."""
    return text.replace("\\", "/")[:_MAX_LENGTH]


def _check_id(patient_id: str) -> None:
    if len(patient_id) > _MAX_LENGTH or "\\" in patient_id or not patient_id.isprintable():
        raise UsageError(
            "invalid patient ID",
            expected=f"at most {_MAX_LENGTH} printable characters, no backslash",
            got=repr(patient_id),
        )
