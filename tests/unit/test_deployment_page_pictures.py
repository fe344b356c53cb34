"""The page's readers of pictures, run by node, against Pillow and pydicom; and what they refuse."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pydicom
from page_readers import ask, greys_of, needs_node
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from riskweave.modalities.image import _read_dicom, _read_picture

pytestmark = needs_node


def encoded(array, mode=None, form="PNG", **more):
    buffer = io.BytesIO()
    image = PIL.Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, form, **more)
    return buffer.getvalue()


def picture_greys(folder, data, name="p.png"):
    (folder / name).write_bytes(data)
    return _read_picture(folder / name)[0]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, *, interlaced=0, before=()):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    body = chunk(b"IHDR", head) + b"".join(chunk(*each) for each in before)
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def adam7(grey):
    """Return the rows of an interlaced picture of 16 bit greys, each with filter 0."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = []
    for x, y, dx, dy in passes:
        part = grey[y::dy, x::dx]
        if part.size:
            parts += [b"\0" + row.astype(">u2").tobytes() for row in part]
    return b"".join(parts)


def test_png_greys_are_those_of_pillow(tmp_path):
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 65536, (37, 53)).astype(np.uint16)
    grey, rgb = rng.integers(0, 256, (37, 53)).astype(np.uint8), rng.integers(0, 256, (37, 53, 3)).astype(np.uint8)
    smooth = (np.add.outer(np.arange(64), 2 * np.arange(80)) % 256).astype(np.uint8)
    rgba = np.dstack([rgb, grey])
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    wide = rng.integers(0, 65536, (5, 7, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    bits = b"".join(b"\0" + row.tobytes() for row in rng.integers(0, 256, (9, 3)).astype(np.uint8))
    files = {
        "16 bit": encoded(deep),
        "8 bit": encoded(grey),
        "filtered": encoded(smooth, optimize=True),
        "colour": encoded(rgb),
        "transparent": encoded(rgba),
        "grey and transparent": encoded(np.dstack([grey, grey])),
        "palette": encoded(smooth, mode="P"),
        "one bit": encoded(grey, mode="1"),
        "two bits": png(10, 9, 2, 0, bits),
        "four bits": png(6, 9, 4, 0, bits),
        "turned": encoded(rgb, exif=exif),
        "turned, 16 bit": encoded(deep, exif=exif),
        "colour of 16 bits": png(7, 5, 16, 2, rows),
        "interlaced": png(53, 37, 16, 0, adam7(deep), interlaced=1),
    }
    answers = ask([("image", {"p.png": data}, {}) for data in files.values()])
    for (name, data), answer in zip(files.items(), answers, strict=True):
        assert "refused" not in answer, (name, answer)
        np.testing.assert_array_equal(greys_of(answer), picture_greys(tmp_path, data), err_msg=name)


def dicom(pixels, *, syntax=ExplicitVRLittleEndian, **tags):
    """Return a DICOM file of these stored values."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "1.2.3"
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.PatientName = "Nobody^At All"
    # A sequence with an item, which a reader has to step over.
    item = Dataset()
    item.CodeValue = "T-D3000"
    made.AnatomicRegionSequence = Sequence([item])
    size = pixels.dtype.itemsize
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    made.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = 8 * size
    made.HighBit = 8 * size - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    stored = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    made.PixelData = encapsulate([stored]) if syntax.is_compressed else stored
    made["PixelData"].VR = "OW" if size > 1 else "OB"
    buffer = io.BytesIO()
    pydicom.dcmwrite(
        buffer, made, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian
    )
    return buffer.getvalue()


def lut(values, first, bits=16):
    item = Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = np.asarray(values, dtype="<u2").tobytes()
    item["LUTData"].VR = "OW"
    return Sequence([item])


def test_dicom_greys_are_those_of_pydicom(tmp_path):
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 4096, (31, 22)).astype(np.uint16)
    signed = rng.integers(-1000, 3000, (31, 22)).astype(np.int16)
    rgb = rng.integers(0, 256, (31, 22, 3)).astype(np.uint8)
    planar = np.ascontiguousarray(np.moveaxis(rgb, 2, 0)).reshape(31, 22, 3)
    twelve = {"BitsStored": 12, "HighBit": 11}
    window = {"WindowCenter": "1500", "WindowWidth": "900"}
    files = {
        "plain": dicom(deep, **twelve),
        "implicit": dicom(deep, syntax=ImplicitVRLittleEndian, **twelve),
        "big": dicom(deep, syntax=ExplicitVRBigEndian, **twelve),
        "8 bit": dicom(rgb[..., 0].copy()),
        "inverted": dicom(deep, PhotometricInterpretation="MONOCHROME1", **twelve),
        "window": dicom(deep, **twelve, **window),
        "two windows": dicom(deep, **twelve, WindowCenter=["1500", "20"], WindowWidth=["900", "10"]),
        "exact": dicom(deep, **twelve, **window, VOILUTFunction="LINEAR_EXACT"),
        "sigmoid": dicom(deep, **twelve, **window, VOILUTFunction="SIGMOID"),
        "rescaled": dicom(signed, RescaleSlope="0.5", RescaleIntercept="-1024", WindowCenter="40", WindowWidth="400"),
        "signed": dicom(signed),
        "table": dicom(deep, **twelve, VOILUTSequence=lut(np.linspace(65535, 0, 4000).astype(int), 50)),
        "modality table": dicom(deep, **twelve, ModalityLUTSequence=lut((np.arange(4096) * 7) % 65536, 0), **window),
        "colour": dicom(rgb),
        "planar": dicom(planar, PlanarConfiguration=1),
    }
    answers = ask([("image", {"p.dcm": data}, {}) for data in files.values()])
    for (name, data), answer in zip(files.items(), answers, strict=True):
        (tmp_path / "p.dcm").write_bytes(data)
        assert "refused" not in answer, (name, answer)
        expected = _read_dicom(tmp_path / "p.dcm")[0]
        exact = name not in {"colour", "planar", "sigmoid"}
        np.testing.assert_allclose(greys_of(answer), expected, rtol=0 if exact else 2e-7, err_msg=name)


def test_bad_pictures_are_each_refused_for_what_they_are():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (40, 40)).astype(np.uint8)
    good, deep = encoded(grey), dicom(grey.astype(np.uint16))
    broken = bytearray(good)
    broken[60] ^= 255
    jpeg = encoded(grey, form="JPEG")
    many = dicom(np.zeros((4, 4), np.uint16), NumberOfFrames=3)
    cases = [
        ("image.kind", b"GIF89a not a picture of ours"),
        ("image.short", good[:-30]),
        ("image.short", png(40, 40, 8, 0, b"\0" * 41 * 20)),
        ("image.broken", bytes(broken)),
        ("image.broken", png(40, 40, 8, 5, b"\0" * 41 * 40)),
        ("image.broken", png(40, 40, 8, 0, b"\x07" * 41 * 40)),
        ("image.size", png(60_000, 60_000, 1, 0, b"\0")),
        ("image.size", png(1, 40, 8, 0, b"\0\0" * 40)),
        ("image.short", jpeg[: len(jpeg) // 2]),
        ("image.broken", jpeg[:20]),
        ("image.cmyk", encoded(np.dstack([grey] * 3), mode="CMYK", form="JPEG")),
        ("dicom.compressed", dicom(grey, syntax=JPEG2000)),
        ("dicom.frames", many),
        ("dicom.colour", dicom(grey, PhotometricInterpretation="PALETTE COLOR")),
        ("dicom.layout", dicom(grey, BitsAllocated=64)),
        ("image.short", deep[:-100]),
        ("image.short", deep[:300]),
        ("image.broken", deep[:140]),
        ("file.empty", b""),
    ]
    answers = ask([("image", {"p": data}, {}) for _, data in cases])
    found = [answer.get("refused") for answer in answers]
    assert found == [key for key, _ in cases]


def test_no_cut_of_a_file_gives_a_picture_or_a_fault():
    grey = np.random.default_rng(0).integers(0, 256, (12, 12)).astype(np.uint8)
    files = [encoded(grey), dicom(grey.astype(np.uint16)), dicom(grey, syntax=ImplicitVRLittleEndian)]
    cuts = [("image", {"p": data[:end]}, {}) for data in files for end in range(1, len(data) - 1, 3)]
    answers = ask(cuts)
    assert len(answers) > 300
    assert all("refused" in answer for answer in answers)
