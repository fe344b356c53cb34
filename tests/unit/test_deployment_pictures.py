"""Picture files of a bundle's user: to the bit those of the pipeline; broken ones say why."""

import contextlib
import warnings
import zlib

import numpy as np
import PIL.Image
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from riskweave.deployment.runtime.readers import ReadError, parse_image, read_image
from riskweave.modalities import image as pictures


@pytest.fixture(scope="module")
def picture():
    y, x = np.mgrid[0:70, 0:96] / 96
    return np.round(60 + 60 * x + 40 * y + 80 * np.exp(-(((x - 0.4) / 0.2) ** 2) - ((y - 0.6) / 0.15) ** 2)).astype(
        np.uint8
    )


def dicom(path, stored, *, bits=16, photometric="MONOCHROME2", syntax=ExplicitVRLittleEndian, **tags):
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3.4"
    meta.TransferSyntaxUID = syntax if syntax != RLELossless else ExplicitVRLittleEndian
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3.4"
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (3 if stored.ndim == 3 else 1), photometric
    if stored.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * stored.dtype.itemsize, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    for name, value in tags.items():
        setattr(dataset, name, value)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    dataset.save_as(path, enforce_file_format=True)
    return path


def save(path, values, **options):
    (values if isinstance(values, PIL.Image.Image) else PIL.Image.fromarray(values)).save(path, **options)
    return path


def test_pictures_are_read_as_by_the_pipeline(tmp_path, picture):
    """To the bit, in every form that is accepted."""
    rng = np.random.default_rng(6)
    colour = np.dstack([picture, np.roll(picture, 9, 0), 255 - picture])
    wide = picture.astype(np.uint16) * 16
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    window = {"WindowCenter": 1700, "WindowWidth": 1500, "RescaleSlope": "2", "RescaleIntercept": "-100"}
    palette = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in ("Red", "Green", "Blue")}
    palette |= {
        f"{name}PaletteColorLookupTableData": rng.integers(0, 65536, 256, dtype="<u2").tobytes()
        for name in ("Red", "Green", "Blue")
    }
    paths = [
        save(tmp_path / "8.png", picture),
        save(tmp_path / "16.png", wide),
        save(tmp_path / "rgb.png", colour),
        save(tmp_path / "rgba.png", np.dstack([colour, picture])),
        save(tmp_path / "palette.png", PIL.Image.fromarray(colour).quantize(30)),
        save(tmp_path / "bit.png", PIL.Image.fromarray(picture > 128)),
        save(tmp_path / "grey.jpg", picture, quality=90),
        save(tmp_path / "rgb.jpg", colour, quality=90),
        save(tmp_path / "turned.jpg", picture, exif=turned),
        save(tmp_path / "cmyk.jpg", PIL.Image.fromarray(colour).convert("CMYK")),
        dicom(tmp_path / "8.dcm", picture, bits=8),
        dicom(tmp_path / "12.dcm", wide, bits=12),
        dicom(tmp_path / "signed.dcm", wide.astype(np.int16) - 1000, RescaleSlope="2", RescaleIntercept="-24"),
        dicom(tmp_path / "inverted.dcm", wide, bits=12, photometric="MONOCHROME1", **window),
        dicom(tmp_path / "window.dcm", wide, bits=12, **window),
        dicom(tmp_path / "implicit.dcm", wide, bits=12, syntax=ImplicitVRLittleEndian),
        dicom(tmp_path / "big.dcm", wide, bits=12, syntax=ExplicitVRBigEndian),
        dicom(tmp_path / "rgb.dcm", colour, bits=8, photometric="RGB"),
        dicom(tmp_path / "ybr.dcm", colour, bits=8, photometric="YBR_FULL"),
        dicom(tmp_path / "palette.dcm", picture, bits=8, photometric="PALETTE COLOR", **palette),
    ]
    for path in paths:
        by_pipeline = pictures._read_dicom if path.suffix == ".dcm" else pictures._read_picture
        expected = by_pipeline(path)[0]
        grey = np.asarray(read_image(path))
        assert grey.dtype.str in {"<f4", "|u1"}
        np.testing.assert_array_equal(grey, expected, err_msg=path.name)
    assert read_image(tmp_path / "turned.jpg").shape == (96, 70)


def broken_pictures(folder, picture):
    """Yield what the message says, and the bytes."""
    png = save(folder / "a.png", picture).read_bytes()
    jpeg = save(folder / "a.jpg", picture).read_bytes()
    grey = dicom(folder / "a.dcm", picture, bits=8).read_bytes()
    yield "cut short", png[: len(png) // 2]
    yield "damaged|cut short", jpeg[: len(jpeg) // 3]
    yield "a PNG picture that is damaged|cut short", png[:20]
    yield "neither PNG nor JPEG nor DICOM", b"hello"
    yield "a PDF document", b"%PDF-1.7"
    yield "a TIFF picture", b"II*\0" + bytes(50)
    yield "which is no picture", save(folder / "line.png", picture[:1]).read_bytes()
    yield "million are allowed", save(folder / "long.png", np.zeros((3, 20_000), np.uint8)).read_bytes()
    for edge in (9_800, 15_000):  # the header of a picture that would fill the memory, around nothing
        header = b"IHDR" + edge.to_bytes(4) * 2 + png[24:29]
        yield "million are allowed|too many pixels", png[:12] + header + zlib.crc32(header).to_bytes(4) + png[33:]
    yield r"compressed \(RLE Lossless\)", dicom(folder / "rle.dcm", picture, bits=8, syntax=RLELossless).read_bytes()
    for uid in ("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.1.99"):
        dataset = pydicom.dcmread(folder / "a.dcm")
        dataset.file_meta.TransferSyntaxUID = uid
        if ".4." in uid:
            dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8" + bytes(98)])
            dataset["PixelData"].is_undefined_length = True
        dataset.save_as(folder / "c.dcm", enforce_file_format=True)
        yield r"compressed \((JPEG 2000|JPEG Lossless|Deflated Explicit)", (folder / "c.dcm").read_bytes()
    yield "several images", dicom(folder / "f.dcm", picture, bits=8, NumberOfFrames="2").read_bytes()
    yield "damaged", grey[:-500]
    yield "damaged|does not say|without an image", grey[:200]
    for tag, problem in (("PixelData", "no pixels"), ("Rows", "without an image"), ("SamplesPerPixel", "damaged")):
        dataset = pydicom.dcmread(folder / "a.dcm")
        delattr(dataset, tag)
        dataset.save_as(folder / "d.dcm", enforce_file_format=True)
        yield problem, (folder / "d.dcm").read_bytes()
    yield "million are allowed", dicom(folder / "h.dcm", picture, bits=8, Rows=60_000, Columns=60_000).read_bytes()
    yield "neither grey nor", dicom(folder / "s.dcm", picture, bits=8, SamplesPerPixel=4).read_bytes()
    yield (
        "no finite numbers",
        dicom(folder / "n.dcm", picture, bits=8, RescaleSlope="1e39", RescaleIntercept="0").read_bytes(),
    )


def test_pictures_that_cannot_be_read_say_why(tmp_path, picture):
    count = 0
    for problem, data in broken_pictures(tmp_path, picture):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, of damaged files
            with pytest.raises(ReadError, match=problem):
                parse_image(data)
        count += 1
    assert count > 20


def test_damaged_pictures_never_fail_otherwise(tmp_path, picture):
    rng = np.random.default_rng(3)
    files = [
        save(tmp_path / "a.png", picture),
        save(tmp_path / "a.jpg", picture),
        dicom(tmp_path / "a.dcm", picture, bits=8, WindowCenter=100, WindowWidth=50),
    ]
    for path in files:
        whole = path.read_bytes()
        for _ in range(120):
            data = bytearray(whole)
            for _ in range(rng.integers(1, 6)):
                data[rng.integers(132 if path.suffix == ".dcm" else 0, min(len(data), 900))] = rng.integers(256)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with contextlib.suppress(ReadError):
                    assert parse_image(bytes(data)).ndim == 2
