"""The page of a bundle in Chromium, opened from disk, with its own policy."""

import base64
import json
import re
import time
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deployment_ways.measure import descendants_memory

# Runs inside the page: its own code, by the inspector, which the page's policy does not bind.
ASK = """
(async () => {
  %(script)s
  const { files, repeats } = %(given)s;
  const data = readData();
  const model = await Model.start(data.bytes, data.schema);
  const file = (name) => new File([fromBase64(files[name])], name);
  const once = async () => {
    model.setPatient(JSON.parse(await file("patient.json").text()));
    model.setEcg(await readEcg([file("rec.hea"), file("rec.dat")], {}, data.schema.ecg.seconds));
    model.setImage(await readPicture(file("image.png")));
    return Array.from(model.predict(), hexOfDouble);
  };
  const risks = await once();
  const ms = [];
  for (let i = 0; i < repeats; i++) {
    const began = performance.now();
    await once();
    ms.push(performance.now() - began);
  }
  const all = repeats ? data.golden.patients : [];
  const golden = all.map((one) => Array.from(goldenRisks(model, one).risks, hexOfDouble));
  return JSON.stringify({ risks, ms, golden });
})()
"""


class Page:
    """The page of a bundle and what is asked of it.

    Parameters
    ----------
    bundle : Path
    folder : Path
        patient.json, rec.hea, rec.dat, image.png.
    """

    def __init__(self, bundle: Path, folder: Path):
        self.url = (bundle / "index.html").resolve().as_uri()
        text = (bundle / "index.html").read_text(encoding="utf-8")
        script = re.search(r'<script type="module">(.*)</script>', text, re.DOTALL)[1].rstrip()
        if not script.endswith("start();"):
            raise RuntimeError("the page's script does not end as this benchmark expects")
        self.script = script.removesuffix("start();")
        names = ("patient.json", "rec.hea", "rec.dat", "image.png")
        self.files = {name: base64.b64encode((folder / name).read_bytes()).decode() for name in names}

    def expression(self, repeats: int) -> str:
        """Return what the page runs."""
        return ASK % {"script": self.script, "given": json.dumps({"files": self.files, "repeats": repeats})}


@contextmanager
def opened(playwright: Any, chromium: str, page: Page):
    """Start a browser, open the page, wait until it has checked its golden patients."""
    browser = playwright.chromium.launch(executable_path=chromium)
    try:
        tab = browser.new_page()
        began = time.perf_counter()
        tab.goto(page.url)
        tab.wait_for_selector("html[data-ready]", state="attached")
        if tab.evaluate("document.documentElement.dataset.ready") != "yes":
            raise RuntimeError(f"the page refuses its model: {tab.inner_text('#checks')}")
        yield tab, began
    finally:
        browser.close()


def ask(tab: Any, expression: str) -> Mapping[str, Any]:
    """Run an expression in the page."""
    session = tab.context.new_cdp_session(tab)
    given = {"expression": expression, "awaitPromise": True, "returnByValue": True}
    found = session.send("Runtime.evaluate", given)
    if "exceptionDetails" in found:
        raise RuntimeError(json.dumps(found["exceptionDetails"])[:2000])
    return json.loads(found["result"]["value"])


def in_chromium(chromium: str, page: Page, *, repeats: int, cold: int) -> dict[str, Any]:
    """Return risks, times and memory.

    Returns
    -------
    dict
        ``cold``: seconds from the start of the browser to the first risk; ``open``: from opening the page in a running
        browser to the first risk; both include the check of all golden patients.
    """
    from playwright.sync_api import sync_playwright

    starts, opens = [], []
    with sync_playwright() as playwright:
        for _ in range(cold):
            began = time.perf_counter()
            with opened(playwright, chromium, page) as (tab, shown):
                ask(tab, page.expression(0))
                starts.append(time.perf_counter() - began)
                opens.append(time.perf_counter() - shown)
        with opened(playwright, chromium, page) as (tab, _):
            found = ask(tab, page.expression(repeats))
            memory = descendants_memory("chrom")
    return {**found, "cold": starts, "open": opens, "memory": memory}
