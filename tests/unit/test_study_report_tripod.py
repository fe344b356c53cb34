"""The TRIPOD+AI checklist: every item once, told in the numbers of the run or marked as the authors' to write."""

import dataclasses

import pytest
from reported_study import inputs_of, write_results

from riskweave.study.cohort import Folds
from riskweave.study_report import tripod_methods, tripod_results
from riskweave.study_report.inputs import Files, read_content
from riskweave.study_report.tripod import AUTHOR, FILLED, FILLERS, IN_PART, checklist
from riskweave.study_report.tripod_items import ITEMS

# Collins et al. 2024, Table 2: 27 items, 52 with their parts.
PARTS = {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc", 23: "ab", 27: "abc"}
NUMBERS = [f"{item}{part}" for item in range(1, 28) for part in PARTS.get(item, [""])]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    root = write_results(tmp_path_factory.mktemp("study"), reclassification=[0.3])
    return read_content(Files.of(root, inputs_of(root)))


def test_every_item_stands_once_and_in_order():
    assert len(NUMBERS) == 52
    assert [item.number for item in ITEMS] == NUMBERS
    assert {item.applies for item in ITEMS} == {"D", "E", "D;E"}
    assert set(FILLERS) <= set(NUMBERS)


def test_every_item_is_told_or_left_to_the_authors(content):
    table = checklist(content).set_index("item")
    assert list(table.index) == NUMBERS
    told = table["text"] != ""
    assert (table["state"].isin([FILLED, IN_PART]) == told).all()
    assert (table["source"] != "").equals(told)
    assert (table.loc[~told, "state"] == AUTHOR).all()
    assert (table.loc[~told, "authors"] != "").all()
    assert (table.loc[table["state"] == FILLED, "authors"] == "").all()
    assert (table.loc[table["state"] == IN_PART, "authors"] != "").all()
    for item in ("3a", "17", "18a", "18b", "19", "25", "26"):
        assert table.loc[item, "state"] == AUTHOR


def test_answers_hold_the_numbers_of_the_run(content):
    table = checklist(content).set_index("item")["text"]
    events = content.endpoints["mace"].counts.events
    assert "Is the <whole> signal better than half of it?" in table["4"]
    assert f"400 subjects at risk, {events} target events by day 360" in table["10"]
    assert "12.5 %" in table["11"]
    assert "5 folds, stratified" in table["12a"]
    assert "50 bootstrap resamples" in table["12e"]
    assert "centre, sex" in table["14"]
    assert "30 %" in table["15"]
    assert "train 100 subjects with 30 target events" in table["21"]
    row = content.endpoints["mace"].row("true.cox")
    assert f"true.cox has a concordance of {row['harrell_c']:.3f}" in table["23a"]
    assert "0123456789ab" in table["18f"]


def _with(content, **changes):
    return dataclasses.replace(content, study=content.study.model_copy(update=changes))


def test_what_this_run_does_not_tell_is_the_authors(content):
    plain = content.study.evaluation.model_copy(update={"subgroups": [], "age_bands": [], "reclassification": []})
    table = checklist(_with(content, evaluation=plain)).set_index("item")
    assert table.loc[["12d", "14", "23b"], "state"].tolist() == [AUTHOR] * 3
    assert table.loc["14", "authors"] == "All of it."
    assert "Nobody is classified" in table.loc["15", "text"]


def test_folds_of_centres_are_told(content):
    grouped = _with(content, folds=Folds(strategy="group", group="centre"))
    assert "'centre'" in tripod_methods.clusters(grouped).text
    assert "'centre'" in tripod_methods.centres(grouped).text
    spread = tripod_results.between_clusters(grouped).text
    folds = content.endpoints["mace"].folds
    own = folds[(folds["kind"] == "fold") & (folds["experiment"] == "true.cox") & (folds["metric"] == "harrell_c")]
    last = own.loc[own["horizon"] == 360, "estimate"]
    assert f"{last.min():.3f} to {last.max():.3f} over 4 test folds" in spread


def test_counts_of_folds_are_left_out_where_one_is_small(content):
    records = dict(content.records)
    name = "experiments/mace/half.cox/run.json"
    fold = dataclasses.replace(records[name].folds[0])
    fold.counts = fold.counts | {"test_events_cause_1": 4}
    records[name] = dataclasses.replace(records[name], folds=[fold, records[name].folds[1]])
    text = tripod_results.analysed(dataclasses.replace(content, records=records)).text
    assert "test 100 subjects with s target events" in text
