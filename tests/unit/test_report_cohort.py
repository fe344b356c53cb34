"""The cohort report on a planted cohort: its numbers by hand, and what a reader could work out from all of them."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from riskweave.cohort.attrition import Step, read_attrition, write_attrition
from riskweave.cohort.tables import OUTCOMES, SUBJECTS, write_table
from riskweave.errors import DataError
from riskweave.modalities.base import Column, write_features
from riskweave.report.disclosure import protect, unprotected
from riskweave.report.inputs import grouped, read_endpoint, read_ids
from riskweave.report.population import count_population, pairs
from riskweave.report.report import OF_ENDPOINT, OF_STUDY, report_cohort
from riskweave.report.table1 import count_variable, read_variable, standardised_difference
from riskweave.study.cohort import CodesEndpoint, CohortReport

N = 1200
ENDPOINTS = {
    "mi": CodesEndpoint(
        kind="codes", target=["I21"], competing=["MEDS_DEATH", "TX"], horizons=[365, 1096], description="Infarction."
    ),
    "stroke": CodesEndpoint(kind="codes", target=["I63"], competing=["MEDS_DEATH"], horizons=[1096]),
}


def _attrition(path, prevalent, selected=3):
    total = N + selected
    steps = [
        Step("subjects", "Subjects in the table", 0, total, total),
        Step("adults", "18 years or older at the index time, as far as the birth is known", selected, N, N),
        Step("free", "Free of the endpoint at the index time", prevalent, N - prevalent, N - prevalent),
        Step("at_risk", "At risk", 0, N - prevalent, N - prevalent),
    ]
    write_attrition(steps, path)


def _outcomes(rng, ids, name, path, rare):
    time = np.ceil(rng.exponential(3000, size=len(ids)))
    event = rng.choice([0, 1, 2], size=len(ids), p=[0.25, 0.5, 0.25])
    event[:rare], time[:rare] = 3, 30
    event[time > 1400], time[time > 1400] = 0, 1400
    frame = pd.DataFrame({"subject_id": ids, "endpoint": name, "time": time.astype(float), "event": event})
    write_table(frame.astype({"event": "int8"}), path, OUTCOMES)
    return frame


@pytest.fixture
def cohort(tmp_path):
    """1,200 subjects; 4 of them are left out of `stroke`, 60 of `mi`; 3 hold a rare value, 5 no smoking status."""
    rng = np.random.default_rng(11)
    ids = np.array([f"p{i:05d}" for i in range(N)])
    smoking = rng.choice(["never", "former", "current"], size=N).astype(object)
    smoking[:5] = None
    subjects = pd.DataFrame(
        {
            "subject_id": ids,
            "person_id": ids,
            "index_time": pd.Timestamp("2015-01-01"),
            "followup_end": pd.NaT,
            "age": rng.normal(60, 9, size=N).round(1),
            "sex": np.where(np.arange(N) < 3, "X", rng.choice(["F", "M"], size=N)),
            "smoking": smoking,
            "diabetes": (np.arange(N) % 9 == 0).astype(float),
            "rare": (np.arange(N) < 4).astype(float),
            "score": np.where(np.arange(N) < 7, np.nan, rng.normal(size=N)),
        }
    )
    write_table(subjects.astype({"followup_end": "datetime64[us]"}), tmp_path / "subjects.parquet", SUBJECTS)
    found = {}
    for name, left_out in {"mi": 60, "stroke": 4}.items():
        found[name] = _outcomes(rng, ids[left_out:], name, tmp_path / f"{name}.parquet", 3 if name == "mi" else 0)
        _attrition(tmp_path / f"{name}.csv", left_out)
    ecg = rng.permutation(N)[:900]
    values = pd.DataFrame({"subject_id": ids[np.sort(ecg)], "rate": rng.normal(70, 5, 900), "qt": rng.normal(size=900)})
    values.loc[:3, "qt"] = np.nan
    write_features(values, tmp_path / "ecg.parquet", [Column(name, "ecg") for name in ("rate", "qt")])
    record = pd.DataFrame({"subject_id": ids, "ldl": np.where(rng.random(N) < 0.3, np.nan, 3.0)})
    write_features(record, tmp_path / "ehr.parquet", [Column("ldl", "ehr", description="LDL")])
    tables = {"subjects": N + 3, "events": N, "recordings": 905}
    facts = {
        n: {"rows": 7 * s if n != "subjects" else s, "subjects": s, "sha256": "ab" * 32} for n, s in tables.items()
    }
    version = {"source": "tables", "version": "1", "fingerprint": "cd" * 32, "tables": facts, "changed": {"events": {}}}
    (tmp_path / "data.json").write_text(json.dumps(version))
    return tmp_path, subjects, found


def _report(folder, *, endpoints=("mi", "stroke"), findings=None, out="report", sets=("ehr", "ecg"), **settings):
    """Make the report; a feature set is named after its modality, with a number behind it where there are several."""
    report_cohort(
        study="planted",
        question="Who <is> it?",
        subjects=folder / "subjects.parquet",
        data=folder / "data.json",
        endpoints={name: ENDPOINTS[name] for name in endpoints},
        outcomes={name: folder / f"{name}.parquet" for name in endpoints},
        attrition={name: folder / f"{name}.csv" for name in endpoints},
        main=endpoints[0],
        features={name: folder / f"{name}.parquet" for name in sets},
        modalities={name: name[:3] for name in sets},
        report=CohortReport(**settings),
        columns=["age", "sex", "smoking", "diabetes", "rare", "score"],
        findings=findings,
        folder=folder / out,
    )
    return folder / out


def _table(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_it_writes_all_its_files_and_nothing_else(cohort):
    out = _report(cohort[0])
    expected = {*OF_STUDY, *(f"{name}/{file}" for name in ENDPOINTS for file in OF_ENDPOINT)}
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == expected
    page = (out / "cohort.html").read_text()
    assert "Who &lt;is&gt; it?" in page
    assert 'src="http' not in page and 'href="http' not in page  # noqa: PT018
    assert "p00001" not in page


def test_no_file_changes_when_it_is_made_again(cohort):
    first, again = (_report(cohort[0], endpoints=("mi",), out=out) for out in ("report", "again"))
    for path in (path for path in first.rglob("*") if path.is_file()):
        assert path.read_bytes() == (again / path.relative_to(first)).read_bytes(), path.name


def test_table_1_counts_what_is_there(cohort):
    folder, subjects, outcomes = cohort
    table = _table(_report(folder, endpoints=("mi",)) / "mi/table1.csv").set_index(["variable", "level"])
    mi = outcomes["mi"]
    event = mi["subject_id"][(mi["event"] == 1) & (mi["time"] <= 1096)]
    at_risk = subjects[subjects["subject_id"].isin(mi["subject_id"])]
    cases = at_risk[at_risk["subject_id"].isin(event)]
    assert table.loc[("subjects", "n"), ["all", "event"]].tolist() == [str(len(at_risk)), str(len(cases))]
    age = at_risk["age"]
    assert table.loc[("age", "mean (SD)"), "all"] == f"{age.mean():.1f} ({age.std():.1f})"
    low, middle, high = cases["age"].quantile([0.25, 0.5, 0.75])
    assert table.loc[("age", "median [quartiles]"), "event"] == f"{middle:.1f} [{low:.1f}, {high:.1f}]"
    women = (cases["sex"] == "F").sum()
    assert table.loc[("sex", "F, n (%)"), "event"] == f"{women} ({100 * women / len(cases):.1f})"


def test_standardised_differences_by_hand():
    one, other = np.array([1.0, 2, 3, np.nan]), np.array([2.0, 4, 6])
    assert standardised_difference(one, other) == pytest.approx(2 / np.sqrt((1 + 4) / 2))
    # of a binary variable both forms are one: |p - q| over the root of the mean variance
    p, q = 0.4, 0.25
    yes = np.repeat([1, 0], [40, 60]), np.repeat([1, 0], [25, 75])
    expected = (p - q) / np.sqrt((p * (1 - p) + q * (1 - q)) / 2)
    assert standardised_difference(*yes, levels=2) == pytest.approx(expected)


NO_COUNTS = {
    "step",
    "description",
    "outcome",
    "percent",
    "SMD",
    "level",
    "variable",
    "feature_set",
    "column",
    "ehr",
    "ecg",
}


def _shown_numbers(out):
    """Return every whole number of the tables that count subjects."""
    found = []
    for path in (path for path in out.rglob("*.csv") if path.stem not in ("follow_up", "curves", "data")):
        table = _table(path)
        if "level" in table:
            table = table[~table["level"].str.startswith(("mean", "median"))]
        for column in (name for name in table if name not in NO_COUNTS and not name.startswith("percent")):
            found += [int(cell.split(" ")[0]) for cell in table[column] if cell not in ("s", "")]
    at_risk = [pd.read_csv(path)["at_risk"].dropna() for path in out.glob("*/curves.csv")]
    return found + [int(count) for counts in at_risk for count in counts]


@pytest.mark.parametrize("settings", [{}, {"by": "sex"}, {"by": "smoking"}, {"suppress_below": 40}], ids=str)
def test_no_small_number_is_shown_anywhere(cohort, settings):
    threshold = settings.get("suppress_below", 10)
    numbers = _shown_numbers(_report(cohort[0], **settings))
    assert len(numbers) > 30
    assert [number for number in numbers if 0 < number < threshold] == []


def test_what_is_shown_at_each_step_does_not_tell_who_was_left_out(cohort):
    """3 are left out first: with the 60 of the next step they are a sum, and neither can be told from the other."""
    steps = _table(_report(cohort[0], endpoints=("mi",)) / "mi/attrition.csv").set_index("step")
    assert steps.loc["adults", "excluded"] == "s"
    shown = {f"{step}.{column}" for column in ("excluded", "remaining") for step in steps.index[steps[column] != "s"]}
    assert "at_risk.remaining" in shown
    # 1203 - 3 = 1200, 1200 - 60 = 1140: any two of these that are shown tell the third
    assert not {"subjects.remaining", "adults.remaining"} <= shown
    assert not {"subjects.remaining", "free.excluded"} <= shown
    data = _table(cohort[0] / "report/data.csv").set_index("table")
    assert (data.loc["subjects", "people"] == "s") == (steps.loc["subjects", "remaining"] == "s")


def test_all_counts_together_withstand_the_audit(cohort):
    """Steps, people at risk, groups and outcomes of both endpoints, and each variable over both."""
    folder = cohort[0]
    ids = read_ids(folder / "subjects.parquet")
    for settings in (CohortReport(), CohortReport(by="sex"), CohortReport(suppress_below=25)):
        threshold = settings.suppress_below
        found = {
            name: read_endpoint(name, ENDPOINTS[name], folder / f"{name}.parquet", ids, threshold=threshold)
            for name in ENDPOINTS
        }
        found = grouped(found, folder / "subjects.parquet", settings)
        steps = {name: read_attrition(folder / f"{name}.csv") for name in found}
        tables = {"subjects": N + 3, "events": N, "recordings": 905}
        population = count_population(steps, found, tables=tables, total=N, threshold=threshold)
        assert unprotected(population.counts, population.shown, threshold) == {}
        tabled = {name: data for name, data in found.items() if population.tabled(data)}
        compared = {name: population.compared(data) for name, data in tabled.items()}
        for column in ("sex", "smoking", "diabetes", "rare", "score"):
            variable = read_variable(folder / "subjects.parquet", column, threshold=threshold)
            counts = count_variable(variable, tabled, compared, pairs(tabled, N))
            shown = protect(counts, threshold)
            assert unprotected(counts, shown, threshold) == {}
            assert counts.fixed <= shown


def test_few_without_a_value_within_a_modality_do_not_follow(cohort):
    """283 or so lack the ECG, 4 more the QT: shown side by side, the two would tell the 4."""
    folder = cohort[0]
    values = pd.read_parquet(folder / "ecg.parquet")
    values["qt"] = 1.0
    values.loc[values.index[-4:], "qt"] = np.nan
    write_features(values, folder / "ecg.parquet", [Column(name, "ecg") for name in ("rate", "qt")])
    out = _report(folder, endpoints=("mi",))
    table = _table(out / "missingness.csv").set_index("column")
    assert table.loc["rate", "without"] != "s"
    assert table.loc["qt", ["without", "percent"]].tolist() == ["s", "s"]
    assert table.loc["ldl", "without"] != "s"


def test_modalities_that_few_have_do_not_follow(cohort):
    folder, _, outcomes = cohort
    few = outcomes["mi"]["subject_id"].tail(6)
    write_features(pd.DataFrame({"subject_id": few, "rate": 1.0}), folder / "ecg.parquet", [Column("rate", "ecg")])
    out = _report(folder, endpoints=("mi",))
    assert set(_table(out / "availability.csv")["subjects"]) == {"s"}
    assert _table(out / "missingness.csv").set_index("column").loc["rate", "without"] == "s"


@pytest.mark.parametrize(("second", "told"), [(slice(300, None), True), (slice(897), False)])
def test_who_has_a_row_in_some_feature_set_has_the_modality(cohort, second, told):
    """Two sets of ECGs: 100 and 600 of 900 rows, of whom nobody is in both; or 897 of 900, which would tell of 3."""
    folder, _, outcomes = cohort
    values = pd.read_parquet(folder / "ecg.parquet", columns=["subject_id", "rate"])
    first = values.iloc[:100] if told else values
    write_features(first, folder / "ecg1.parquet", [Column("rate", "ecg")])
    write_features(values.iloc[second], folder / "ecg2.parquet", [Column("rate", "ecg")])
    out = _report(folder, endpoints=("mi",), sets=("ehr", "ecg1", "ecg2"))
    union = np.union1d(first["subject_id"], values.iloc[second]["subject_id"])
    expected = np.isin(outcomes["mi"]["subject_id"], union).sum()
    table = _table(out / "availability.csv")
    assert table.loc[table["ecg"] == "yes", "subjects"].tolist() == [str(expected)]
    without = _table(out / "missingness.csv").set_index("feature_set")["without"]
    assert (without["ecg2"] != "s") == told
    assert without["ecg1"] != "s"


def test_sparse_columns_are_left_out_of_missing_values(cohort):
    folder, subjects, _ = cohort
    pairs_of = pa.array([[(1, 1.0)]] * N, pa.map_(pa.int32(), pa.float32()))
    table = pa.table({"subject_id": subjects["subject_id"], "history": pairs_of, "ldl": np.ones(N)})
    pq.write_table(table, folder / "ehr.parquet")
    assert _table(_report(folder, endpoints=("mi",)) / "missingness.csv")["column"].tolist() == ["ldl", "rate", "qt"]


def test_findings_are_shown_with_what_the_study_allows(cohort):
    path = cohort[0] / "findings.csv"
    path.write_text(
        "gate,name,place,problem,subjects,remedy,allowed,why\n"
        "name,name:ehr.los,ehr.los,its name says length of stay,,Remove it,yes,counted before the index time\n"
    )
    page = (_report(cohort[0], endpoints=("mi",), findings=path) / "cohort.html").read_text()
    assert "counted before the index time" in page
    assert "its name says" in page
    stricter = (_report(cohort[0], endpoints=("mi",), findings=path, suppress_below=11) / "cohort.html").read_text()
    assert "its name says" not in stricter


def test_a_column_that_does_not_exist_is_answered(cohort):
    with pytest.raises(DataError, match=r"report\.by: there is no column 'sexx'.*Did you mean 'sex'"):
        _report(cohort[0], by="sexx")
    with pytest.raises(DataError, match=r"report\.columns: there is no column 'agee'.*Did you mean 'age'"):
        _report(cohort[0], columns=["agee"])
    with pytest.raises(DataError, match="is a number with"):
        _report(cohort[0], by="age")
    assert not (cohort[0] / "report").exists()


def test_two_endpoints_that_differ_by_few_are_not_both_counted(cohort):
    """Stroke's 1,196 are shown, so an endpoint of 1,193 of them is not: 3 more were left out."""
    folder = cohort[0]
    outcomes = cohort[2]["stroke"].iloc[3:].assign(endpoint="mi").astype({"event": "int8"})
    write_table(outcomes, folder / "mi.parquet", OUTCOMES)
    _attrition(folder / "mi.csv", 7)
    out = _report(folder)
    shown = [_table(out / name / "attrition.csv")["remaining"].iloc[-1] for name in ENDPOINTS]
    assert sorted(shown)[1] == "s"
    hidden = list(ENDPOINTS)[shown.index("s")]
    assert _table(out / hidden / "table1.csv").empty
    assert set(_table(out / hidden / "outcomes.csv")["subjects"]) == {"s"}
    assert "are left out with it" in (out / "cohort.html").read_text()
