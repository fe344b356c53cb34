"""One subject for a notebook: real people are refused, and what is shown is that of the subject."""

import numpy as np
import pandas as pd
import pytest
from results_folder import write_results

from riskweave.errors import DataError
from riskweave.one_subject import average_risks, open_subject
from riskweave.results import Results, open_results
from riskweave.subject_plots import plot_recording, plot_timeline


def results_of(tmp_path, **changes):
    write_results(tmp_path / "results", **changes)
    return open_results("tiny", tmp_path / "results")


def test_real_people_are_refused_with_the_reason_and_the_way_to_opt_in(tmp_path):
    with pytest.raises(DataError) as error:
        open_subject(results_of(tmp_path, source="tables"), "00102")
    assert "its people are real" in str(error.value)
    assert "`explain_subjects: true` under `evaluation`" in str(error.value)
    assert "00102" not in str(error.value)


def test_a_study_may_allow_it_and_then_a_subject_has_to_be_named(tmp_path):
    allowed = results_of(tmp_path, source="tables", explain_subjects=True)
    assert open_subject(allowed, "00102").name == "00102"
    with pytest.raises(DataError, match="or none is named"):
        open_subject(allowed)


def test_the_example_is_at_risk_and_has_most_modalities(tmp_path):
    assert open_subject(results_of(tmp_path)).name == "00103"


def test_an_unknown_subject_is_not_repeated(tmp_path):
    with pytest.raises(DataError, match="is not in the study") as error:
        open_subject(results_of(tmp_path), "77777")
    assert "77777" not in str(error.value)


def test_events_are_dated_by_the_index_time(tmp_path):
    events = open_subject(results_of(tmp_path), "00102").events()
    assert events["code"].tolist() == ["LAB//A", "ICD10//I21"]
    np.testing.assert_allclose(events["years"], [-1, 2])


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("00101", "not at risk of mace: had it before, or was not observed afterwards"),
        ("00102", "observed without mace for 2.0 years"),
        ("00103", "mace after 0.3 years"),
    ],
)
def test_the_outcome_in_words(tmp_path, name, outcome):
    assert open_subject(results_of(tmp_path), name).outcome("mace") == outcome


def test_risks_are_those_of_the_target_beside_the_mean_of_all(tmp_path):
    results = results_of(tmp_path)
    risks = open_subject(results, "00102").risks("mace", ["labs.cox", "labs+ecg.cox"])
    assert risks["experiment"].tolist() == ["labs.cox"] * 3 + ["labs+ecg.cox"] * 3
    np.testing.assert_allclose(risks["years"], [0, 365 / 365.25, 730 / 365.25] * 2)
    np.testing.assert_allclose(risks["risk"], [0, 0.2, 0.4, 0, 0.4, 0.8])
    np.testing.assert_allclose(average_risks(results, "mace", "labs.cox")["risk"], [0, 0.15, 0.35])
    assert open_subject(results, "00101").risks("mace", ["labs.cox"]).empty


def test_shares_are_those_of_the_last_horizon_with_labels_that_differ(tmp_path, monkeypatch):
    found = pd.DataFrame(
        {
            "horizon": [365, 730, 730, 730],
            "feature_set": ["labs", "labs", "labs", "ecg"],
            "name": ["crp", "crp", "stage", "encoder"],
            "value": ["2.03456", "2.03456", "late", None],
            "share": [0.5, 0.2, -0.1, 0.05],
            "error": [0.1, 0.05, 0.0, 0.01],
        }
    )
    monkeypatch.setattr(Results, "attributions", lambda *_: found)
    shares = open_subject(results_of(tmp_path), "00102").attribution("mace", "labs.cox")
    assert shares["label"].tolist() == ["labs: crp = 2.03", "labs: stage = late", "ecg: encoder"]
    np.testing.assert_allclose(shares["estimate"], [0.2, -0.1, 0.05])
    np.testing.assert_allclose(shares["upper"] - shares["lower"], 2 * 1.96 * shares["error"])


def test_the_recording_is_the_latest_and_there_may_be_none(tmp_path):
    results = results_of(tmp_path)
    recording = open_subject(results, "00103").recording("ecg")
    np.testing.assert_array_equal(recording, [[6, 7, 8], [9, 10, 11]])
    assert open_subject(results, "00102").recording("ecg") is None
    lines = plot_recording(recording, modality="ecg", sampling_rate=2, leads=["I", "II"]).axes[0].lines
    np.testing.assert_allclose(lines[1].get_xdata(), [0, 0.5, 1])
    np.testing.assert_allclose(lines[1].get_ydata(), [7.8, 8.8, 9.8])  # one row, 1.2 mV, further down


def test_the_timeline_tells_before_from_after(tmp_path):
    figure = plot_timeline(open_subject(results_of(tmp_path), "00102").events())
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["ICD10//I21", "LAB//A"]
    drawn = [
        (line.get_xdata().tolist(), line.get_markerfacecolor()) for line in axes.lines if len(line.get_xdata()) == 1
    ]
    assert [place for place, _ in drawn] == [[2.0], [-1.0]]
    assert drawn[0][1] == "white"
    assert drawn[1][1] != "white"
