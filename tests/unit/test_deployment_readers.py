"""ECG files of a bundle's user: records against wfdb, tables in many dialects; broken ones say why."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import wfdb
from deployed import leads_of

from riskweave.deployment.runtime.readers import (
    LEADS,
    MOST_SAMPLES,
    ReadError,
    parse_ecg,
    read_ecg,
    read_image,
)
from riskweave.modalities import ecg as pipeline
from riskweave.synthetic.wfdb_files import write_record

FORMATS = ("8", "16", "24", "32", "61", "80", "160", "212", "310", "311")


@pytest.fixture
def signal():
    """Return a 12-lead recording in mV, 2 s at 500 Hz."""
    return np.cumsum(np.random.default_rng(4).normal(0, 0.02, size=(1000, 12)), axis=0)


def record(folder, signal, name="record"):
    write_record(path=folder / name, signal=signal, leads=LEADS, sampling_rate=500, gain=1000)
    return folder / f"{name}.hea"


def by_wfdb(path):
    """Return the leads as wfdb reads them, in the standard order, in mV."""
    found = wfdb.rdrecord(str(path.with_suffix("")))
    leads = np.full((12, found.sig_len), np.nan)
    for name, unit, values in zip(found.sig_name, found.units, found.p_signal.T, strict=True):
        if name in LEADS:
            leads[LEADS.index(name)] = values * {"mV": 1.0, "uV": 1e-3, "V": 1e3}[unit]
    return leads, found.fs


def assert_as_wfdb(path):
    expected, rate = by_wfdb(path)
    leads, found = read_ecg(path)
    assert found == rate
    np.testing.assert_array_equal(leads_of(leads), expected)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("signals", "samples"), [(1, 7), (2, 101), (3, 64), (5, 1), (12, 50)])
def test_any_bytes_are_read_as_by_wfdb(tmp_path, form, signals, samples):
    """Random bytes are signals of every format; with blocks that end anywhere, and a header before the samples."""
    rng = np.random.default_rng(signals)
    data = rng.integers(0, 256, size=4 * signals * samples + 100, dtype=np.uint8)
    if form == "311":
        data[27::4] &= 63  # two bits of each block are unused, of which wfdb 4.3 reads one
    (tmp_path / "r.mat").write_bytes(data.tobytes())
    lines = [f"r {signals} 257.5/10(3) {samples} 10:20:30 01/02/2003", "# a comment"]
    for lead, gain in zip(LEADS[:signals], ("200", "0", "12.5(7)/uV", "1e2(-3)/V", "-100/mV") * 3, strict=False):
        lines.append(f"r.mat {form}+24 {gain} 12 5 -11 0 0 {lead}")
    (tmp_path / "r.hea").write_text("\n".join(lines))
    assert_as_wfdb(tmp_path / "r.hea")


def test_values_that_mean_nothing_are_missing(tmp_path):
    np.array([5, -32768, 7, 8], dtype="<i2").tofile(tmp_path / "r.dat")
    (tmp_path / "r.hea").write_text("r 1 500 4\nr.dat 16 1000 16 0 0 0 0 II\n")
    assert_as_wfdb(tmp_path / "r.hea")
    assert np.isnan(leads_of(read_ecg(tmp_path / "r").leads)[1]).tolist() == [False, True, False, False]


def test_records_of_several_files_and_of_few_words(tmp_path):
    """Two signal files of different formats, other signals between the leads, and headers that leave things out."""
    rng = np.random.default_rng(8)
    for name in "abc":
        (tmp_path / f"{name}.dat").write_bytes(rng.integers(0, 256, 6000, dtype=np.uint8).tobytes())
    lines = [
        "m 5 500 900",
        "a.dat 16 200/uV 16 0 0 0 0 V6",
        "a.dat 16 100 16 0 0 0 0 I",
        "b.dat 212 400 12 0 0 0 0 aVF",
        "b.dat 212 1/mmHg 12 0 0 0 0 ABP",
        "c.dat 80 20 8 -3 0 0 0 V1",
    ]
    (tmp_path / "m.hea").write_text("\r\n".join(lines))
    assert_as_wfdb(tmp_path / "m.hea")
    for header in (
        "s 1 500\na.dat 16 100 16 0 0 0 0 II",
        "s 1 360 0\na.dat 24 100 16 0 0 0 0 II",
        "s 1\na.dat 80 9 8 0 0 0 0 V2",
    ):
        (tmp_path / "s.hea").write_text(header)
        if " 0\n" not in header:
            assert_as_wfdb(tmp_path / "s.hea")
        assert read_ecg(tmp_path / "s.hea").leads.shape[1] in {3000, 2000, 6000}
    (tmp_path / "s.hea").write_text("s 1 500 3000\na.dat 16 100 I")
    assert_as_wfdb(tmp_path / "s.hea")


def test_the_pipeline_reads_the_same(tmp_path, signal):
    """By header, by signal file and by name; from disk and from memory."""
    path = record(tmp_path, signal)
    expected, rate, _ = pipeline._read_wfdb(path, seconds=10)
    for way in (path, path.with_suffix(".dat"), path.with_suffix("")):
        leads, found = read_ecg(way)
        assert found == rate
        np.testing.assert_array_equal(leads_of(leads), expected)
    files = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    np.testing.assert_array_equal(leads_of(parse_ecg(files, rate=500).leads), expected)
    text = path.read_text().replace(" 0 aVR", " 0 Lead AVR_").replace("/mV", "/uv")
    path.write_text(text)
    np.testing.assert_array_equal(leads_of(read_ecg(path).leads), pipeline._read_wfdb(path, seconds=10)[0])


def test_microvolts_with_a_greek_letter(tmp_path, signal):
    path = record(tmp_path, signal)
    expected = leads_of(read_ecg(path).leads)
    for encoding in ("utf-8", "latin-1"):
        path.write_bytes(path.read_text().replace("1000(0)/mV", "1(0)/µV").encode(encoding))
        np.testing.assert_allclose(leads_of(read_ecg(path).leads), expected, rtol=1e-12)
        path.write_bytes(path.read_bytes().decode(encoding).replace("1(0)/µV", "1000(0)/mV").encode())


def test_a_long_record_is_cut(tmp_path):
    np.zeros(2 * MOST_SAMPLES, dtype="<i2").tofile(tmp_path / "r.dat")
    (tmp_path / "r.hea").write_text(f"r 1 500 {2 * MOST_SAMPLES}\nr.dat 16 1000 16 0 0 0 0 II\n")
    assert read_ecg(tmp_path / "r").leads.shape == (12, MOST_SAMPLES)


def table(signal, names=LEADS, *, separator=",", time=None, decimal=".", end="\n"):
    columns = [] if time is None else [time[1]]
    head = [*([] if time is None else [time[0]]), *names]
    rows = np.column_stack([*columns, signal])
    lines = [separator.join(head), *(separator.join(f"{value:.9g}" for value in row) for row in rows)]
    text = end.join(lines) + end
    return text if decimal == "." else text.replace(".", decimal)


def test_tables_of_many_dialects(signal):
    """The same recording with other separators, decimals, units, orders, times and encodings."""
    expected = np.array([[float(f"{value:.9g}") for value in row] for row in signal]).T
    seconds = np.arange(1000) / 500
    micro = [f"{name} (uV)" for name in LEADS]
    order = np.random.default_rng(2).permutation(12)
    dialects = [
        (table(signal), 500),
        (table(signal, time=("time (s)", seconds)), None),
        (table(signal, time=("t [ms]", 1000 * seconds + 17)), None),
        (table(signal, time=("Time", seconds)), None),
        (table(signal, time=("time", 1000 * seconds)), 500),
        (table(signal, time=("time_ms", 1000 * seconds)), None),
        (table(signal, separator=";", decimal=",", time=("Zeit (s)", seconds), end="\r\n"), None),
        (table(signal, separator="\t", time=("ms", 1000 * seconds)), None),
        (table(1000 * signal, micro), 500),
        (table(1000 * signal, [name.replace("uV", "µV").replace("V", "v") for name in micro]), 500),
        (table(signal, [f'"Lead {name.upper()}"' for name in LEADS]), 500),
        (table(signal[:, order], [LEADS[place] for place in order]), 500),
        (table(np.column_stack([signal, seconds]), [*LEADS, "respiration"]), 500),
    ]
    for text, rate in dialects:
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1"):
            leads, found = parse_ecg({"ecg.csv": text.encode(encoding)}, rate=rate)
            assert found == 500
            np.testing.assert_allclose(leads, expected, rtol=2e-8, atol=1e-12, err_msg=text[:80])


def test_tables_with_gaps_and_few_leads():
    text = "II,V2\n0.1,\n,0.2\nNaN, -0.3\n"
    leads, rate = parse_ecg({"ecg.txt": text.encode()}, rate=100)
    assert rate == 100
    leads = leads_of(leads)
    np.testing.assert_array_equal(leads[1], [0.1, np.nan, np.nan])
    np.testing.assert_array_equal(leads[7], [np.nan, 0.2, -0.3])
    assert np.isnan(leads[[0, 2, 3, 4, 5, 6, 8, 9, 10, 11]]).all()
    text = "time (s),I\n" + "".join(f"{k / 300:.3f},0.1\n" for k in range(900))  # rounded to milliseconds
    assert parse_ecg({"ecg.csv": text.encode()}).rate == 300


def rows(*lines):
    return {"ecg.csv": "\n".join(lines).encode()}


BROKEN_TABLES = {
    "no column of the table is named after a lead": rows("a,b", "1,2"),
    "tells neither times nor a sampling rate": rows("I,II", "1,2"),
    "two columns of lead II": rows("II,ii", "1,2"),
    "the unit of lead V1 is unknown": rows("V1 (bar)", "1"),
    "the unit of the times is unknown": rows("time (h),I", "1,2"),
    "row 3 of the table has 1 columns": rows("I,II", "1,2", "1"),
    "row 2 of the table holds something that is no number": rows("I,II", "1,x"),
    "row 3 of the table holds something": rows("I,II", "1,2", "inf,2"),
    "no rows below": rows("I,II"),
    "do not rise in equal steps": rows("time (s),I", "0,1", "0.002,1", "0.002,1", "0.004,1"),
    "rows are missing": rows("time (s),I", *(f"{k / 500},1" for k in range(99) if k != 50)),
    "the times do not rise": rows("time (s),I", "0,1"),
    "larger than any ECG's": rows("I", *(str(300 * np.sin(k)) for k in range(99))),
    "no table of text": {"ecg.csv": b"a\0b" * 100},
    "a PDF document": {"ecg.csv": b"%PDF-1.4 ..."},
    "an XML file": {"ecg.xml": b"\xef\xbb\xbf<?xml version='1.0'?><AnnotatedECG/>"},
    "a DICOM file": {"ecg.dcm": bytes(128) + b"DICM" + bytes(99)},
    "a MATLAB file": {"ecg.mat": b"MATLAB 5.0 MAT-file, Platform: GLNXA64"},
    "no ECG of a kind that is read": {"ecg.bin": b"\1\2\3\4"},
    "is empty": {"ecg.csv": b""},
    "No file was given": {},
    "several headers": {"a.hea": b"x", "b.hea": b"x"},
    "damaged near line": {"ecg.csv": b'I\n"' + b"1\n" * 70_000},
    "longer than 65536 characters": {"ecg.csv": b"I,II\n" + b"," * 1_000_000},
}


@pytest.mark.parametrize("problem", BROKEN_TABLES)
def test_tables_that_cannot_be_read_say_why(problem):
    rate = None if "time" in problem or "rows are" in problem or "equal" in problem else 500
    with pytest.raises(ReadError, match=f"(?i){problem}") as caught:
        parse_ecg(BROKEN_TABLES[problem], rate=rate)
    assert caught.value.remedy.endswith((".", ").")) or caught.value.remedy.endswith("`.")


def test_old_line_ends_and_empty_lines():
    leads, _ = parse_ecg({"ecg.csv": b"\r\r I ;II\r0,5;1\r\r0,25;2"}, rate=500)
    np.testing.assert_array_equal(leads_of(leads)[:2], [[0.5, 0.25], [1, 2]])


def test_nothing_but_small_libraries_is_imported():
    """A bundle runs where no scientific stack is."""
    code = "import sys, riskweave.deployment.runtime.readers; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "scipy", "pandas", "wfdb", "torch", "sklearn", "matplotlib", "pyarrow"} & set(loaded)


def test_rates_that_cannot_be(tmp_path, signal):
    seconds = np.arange(1000) / 500
    for files, rate, problem in (
        (rows("I", "1"), 0, "not a positive number"),
        (rows("I", "1"), float("nan"), "not a positive number"),
        ({"e.csv": table(signal, time=("time (s)", seconds)).encode()}, 250, "250 Hz was given"),
    ):
        with pytest.raises(ReadError, match=problem):
            parse_ecg(files, rate=rate)
    with pytest.raises(ReadError, match="250 Hz was given"):
        read_ecg(record(tmp_path, signal), rate=250)


LINE = "r.dat 16 1000 16 0 0 0 0 II"
BROKEN_RECORDS = {
    "it has no lines": "# nothing\n\n",
    "its first line lacks": "r",
    "its first line lacks the": f"r one 500 4\n{LINE}",
    "0 signals; 1 to": "r 0 500 4",
    "9999 signals; 1 to": "r 9999 500 4",
    "rate or its length is not positive": f"r 1 -500 4\n{LINE}",
    "rate or its length is not": f"r 1 nan 4\n{LINE}",
    "announces 2 signals and describes 1": f"r 2 500 4\n{LINE}",
    "several segments": "r/3 1 500 4\na 2\nb 2",
    "lacks its file and format": "r 1 500 4\nr.dat",
    "lacks its file and": "r 1 500 4\nr.dat sixteen 1000",
    "a signal file's name is": "r 1 500 4\n../r.dat 16 1000 16 0 0 0 0 II",
    "a signal file's name": "r 1 500 4\n/etc/passwd 80 1000 16 0 0 0 0 II",
    "compressed \\(WFDB format 516\\)": f"r 1 500 4\n{LINE.replace(' 16 1000', ' 516 1000')}",
    "WFDB format 77": f"r 1 500 4\n{LINE.replace(' 16 1000', ' 77 1000')}",
    "different sampling rates": f"r 1 500 4\n{LINE.replace(' 16 1000', ' 16x4 1000')}",
    "shifted in time": f"r 1 500 4\n{LINE.replace(' 16 1000', ' 16:4 1000')}",
    "several formats": f"r 2 500 4\n{LINE}\nr.dat 80 1000 16 0 0 0 0 V1",
    "standard lead": f"r 1 500 4\n{LINE.replace('II', 'ABP')}",
    "The unit of II": f"r 1 500 4\n{LINE.replace('1000', '1000/mmHg')}",
    "gain is not finite": f"r 1 500 4\n{LINE.replace('1000', '1e999')}",
    "cut short": f"r 1 500 5\n{LINE}",
    "asks for 2000000000000 bytes": f"r 1 500 1000000000000\n{LINE}",
    "cut short: the header": f"r 1 500 4\n{LINE.replace(' 16 1000', ' 16+24 1000')}",
    "holds no samples": f"r 1 500\n{LINE.replace(' 16 1000', ' 16+24 1000')}",
    "more than 18 digits": f"r 1 500 4\n{LINE.replace('1000', '1000(' + 5000 * '9' + ')')}",
    "first value is beyond 32 bits": f"r 1 500 4\n{LINE.replace(' 16 1000 16 0 0', f' 8 1000 16 0 {2**31}')}",
    "There is no file other.dat": f"r 1 500 4\n{LINE.replace('r.dat', 'other.dat')}",
    "an XML file": "<?xml version='1.0'?>",
    "longer than 1 MB": "#" * 2_000_000,
}


@pytest.mark.parametrize("problem", BROKEN_RECORDS)
def test_records_that_cannot_be_read_say_why(tmp_path, problem):
    np.arange(4, dtype="<i2").tofile(tmp_path / "r.dat")
    (tmp_path / "r.hea").write_text(BROKEN_RECORDS[problem])
    with pytest.raises(ReadError, match=problem):
        read_ecg(tmp_path / "r.hea")


def test_files_that_are_not_there_or_too_large(tmp_path, signal, monkeypatch):
    path = record(tmp_path, signal)
    with pytest.raises(ReadError, match=r"There is no header other\.hea"):
        read_ecg(tmp_path / "other.dat")
    with pytest.raises(ReadError, match=r"There is no file ecg\.csv"):
        read_ecg(tmp_path / "ecg.csv")
    with pytest.raises(ReadError, match=r"record\.dat is missing"):
        parse_ecg({"record.hea": path.read_bytes()})
    (tmp_path / "lonely.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(ReadError, match="a MATLAB file"):
        read_ecg(tmp_path / "lonely.mat")
    monkeypatch.setattr("riskweave.deployment.runtime.reading.MOST_BYTES", 1000)
    for read in (read_ecg, read_image):
        with pytest.raises(ReadError, match="MB"):
            read(path.with_suffix(".dat") if read is read_image else path)
    shutil.copy(path.with_suffix(".dat"), tmp_path / "large.csv")
    with pytest.raises(ReadError, match="are allowed"):
        read_ecg(tmp_path / "large.csv")


def random_records(path, rng):
    """Yield damaged copies of a record's files."""
    files = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    for _ in range(150):
        damaged = dict(files)
        name = rng.choice(sorted(files))
        data = bytearray(files[name])
        for _ in range(rng.integers(1, 5)):
            data[rng.integers(len(data))] = rng.integers(256)
        damaged[name] = bytes(data[: rng.integers(1, len(data) + 1)]) if rng.random() < 0.3 else bytes(data)
        yield damaged


def test_damaged_files_never_fail_otherwise(tmp_path, signal):
    """Bits flip and ends are lost: an ECG of 12 leads or the one error, nothing else."""
    rng = np.random.default_rng(12)
    refused = 0
    for files in random_records(record(tmp_path, signal), rng):
        try:
            assert parse_ecg(files).leads.shape[0] == 12
        except ReadError:
            refused += 1
    assert 10 < refused < 140
