"""Sparse histories: stored without their zeros, reduced by components that come from the training rows alone."""

import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse

from riskweave.cohort.tables import EVENTS, SUBJECTS, write_table
from riskweave.errors import DataError
from riskweave.modalities.base import Column, FeatureWriter, read_features, read_sparse
from riskweave.modalities.ehr import aggregate_events
from riskweave.modalities.sparse import SparseColumn, from_arrow, to_arrow
from riskweave.study.features import EhrFeatures
from riskweave.survival.histories import HistoryReduction
from riskweave.survival.preprocessing import DesignMatrix, FeatureTable

INDEX = pd.Timestamp("2020-06-01")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Write 300 people with 60 codes, some of which are rare; a tenth of the people have none."""
    folder, rng, n = tmp_path_factory.mktemp("history"), np.random.default_rng(2), 6000
    people = [f"{number:03d}" for number in range(300)]
    frame = pd.DataFrame(
        {
            "subject_id": rng.choice(people[:270], n),
            "time": (INDEX - pd.to_timedelta(rng.integers(-50, 2000, n), "D")).astype("datetime64[us]"),
            "code": [f"DX//{number:02d}" for number in np.minimum(rng.geometric(0.06, n), 60) - 1],
            "numeric_value": np.float32(np.nan),
            "text_value": None,
            "unit": None,
        }
    )
    write_table(frame, folder / "events.parquet", EVENTS)
    subjects = pd.DataFrame({"subject_id": people, "person_id": people, "index_time": INDEX, "followup_end": pd.NaT})
    subjects["age"] = rng.normal(60, 10, 300)
    write_table(subjects, folder / "subjects.parquet", SUBJECTS)
    return folder


def make(folder, **more):
    aggregate_events(
        subjects=folder / "subjects.parquet",
        events=folder / "events.parquet",
        features=EhrFeatures(modality="ehr", **more),
        output=folder / "features.parquet",
        chunk_events=1000,
    )
    return folder / "features.parquet"


def counted(folder, window=None):
    """Count the events of each subject and code with pandas."""
    events = pd.read_parquet(folder / "events.parquet")
    past = events[events["time"] <= INDEX]
    if window:
        past = past[past["time"] > INDEX - pd.Timedelta(days=window)]
    people = pd.read_parquet(folder / "subjects.parquet")["subject_id"]
    return pd.crosstab(past["subject_id"], past["code"]).reindex(people, fill_value=0)


@pytest.mark.parametrize("window", [None, 700])
@pytest.mark.parametrize("aggregate", ["ever", "count"])
def test_history_holds_what_pandas_counts(cohort, aggregate, window):
    history = {"codes": ["DX//"], "aggregate": aggregate, "window": window, "minimum_subjects": 25}
    path = make(cohort, static=["age"], history=[history])
    expected = counted(cohort, window)
    expected = expected.loc[:, (expected > 0).sum() >= 25]
    assert 10 < expected.shape[1] < 60
    found, columns = read_sparse(path)
    name = "history" if window is None else "history@700d"
    assert [column.name for column in columns] == [name]
    assert columns[0].kind == "sparse"
    assert columns[0].components == 32
    sparse = found[name]
    assert sparse.codes == tuple(expected.columns)
    assert list(sparse.subjects) == list(expected.index)
    values = expected > 0 if aggregate == "ever" else np.log1p(expected)
    np.testing.assert_array_equal(sparse.matrix.toarray(), values.to_numpy(np.float32))
    assert sparse.matrix.nnz == (expected > 0).to_numpy().sum()
    # Readers of plain columns are not bothered with it.
    frame, plain = read_features(path)
    assert list(frame) == ["subject_id", "age"]
    assert [column.name for column in plain] == ["age"]


def test_subjects_without_any_code(cohort):
    history = [{"codes": ["DX//"]}]
    whole, _ = read_sparse(make(cohort, history=history))
    assert len(whole["history"].subjects) == 300
    assert len(read_features(make(cohort, history=history))[0]) == 300
    measured, _ = read_sparse(make(cohort, history=history, rows="measured"))
    assert (np.diff(measured["history"].matrix.indptr) > 0).all()
    assert len(measured["history"].subjects) == (counted(cohort).sum(axis=1) > 0).sum()


def test_too_few_subjects(cohort):
    with pytest.raises(DataError, match="299 people have at or before the index time"):
        make(cohort, history=[{"codes": ["DX//"], "minimum_subjects": 299}])


def test_arrow_round_trip_in_chunks():
    matrix = scipy.sparse.random_array((50, 8), density=0.2, rng=np.random.default_rng(0), format="csr")
    matrix = matrix.astype(np.float32)
    whole = to_arrow(matrix)
    chunks = pa.chunked_array([whole.slice(0, 13), whole.slice(13, 0), whole.slice(13)])
    codes = tuple("abcdefgh")
    np.testing.assert_array_equal(from_arrow(chunks, codes=codes, where="x").toarray(), matrix.toarray())
    with pytest.raises(DataError, match="no code or no finite value"):
        from_arrow(chunks, codes=codes[:3], where="x")
    with pytest.raises(DataError, match="of type int64"):
        from_arrow(pa.chunked_array([[1]]), codes=codes, where="x")


def test_a_writer_takes_rows_in_order_only(tmp_path):
    columns = [Column("x", "ehr")]
    with FeatureWriter(tmp_path / "f.parquet", columns) as writer:
        writer.write(pd.DataFrame({"subject_id": ["a", "b"], "x": [1.0, np.nan]}))
        writer.write(pd.DataFrame({"subject_id": ["c"], "x": [3.0]}))
        with pytest.raises(DataError, match="1 rows come before or repeat"):
            writer.write(pd.DataFrame({"subject_id": ["c"], "x": [4.0]}))
    assert pq.read_metadata(tmp_path / "f.parquet").num_row_groups == 2
    assert read_features(tmp_path / "f.parquet")[0]["subject_id"].tolist() == ["a", "b", "c"]


def planted(n=400, codes=80, seed=0):
    """Three groups of codes that go together, each driven by a trait of the subject."""
    rng = np.random.default_rng(seed)
    traits = rng.random((n, 3)) < 0.3
    odds = np.where(traits[:, np.arange(codes) % 3], 0.5, 0.02)
    matrix = scipy.sparse.csr_array((rng.random((n, codes)) < odds).astype(np.float32))
    subjects = pd.Index([f"{number:04d}" for number in range(n)], dtype=object)
    return SparseColumn(tuple(f"C{number}" for number in range(codes)), 5, subjects, matrix), traits


def test_components_are_those_of_a_full_decomposition():
    sparse, traits = planted()
    fitted = HistoryReduction(name="history", rare=1).fit(sparse, sparse.subjects)
    made = fitted.transform(sparse, sparse.subjects)
    assert list(made) == [f"history:svd_0{number}" for number in range(1, 6)]
    left, singular, _ = np.linalg.svd(sparse.matrix.toarray().astype(float), full_matrices=False)
    exact = left[:, :3] * singular[:3]
    np.testing.assert_allclose(np.abs(made.iloc[:, :3]), np.abs(exact), atol=1e-3)
    # What made the codes can be told from them.
    design = np.column_stack([np.ones(len(traits)), made])
    fit = design @ np.linalg.lstsq(design, traits.astype(float), rcond=None)[0]
    assert min(np.corrcoef(fit[:, trait], traits[:, trait])[0, 1] for trait in range(3)) > 0.9


def test_nothing_is_learnt_from_other_rows():
    sparse, _ = planted()
    train = sparse.subjects[:250]
    other = sparse.matrix.toarray()
    other[250:] = 7
    changed = SparseColumn(sparse.codes, 5, sparse.subjects, scipy.sparse.csr_array(other))
    first, second = (HistoryReduction(name="h", rare=3).fit(some, train) for some in (sparse, changed))
    assert first.codes_ == second.codes_
    np.testing.assert_array_equal(first.components_, second.components_)
    pd.testing.assert_frame_equal(first.transform(sparse, train), second.transform(changed, train), check_exact=True)


def test_rare_codes_are_left_out_and_codes_are_found_by_name():
    sparse, _ = planted()
    matrix = sparse.matrix.toarray()
    matrix[:, 0], matrix[:4, 0] = 0, 1
    sparse = SparseColumn(sparse.codes, 100, sparse.subjects, scipy.sparse.csr_array(matrix))
    fitted = HistoryReduction(name="h", rare=5).fit(sparse, sparse.subjects)
    assert "C0" not in fitted.codes_
    assert len(fitted.columns_) == 79
    turned = SparseColumn(
        ("new", *sparse.codes[::-1]), 100, sparse.subjects,
        scipy.sparse.csr_array(np.column_stack([np.ones(400), matrix[:, ::-1]])),
    )  # fmt: skip
    np.testing.assert_allclose(
        fitted.transform(turned, sparse.subjects), fitted.transform(sparse, sparse.subjects), atol=1e-9
    )
    none = HistoryReduction(name="h", rare=401).fit(sparse, sparse.subjects)
    assert none.transform(sparse, sparse.subjects).shape == (400, 0)


def test_fusion_of_histories():
    sparse, _ = planted()
    some = SparseColumn(sparse.codes, 5, sparse.subjects[:300], sparse.matrix[:300])
    rng = np.random.default_rng(1)
    clinic = FeatureTable("clinic", "ehr", pd.DataFrame({"age": rng.normal(60, 9, 400)}, index=sparse.subjects))
    past = FeatureTable("past", "ehr", pd.DataFrame(index=some.subjects), sparse={"history": some})
    train = sparse.subjects[100:]
    fusion = DesignMatrix().fit([clinic, past], train)
    expected = ["clinic.age", *(f"past.history:svd_0{number}" for number in range(1, 6))]
    # The 100 training subjects without a history share one indicator.
    assert fusion.columns_ == [*expected, "past.history:svd_01=missing"]
    design = fusion.design([clinic, past], sparse.subjects).frame()
    assert np.isfinite(design.to_numpy()).all()
    again = DesignMatrix().fit([clinic, past], train).design([clinic, past], sparse.subjects).frame()
    pd.testing.assert_frame_equal(design, again, check_exact=True)


def test_the_matrix_is_never_made_dense():
    n, codes = 20_000, 4000
    rng = np.random.default_rng(0)
    places = (np.repeat(np.arange(n), 20), rng.integers(0, codes, 20 * n))
    matrix = scipy.sparse.csr_array((np.ones(20 * n, np.float32), places), shape=(n, codes))
    subjects = pd.Index([f"{number:06d}" for number in range(n)], dtype=object)
    sparse = SparseColumn(tuple(map(str, range(codes))), 8, subjects, matrix)
    tracemalloc.start()
    HistoryReduction(name="h", rare=10).fit(sparse, subjects).transform(sparse, subjects)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Dense it would be 640 MB.
    assert peak < 60e6
