"""The page that compares runs: what it tells is what MLflow tells, and a browser shows it without a network."""

import json
import math
import re
import shutil

import pandas as pd
import pytest
from tracked_steps import make_metrics, make_record

from riskweave.errors import DataError
from riskweave.tracking.compare import Comparison, compare, compare_or_warn, read_comparison, render
from riskweave.tracking.record import read_record, write_record
from riskweave.tracking.store import collect

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NASTY = "ehr.</script><img src=x onerror=alert(1)>"


def metrics_of(path, names):
    """Write the final metrics of experiments, each a little better than the one before."""
    rows = [
        {"experiment": name, "endpoint": "mace", "group": None, "metric": metric, "horizon": 1826.0,
         "estimate": level + place / 1000, "lower": level - 0.05, "upper": level + 0.08}
        for place, name in enumerate(names)
        for metric, level in (("harrell_c", 0.7), ("brier", 0.1))
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Sixty experiments of a study, one of another, and one that was replaced."""
    folder = tmp_path_factory.mktemp("results")
    first = make_record(folder / "demo", name="ehr.cox")
    record = read_record(first)
    records, names = [first], ["ehr.cox", NASTY, *(f"ecg.cox{number}" for number in range(58))]
    for name in names[1:]:
        record.name, record.feature_sets = name, {"ecg": []}
        record.params = {"model": "deephit"}
        record.provenance["user"] = "ada"
        path = folder / "demo/experiment" / str(len(records)) / "run.json"
        write_record(record, path)
        records.append(path)
    metrics = {"mace": metrics_of(folder / "metrics.parquet", names)}
    (folder / "demo/report").mkdir()
    report = folder / "demo/report/index.html"
    more = {"directory": folder / "mlflow", "study": "demo", "metrics": metrics, "report": report}
    collect(records=records, **more)
    make_record(folder / "demo", name="ehr.cox", penalty=0.3)
    collect(records=records, **more)
    collect(records=[make_record(folder / "other", study="other")], directory=folder / "mlflow", study="other")
    return folder


def test_the_page_tells_what_mlflow_tells(results):
    from mlflow import MlflowClient

    found = read_comparison(results / "mlflow")
    client = MlflowClient(tracking_uri=f"sqlite:///{results}/mlflow/mlflow.db")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.`riskweave.fingerprint` LIKE '%'", max_results=1000)
    assert len(found) == len(runs) == 62
    expected = {
        (
            run.data.tags["study"],
            run.data.tags["experiment"],
            run.data.tags["feature_sets"],
            run.data.tags["user"],
            run.data.tags["status"],
            run.data.params.get("model", ""),
            run.data.metrics.get("harrell_c_1826"),
            run.data.metrics.get("brier_1826_upper"),
        )
        for run in runs
    }
    texts = [found.texts[name] for name in ("study", "experiment", "feature sets", "person", "status", "model")]
    metrics = found.metrics["harrell_c_1826"], found.metrics["brier_1826"]
    assert expected == {
        (*words, c and c[0], brier and brier[2]) for *words, c, brier in zip(*texts, *metrics, strict=True)
    }
    assert not [name for name in found.metrics if name.endswith(("_lower", "_upper")) or name.startswith("hardware")]


def test_the_page_loads_nothing_and_holds_no_markup_of_its_data(results):
    page = results / "index.html"
    assert compare(directory=results / "mlflow", page=page) == 62
    text = page.read_text(encoding="utf-8")
    assert "<img" not in text
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert NASTY in data["texts"]["experiment"]["values"]
    assert data["texts"]["report"]["values"] == ["", "demo/report/index.html"]
    assert (data["directions"]["harrell_c_1826"], data["directions"]["brier_1826"]) == (1, -1)
    assert "lab_7_last" not in text  # no columns
    moved = shutil.copytree(results / "mlflow", results / "a folder with 100 % space" / "mlflow")
    assert compare(directory=moved, page=moved.parent / "index.html") == 62
    with pytest.raises(DataError, match="no store of runs"):
        compare(directory=results / "none", page=page)


@pytest.mark.skipif(CHROMIUM is None or sync_playwright is None, reason="no Chromium or playwright on this machine")
def test_a_browser_sorts_filters_and_draws(results):
    compare(directory=results / "mlflow", page=results / "index.html")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        context = browser.new_context(offline=True, viewport={"width": 420, "height": 900})
        page, asked, told = context.new_page(), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto((results / "index.html").as_uri())
        count, rows = page.locator("#count"), page.locator("#runs tbody tr")
        assert count.inner_text() == "61 of 62 runs"  # the replaced one is not shown
        assert rows.count() == 50
        # The highest concordance first, with its interval.
        assert rows.nth(0).locator("td").nth(0).inner_text() == "ecg.cox57"
        assert rows.nth(0).locator("td").nth(1).inner_text() == "0.759 (0.650 to 0.780)"
        page.get_by_role("button", name="next").click()
        assert rows.count() == 11
        page.select_option("#f-metric", "brier_1826")
        assert rows.nth(0).locator("td").nth(0).inner_text() == "ehr.cox"  # the lowest
        page.select_option("#f-person", "ada")
        assert count.inner_text() == "59 of 62 runs"
        page.fill("#f-text", "<IMG")
        assert count.inner_text() == "1 of 62 runs"
        assert rows.nth(0).locator("td").nth(0).inner_text() == NASTY
        page.fill("#f-text", "")
        page.select_option("#f-person", "")
        page.select_option("#f-status", "superseded")
        assert count.inner_text() == "1 of 62 runs"
        page.select_option("#f-status", "current")
        page.select_option("#f-group", "model")
        labels = page.locator("#plot svg text").all_text_contents()
        assert "deephit (59)" in labels
        studies = page.locator("#studies tbody tr").all_inner_texts()
        assert any("ecg.cox57" in line and "0.759 (0.650 to 0.780)" in line for line in studies)
        assert page.locator("#studies a").get_attribute("href") == "demo/report/index.html"
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
        # However many studies there are, the list of them scrolls in its own box.
        page.evaluate("const list = document.querySelector('#studies tbody');"
                      "for (let n = 0; n < 300; n += 1) list.append(list.rows[0].cloneNode(true))")  # fmt: skip
        assert page.locator("#studies").evaluate("table => table.parentElement.getBoundingClientRect().height") < 450
        browser.close()
    assert told == []
    assert [url for url in asked if not url.startswith("file:")] == []


def test_infinite_values_are_left_out(tmp_path):
    path = make_metrics(tmp_path / "metrics.parquet")
    table = pd.read_parquet(path)
    table["upper"] = table["upper"].where(table["metric"] != "harrell_c", math.inf)
    table["estimate"] = table["estimate"].where(table["metric"] != "brier", -math.inf)
    table.to_parquet(path)
    collect(records=[make_record(tmp_path)], directory=tmp_path / "mlflow", study="demo", metrics={"mace": path})
    assert compare(directory=tmp_path / "mlflow", page=tmp_path / "index.html") == 1
    found = read_comparison(tmp_path / "mlflow")
    assert found.metrics["harrell_c"] == [(0.71, 0.6, None)]
    assert "brier_1825" not in found.metrics


@pytest.mark.parametrize("report", ["index.html", "a/b", "/index.html", "x y/report/#1.html"])
def test_links_lead_to_the_folders_that_are_there(tmp_path, monkeypatch, report):
    (tmp_path / "x y").mkdir()
    monkeypatch.chdir(tmp_path)
    collect(records=[make_record(tmp_path)], directory=tmp_path / "mlflow", study="demo", report=report)
    compare(directory=tmp_path / "mlflow", page=tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    links = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])["texts"]["report"]["values"]
    assert links == [{"a/b": "a/b", "x y/report/#1.html": "x%20y/report/%231.html"}.get(report, "")]


def test_a_page_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    compare_or_warn(directory=tmp_path / "none", page=tmp_path / "index.html")
    assert "no store of runs" in caplog.text
    collect(records=[make_record(tmp_path)], directory=tmp_path / "mlflow", study="demo")
    (tmp_path / "index.html").mkdir()
    compare_or_warn(directory=tmp_path / "mlflow", page=tmp_path / "index.html")
    assert "index.html: the page that compares all runs was not written" in caplog.text


def test_the_page_of_an_empty_store_is_whole():
    assert render(Comparison({name: [] for name in ("study", "report", "name")})).endswith("</html>\n")
