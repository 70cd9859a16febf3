"""A still as DICOM: a Secondary Capture image, and a Segmentation of it where a polyp was found (PS3.3 A.8.1, A.51).

The only module that knows pydicom and highdicom, the extra `[dicom]`.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import cv2
import highdicom as hd
import numpy as np
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from edge import __version__
from edge.bundle.manifest import RESEARCH_USE
from edge.errors import UsageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from edge.stills.still import BundleIdentity, Still

MAKER = "edge-difom"
LABEL = "RESEARCH"
"""Content label of a segmentation (CS: 16 capital letters at most)."""

NOTICE = "RESEARCH USE ONLY, not a medical device"
"""Fits where DICOM takes 64 characters."""

_LONGEST = 64
"""Of a text of the value representation LO (PS3.5 6.2)."""
_UTF8 = "ISO_IR 192"
_BLACKED = "Pixels outside the field of view were made black"
_METHOD = "No identity was written; black outside the field of view"


def secondary_capture(still: Still, *, patient_id: str = "", clean: bool = False) -> Dataset:
    """The picture of a still, black outside its field of view, without a name, a date of study or a place.

    Args:
        still: As read or composed.
        patient_id: As it is to stand there; empty leaves it empty.
        clean: Whether a person looked and saw no text inside the field of view that tells who the patient is or
            when. Otherwise that cannot be excluded, and the image says that it holds such text.

    Returns:
        A Secondary Capture in a study and a series of its own, uncompressed.

    Raises:
        UsageError: `patient_id` is none.
    """
    _check_id(patient_id)
    rgb = np.ascontiguousarray(cv2.cvtColor(still.image, cv2.COLOR_BGR2RGB))
    image = hd.sc.SCImage(
        rgb,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=generate_uid(),
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MAKER,
        patient_id=patient_id,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set=_UTF8,
    )
    # The library asks for an orientation; of an endoscope's picture none is known, and the attribute is of type 2.
    image.PatientOrientation = []
    image.Modality = "ES"
    image.SecondaryCaptureDeviceManufacturer = MAKER
    image.SecondaryCaptureDeviceManufacturerModelName = NOTICE
    image.SecondaryCaptureDeviceSoftwareVersions = _short(f"{MAKER} {still.record.version}")
    image.SeriesDescription = NOTICE
    image.ImageComments = RESEARCH_USE
    image.DerivationDescription = _BLACKED
    image.BurnedInAnnotation = "NO" if clean else "YES"
    image.LossyImageCompression = "00"
    _tell_identity(image, removed=clean and not patient_id)
    return image


def segmentation(still: Still, image: Dataset) -> Dataset | None:
    """The mask of a still on its Secondary Capture.

    Args:
        still: As read or composed.
        image: What `secondary_capture` gave for it.

    Returns:
        A binary Segmentation with one frame and one segment, or None where no polyp was found or there is no mask.
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
    made = hd.seg.Segmentation(
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
    made.SeriesDescription = NOTICE
    _tell_identity(made, removed=image.PatientIdentityRemoved == "YES")
    return made


def encode(dataset: Dataset) -> bytes:
    """A DICOM file (PS3.10)."""
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


def _tell_identity(dataset: Dataset, *, removed: bool) -> None:
    dataset.PatientIdentityRemoved = "YES" if removed else "NO"
    if removed:
        dataset.DeidentificationMethod = _METHOD


def _short(text: str) -> str:
    """A text as LO takes it, without the backslash that parts values."""
    return text.replace("\\", "/")[:_LONGEST]


def _check_id(patient_id: str) -> None:
    if len(patient_id) > _LONGEST or "\\" in patient_id or not patient_id.isprintable():
        raise UsageError(
            "the patient ID is none",
            expected=f"at most {_LONGEST} printable characters, no backslash",
            got=repr(patient_id),
        )
