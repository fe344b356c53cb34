"""The page's readers of recordings, run by node, against wfdb; and what they refuse."""

import numpy as np
import pytest
import wfdb
from page_readers import ask, leads_of, needs_node

from riskweave.modalities.ecg import LEADS

pytestmark = needs_node


def recording(samples=1200, seed=0):
    rng = np.random.default_rng(seed)
    return np.round(np.cumsum(rng.normal(0, 0.02, (samples, 12)), axis=0) % 1.6 - 0.8, 3)


def record(folder, name, *, form, gain, samples=1201, **more):
    signal = recording(samples)
    wfdb.wrsamp(
        name, fs=100, units=["mV"] * 12, sig_name=list(LEADS), p_signal=signal, fmt=[form] * 12,
        adc_gain=[gain] * 12, baseline=[3] * 12, write_dir=str(folder), **more,
    )  # fmt: skip
    return {path.name: path.read_bytes() for path in folder.glob(f"{name}.*")}


@pytest.mark.parametrize(("form", "gain"), [("16", 1000), ("24", 1e5), ("32", 1e6), ("80", 100), ("212", 1000)])
def test_records_are_those_that_wfdb_reads(tmp_path, form, gain):
    files = record(tmp_path, "r", form=form, gain=gain)
    # A missing sample, as each format has it.
    files["r.dat"] = wfdb_missing(files["r.dat"], form)
    (tmp_path / "r.dat").write_bytes(files["r.dat"])
    (answer,) = ask([("ecg", files, {"seconds": 30})])
    expected = wfdb.rdrecord(str(tmp_path / "r")).p_signal.T
    assert np.isnan(expected).sum() == 1
    np.testing.assert_array_equal(leads_of(answer), expected)
    assert answer["rate"] == 100
    assert answer["present"] == list(LEADS)
    assert answer["notes"] == ["ecg.checksum"]


def wfdb_missing(data, form):
    """Return a signal file whose first sample of the second frame means "no value"."""
    data = bytearray(data)
    sizes = {"16": (2, b"\x00\x80"), "24": (3, b"\x00\x00\x80"), "32": (4, b"\x00\x00\x00\x80"), "80": (1, b"\x00")}
    if form == "212":
        data[18:20] = bytes([0, (data[19] & 0xF0) | 8])
    else:
        size, value = sizes[form]
        data[12 * size : 13 * size] = value
    return bytes(data)


def test_whole_records_match_their_checksum_and_long_ones_are_cut(tmp_path):
    files = record(tmp_path, "r", form="16", gain=1000, samples=2000)
    (answer,) = ask([("ecg", files, {})])
    assert answer["notes"] == []
    assert answer["samples"] == 1200  # the ten seconds that are measured, and two for the filter
    assert answer["seconds"] == 20
    expected = wfdb.rdrecord(str(tmp_path / "r")).p_signal.T[:, :1200]
    np.testing.assert_array_equal(leads_of(answer), expected)


def test_records_of_several_files_with_an_offset_are_read(tmp_path):
    files = record(tmp_path, "r", form="16", gain=1000)
    lines = files["r.hea"].decode().splitlines()
    samples = np.frombuffer(files["r.dat"], "<i2").reshape(-1, 12)
    header = [lines[0], *(line.replace("r.dat 16", "r1.mat 16+24") for line in lines[1:7])]
    header += [line.replace("r.dat 16", "r2.dat 61") for line in lines[7:13]]
    parts = {
        "r.hea": "\n".join(header).encode(),
        "r1.mat": b"\0" * 24 + np.ascontiguousarray(samples[:, :6]).tobytes(),
        "r2.dat": np.ascontiguousarray(samples[:, 6:]).astype(">i2").tobytes(),
    }
    for name, data in parts.items():
        (tmp_path / name).write_bytes(data)
    (answer,) = ask([("ecg", parts, {"seconds": 30})])
    np.testing.assert_array_equal(leads_of(answer), wfdb.rdrecord(str(tmp_path / "r")).p_signal.T)


def test_differences_and_skew_are_undone(tmp_path):
    steps = np.random.default_rng(1).integers(-20, 20, (300, 2)).astype(np.int8)
    lines = ["r 2 100 300", "r.dat 8 200(0)/mV 12 0 7 0 0 I", "r.dat 8 200(0)/mV 12 0 -5 0 0 II"]
    files = {"r.hea": "\n".join(lines).encode(), "r.dat": steps.tobytes()}
    shifted = {"s.hea": b"s 2 100 300\ns.dat 16:5 200(0)/mV 16 0 0 0 0 I\ns.dat 16 200(0)/mV 16 0 0 0 0 V1",
               "s.dat": np.arange(600, dtype="<i2").tobytes()}  # fmt: skip
    for name, data in {**files, **shifted}.items():
        (tmp_path / name).write_bytes(data)
    first, second = ask([("ecg", files, {"seconds": 30}), ("ecg", shifted, {"seconds": 30})])
    np.testing.assert_array_equal(leads_of(first)[:2], wfdb.rdrecord(str(tmp_path / "r")).p_signal.T)
    expected = wfdb.rdrecord(str(tmp_path / "s")).p_signal.T
    np.testing.assert_array_equal(leads_of(second)[[0, 6]], expected)
    assert first["missing"] == list(LEADS[2:])


def test_samples_of_ten_bits_are_those_that_wfdb_reads(tmp_path):
    rng = np.random.default_rng(3)
    cases = []
    for form in ("310", "311"):
        for count in (100, 101, 102, 103):
            name = f"r{form}{count}"
            lines = [f"{name} 1 100 {count}", f"{name}.dat {form} 200(0)/mV 10 0 0 0 0 II"]
            stored = rng.integers(0, 256, 4 * (-(-count // 3)), np.uint8)
            # The highest two bits of a block in format 311 are unused, and 0.
            stored[3::4] &= 63 if form == "311" else 255
            files = {f"{name}.hea": "\n".join(lines).encode(), f"{name}.dat": stored.tobytes()}
            for each, data in files.items():
                (tmp_path / each).write_bytes(data)
            cases.append((name, files))
    answers = ask([("ecg", files, {"seconds": 30}) for _, files in cases])
    for (name, _), answer in zip(cases, answers, strict=True):
        expected = wfdb.rdrecord(str(tmp_path / name)).p_signal[:, 0]
        np.testing.assert_array_equal(leads_of(answer)[1], expected, err_msg=name)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_are_read(separator):
    signal = recording(1200)
    point = "." if separator == "," else ","
    head = separator.join(["time (ms)", "note", *(f"Lead {lead} (uV)" for lead in LEADS)])
    rows = [
        separator.join([f"{10 * i}", "x y", *(f"{1000 * value:.1f}".replace(".", point) for value in row)])
        for i, row in enumerate(signal)
    ]
    rows[5] = rows[5].replace(rows[5].split(separator)[2], "", 1)
    (answer,) = ask([("ecg", {"e.csv": "\r\n".join([head, *rows]).encode()}, {})])
    signal[5, 0] = np.nan
    np.testing.assert_allclose(leads_of(answer), signal.T, rtol=1e-12)
    assert answer["rate"] == 100


def table(head, cell="0.1", rows=200):
    width = head.count(",") + 1
    return {"e.csv": "\n".join([head, *([",".join([cell] * width)] * rows)]).encode()}


def refused_ecgs(tmp_path):
    files = record(tmp_path, "r", form="16", gain=1000)
    head, data = files["r.hea"].decode(), files["r.dat"]

    def changed(old, new, count=-1):
        return {"r.hea": head.replace(old, new, count).encode(), "r.dat": data}

    return {
        "wfdb.noHeader": {"r.dat": data},
        "wfdb.missing": {"r.hea": head.encode()},
        "wfdb.several": {**files, "s.hea": head.encode()},
        "wfdb.short": {"r.hea": head.encode(), "r.dat": data[:-1]},
        "wfdb.header": {"r.hea": b"\x00\x01 nothing", "r.dat": data},
        "wfdb.format": changed("r.dat 16 ", "r.dat 516 "),
        "wfdb.frames": changed("r.dat 16 ", "r.dat 16x4 ", 1),
        "wfdb.segments": changed("r 12 100", "r/3 12 100"),
        "ecg.unit": changed("/mV", "/mmHg", 1),
        "ecg.noLeads": changed(" 0 I", " 0 X") | {"r.hea": b"r 1 100 1000\nr.dat 16 200 16 0 0 0 0 PLETH"},
        "status.32": {"r.hea": head.replace("r 12 100 1201", "r 12 100 99").encode(), "r.dat": data},
        "status.33": changed("r 12 100", "r 12 20"),
        "status.34": {"r.hea": head.encode(), "r.dat": b"\x00\x80" * (len(data) // 2)},
        "ecg.kind": {"r.pdf": b"%PDF"},
        "file.empty": {"r.hea": b""},
        "csv.empty": {"e.csv": b"I,II\n"},
        "csv.rate": table("I,II"),
        "csv.text": table("I,II", cell="high"),
        "csv.times": table("time (s),I,II", cell="0.5"),
        "csv.timeUnit": table("time (min),I,II"),
        "csv.twice": table("time,I,Lead I"),
    }


def test_bad_recordings_are_each_refused_for_what_they_are(tmp_path):
    cases = refused_ecgs(tmp_path)
    cases["csv.ragged"] = {"e.csv": b"I,II\n0.1,0.2\n0.1\n0.1,0.2"}
    rng = np.random.default_rng(0)
    rows = "\n".join(f"{value:.0f}" for value in rng.normal(0, 300, 300))
    cases["csv.voltage"] = {"e.csv": f"I\n{rows}".encode()}
    settings = {"csv.voltage": {"rate": 100}, "csv.ragged": {"rate": 100}, "csv.text": {"rate": 100}}
    answers = ask([("ecg", files, settings.get(key, {})) for key, files in cases.items()])
    assert {key: answer.get("refused") for key, answer in zip(cases, answers, strict=True)} == {
        key: key for key in cases
    }
