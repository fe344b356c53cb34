"""The loader of results: what it reads, and what it says where there is nothing to read."""

import numpy as np
import pytest
from results_folder import write_results

from riskweave.errors import DataError
from riskweave.results import open_results


@pytest.fixture
def results(tmp_path):
    write_results(tmp_path / "results")
    return open_results("tiny", tmp_path / "results")


def test_the_study_tells_what_there_is(results):
    assert results.endpoints == ["mace"]
    assert results.experiments("mace") == ["labs+ecg.cox", "labs.cox"]
    assert results.horizon("mace") == 730
    assert results.reference == "labs.cox"
    assert results.synthetic
    assert results.used_sets() == ["labs", "ecg"]
    assert results.used_sets("ecg") == ["ecg"]


def test_counts_of_the_cohort_report_stay_as_they_are_printed(results):
    assert results.attrition("mace").loc[0, ["excluded", "remaining"]].tolist() == ["s", "s"]
    assert results.incidence("mace")["estimate"].tolist() == [0]
    assert results.cohort_figure("flow", "mace").read_text() == "<svg/>"


def test_tables_of_subjects_keep_their_identifiers(results):
    assert results.subjects()["subject_id"].tolist() == ["00101", "00102", "00103"]
    assert results.outcomes("mace")["event"].tolist() == [0, 1]
    assert results.predictions("mace", "labs.cox")["risk_365"].tolist() == [0.2, 0.1]
    assert results.events("00103")["code"].tolist() == ["LAB//A"]
    assert len(results.events()) == 5
    index, inputs = results.inputs("ecg")
    assert index["row"].tolist() == [0, 1]
    np.testing.assert_array_equal(inputs[1], [[6, 7, 8], [9, 10, 11]])


def test_run_records_become_a_table_without_who_and_where(results):
    runs = results.runs()
    assert runs["name"].tolist() == ["labs+ecg.cox", "labs.cox"]
    assert runs["architecture"].tolist() == ["Cox", "Cox"]
    assert not {"somebody", "somewhere"} & set(runs.astype(str).to_numpy().ravel())
    assert results.run("mace", "labs.cox")["duration"] == 2.5


MISSING = [
    (lambda r: r.table1("mace"), "results/tiny/cohort/report/mace/table1.csv", "`snakemake cohort` makes it"),
    (lambda r: r.leaks(), "results/tiny/cohort/leaks/findings.csv", "`snakemake cohort` makes it"),
    (lambda r: r.metrics("mace"), "results/tiny/evaluation/mace/metrics.parquet", "`snakemake evaluate` makes it"),
    (lambda r: r.figure("calibration", "mace"), "evaluation/mace/calibration.svg", "`snakemake evaluate` makes it"),
    (lambda r: r.objectives(), "results/tiny/evaluation/objectives.csv", "`snakemake evaluate` makes it"),
    (lambda r: r.trials("mace", "labs.cox"), "experiments/mace/labs.cox/trials.csv", "`snakemake` makes it"),
    (lambda r: r.embeddings("ecg", "mace"), "features/ecg/mace/embeddings.parquet", "`snakemake` makes it"),
    (lambda r: r.shapley("mace"), "results/tiny/evaluation/mace/shapley.parquet", "all_subsets_of"),
    (lambda r: r.importance("mace", "labs.cox"), "'labs.cox'", "Name it under evaluation.explain"),
    (lambda r: r.reclassification("mace"), "evaluation.reclassification", "no thresholds"),
    (lambda r: r.recalibration("mace"), "evaluation.recalibration", "Set it to true"),
    (lambda r: r.leaderboard("mase"), "endpoint 'mase'", "Did you mean 'mace'? It has: mace"),
    (
        lambda r: r.predictions("mace", "lab.cox"),
        "'lab.cox'",
        "Did you mean 'labs.cox'? It has: labs+ecg.cox, labs.cox",
    ),
    (lambda r: r.features("lab"), "feature set 'lab'", "It has: labs, ecg, unused"),
    (lambda r: r.files("notes"), "table 'notes'", "It has: recordings, images, sounds"),
]


@pytest.mark.parametrize(("read", "what", "remedy"), MISSING, ids=[what for _, what, _ in MISSING])
def test_what_is_missing_is_named_with_what_makes_it(results, tmp_path, read, what, remedy):
    with pytest.raises(DataError) as error:
        read(results)
    text = str(error.value)
    assert what in text
    assert remedy in text
    assert str(tmp_path) not in text


@pytest.mark.usefixtures("results")
def test_a_study_without_results_is_named_with_those_that_have_some(tmp_path):
    with pytest.raises(DataError, match=r"no results of study 'tinny'. Did you mean 'tiny'\? Run snakemake first"):
        open_results("tinny", tmp_path / "results")


@pytest.mark.usefixtures("results")
def test_the_nearest_results_are_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert open_results("tiny").folder == tmp_path / "results" / "tiny"
