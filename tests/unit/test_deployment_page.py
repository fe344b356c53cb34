"""The page as a file: its bytes, its policy, what it refers to, its words in two languages."""

import base64
import hashlib
import html.parser
import json
import re
import shutil
import subprocess
from importlib import resources

import pytest
from deployed_page import Bundle

from riskweave.deployment.page import build_page

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")

# Names of standards, which nothing is loaded from.
NAMES = {"http://www.w3.org/2000/svg", "http://unitsofmeasure.org"}


class Elements(html.parser.HTMLParser):
    """Collects elements with their attributes, and the text of scripts and styles as it stands."""

    def __init__(self):
        super().__init__()
        self.found, self.texts = [], []
        self.open = None

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.open = (tag, dict(attributes)) if tag in {"script", "style"} else None
        if self.open:
            self.texts.append([*self.open, ""])

    def handle_endtag(self, _):
        self.open = None

    def handle_data(self, data):
        if self.open:
            self.texts[-1][2] += data


def parse(page):
    elements = Elements()
    elements.feed(page)
    return elements


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return Bundle(tmp_path_factory.mktemp("page") / "module")


@pytest.fixture(scope="module")
def page(bundle):
    return bundle.page()


def sources():
    return {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in (resources.files("riskweave.deployment") / "page").iterdir()
        if entry.name.endswith(".js")
    }


def test_the_same_parts_give_the_same_bytes(bundle, page):
    shuffled = {key: bundle.schema[key] for key in reversed(bundle.schema)}
    assert bundle.page() == page
    assert bundle.page(schema=shuffled) == page


def test_the_policy_allows_the_pages_own_script_and_style_alone(page):
    elements = parse(page)
    (policy,) = (a["content"] for tag, a in elements.found if tag == "meta" and "http-equiv" in a)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))

    def digest(text):
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    (style,) = (text for tag, _, text in elements.texts if tag == "style")
    (script,) = (text for tag, a, text in elements.texts if tag == "script" and a["type"] == "module")
    assert rules == {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest(script)}' 'wasm-unsafe-eval'",
        "style-src": f"'sha256-{digest(style)}'",
        "img-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_nothing_is_loaded_from_anywhere(page):
    elements = parse(page)
    assert {attributes["type"] for tag, attributes in elements.found if tag == "script"} == {
        "module",
        "application/json",
    }
    assert not [a for tag, a in elements.found if {"src", "srcset", "style", "onload", "onclick"} & set(a)]
    assert {a["href"] for _, a in elements.found if "href" in a} == {"card.html"}
    text = re.sub(r'<script type="application/json" id="wasm">[^<]*', "", page)
    assert set(re.findall(r"\bhttps?://[\w./-]+", text)) == NAMES
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|importScripts|eval)\b\s*\(", text)
    assert not re.search(r"\b(localStorage|sessionStorage|indexedDB|document\.cookie)\b", text)


def test_the_data_come_back_as_they_went_in(bundle, page):
    blocks = {a["id"]: json.loads(text) for tag, a, text in parse(page).texts if a.get("type") == "application/json"}
    assert blocks["schema"] == bundle.schema
    assert blocks["golden"] == bundle.golden
    assert blocks["facts"] == bundle.facts
    assert base64.b64decode(blocks["wasm"]) == bundle.wasm


def test_words_of_a_study_cannot_leave_their_place(bundle):
    evil = "</script><script>alert(1)</script>{wasm}{policy}<!--"
    schema = bundle.schema | {"question": evil, "title": {"en": f"<b>{evil}", "de": "x"}}
    page = bundle.page(schema=schema)
    elements = parse(page)
    assert sum(tag == "script" for tag, _ in elements.found) == 5
    assert not [tag for tag, _ in elements.found if tag == "b"]
    blocks = {a["id"]: text for tag, a, text in elements.texts if "id" in a}
    assert json.loads(blocks["schema"])["question"] == evil
    assert page.count("default-src") == 1


def test_facts_of_another_module_are_refused(bundle):
    with pytest.raises(ValueError, match="another module"):
        bundle.page(wasm=bundle.wasm + b"\0")


def test_numbers_that_json_lacks_are_refused(bundle):
    with pytest.raises(ValueError, match="JSON compliant"):
        build_page(bundle.schema | {"times": [float("nan")]}, bundle.wasm, bundle.golden, bundle.facts)


def test_files_are_short_and_name_their_imports():
    found = sources()
    for name, text in found.items():
        assert len(text.splitlines()) < 400, name
        if name not in {"english.js", "german.js"}:
            assert max(map(len, text.splitlines())) <= 120, name
        for line in re.findall(r"^import .*", text, re.MULTILINE):
            imported = re.fullmatch(r'import \{ ([^}]+) \} from "\./(\w+\.js)";', line)
            assert imported, f"{name}: {line}"
            for word in imported[1].split(", "):
                assert re.search(
                    rf"^export (?:const|class|(?:async )?function) {word}\b", found[imported[2]], re.MULTILINE
                )
                assert len(re.findall(rf"\b{word}\b", text)) > 1, f"{name} imports {word} and does not use it"
    declared = re.findall(
        r"^(?:export )?(?:const|let|class|(?:async )?function\*?) (\w+)", "\n".join(found.values()), re.MULTILINE
    )
    assert len(declared) == len(set(declared))


def texts():
    command = "import { TEXTS } from './texts.js'; process.stdout.write(JSON.stringify(TEXTS));"
    folder = resources.files("riskweave.deployment") / "page"
    done = subprocess.run(
        [NODE, "--no-warnings", "--input-type=module", "--experimental-default-type=module", "-e", command],
        cwd=str(folder), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@needs_node
def test_both_languages_say_the_same_things():
    said = texts()
    assert list(said["en"]) == list(dict.fromkeys(said["en"]))
    assert set(said["en"]) == set(said["de"])
    for key, english in said["en"].items():
        german = said["de"][key]
        assert german.strip(), key
        assert set(re.findall(r"\{(\w+)\}", english)) == set(re.findall(r"\{(\w+)\}", german)), key


@needs_node
def test_every_text_is_used_and_every_text_used_is_there():
    known = set(texts()["en"])
    folder = resources.files("riskweave.deployment") / "page"
    code = "\n".join(text for name, text in sources().items() if name not in {"english.js", "german.js"})
    code += (folder / "index.html").read_text(encoding="utf-8")
    quoted = set(re.findall(r'"([a-z]+\.[A-Za-z0-9_.]+)"', code))
    wanted = {each for each in quoted if each.split(".")[0] in {key.split(".")[0] for key in known}}
    assert wanted - known <= {"card.html"}
    built = ("status.", "modality.", "made.", "unit.", "time.", "span.")
    built += ("range.", *(f"{kind}.{what}" for kind in ("ecg", "image") for what in ("title", "choose", "hint", "da")))
    built += ("ecg.missing", "ecg.flat")
    built += ("about.intended_use", "about.not_for", "fault")
    assert {key for key in known - quoted if not key.startswith(built)} == set()
