"""A browser with the page of a small bundle, as fixtures: import them by name."""

import io
import json
import re
import shutil
from contextlib import contextmanager

import numpy as np
import PIL.Image
import pytest
from deployed_page import Bundle

from riskweave.modalities.ecg import LEADS
from riskweave.synthetic.ecg import SAMPLING_RATE, Ecg, synthesise
from riskweave.synthetic.image import Radiograph, render
from riskweave.synthetic.wfdb_files import write_record

__all__ = ["ECG", "IMAGE", "browser", "bundle", "expect", "files", "jpeg", "needs_browser", "visit", "visited"]

try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    expect = sync_playwright = None

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or sync_playwright is None, reason="no Chromium on this machine, or playwright is not installed"
)

ECG, IMAGE = "input[type=file][accept*=hea]", "input[type=file][accept*=png]"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return Bundle(tmp_path_factory.mktemp("browser") / "module")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM)
        yield running
        running.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a recording of 15 s and a picture, and return them with their values."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(5)
    ecg = np.concatenate([synthesise(ecg=Ecg(0.3, -0.2, 0.1, fibrillation=False), rng=rng) for _ in range(2)])[:7500]
    write_record(path=folder / "rec", signal=ecg, leads=LEADS, sampling_rate=SAMPLING_RATE, gain=1000)
    picture = np.rint(65535 * np.clip(render(radiograph=Radiograph(0.4, -0.3), shape=(150, 120), rng=rng), 0, 1))
    PIL.Image.fromarray(picture.astype(np.uint16)).save(folder / "chest.png")
    return {"folder": folder, "ecg": np.rint(1000 * ecg).T / 1000, "image": picture.astype(np.float32)}


def jpeg(grey, **more):
    buffer = io.BytesIO()
    PIL.Image.fromarray(grey).save(buffer, "JPEG", **more)
    return buffer.getvalue()


class Visit:
    """A page that was opened from disk, and what it did beyond itself."""

    def __init__(self, browser, folder, text, **options):
        self.context = browser.new_context(accept_downloads=True, locale=options.pop("locale", "en-GB"), **options)
        self.page = self.context.new_page()
        self.requests, self.faults = [], []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        (folder / "index.html").write_text(text, encoding="utf-8")
        self.url = (folder / "index.html").as_uri()
        self.page.goto(self.url)
        self.page.wait_for_selector("html[data-ready]", state="attached")

    def attach(self, selector, *paths):
        self.page.set_input_files(selector, [str(path) for path in paths])
        note = self.page.locator(f"section.inputs:has({selector}) .message[id$=-note]")
        expect(note).not_to_contain_text(re.compile("Reading|gelesen"))
        expect(note).to_be_visible()
        return note.inner_text()

    def download(self, name):
        with self.page.expect_download() as found:
            self.page.get_by_role("button", name=name).click()
        with open(found.value.path(), encoding="utf-8") as stream:
            return json.load(stream)

    def fill_required(self):
        self.page.get_by_role("textbox", name="Age").fill("67")
        self.page.get_by_role("combobox", name="Sex").select_option("male")

    def predict(self):
        self.page.click("#predict")
        self.page.wait_for_selector(".result")

    @property
    def outward(self):
        return [url for url in self.requests if not url.startswith(("file:", "blob:", "data:"))]


@contextmanager
def visited(browser, folder, text, **options):
    visit = Visit(browser, folder, text, **options)
    yield visit
    visit.context.close()


@pytest.fixture
def visit(browser, bundle, tmp_path):
    with visited(browser, tmp_path, bundle.page()) as opened:
        yield opened
        assert opened.faults == []
        assert opened.outward == []
