"""Writers of PNG and DICOM files whose bytes depend on nothing but the image and the seed."""

import hashlib
from datetime import datetime
from pathlib import Path

import numpy as np

__all__ = ["FORMATS", "SUFFIXES", "deterministic_uid", "write_dicom", "write_image", "write_png"]

FORMATS = ("png8", "png16", "monochrome2", "monochrome1")
SUFFIXES = {"png8": ".png", "png16": ".png", "monochrome2": ".dcm", "monochrome1": ".dcm"}

# ISO/IEC 9834-8: a UUID-derived UID (root 2.25) of this writer, instead of the writing library's with its version.
_IMPLEMENTATION = "2.25.229517203417846592031337148652070183591"


def write_image(*, path: Path, image: np.ndarray, kind: str, subject_id: str, time: datetime, key: str) -> None:
    """Write an image in one of the formats in `FORMATS`; the arguments are those of `write_png` and `write_dicom`."""
    if kind.startswith("png"):
        write_png(path=path, image=image, bits=int(kind[3:]))
    else:
        write_dicom(path=path, image=image, inverted=kind == "monochrome1", subject_id=subject_id, time=time, key=key)


def write_png(*, path: Path, image: np.ndarray, bits: int) -> None:
    """Write a greyscale PNG.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    image : numpy.ndarray
        Image in [0, 1], shape (rows, columns).
    bits : int
        8 or 16.
    """
    from PIL import Image

    kind = {8: np.uint8, 16: np.uint16}[bits]
    Image.fromarray(np.rint(image * np.iinfo(kind).max).astype(kind)).save(path, format="PNG", compress_level=3)


def write_dicom(*, path: Path, image: np.ndarray, inverted: bool, subject_id: str, time: datetime, key: str) -> None:
    """Write a computed-radiography DICOM file, 12 bits stored in 16.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    image : numpy.ndarray
        Image in [0, 1], dense tissue bright, shape (rows, columns).
    inverted : bool
        MONOCHROME1 (the smallest value is shown white) instead of MONOCHROME2.
    subject_id : str
        Pseudonym of the subject.
    time : datetime.datetime
        Time of the image.
    key : str
        Text from which the unique identifiers are derived.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

    uid = {part: deterministic_uid(f"{key}/{part}") for part in ("study", "series", "instance")}
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = uid["instance"]
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION
    meta.ImplementationVersionName = "RISKWEAVE_DEMO"

    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = ComputedRadiographyImageStorage, uid["instance"]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid["study"], uid["series"]
    dataset.StudyDate, dataset.StudyTime = time.strftime("%Y%m%d"), time.strftime("%H%M%S")
    dataset.Modality, dataset.PatientID, dataset.PatientName = "CR", subject_id, ""
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"
    dataset.Rows, dataset.Columns = image.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelSpacing = ["2.7", "2.7"]
    dataset.RescaleIntercept, dataset.RescaleSlope = "0", "1"
    dataset.WindowCenter, dataset.WindowWidth = "2048", "4096"
    stored = np.rint((1 - image if inverted else image) * 4095).astype("<u2")
    dataset.PixelData = stored.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def deterministic_uid(text: str) -> str:
    """Derive a unique identifier under the root 2.25 from the SHA-256 of a text, at most 64 characters."""
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'big')}"
