"""Image reading: one picture in many formats gives one array; broken files stop the run."""

import tracemalloc

import numpy as np
import pandas as pd
import PIL.Image
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from riskweave.errors import DataError
from riskweave.modalities.base import read_features
from riskweave.modalities.files import latest_files
from riskweave.modalities.image import MODALITY, normalise, read_image, square
from riskweave.modalities.image_measurements import MEASUREMENTS
from riskweave.study.features import ImageFeatures

INDEX = pd.Timestamp("2020-06-01")
SIZE = 64
FEATURES = ImageFeatures(modality="image", size=SIZE)


@pytest.fixture(scope="module")
def picture():
    """Return a smooth picture with an off-centre bright ellipse, 96 x 96, 8 bit."""
    y, x = np.mgrid[0:96, 0:96] / 96
    values = 60 + 60 * x + 40 * y + 80 * np.exp(-(((x - 0.4) / 0.2) ** 2) - ((y - 0.6) / 0.15) ** 2)
    return np.round(values).astype(np.uint8)


def dicom(path, stored, *, bits=16, photometric="MONOCHROME2", syntax=ExplicitVRLittleEndian, **tags):
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3.4"
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (3 if stored.ndim == 3 else 1), photometric
    if stored.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = stored.tobytes()
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    dataset.save_as(path, enforce_file_format=True)
    return path


def png(path, values):
    PIL.Image.fromarray(values).save(path)
    return path


def read(path, size=SIZE):
    return read_image(path, features=ImageFeatures(modality="image", size=size))[0]


def test_bit_depths_and_containers_give_the_same_picture(tmp_path, picture):
    wide = picture.astype(np.uint16)
    reference, facts = read_image(png(tmp_path / "8.png", picture), features=FEATURES)
    assert reference.shape == (SIZE, SIZE)
    assert reference.dtype == np.float32
    assert (reference.min(), reference.max()) == pytest.approx((0, 1), abs=0.03)
    assert facts == {"format": "PNG", "width": 96, "height": 96, "bits": 8, "blank": False}
    same = {
        "16 bit": png(tmp_path / "16.png", wide * 257),
        "12 bit in 16": png(tmp_path / "12.png", wide * 16),
        "colour": png(tmp_path / "rgb.png", np.stack([picture] * 3, axis=-1)),
        "DICOM": dicom(tmp_path / "12.dcm", wide * 16, bits=12),
        "DICOM 8 bit": dicom(tmp_path / "8.dcm", picture, bits=8),
        "DICOM RLE": dicom(tmp_path / "rle.dcm", wide * 16, bits=12, syntax=RLELossless),
        "DICOM colour": dicom(tmp_path / "rgb.dcm", np.stack([picture] * 3, -1), bits=8, photometric="RGB"),
        "DICOM signed": dicom(
            tmp_path / "s.dcm", wide.astype(np.int16) - 1000, RescaleSlope="2", RescaleIntercept="-24"
        ),
        "MONOCHROME1": dicom(tmp_path / "m1.dcm", 4095 - wide * 16, bits=12, photometric="MONOCHROME1"),
    }
    for name, path in same.items():
        np.testing.assert_allclose(read(path), reference, atol=1e-4, err_msg=name)
    PIL.Image.fromarray(picture).save(tmp_path / "j.jpg", quality=95)
    np.testing.assert_allclose(read(tmp_path / "j.jpg"), reference, atol=0.03)
    # A name says nothing about the content.
    renamed = tmp_path / "dicom_named.png"
    renamed.write_bytes((tmp_path / "12.dcm").read_bytes())
    np.testing.assert_allclose(read(renamed), reference, atol=1e-4)


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 1700, "WindowWidth": 1500}])
def test_monochrome1_is_the_inverse_of_monochrome2(tmp_path, picture, window):
    stored = picture.astype(np.uint16) * 16
    two = read(dicom(tmp_path / "2.dcm", stored, bits=12, **window))
    one = read(dicom(tmp_path / "1.dcm", stored, bits=12, photometric="MONOCHROME1", **window))
    np.testing.assert_allclose(one, 1 - two, atol=1e-5)


def test_window_follows_the_rescaled_values(tmp_path, picture):
    """The linear window of DICOM PS3.3 C.11.2.1.2, by hand, on rescaled values."""
    stored = picture.astype(np.uint16)
    rescaled = 2.0 * stored - 100
    center, width = 150.0, 120.0
    by_hand = np.clip((rescaled - (center - 0.5)) / (width - 1) + 0.5, 0, 1).astype(np.float32)
    tags = {"RescaleSlope": "2", "RescaleIntercept": "-100", "WindowCenter": center, "WindowWidth": width}
    got = read(dicom(tmp_path / "w.dcm", stored, **tags))
    np.testing.assert_allclose(got, square(by_hand, size=SIZE), atol=1e-5)
    assert (got == 1).mean() > 0.02  # the window cuts


def test_a_picture_becomes_square_with_bars(tmp_path):
    wide = np.tile(np.linspace(50, 200, 128).astype(np.uint8), (64, 1))
    got = read(png(tmp_path / "wide.png", wide))
    assert not got[:15].any()
    assert not got[-15:].any()
    assert got[20:44].mean() == pytest.approx(0.5, abs=0.02)
    assert (np.diff(got[32]) >= 0).all()


def test_reducing_averages_instead_of_dropping_pixels():
    stripes = np.tile([0.0, 1.0], (256, 128)).astype(np.float32)
    np.testing.assert_allclose(square(stripes, size=32), 0.5, atol=0.02)


def test_rotated_jpeg_is_turned_upright(tmp_path, picture):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # stored turned by 90 degrees
    PIL.Image.fromarray(np.rot90(picture)).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    np.testing.assert_allclose(read(tmp_path / "turned.jpg"), square(normalise(picture), size=SIZE), atol=0.04)


def test_few_bright_pixels_are_not_lost():
    grey = np.zeros((100, 100))
    grey[0, 0] = 5
    assert normalise(grey).max() == 1
    assert not normalise(np.full((9, 9), 7.0)).any()


def run(folder, rows, *, threads=1, features=FEATURES):
    frame = pd.DataFrame(rows, columns=["subject_id", "time", "path"]).astype({"path": str})
    frame["time"] = INDEX + pd.to_timedelta(frame["time"], "D")
    frame.to_parquet(folder / "images.parquet")
    subjects = sorted({row[0] for row in rows})
    pd.DataFrame({"subject_id": subjects, "person_id": subjects, "index_time": INDEX}).to_parquet(
        folder / "subjects.parquet"
    )
    out = folder / "out"
    MODALITY.read(
        subjects=folder / "subjects.parquet",
        raw=folder / "images.parquet",
        features=features,
        table=out / "features.parquet",
        inputs=out / "inputs.npy",
        index=out / "index.parquet",
        threads=threads,
    )
    return np.load(out / "inputs.npy"), pd.read_parquet(out / "index.parquet"), read_features(out / "features.parquet")


def test_last_image_at_or_before_the_index(tmp_path, picture, caplog):
    old, new, later = (png(tmp_path / f"{k}.png", np.roll(picture, 20 * k, axis=1)) for k in range(3))
    blank = png(tmp_path / "blank.png", np.full((80, 70), 9, dtype=np.uint8))
    rows = [("b", 0, new), ("b", -9, old), ("b", 1, later), ("a", -1, blank), ("c", 2, later)]
    for threads in (1, 2):
        pixels, index, (table, columns) = run(tmp_path, rows, threads=threads)
        assert pixels.shape == (2, SIZE, SIZE)
        np.testing.assert_array_equal(pixels[1], read(new))
        assert index["row"].tolist() == [0, 1]
        assert index["blank"].tolist() == [True, False]
        assert table["subject_id"].tolist() == ["a", "b"]
        assert columns == []
    assert "1 of 2 images are of one grey" in caplog.text


def test_an_image_dated_to_the_day_may_be_later_than_the_index(tmp_path, picture):
    """Hours 12 (a, b, c) and 0 (d, of the next day) of the index; images at midnights."""
    old, new = png(tmp_path / "old.png", picture), png(tmp_path / "new.png", np.roll(picture, 20, axis=1))
    index_times = {"a": "2020-06-01 12:00", "b": "2020-06-01 12:00", "c": "2020-06-01", "d": "2020-06-02"}
    rows = [
        ("a", "2020-05-31", old),
        ("a", "2020-06-01", new),  # perhaps in the afternoon
        ("b", "2020-05-31", old),
        ("b", "2020-06-01 00:01", new),
        ("c", "2020-06-01", new),  # the instant of the index
        ("d", "2020-06-01", new),  # its day is over
        ("e", "2020-06-01", new),
    ]
    frame = pd.DataFrame(rows, columns=["subject_id", "time", "path"]).astype({"path": str})
    frame["time"] = pd.to_datetime(frame["time"], format="ISO8601")
    frame.to_parquet(tmp_path / "images.parquet")
    subjects = pd.DataFrame({"subject_id": list(index_times), "person_id": list(index_times)})
    subjects["index_time"] = pd.to_datetime(list(index_times.values()), format="ISO8601")
    subjects.to_parquet(tmp_path / "subjects.parquet")
    chosen = latest_files(subjects=tmp_path / "subjects.parquet", manifest=tmp_path / "images.parquet")
    assert chosen.to_numpy().tolist() == [
        ["a", str(old), 1],
        ["b", str(new), 4],
        ["c", str(new), 5],
        ["d", str(new), 6],
    ]


def test_the_last_file_of_many_index_times_is_that_of_all_pairs(tmp_path):
    """Against every pair of index time and file; midnights, equal times and people without either among them."""
    rng = np.random.default_rng(5)
    hours = rng.choice([0, 0, 9, 21], size=(2, 400)) + 24 * rng.integers(0, 40, size=(2, 400))
    times = pd.Timestamp("2020-01-01") + pd.to_timedelta(hours.ravel(), unit="h").to_numpy().reshape(2, 400)
    files = pd.DataFrame({"subject_id": rng.choice(list("abcdef"), 400), "time": times[0]})
    files["path"] = [f"{number:03d}.png" for number in rng.permutation(400)]
    subjects = pd.DataFrame({"person_id": rng.choice(list("bcdefg"), 400), "index_time": times[1]})
    subjects["subject_id"] = [f"{person}@{number}" for number, person in enumerate(subjects["person_id"])]
    subjects.to_parquet(tmp_path / "subjects.parquet")
    files.to_parquet(tmp_path / "images.parquet")
    expected = []
    for subject in subjects.sort_values("subject_id").itertuples():
        known = [
            (file.time, file.path, file.Index + 1)
            for file in files[files["subject_id"] == subject.person_id].itertuples()
            if file.time == subject.index_time
            or (file.time < subject.index_time and (file.time.hour or file.time.date() != subject.index_time.date()))
        ]
        if known:
            expected.append([subject.subject_id, *max(known)[1:]])
    chosen = latest_files(subjects=tmp_path / "subjects.parquet", manifest=tmp_path / "images.parquet")
    assert chosen.to_numpy().tolist() == expected
    assert 300 < len(expected) < 400


def test_a_person_of_many_index_times_and_files_needs_no_pairs(tmp_path):
    """20,000 index times and files of one person: 400 million pairs are gigabytes."""
    times = pd.date_range("2020-01-01 10:00", periods=20_000, freq="h")
    names = [f"a@{number:05d}" for number in range(len(times))]
    subjects = pd.DataFrame({"subject_id": names, "person_id": "a", "index_time": times})
    subjects.to_parquet(tmp_path / "subjects.parquet")
    pd.DataFrame({"subject_id": "a", "time": times, "path": names}).to_parquet(tmp_path / "images.parquet")
    tracemalloc.start()
    chosen = latest_files(subjects=tmp_path / "subjects.parquet", manifest=tmp_path / "images.parquet")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6
    # A midnight is of the instant of its own index time.
    assert chosen["path"].tolist() == names


def test_each_index_time_of_a_person_has_its_own_last_image(tmp_path, picture):
    """One row of the manifest may serve several subjects; its file is read and kept once."""
    first, second = png(tmp_path / "first.png", picture), png(tmp_path / "second.png", np.roll(picture, 20, axis=1))
    frame = pd.DataFrame({"subject_id": ["a", "a", "b"], "path": [str(first), str(second), str(second)]})
    frame["time"] = pd.to_datetime(["2020-01-10", "2020-03-01", "2020-09-01"])
    frame.to_parquet(tmp_path / "images.parquet")
    times = {"a@1": "2020-01-01", "a@2": "2020-02-01", "a@3": "2020-02-20", "a@4": "2020-04-01", "b@1": "2020-08-01"}
    subjects = pd.DataFrame({"subject_id": list(times), "person_id": [name[0] for name in times]})
    subjects.assign(index_time=pd.to_datetime(list(times.values()))).to_parquet(tmp_path / "subjects.parquet")
    chosen = latest_files(subjects=tmp_path / "subjects.parquet", manifest=tmp_path / "images.parquet")
    assert chosen.to_numpy().tolist() == [["a@2", str(first), 1], ["a@3", str(first), 1], ["a@4", str(second), 2]]
    MODALITY.read(
        subjects=tmp_path / "subjects.parquet",
        raw=tmp_path / "images.parquet",
        features=FEATURES,
        table=tmp_path / "features.parquet",
        inputs=tmp_path / "inputs.npy",
        index=tmp_path / "index.parquet",
    )
    index, made = pd.read_parquet(tmp_path / "index.parquet"), np.load(tmp_path / "inputs.npy")
    assert index[["subject_id", "row"]].to_numpy().tolist() == [["a@2", 0], ["a@3", 0], ["a@4", 1]]
    np.testing.assert_array_equal(made, [read(first), read(second)])


def test_several_images_their_measurements_and_one_patient(tmp_path, picture):
    features = ImageFeatures(modality="image", size=SIZE, measurements=True, most=2)
    paths = [png(tmp_path / f"{k}.png", np.roll(picture, 20 * k, axis=1)) for k in range(3)]
    rows = [("a", -9, paths[0]), ("a", -2, paths[1]), ("a", -1, paths[2]), ("b", -3, paths[1])]
    _, index, (table, columns) = run(tmp_path, rows, features=features)
    assert index[["subject_id", "row"]].to_numpy().tolist() == [["a", 0], ["a", 1], ["b", 0]]
    stored = MODALITY.open_inputs(tmp_path / "out/inputs.npy", tmp_path / "out/index.parquet")
    prepared = stored.fit(np.array([1]))
    pixels, owner = prepared.inputs(np.array([0, 1])).batch(np.array([0, 1]))
    assert owner.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(pixels[1].numpy(), read(paths[2]))
    assert [column.name for column in columns] == [name for name, *_ in MEASUREMENTS]
    patient = MODALITY.one_patient(paths, features)
    assert patient.measurements == pytest.approx(table.iloc[0, 1:].to_dict())
    alone, _ = MODALITY.prepared_from(prepared.state(), patient.stored).inputs([0]).batch([0])
    np.testing.assert_array_equal(alone.numpy(), pixels[:2].numpy())
    with pytest.raises(ValueError, match="there is no recording"):
        MODALITY.one_patient([], features)
    np.save(tmp_path / "out/inputs.npy", np.load(tmp_path / "out/inputs.npy")[::-1])
    with pytest.raises(DataError, match="its content is not that of the image inputs"):
        MODALITY.open_inputs(tmp_path / "out/inputs.npy", tmp_path / "out/index.parquet")
    (tmp_path / "out/index.parquet").write_bytes((tmp_path / "out/features.parquet").read_bytes())
    with pytest.raises(DataError, match="it is not a table of an encoder's inputs"):
        MODALITY.open_inputs(tmp_path / "out/inputs.npy", tmp_path / "out/index.parquet")


def test_many_index_times_and_files_of_a_person_are_chosen_as_from_all_pairs(tmp_path):
    """Up to 3 files in a window of 9 days, against every pair."""
    rng = np.random.default_rng(8)
    hours = rng.choice([0, 0, 9, 21], size=(2, 300)) + 24 * rng.integers(0, 40, size=(2, 300))
    times = pd.Timestamp("2020-01-01") + pd.to_timedelta(hours.ravel(), unit="h").to_numpy().reshape(2, 300)
    files = pd.DataFrame({"subject_id": rng.choice(list("abcdef"), 300), "time": times[0]})
    files["path"] = [f"{number:03d}.png" for number in rng.permutation(300)]
    subjects = pd.DataFrame({"person_id": rng.choice(list("bcdefg"), 300), "index_time": times[1]})
    subjects["subject_id"] = [f"{person}@{number:03d}" for number, person in enumerate(subjects["person_id"])]
    subjects.to_parquet(tmp_path / "subjects.parquet")
    files.to_parquet(tmp_path / "images.parquet")
    expected = []
    for subject in subjects.sort_values("subject_id").itertuples():
        known = [
            (file.time, file.path, file.Index + 1)
            for file in files[files["subject_id"] == subject.person_id].itertuples()
            if subject.index_time - file.time < pd.Timedelta(days=9)
            and (
                file.time == subject.index_time
                or (
                    file.time < subject.index_time and (file.time.hour or file.time.date() != subject.index_time.date())
                )
            )
        ]
        expected += [[subject.subject_id, *file[1:]] for file in sorted(known)[-3:]]
    chosen = latest_files(
        subjects=tmp_path / "subjects.parquet", manifest=tmp_path / "images.parquet", most=3, window=9
    )
    assert chosen.to_numpy().tolist() == expected
    assert chosen["subject_id"].value_counts().value_counts().index.isin([1, 2, 3]).all()
    old = pd.DataFrame({"subject_id": ["a"], "time": [pd.Timestamp("2019-01-01")], "path": ["x"]})
    old.to_parquet(tmp_path / "images.parquet")
    pd.DataFrame({"subject_id": ["a"], "person_id": ["a"], "index_time": [INDEX]}).to_parquet(
        tmp_path / "subjects.parquet"
    )
    with pytest.raises(DataError, match="less than 1 days before the index time"):
        latest_files(subjects=tmp_path / "subjects.parquet", manifest=tmp_path / "images.parquet", window=1)


def test_unreadable_images_stop_the_run(tmp_path, picture):
    good = png(tmp_path / "good.png", picture)
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    PIL.Image.fromarray(picture).save(tmp_path / "whole.jpg")
    jpg = tmp_path / "cut.jpg"
    jpg.write_bytes((tmp_path / "whole.jpg").read_bytes()[:700])
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    short = dicom(tmp_path / "short.dcm", picture.astype(np.uint16))
    short.write_bytes(short.read_bytes()[:5000])
    film = dicom(tmp_path / "film.dcm", np.concatenate([picture, picture]), bits=8, NumberOfFrames=2, Rows=96)
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    bad = [cut, jpg, text, short, film, empty, tmp_path / "absent.png"]
    rows = [(f"{number}", -1, path) for number, path in enumerate([good, *bad])]
    with pytest.raises(DataError, match="7 of 8 file") as error:
        run(tmp_path, rows)
    # Row 1 is the good one; a path may hold an identifier.
    assert "first that of data row 2: it is broken or cut short" in str(error.value)
    assert str(tmp_path) not in str(error.value)
    assert "cut.png" not in str(error.value)
    assert "Accepted are PNG" in str(error.value)
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(DataError, match="dated at or before the index time"):
        run(tmp_path, [("a", 1, good)])
