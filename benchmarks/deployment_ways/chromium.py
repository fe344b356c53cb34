"""The page of a bundle in Chromium, opened from disk, with its own policy."""

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

from deployment_ways.measure import cpu_seconds, descendants, proportional_kilobytes

# Runs inside the page: its own code, by the inspector, which the page's policy does not bind.
ASK = """
(async () => {
  const began = performance.now();
  %(script)s
  const files = %(files)s;
  const data = await readData();
  const model = await Model.start(data.bytes, data.schema);
  const file = (name) => new File([fromBase64(files[name])], name);
  const once = async () => {
    model.setPatient(JSON.parse(await file("patient.json").text()));
    model.setEcg(await readEcg([file("rec.hea"), file("rec.dat")], {}, data.schema.ecg.seconds));
    model.setImage(await readPicture(file("image.png")));
    return Array.from(model.predict(), hexOfDouble);
  };
  globalThis.timed = async (count) => {
    const ms = [];
    for (let i = 0; i < count; i++) {
      const began = performance.now();
      await once();
      ms.push(performance.now() - began);
    }
    return JSON.stringify(ms);
  };
  globalThis.golden = async () => JSON.stringify(
    data.golden.patients.map((one) => Array.from(goldenRisks(model, one).risks, hexOfDouble)));
  const again = performance.now() - began;
  return JSON.stringify({risks: await once(), again});
})()
"""


class Page:
    """The page of a bundle in a browser of its own.

    Parameters
    ----------
    playwright
        A running one.
    chromium : str
        Path of the browser.
    bundle, folder : Path
        The bundle; patient.json, rec.hea, rec.dat and image.png.

    Attributes
    ----------
    risks : list of str
        Bits.
    cold : float
        Seconds from the start of the browser to the first risk, the page's check of its golden patients included; less
        what it takes to set up a second model, since the page shows its own to nobody.
    opened : float
        The same from opening the page on.
    """

    def __init__(self, playwright: Any, chromium: str, bundle: Path, folder: Path):
        text = (bundle / "index.html").read_text(encoding="utf-8")
        script = re.search(r'<script type="module">(.*)</script>', text, re.DOTALL)[1].rstrip()
        if not script.endswith("start();"):
            raise RuntimeError("the page's script does not end as this benchmark expects")
        names = ("patient.json", "rec.hea", "rec.dat", "image.png")
        files = {name: base64.b64encode((folder / name).read_bytes()).decode() for name in names}
        asked = ASK % {"script": script.removesuffix("start();"), "files": json.dumps(files)}
        began = time.perf_counter()
        self.browser = playwright.chromium.launch(executable_path=chromium)
        self.tab = self.browser.new_page()
        opened = time.perf_counter()
        self.tab.goto((bundle / "index.html").resolve().as_uri())
        self.tab.wait_for_selector("html[data-ready]", state="attached")
        if self.tab.evaluate("document.documentElement.dataset.ready") != "yes":
            raise RuntimeError(f"the page refuses its model: {self.tab.inner_text('#checks')}")
        self.session = self.tab.context.new_cdp_session(self.tab)
        told = self._ask(asked)
        ended = time.perf_counter() - 1e-3 * told["again"]
        self.risks, self.cold, self.opened = told["risks"], ended - began, ended - opened
        self.cpu = self.worked()

    def worked(self) -> float:
        """Return the seconds that processors worked for all processes of the browser so far."""
        return descendants("chrom", cpu_seconds)

    def _ask(self, expression: str) -> Any:
        given = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        found = self.session.send("Runtime.evaluate", given)
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"])[:2000])
        return json.loads(found["result"]["value"])

    def times(self, count: int) -> list[float]:
        """Return the times of so many predictions, in milliseconds."""
        return self._ask(f"timed({count})")

    def golden(self) -> list[list[str]]:
        """Return the risks of the golden patients."""
        return self._ask("golden()")

    def memory(self) -> float:
        """Return the memory of all processes of the browser in MB; pages that they share count once."""
        return descendants("chrom", proportional_kilobytes) / 1e3

    def close(self) -> None:
        """End the browser."""
        self.browser.close()
