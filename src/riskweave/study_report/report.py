"""The study report: one page on the whole study, with the data of its figures as files beside it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from riskweave.files import replacing_in
from riskweave.page import SUPPRESSED, Page, Section
from riskweave.report.tables import version_table
from riskweave.study_report.endpoint import add_endpoint
from riskweave.study_report.figures import differences_table, plot_differences, plot_subgroups, subgroups_table
from riskweave.study_report.glossary import glossary_table
from riskweave.study_report.inputs import Content, EndpointContent, Files, read_content
from riskweave.study_report.provenance import other_data, runs_shown, runs_table, software_table
from riskweave.study_report.tripod import AUTHOR, FILLED, IN_PART, checklist
from riskweave.study_report.words import METRICS, at_day, estimate, number, shown

__all__ = ["OF_ENDPOINT", "OF_STUDY", "report_study"]

OF_STUDY = ("index.html", "objectives.csv", "runs.csv", "software.csv", "inputs.csv", "tripod.csv")
"""Files of the report."""

OF_ENDPOINT = (
    "differences.csv", "differences.svg", "subgroups.csv", "subgroups.svg", "calibration.csv", "calibration_curve.csv",
    "decision_curve.csv", "folds.csv",
)  # fmt: skip
"""Files of each endpoint, in a folder of its name; and ``reclassification.csv`` where the study states thresholds,
``recalibration.csv`` where it asks for it."""

VERDICTS = {"met": "mark", "not met": "mark", "inconclusive": "mark", "not judged": "todo"}


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def _write_endpoint(endpoint: EndpointContent, folder: Path) -> None:
    """Write the figures of an endpoint, and the data of all that the page shows of it."""
    folder.mkdir(parents=True)
    differences, subgroups = differences_table(endpoint.board), subgroups_table(endpoint.metrics)
    plot_differences(table=differences, output=folder / "differences.svg")
    compared = list(dict.fromkeys([endpoint.first, endpoint.reference]))
    plot_subgroups(table=subgroups, experiments=compared, output=folder / "subgroups.svg")
    tables = {
        "differences": differences,
        "subgroups": subgroups,
        "calibration": endpoint.calibration,
        "calibration_curve": endpoint.calibration_curve,
        "decision_curve": endpoint.decision_curve,
        "folds": endpoint.folds.drop(columns=["n", "events"]),
    }
    if endpoint.reclassification is not None:
        tables["reclassification"] = endpoint.reclassification
    if endpoint.recalibration is not None:
        tables["recalibration"] = endpoint.recalibration
    for name, table in tables.items():
        _write_csv(table, folder / f"{name}.csv")


def _objectives(content: Content) -> pd.DataFrame:
    """Return the verdicts as text."""
    table = content.objectives
    rows = []
    for _, row in table.iterrows():
        values = [float(row[column] or "nan") for column in ("estimate", "lower", "upper")]
        day = at_day(int(row["horizon"]))
        against = f" minus {row['compared_with']}" if row["compared_with"] else ""
        rows.append(
            {
                "objective": row["description"],
                "endpoint": row["endpoint"],
                "judged by": f"{METRICS[row['metric']].title} of {row['experiment']}{against}, {day}",
                "expected": row["criterion"],
                f"found ({content.confidence} interval)": estimate(*values, difference=bool(against)),
                "verdict": row["verdict"],
            }
        )
    return pd.DataFrame(rows)


def _answer(endpoint: EndpointContent, confidence: str) -> str:
    """Say in a sentence or two how well the first experiment of an endpoint tells people apart, and how right it is."""
    row = endpoint.row(endpoint.first)
    found = [100 * row[f"harrell_c{end}"] for end in ("", "_lower", "_upper")]
    text = (
        f"{endpoint.name}, risks by {at_day(endpoint.horizon)}. Of two people of whom one has the event first, "
        f"{endpoint.first} gives that one the higher risk in {number(found[0], 1)} of 100 pairs ({confidence} interval "
        f"{number(found[1], 1)} to {number(found[2], 1)}); 50 would be chance."
    )
    if endpoint.reference != endpoint.first:
        other = 100 * endpoint.row(endpoint.reference)["harrell_c"]
        text += f" The reference, {endpoint.reference}, does so in {number(other, 1)}."
    ratio = [100 * row[f"observed_expected{end}"] for end in ("", "_lower", "_upper")]
    if all(math.isfinite(value) for value in ratio):
        text += (
            f" Where {endpoint.first} predicts 100 events, {number(ratio[0], 0)} happened ({number(ratio[1], 0)} to "
            f"{number(ratio[2], 0)})."
        )
    return text


def _add_missing(section: Section, missing: Sequence[Mapping[str, str]]) -> None:
    if missing:
        section.text(
            "This report is not whole. Experiments of the study that are missing, because their training failed: "
            f"{len(missing)}. All others are compared without them. Once the causes are mended, `snakemake` makes what "
            "is missing, and this report again."
        )
        columns = {"endpoint": "endpoint", "experiment": "experiment", "reason": "why it is missing"}
        section.table(pd.DataFrame(missing)[list(columns)].rename(columns=columns), "Missing experiments", text=3)


def _add_question(page: Page, content: Content, missing: Sequence[Mapping[str, str]]) -> None:
    section = page.section("Question and answer", "question")
    section.text(content.study.question)
    _add_missing(section, missing)
    verdicts = _objectives(content)
    if verdicts.empty:
        section.text("The study states no objectives, so there is nothing to be judged.")
    else:
        met = int((verdicts["verdict"] == "met").sum())
        section.text(
            f"{met} of {len(verdicts)} objectives, written down before the run, are met. Met: the whole interval lies "
            "on the expected side; not met: on the other side; inconclusive: it holds the stated value."
        )
        section.table(verdicts, text=6, marks=VERDICTS)
    for endpoint in content.endpoints.values():
        section.text(_answer(endpoint, content.confidence))
    rows = []
    for endpoint in content.endpoints.values():
        row, counts = endpoint.row(endpoint.first), endpoint.counts
        events = f"events by {at_day(endpoint.horizon)}" if len(content.endpoints) == 1 else "events"
        found = [row[f"harrell_c{end}"] for end in ("", "_lower", "_upper")]
        gain = [row[f"harrell_c_difference{end}"] for end in ("", "_lower", "_upper")]
        rows.append(
            {
                "endpoint": endpoint.name,
                "highest concordance": endpoint.first,
                "reference": endpoint.reference,
                "at risk": shown(counts.at_risk),
                events: shown(counts.events),
                "concordance": estimate(*found),
                "over the reference": estimate(*gain, difference=True),
            }
        )
    section.table(pd.DataFrame(rows), "Each endpoint in a line", text=3)


def _add_data(page: Page, content: Content) -> None:
    section = page.section("Data", "data")
    section.text(
        "Which data went in: a fingerprint changes with any value of any table. Two reports with the same fingerprint "
        "rest on the same data."
    )
    section.table(version_table(content.data), text=2)
    section.table(content.files.text("cohort/report/data.csv"), "Tables of the source")
    figure = content.files.optional("cohort/report/availability.svg")
    if figure is not None:
        section.figure(figure, "Which modalities (kinds of data) the subjects have together; ehr: health records.")
    section.text("Missing values, leak gates and more on who was studied: the cohort report.", note=True)


def _add_provenance(page: Page, content: Content, runs: pd.DataFrame, hashes: pd.DataFrame) -> None:
    section = page.section("Provenance", "provenance")
    section.text(
        "Every training step left a record. The same commit, code and data give the same numbers; changed: files "
        "differed from that commit. Fingerprint: first "
        "digits of the sha256 of the record and its training curves. All digits, and the digest of the code: runs.csv."
    )
    studies = [study for study in runs["mlflow_experiment"].unique() if study]
    if studies:
        section.text(
            "MLflow run id: the name of the run in MLflow, the lab's store of runs. On the machine of the study, `make "
            f"ui` opens it; the address of a run there ends in #/experiments/{studies[0]}/runs/ and its id. The ids "
            "change when the store is deleted and made again. The fingerprints do not: the search "
            "tags.`riskweave.fingerprint` LIKE 'these digits%' finds the run in any store. results/index.html, "
            "beside the folder of the study, compares the runs of all studies."
        )
    others = other_data(content)
    if others:
        section.text(f"Trained on other data than those described above: {', '.join(sorted(set(others)))}.")
    section.table(runs_shown(runs), text=9, sortable=True, caption=f"{len(runs)} training steps")
    section.table(software_table(content), text=2, folded="Versions of the software")
    shortened = hashes.assign(bytes=hashes["bytes"].astype(str))[["file", "sha256", "bytes"]]
    section.table(shortened, text=2, folded=f"Content of the {len(hashes)} files that this page was made from")


def _add_checklist(page: Page, table: pd.DataFrame) -> None:
    section = page.section("TRIPOD+AI", "tripod")
    states = table["state"].value_counts()
    section.text(
        "The checklist for reports on prediction models (Collins et al., BMJ 2024;385:e078378), in short words. Of "
        f"{len(table)} items, {states.get(FILLED, 0)} are filled from this run, {states.get(IN_PART, 0)} in part, and "
        f"{states.get(AUTHOR, 0)} are the authors' to write. D: development, E: evaluation. Read the checklist itself "
        "before you send off a manuscript; a filled item says what was done, not that it was enough."
    )
    rows = pd.DataFrame(
        {
            "item": table["item"],
            "asks for": table["topic"] + ": " + table["wanted"] + " (" + table["applies"] + ")",
            "state": table["state"],
            "from this run": [f"{t}\n[{s}]" if t else "" for t, s in zip(table["text"], table["source"], strict=True)],
            "authors write": table["authors"],
        }
    )
    for name, part in rows.groupby(table["section"], sort=False):
        section.heading(str(name))
        section.table(part, text=5, marks={FILLED: "mark", IN_PART: "mark", AUTHOR: "todo"})


def _page(content: Content, made: Path, tables: dict[str, pd.DataFrame], missing: Sequence[Mapping[str, str]]) -> str:
    note = (
        f"{SUPPRESSED}: not shown. Counts of 1 to {content.threshold - 1} are not shown, nor counts from which one "
        "would follow. What the words mean: last section."
    )
    page = Page(f"Study report: {content.study.study}", "From the question to the answer, and all it rests on.", note)
    _add_question(page, content, missing)
    _add_data(page, content)
    for name, endpoint in content.endpoints.items():
        own = {figure: made / name / f"{figure}.svg" for figure in ("differences", "subgroups")}
        add_endpoint(page.section(f"Endpoint {name}", f"endpoint-{name}"), content, endpoint, own)
    _add_provenance(page, content, tables["runs"], tables["inputs"])
    _add_checklist(page, tables["tripod"])
    page.section("Words", "words").table(glossary_table(), text=2)
    return page.render()


def report_study(
    *, root: Path, inputs: Iterable[Path], folder: Path, missing: Sequence[Mapping[str, str]] = ()
) -> None:
    """Write the study report: a page, and the tables and figures that it makes as files of their own.

    Parameters
    ----------
    root : Path
        The study's results, ``results/<study>``.
    inputs : iterable of Path
        Files below `root` that are read, and no others: study, data version, cohort report, evaluation, run records;
        findings of the leak gates, figures of searches and explanations where there are any.
    folder : Path
        Where the report is written: the files :data:`OF_STUDY`, and :data:`OF_ENDPOINT` in a folder for each endpoint.
        They take their places when all of them are made.
    missing : sequence of mapping
        Experiments whose training failed: endpoint, experiment, reason.

    Raises
    ------
    DataError
        When a file that is needed is not among the inputs, or cannot be read.
    """
    content = read_content(Files.of(Path(root), inputs))
    tables = {
        "objectives": content.objectives.drop(columns=["n", "events"], errors="ignore"),
        "runs": runs_table(content),
        "software": software_table(content),
        "inputs": content.files.hashes(),
        "tripod": checklist(content),
    }
    with replacing_in(folder) as made:
        for name, endpoint in content.endpoints.items():
            _write_endpoint(endpoint, made / name)
        for name, table in tables.items():
            _write_csv(table, made / f"{name}.csv")
        (made / "index.html").write_text(_page(content, made, tables, missing), encoding="utf-8")
