import pandas as pd
import pyarrow.parquet as pq
import pytest

from riskweave.parquet import read_frame


@pytest.fixture
def path(tmp_path):
    """A table in a folder that looks like a partition."""
    found = tmp_path / "centre=1" / "table.parquet"
    found.parent.mkdir()
    frame = pd.DataFrame({"subject_id": ["001", "2"], "age": [1.5, None], "when": pd.to_datetime(["2020-01-02", None])})
    frame.to_parquet(found, index=False)
    return found


@pytest.mark.parametrize("columns", [None, ["age", "subject_id"]])
def test_reads_what_pandas_reads(path, columns):
    with path.open("rb") as file:
        expected = pd.read_parquet(file, columns=columns)
    assert list(expected.columns) == columns or columns is None
    pd.testing.assert_frame_equal(read_frame(path, columns), expected)


def test_arrow_gets_a_path_and_no_open_file(path, monkeypatch):
    found, original = [], pq.read_table

    def watched(source, **how):
        found.append(source)
        return original(source, **how)

    monkeypatch.setattr(pq, "read_table", watched)
    read_frame(str(path))
    assert found == [path]
