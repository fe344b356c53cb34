"""The comparison of module and pipeline: what stops a bundle, and what does not."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from riskweave.deployment.parity import MOST, TOLERANCE, ParityError, Predicted, check_parity, describe, module_risks
from riskweave.deployment.patients import _plausible
from riskweave.deployment.read import _terms
from riskweave.deployment.recipe import Column
from riskweave.study.ehr import EventFeatures
from riskweave.survival.preprocessing import DesignMatrix, FeatureTable


def risks(n: int = 300) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 0.4, (n, 2, 3))


def check(found, wanted, rounding=0.0, refused=None):
    some = [0, 1]
    return check_parity(Predicted(found, refused or {}), wanted, double=wanted[some] + rounding, some=some)


def test_rounding_passes_and_more_does_not():
    wanted = risks()
    found = check(wanted + 2e-7, wanted)
    assert found.allowed == TOLERANCE
    assert found.largest == pytest.approx(2e-7, rel=1e-3)
    off = wanted.copy()
    off[5, 1, 2] += 2e-6
    with pytest.raises(ParityError, match=r"1 of 300 subjects differ by more than 1.0e-06"):
        check(off, wanted)


def test_what_the_pipeline_rounds_is_allowed_but_never_much():
    wanted = risks()
    assert check(wanted + 3e-6, wanted, rounding=1e-6).allowed == pytest.approx(4e-6)
    with pytest.raises(ParityError, match="differ by more than"):
        check(wanted + 2 * MOST, wanted, rounding=0.02)


def test_few_may_be_refused_and_many_not():
    wanted, found = risks(), risks()
    found[:3] = np.nan
    assert check(found, wanted, refused={"age": 3}).refused == 3
    found[:4] = np.nan
    with pytest.raises(ParityError, match=r"refuses 4 of 300 subjects of the study \(age: 4\)"):
        check(found, wanted, refused={"age": 4})


def test_files_that_are_refused_are_told_apart_from_values():
    wanted, found = risks(), risks()
    found[:9] = np.nan
    with pytest.raises(ParityError, match=r"\(image file: 9\). A bundle reads no files of this kind"):
        check(found, wanted, refused={"image file": 9})
    with pytest.raises(ParityError, match=r"Widen the limits .* A bundle reads no files of this kind"):
        check(found, wanted, refused={"age": 3, "ecg file": 6})


def test_compressed_pictures_are_decoded_counted_and_told(tmp_path, monkeypatch, caplog):
    """Of four pictures one is compressed, as the archive stores it, and one is cut short: that subject is refused."""
    pixels = (np.arange(64 * 64).reshape(64, 64) % 251).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    _dicom(pixels).save_as(tmp_path / "b.dcm", enforce_file_format=True)
    compressed = _dicom(pixels)
    compressed.compress(RLELossless)
    compressed.save_as(tmp_path / "c.dcm", enforce_file_format=True)
    (tmp_path / "d.png").write_bytes((tmp_path / "a.png").read_bytes()[:-200])
    people = [(name, {}, None, tmp_path / name) for name in ("a.png", "b.dcm", "c.dcm", "d.png")]
    monkeypatch.setattr("riskweave.deployment.parity.patients_of", lambda *_: people)
    seen = []
    module = SimpleNamespace(
        schema={"causes": ["mi"], "times": [365.0]},
        set_patient=lambda _: None,
        set_image=lambda greys: seen.append(np.asarray(greys)),
        predict=lambda **_: SimpleNamespace(risks=np.full((1, 1), 0.1)),
    )
    found = module_risks(module, None, pd.Index([each[0] for each in people]))
    assert (found.pictures, found.compressed, found.refused) == (4, 1, {"image file": 1})
    assert np.isnan(found.risks[:, 0, 0]).tolist() == [False, False, False, True]
    assert all(np.array_equal(greys, pixels) for greys in seen)
    assert "1 of 4 pictures are compressed DICOM" in caplog.text
    parity = check_parity(Predicted(found.risks[:3], {}, 4, 1), found.risks[:3], double=found.risks[:1], some=[0])
    told = describe(parity)
    assert (told["pictures"], told["pictures_to_export_anew"]) == (4, 1)


def _dicom(pixels):
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3.4"
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.Rows, made.Columns, made.SamplesPerPixel = *pixels.shape, 1
    made.PhotometricInterpretation, made.PixelRepresentation = "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.PixelData = pixels.tobytes()
    return made


def test_implausible_values_are_events_without_a_value_as_in_the_pipeline():
    blocks = [
        EventFeatures(codes=["LAB//K$"], aggregates=["last"], unit="mmol/L", convert={"mg/dL": 0.25}, range=(2, 8)),
        EventFeatures(codes=["LAB//"], by_code=True, aggregates=["max"], range=(1, 7)),
    ]
    assert _plausible("LAB//K", "mmol/L", blocks) == (2, 7)
    assert _plausible("LAB//K", "mg/dL", blocks[:1]) == (8, 32)
    assert _plausible("LAB//NA", "", blocks) == (1, 7)
    assert _plausible("VITAL//SBP", "", blocks) == (-np.inf, np.inf)


def test_a_record_of_categories_alone_has_terms():
    people = pd.Index([f"p{number}" for number in range(200)], dtype=object)
    table = FeatureTable("s", "ehr", pd.DataFrame({"sex": ["f", "m"] * 100}, index=people), categorical=("sex",))
    design = DesignMatrix().fit([table], people)
    column = Column("s.sex", 0, 0, "static", categories=("f", "m"))
    found = _terms(design, {"s.sex": 0}, [column], ["ehr"])
    assert [(term.kind, term.categories) for term in found] == [("category", (0,))]
