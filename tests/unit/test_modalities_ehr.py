"""EHR features against hand calculation and a brute-force pandas computation."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from riskweave.errors import DataError, StudyError
from riskweave.modalities.base import Column, read_features, read_sparse, write_features
from riskweave.modalities.ehr import aggregate_events
from riskweave.study.features import AGGREGATES, EhrFeatures

INDEX = pd.Timestamp("2020-06-01 12:00")
NUMBERS = [name for name in AGGREGATES if name != "category"]


def day(days):
    """Return the time so many days from the index."""
    return INDEX + pd.Timedelta(days=days)


def write(folder, subjects, events, **more):
    frame = pd.DataFrame(events, columns=["subject_id", "time", "code", "numeric_value"])
    frame["time"] = frame["time"].astype("datetime64[us]")
    frame["numeric_value"] = frame["numeric_value"].astype("float32")
    for column in ("text_value", "unit"):
        frame[column] = more.get(column, pd.Series([None] * len(frame), dtype=object))
    frame.sort_values(["subject_id", "time", "code"]).to_parquet(folder / "events.parquet", index=False)
    subjects = {"person_id": subjects["subject_id"], "followup_end": pd.NaT} | dict(subjects)
    times = {"index_time": "datetime64[us]", "followup_end": "datetime64[us]"}
    pd.DataFrame(subjects).astype(times).to_parquet(folder / "subjects.parquet", index=False)


@pytest.fixture
def small(tmp_path):
    subjects = pd.DataFrame(
        {
            "subject_id": ["001", "002", "003"],
            "index_time": INDEX,
            "followup_end": day(900),
            "age": [60.0, np.nan, 50.0],
            "sex": ["f", "m", None],
            "smoker": [True, False, None],
            "born": day(-20000),
            "empty": [np.nan] * 3,
        }
    )
    events = [
        ("001", day(-400), "LAB//CHOL", 4.0),
        ("001", day(-100), "LAB//CHOL", 5.0),
        ("001", day(0), "LAB//CHOL", 6.0),  # the instant of the index counts
        ("001", INDEX + pd.Timedelta(seconds=1), "LAB//CHOL", 100.0),  # a second later does not
        ("001", day(-10), "LAB//CHOL", np.nan),  # an event without a value
        ("002", None, "LAB//CHOL", 7.0),  # undated
        ("002", day(-30), "ICD10//I10", np.nan),
        ("003", day(30), "ICD10//I21", np.nan),  # the outcome
        ("999", day(-5), "LAB//CHOL", 9.0),  # not of the study
    ]
    write(tmp_path, subjects, events)
    return tmp_path


def make(folder, threads=1, **block):
    output = folder / "features.parquet"
    aggregate_events(
        subjects=folder / "subjects.parquet",
        events=folder / "events.parquet",
        features=EhrFeatures(modality="ehr", **block),
        output=output,
        threads=threads,
    )
    frame, columns = read_features(output)
    return frame.set_index("subject_id"), {column.name: column for column in columns}


def test_hand_calculation(small):
    frame, columns = make(small, events=[{"codes": ["LAB//CHOL"], "aggregates": NUMBERS}])
    assert list(frame.index) == ["001", "002", "003"]
    assert list(frame.columns) == [f"LAB//CHOL:{name}" for name in NUMBERS]
    days = np.array([-400.0, -100.0, 0.0])
    slope = np.polyfit(days / 365.25, [4.0, 5.0, 6.0], 1)[0]
    expected = pd.DataFrame(
        [
            [6, 5, 4, 6, 1, 4, slope, 1, 0],
            [7, 7, 7, 7, np.nan, 1, np.nan, 1, np.nan],
            [np.nan] * 5 + [0, np.nan, 0, np.nan],
        ],
        index=frame.index,
        columns=frame.columns,
    )
    pd.testing.assert_frame_equal(frame, expected.astype(float), rtol=1e-12)
    assert columns["LAB//CHOL:time_since"].unit == "days"
    assert columns["LAB//CHOL:slope"] == Column(
        "LAB//CHOL:slope", "ehr", "per year", "numeric", "Least-squares slope of the values over time, codes LAB//CHOL*"
    )


def test_window_leaves_out_undated_and_older_events(small):
    frame, _ = make(small, events=[{"codes": ["LAB//"], "name": "chol", "aggregates": ["count", "min"], "window": 100}])
    # Exactly 100 days before the index is no longer within 100 days.
    assert frame["chol:count@100d"].tolist() == [2, 0, 0]
    assert frame["chol:min@100d"].fillna(-1).tolist() == [6, -1, -1]


def test_nothing_after_the_index_changes_anything(small):
    block = {"static": ["age"], "events": [{"codes": ["LAB//", "ICD10//I10"], "aggregates": NUMBERS}]}
    before, _ = make(small, **block)
    events = pd.read_parquet(small / "events.parquet")
    later = events.assign(time=INDEX + pd.Timedelta(microseconds=1), numeric_value=np.float32(1e6)).dropna(
        subset="code"
    )
    pd.concat([events, later]).to_parquet(small / "events.parquet", index=False)
    after, _ = make(small, **block)
    pd.testing.assert_frame_equal(before, after)


def test_an_event_dated_to_the_day_may_be_later_than_the_index(tmp_path):
    index_times = ["2020-06-01 12:00", "2020-06-01", "2020-06-02", "2020-06-02 08:00"]
    subjects = pd.DataFrame({"subject_id": list("abcd"), "index_time": pd.to_datetime(index_times, format="ISO8601")})
    times = ["2020-05-31", "2020-06-01", "2020-06-01 00:01", None]
    events = [
        (subject, pd.Timestamp(time), "LAB//A", 2.0**place) for subject in "abcd" for place, time in enumerate(times)
    ]
    write(tmp_path, subjects, events)
    block = {"codes": ["LAB//A"], "aggregates": ["count", "last", "max"]}
    frame, _ = make(tmp_path, events=[block])
    # a: the midnight of its own day may be an afternoon; b: it is the instant of the index, and 00:01 is later;
    # c and d: that day is over. The undated value 8 always counts.
    assert frame["LAB//A:count"].tolist() == [3, 3, 4, 4]
    assert frame["LAB//A:last"].tolist() == [4, 2, 4, 4]
    assert frame["LAB//A:max"].tolist() == [8, 8, 8, 8]
    window, _ = make(tmp_path, events=[block | {"window": 1}])
    # Less than a day before the index: a 00:01; b midnight; c 00:01 (23:59 before it); d none.
    assert window["LAB//A:count@1d"].tolist() == [1, 1, 1, 0]


def test_events_of_the_index_day_without_an_hour_alone_are_an_error(tmp_path):
    write(
        tmp_path,
        pd.DataFrame({"subject_id": ["a"], "index_time": [INDEX]}),
        [("a", INDEX.normalize(), "DX//1", np.nan), ("a", day(-1), "DX//2", np.nan)],
    )
    with pytest.raises(DataError, match="or on its day without an hour"):
        make(tmp_path, events=[{"codes": ["DX//1"], "aggregates": ["ever"]}])


def test_static_columns_keep_their_kinds(small):
    frame, columns = make(small, static=["sex", "age", "smoker"])
    assert list(frame.columns) == ["sex", "age", "smoker"]
    assert [column.kind for column in columns.values()] == ["categorical", "numeric", "numeric"]
    assert frame["smoker"].tolist()[:2] == [1.0, 0.0]
    assert frame["sex"].isna().tolist() == [False, False, True]


def brute_force(subjects, events, prefixes, window):
    """Compute the aggregates subject by subject, in the order of NUMBERS."""
    rows = []
    wanted = events[events.code.str.startswith(tuple(prefixes))]
    for subject in subjects.itertuples():
        mine = wanted[wanted.subject_id == subject.subject_id]
        past = mine[mine.time.isna() | (mine.time <= subject.index_time)]
        if window:
            past = past[past.time > subject.index_time - pd.Timedelta(days=window)]
        valued = past.dropna(subset="numeric_value").astype({"numeric_value": float})
        dated = valued.dropna(subset="time")
        years = (dated.time - subject.index_time) / pd.Timedelta(days=365.25)
        latest = dated[dated.time == dated.time.max()] if len(dated) else valued
        value = valued.numeric_value
        slope = np.polyfit(years, dated.numeric_value, 1)[0] if len(set(years)) > 1 else np.nan
        since = (subject.index_time - past.time.max()) / pd.Timedelta(days=1)
        last = latest.numeric_value.max()
        spread = value.std(ddof=1)
        rows.append([last, value.mean(), value.min(), value.max(), spread, len(past), slope, len(past) > 0, since])
    return np.array(rows, dtype=float)


@pytest.fixture(scope="module")
def random_cohort(tmp_path_factory):
    folder, rng, n = tmp_path_factory.mktemp("random"), np.random.default_rng(3), 3000
    ids = [f"{number:03d}" for number in range(60)]
    subjects = pd.DataFrame(
        {"subject_id": ids, "index_time": INDEX + pd.to_timedelta(rng.integers(-500, 500, 60), "D")}
    )
    # Whole days, so that instants are shared by events and met by index times.
    times = pd.Series(INDEX + pd.to_timedelta(rng.integers(-1500, 600, n), "D")).where(rng.random(n) > 0.05)
    codes = rng.choice(["LAB//A", "LAB//B", "LAB//RARE", "DX//1"], n, p=[0.5, 0.3, 0.002, 0.198])
    values = pd.Series(rng.normal(100, 15, n)).where(rng.random(n) > 0.1)
    # A tenth of the subjects have no events at all.
    events = pd.DataFrame(
        {"subject_id": rng.choice(ids[:54], n), "time": times, "code": codes, "numeric_value": values}
    )
    write(folder, subjects, events)
    return folder


@pytest.mark.parametrize("window", [None, 365])
def test_brute_force(random_cohort, window):
    blocks = [
        {"codes": ["LAB//A"], "name": "a", "aggregates": NUMBERS, "window": window},
        {"codes": ["LAB//", "DX//"], "by_code": True, "aggregates": NUMBERS, "window": window},
    ]
    frame, _ = make(random_cohort, events=blocks)
    subjects, events = (pd.read_parquet(random_cohort / f"{name}.parquet") for name in ("subjects", "events"))
    suffix = f"@{window}d" if window else ""
    stems = {"a": ["LAB//A"], "DX//1": ["DX//1"], "LAB//A": ["LAB//A"], "LAB//B": ["LAB//B"]}
    # LAB//RARE has fewer than minimum_subjects; codes are in alphabetical order.
    assert list(frame.columns) == [f"{stem}:{name}{suffix}" for stem in stems for name in NUMBERS]
    for stem, prefixes in stems.items():
        expected = brute_force(subjects, events, prefixes, window)
        made = frame[[f"{stem}:{name}{suffix}" for name in NUMBERS]]
        np.testing.assert_allclose(made, expected, rtol=1e-8, err_msg=stem)


def test_same_bytes_whatever_the_threads(random_cohort):
    block = {"codes": ["LAB//"], "by_code": True, "aggregates": ["mean", "slope"]}
    digests = set()
    for threads in (1, 2, 1):
        make(random_cohort, events=[block], threads=threads)
        digests.add(hashlib.sha256((random_cohort / "features.parquet").read_bytes()).hexdigest())
    assert len(digests) == 1


def ehr(codes, *aggregates, **more):
    return {"events": [{"codes": codes, "aggregates": list(aggregates), **more}]}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (ehr(["LAB//CHLO"], "last"), "Did you mean 'LAB//CHOL'"),
        (ehr(["ICD10//I21"], "ever"), "come after the index time"),
        (ehr(["ICD10//I10"], "last"), "missing for all 3 subjects: ICD10//I10:last"),
        (ehr(["ICD10//I10"], "ever", window=5), "in the 5 days up to the index time"),
        (ehr(["LAB//"], "last", by_code=True), "10 people have"),
        ({"static": ["aeg"]}, "Did you mean 'age'"),
        ({"static": ["empty"]}, "empty for all 3 subjects"),
        ({"static": ["born"]}, "a number or a category"),
        ({"static": ["followup_end"]}, "cannot be a feature"),
    ],
)
def test_bad_input_stops_and_writes_nothing(small, block, message):
    with pytest.raises(DataError, match="parquet, column") as error:
        make(small, **block)
    assert message in str(error.value)
    assert sorted(path.name for path in small.iterdir()) == ["events.parquet", "subjects.parquet"]


def test_by_code_leaves_out_columns_without_any_value(small, caplog):
    with caplog.at_level("INFO", logger="riskweave"):
        frame, _ = make(small, **ehr(["LAB//", "ICD10//I10"], "last", "ever", by_code=True, minimum_subjects=1))
    assert list(frame.columns) == ["ICD10//I10:ever", "LAB//CHOL:last", "LAB//CHOL:ever"]
    assert "left out 1 column(s) that are missing for all subjects: ICD10//I10:last" in caplog.text


@pytest.mark.parametrize("chunk_events", [1, 7, 1000])
@pytest.mark.parametrize(("minimum", "kept"), [(4, ["DX//B"]), (3, ["DX//A", "DX//B"])])
def test_codes_are_kept_for_people_and_not_for_their_index_times(tmp_path, chunk_events, minimum, kept):
    """Four people of three index times each: DX//A is known of three of them at nine index times, DX//B of all."""
    times = [(f"p{person}", f"p{person}@{number}") for person in range(4) for number in (1, 2, 3)]
    subjects = pd.DataFrame(times, columns=["person_id", "subject_id"])
    subjects["index_time"] = [day(100 * number) for _ in range(4) for number in range(3)]
    events = [(f"p{person}", day(-10), code, None) for person in range(4) for code in ("DX//A", "DX//B")]
    write(tmp_path, subjects, [event for event in events if event[:3:2] != ("p2", "DX//A")])
    events = EhrFeatures.model_validate(
        {
            "modality": "ehr",
            **ehr(["DX//"], "ever", by_code=True, minimum_subjects=minimum),
            "history": [{"codes": ["DX//"], "minimum_subjects": minimum}],
        }
    )
    paths = {name: tmp_path / f"{name}.parquet" for name in ("subjects", "events")}
    aggregate_events(**paths, features=events, output=tmp_path / "f.parquet", chunk_events=chunk_events)
    assert read_features(tmp_path / "f.parquet")[0].columns.tolist() == ["subject_id", *(f"{c}:ever" for c in kept)]
    assert list(read_sparse(tmp_path / "f.parquet")[1][0].codes) == kept


def test_columns_of_one_name_are_refused(small):
    with pytest.raises(StudyError, match="LAB//CHOL:last"):
        make(small, events=[{"codes": [code], "aggregates": ["last"]} for code in ("LAB//CHOL", "LAB//CHOL$")])


def test_feature_table_round_trip(tmp_path):
    columns = [Column("x", "ehr", "mmol/L", description="A lab"), Column("c", "ehr", kind="categorical")]
    frame = pd.DataFrame({"subject_id": ["b", "a"], "x": np.array([1.5, np.nan], dtype="float32"), "c": [None, "u"]})
    write_features(frame, tmp_path / "f.parquet", columns)
    read, found = read_features(tmp_path / "f.parquet")
    assert found == columns
    assert read["subject_id"].tolist() == ["a", "b"]
    assert read["x"].dtype == np.float32
    embeddings = pd.DataFrame({"subject_id": ["a", "a"], "fold": [1, 0], "emb_0": np.zeros(2, dtype="float32")})
    write_features(embeddings, tmp_path / "e.parquet", [Column("emb_0", "ecg")], keys=("subject_id", "fold"))
    assert read_features(tmp_path / "e.parquet")[0]["fold"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"subject_id": ["a", "a"], "x": [1.0, 2.0]}, "1 row\\(s\\) repeat a subject"),
        ({"subject_id": ["a", None], "x": [1.0, 2.0]}, "do not name their subject"),
        ({"subject_id": [1, 2], "x": [1.0, 2.0]}, "not text"),
        ({"subject_id": ["a", "b"], "x": [1.0, np.inf]}, "1 value\\(s\\) are infinite"),
        ({"subject_id": ["a", "b"], "x": ["1", "2"]}, "not numbers"),
        ({"subject_id": ["a", "b"], "y": [1.0, 2.0]}, "1 missing"),
    ],
)
def test_broken_feature_tables_are_not_written(tmp_path, frame, message):
    with pytest.raises(DataError, match=message):
        write_features(pd.DataFrame(frame), tmp_path / "f.parquet", [Column("x", "ehr")])
    assert not list(tmp_path.iterdir())


def test_a_table_without_descriptions_is_not_a_feature_table(tmp_path):
    pd.DataFrame({"subject_id": ["a"], "x": [1.0]}).to_parquet(tmp_path / "f.parquet")
    with pytest.raises(DataError, match="metadata lacks"):
        read_features(tmp_path / "f.parquet")
