"""The study report of a small planted study: its sections, what it must not tell, and what it loads."""

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from reported_study import EXPERIMENTS, inputs_of, write_results

from riskweave.drawing import draw_sentence
from riskweave.errors import DataError
from riskweave.page import Page
from riskweave.study_report.counts import shown_counts
from riskweave.study_report.report import OF_ENDPOINT, OF_STUDY, report_study
from riskweave.study_report.words import NOTHING
from riskweave.tracking.record import fingerprint

VOID = {"meta", "img", "br", "link", "wbr"}


class Reader(HTMLParser):
    """Read titles, tables and what is loaded; refuse tags that are not closed in order."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.heads, self.loaded, self.tables, self.text = [], [], [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.loaded += [(tag, found[key]) for key in ("src", "href", "data", "action") if key in found]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "br" and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        if inside in ("h2", "h3"):
            self.heads.append(data)
        elif inside in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if inside not in ("script", "style"):
            self.text.append(data)

    def table(self, *titles):
        """The one table whose head begins with these titles."""
        (found,) = [table for table in self.tables if tuple(table[0][: len(titles)]) == titles]
        return found


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("study"), reclassification=[0.3], recalibration=True)


@pytest.fixture(scope="module")
def made(root):
    report_study(root=root, inputs=inputs_of(root), folder=root / "report")
    return root / "report"


@pytest.fixture(scope="module")
def page(made):
    return (made / "index.html").read_text()


def test_it_writes_all_its_files_and_nothing_else(made):
    of_endpoint = [*OF_ENDPOINT, "reclassification.csv", "recalibration.csv"]
    assert {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()} == {
        *OF_STUDY,
        *(f"mace/{file}" for file in of_endpoint),
    }


def test_no_file_changes_when_it_is_made_again(root, made, tmp_path):
    report_study(root=root, inputs=inputs_of(root), folder=tmp_path)
    for path in (path for path in made.rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / path.relative_to(made)).read_bytes(), path.name


def test_every_section_is_there(page):
    heads = Reader(page).heads
    for head in (
        "Question and answer", "Data", "Endpoint mace", "Who was studied", "Which experiment predicts best",
        "By how much better than half.cox", "Are the risks right", "Would acting on the risks be of use",
        "Who would be treated differently", "For whom does it work", "Provenance", "TRIPOD+AI", "Words",
    ):  # fmt: skip
        assert heads.count(head) == 1, head
    assert "Is the &lt;whole&gt; signal" in page


def test_nothing_is_loaded_and_only_its_own_script_may_run(page):
    loaded = Reader(page).loaded
    assert len([1 for tag, _ in loaded if tag == "img"]) == 8
    assert all(place.startswith(("data:image/svg+xml;base64,", "#")) for _, place in loaded)
    assert not re.search(r"url\(|@import|\son\w+=", re.sub(r'src="[^"]*"', "", page))
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_a_page_without_tables_to_sort_has_no_script():
    page = Page("a", "b", "c")
    page.section("d", "d").table(pd.DataFrame({"e": ["f"]}))
    assert "script" not in page.render()


def test_long_names_of_experiments_may_be_broken_and_nothing_else():
    page = Page("a", "b", "c")
    digest = "0123456789abcdef" * 2
    page.section("d", "d").table(pd.DataFrame({"e": ["ehr+ecg+image.logistic_hazard", "ehr.cox", digest, "0.5 to 1"]}))
    text = page.render()
    assert '<td class="wrap">ehr+<wbr>ecg+<wbr>image.<wbr>logistic_hazard</td>' in text
    assert text.count("<wbr>") == 3
    assert Reader(text).table("e")[1] == ["ehr+ecg+image.logistic_hazard"]


def test_the_answer_is_in_plain_words_and_its_numbers_are_those_of_the_leaderboard(root, page):
    board = pd.read_parquet(root / "evaluation/mace/leaderboard.parquet").set_index("experiment")
    best, other = board.loc["true.cox"], board.loc["half.cox"]
    text = " ".join(Reader(page).text)
    assert "mace, risks by day 360. Of two people of whom one has the event first, true.cox gives that one the" in text
    found, lower = 100 * best["harrell_c"], 100 * best["harrell_c_lower"]
    assert f"in {found:.1f} of 100 pairs (95 % interval {lower:.1f} to" in text
    assert f"half.cox, does so in {100 * other['harrell_c']:.1f}." in text
    assert f"predicts 100 events, {100 * best['observed_expected']:.0f} happened" in text


def test_words_and_columns_are_explained(page):
    reader = Reader(page)
    columns = reader.table("rank", "experiment")[0][2:-2]
    assert [row[0] for row in reader.table("column", "what it tells")[1:]] == columns
    assert {"index time", "censored", "experiment", "reference", "fold"} <= {row[0] for row in reader.table("word")}


def test_nobody_is_identified(root, made):
    for path in (path for path in made.rglob("*") if path.suffix in (".csv", ".html")):
        text = path.read_text()
        assert not re.search(r"(?<![\d.])00\d{3}(?!\d)", re.sub(r'src="[^"]*"', "", text))
        assert "secrethost" not in text
        assert "secretuser" not in text
        assert str(root) not in text


def test_the_leaderboard_stands_in_its_order_and_says_what_is_in_the_table(root, page):
    board = pd.read_parquet(root / "evaluation/mace/leaderboard.parquet")
    rows = Reader(page).table("rank", "experiment")[1:]
    assert [row[1] for row in rows] == list(board["experiment"]) == list(EXPERIMENTS)
    first = board.iloc[0]
    assert rows[0][2] == f"{first['harrell_c']:.3f} ({first['harrell_c_lower']:.3f} to {first['harrell_c_upper']:.3f})"
    values = [float(row[2].split()[0]) for row in rows]
    assert values == sorted(values, reverse=True)
    assert rows[1][-2] == "reference"


def test_recalibration_is_told_before_and_after(root, page):
    table = pd.read_parquet(root / "evaluation/mace/recalibration.parquet").set_index(
        ["experiment", "metric", "horizon"]
    )
    rows = Reader(page).table("experiment", "metric")[1:]
    found = table.loc[("true.cox", "calibration_slope", 360)]
    (row,) = [row for row in rows if row[:2] == ["true.cox", "calibration slope"]]
    assert row[2].startswith(f"{found['before']:.3f} (")
    assert row[3].startswith(f"{found['after']:.3f} (")


def test_differences_are_those_of_the_evaluation(root, made):
    table = pd.read_csv(made / "mace/differences.csv")
    found = pd.read_parquet(root / "evaluation/mace/differences.parquet")
    keys = ["experiment", "metric", "horizon"]
    both = table.merge(found[found["group"] == "all"], on=keys, suffixes=("", "_there"))
    assert len(both) == len(table) == 2 * 7
    np.testing.assert_allclose(both["estimate"], both["estimate_there"], rtol=1e-5)
    np.testing.assert_allclose(both["upper"], both["upper_there"], rtol=1e-5)
    judged = table[table["metric"] == "harrell_c"]
    assert (judged["joint_lower"] <= judged["lower"] + 1e-6).all()


def test_small_counts_are_not_shown(root, made, page):
    """Six people are of a centre of their own: its count and those that would tell it are left out, sex is shown."""
    subjects = pd.read_parquet(root.parents[1] / "subjects.parquet")
    rows = Reader(page).table("group", "value")[1:]
    centres = {row[1]: row[2:4] for row in rows if row[1] in ("a", "b", "c", "tiny")}
    assert set(centres) == {"a", "b", "c", "tiny"}
    assert {count for counts in centres.values() for count in counts} == {"s"}
    sexes = {row[1]: row[2] for row in rows if row[1] in ("f", "m")}
    assert sexes == {sex: str(n) for sex, n in subjects["sex"].value_counts().items()}
    for path in (made / "mace").glob("*.csv"):
        assert not {"n", "events", "subjects"} & set(pd.read_csv(path, nrows=1).columns), path.name


def _counts(*, followed, reached, parts, at_risk="300", table1=None, threshold=10):
    groups = [("all", "all", 300, followed), *(("sex", sex, n, e) for sex, n, e in parts)]
    metrics = pd.DataFrame(groups, columns=["group", "group_value", "n", "events"]).astype({"events": "Int64"})
    follow_up = pd.DataFrame({"what": ["subjects at risk"], "value": [at_risk]})
    outcomes = pd.DataFrame({"outcome": ["target event"], "subjects": [reached]})
    table1 = pd.DataFrame(table1 or {"variable": [], "level": [], "event": []}, dtype=str)
    tables = {"metrics": metrics, "follow_up": follow_up, "outcomes": outcomes, "table1": table1}
    return shown_counts(**{name: {"mace": table} for name, table in tables.items()}, threshold=threshold)["mace"]


PARTS = [("f", 180, 40), ("m", 120, 60)]
TABLE1 = {"variable": ["sex"], "level": ["f, n (%)"], "event": ["33 (8.0)"]}


def test_counts_that_tell_of_few_are_left_out():
    fine = _counts(followed=100, reached="80", parts=PARTS)
    assert fine.events_in == {("sex", "f"): 40, ("sex", "m"): 60}
    # four had the event after the last horizon
    assert _counts(followed=100, reached="96", parts=PARTS).events_followed is None
    assert _counts(followed=100, reached="96", parts=PARTS).events_in == {}
    # Table 1 tells 33 women with the event by the last horizon, and so that 7 more had it later
    assert _counts(followed=100, reached="80", parts=PARTS, table1=TABLE1).events_in == {}
    assert _counts(followed=100, reached="80", parts=PARTS, table1=TABLE1).subjects_in[("sex", "f")] == 180
    # a part is below the study's own threshold, or not known
    assert _counts(followed=100, reached="50", parts=PARTS, threshold=41).events_in == {}
    assert _counts(followed=100, reached="80", parts=[PARTS[0], ("m", 120, None)]).events_in == {}
    # where the cohort report does not show how many are at risk, neither does this one
    hidden = _counts(followed=100, reached="80", parts=PARTS, at_risk="s")
    assert (hidden.at_risk, hidden.events, dict(hidden.subjects_in)) == (None, None, {})


def test_where_numbers_come_from(root, made, page):
    rows = {row[0]: row for row in Reader(page).table("trained", "endpoint")[1:]}
    assert set(rows) == set(EXPERIMENTS)
    record = root / "experiments/mace/true.cox/run.json"
    digest = hashlib.sha256(record.read_bytes()).hexdigest()
    assert rows["true.cox"][2:] == [
        "7", "0123456789ab", "cdcdcdcdcdcd", "1 min 15 s", "2 x Processor, Accelerator", digest[:12], NOTHING,
    ]  # fmt: skip
    assert rows["constant.null"][3] == "0123456789ab, changed"
    inputs = pd.read_csv(made / "inputs.csv").set_index("file")["sha256"]
    assert inputs["experiments/mace/true.cox/run.json"] == digest
    assert len(inputs) == len(inputs_of(root))
    assert "MLflow run id:" not in page


def test_runs_have_the_ids_of_the_store_where_it_holds_these_records(root, tmp_path):
    """Of `half.cox` the store holds an older record: its run is not the one whose numbers are shown."""
    columns = ["kind", "endpoint", "name", "fold", "fingerprint", "mlflow_experiment", "mlflow_run"]
    found = {name: fingerprint(root / f"experiments/mace/{name}/run.json") for name in EXPERIMENTS}
    found["half.cox"] = "00" * 32
    runs = [
        ("experiment", "mace", name, fold, digest, "3", f"{number}{fold[0]}" * 16)
        for number, (name, digest) in enumerate(found.items())
        for fold in ("parent", "0", "1")
    ]
    ids = root / "tracking/runs.csv"
    ids.parent.mkdir()
    pd.DataFrame(runs, columns=columns).to_csv(ids, index=False)
    report_study(root=root, inputs=inputs_of(root), folder=tmp_path)
    shutil.rmtree(ids.parent)
    page = Reader((tmp_path / "index.html").read_text())
    shown = {row[0]: row[-1] for row in page.table("trained", "endpoint")[1:]}
    assert shown == {"true.cox": "0p" * 16, "half.cox": NOTHING, "constant.null": "2p" * 16}
    assert "#/experiments/3/runs/" in "".join(page.text)
    table = pd.read_csv(tmp_path / "runs.csv", dtype=str).set_index("name")
    assert table.loc["true.cox", ["mlflow_experiment", "mlflow_run"]].tolist() == ["3", "0p" * 16]


def test_explanations_and_searches_are_shown_where_there_are_any(root, page, tmp_path):
    assert "relies on" not in Reader(page).text
    assert not [head for head in Reader(page).heads if head.startswith(("What true.cox", "Search of"))]
    folder = root / "evaluation/mace/explain/true.cox"
    extra = [folder / "importance.svg", folder / "importance.parquet", root / "evaluation/mace/shapley.svg"]
    extra += [root / "experiments/mace/true.cox/search" / name for name in ("slices.svg", "chosen.csv")]
    before = inputs_of(root)
    draw_sentence("importance", extra[0])
    rows = {"level": "column", "feature_set": "true", "metric": "harrell_c", "horizon": 360, "lower": 0.0, "upper": 0.3}
    found = [("age", "marginal", 0.2), ("age", "conditional", 0.1), ("sex", "marginal", 0.25)]
    pd.DataFrame([rows | dict(zip(("name", "method", "estimate"), one, strict=True)) for one in found]).to_parquet(
        extra[1]
    )
    draw_sentence("shapley", extra[2])
    draw_sentence("slices", extra[3])
    extra[4].write_text("fold,penalty\n0,0.1\n")
    report_study(root=root, inputs=[*before, *extra], folder=tmp_path)
    shown = Reader((tmp_path / "index.html").read_text())
    assert {"What true.cox relies on", "Search of hyper-parameters: true.cox"} <= set(shown.heads)
    table = shown.table("level", "name")
    assert [row[1] for row in table[1:]] == ["sex", "age"]
    assert table[2][2:] == ["0.200 (0.000 to 0.300)", "0.100 (0.000 to 0.300)"]
    for path in extra:
        path.unlink()


def test_what_is_no_input_is_not_read(root, tmp_path):
    inputs = [path for path in inputs_of(root) if path.name != "leaderboard.parquet"]
    with pytest.raises(DataError, match=r"leaderboard\.parquet.*is not among the inputs"):
        report_study(root=root, inputs=inputs, folder=tmp_path / "report")
    assert not list(tmp_path.rglob("*.*"))
