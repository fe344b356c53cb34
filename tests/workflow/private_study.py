"""A cohort with planted identifiers, and how to look for them in files of any kind."""

import base64
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["MARKERS", "STUDY", "contents", "encoded", "plant"]

COUNT = 300
MARKERS = {
    "identifiers": "KXQZ7W",
    "names": "Zarqovsky",
    "a category of one person": "Quimbyville",
    "words of one note": "xylophonistical",
    "a code of one person": "LAB//ONEOFF8812",
}
"""What is planted: the beginning of every such text."""

STUDY = {
    "study": "private",
    "question": "Does anything of a person leave the tables of people?",
    "seed": 1,
    "cohort": {
        "source": "tables",
        "subjects": "data/subjects.csv",
        "columns": {"subject_id": "patient", "index_time": "visit", "followup_end": "last_seen"},
        "events": "data/events.csv",
    },
    "endpoints": {"death": {"kind": "codes", "target": ["MEDS_DEATH"], "horizons": [730, 1461], "grid_points": 6}},
    "folds": {"count": 2},
    "feature_sets": {
        "clinical": {
            "modality": "ehr",
            "static": ["age", "sex", "site"],
            "events": [{"codes": ["LAB//"], "by_code": True, "aggregates": ["last"]}],
        },
        "notes": {
            "modality": "text",
            "codes": ["NOTE//"],
            "encoder": {"tokens": 16, "width": 8, "hidden": 8, "cross_fit": 0, "training": {"epochs": 1}},
        },
    },
    "models": {
        "cox": {"kind": "cox"},
        "forest": {"kind": "random_survival_forest", "trees": 10},
        "boosted": {"kind": "gradient_boosting", "trees": 20},
        "network": {"kind": "logistic_hazard", "hidden": [8], "intervals": 5, "training": {"epochs": 2}},
    },
    "experiments": {
        "clinical": {"feature_sets": ["clinical"], "models": ["cox", "forest", "boosted", "network"]},
        "notes": {"feature_sets": ["notes"], "models": ["cox"]},
    },
    "evaluation": {"reference": "clinical.cox", "bootstrap": 50, "explain": ["clinical.cox"]},
    "deployment": {"experiments": ["clinical.cox", "clinical.boosted"]},
}


def plant(data: Path) -> pd.DataFrame:
    """Write the raw tables, and return that of the people, births to the microsecond among them."""
    rng = np.random.default_rng(7)
    data.mkdir()
    people = pd.DataFrame({"patient": [f"{MARKERS['identifiers']}{number:04d}" for number in range(COUNT)]})
    people["surname"] = [f"{MARKERS['names']}{letter}" for letter in rng.permutation(COUNT)]
    people["visit"] = pd.Timestamp("2014-01-01") + pd.to_timedelta(rng.integers(0, 700, COUNT), "D")
    people["birth"] = people["visit"] - pd.to_timedelta(rng.integers(15_000, 30_000, COUNT), "D")
    people["age"] = (people["visit"] - people["birth"]).dt.days / 365.25 + rng.uniform(0, 1e-3, COUNT)
    people["sex"] = rng.choice(["female", "male"], COUNT)
    people["site"] = [MARKERS["a category of one person"], *rng.choice(["north", "south"], COUNT - 1)]
    lab = rng.normal(5, 1, COUNT).astype(np.float32)
    time = rng.exponential(2500 * np.exp(-0.06 * (people["age"] - 60) - 0.5 * (lab - 5))).clip(1).round()
    death = people["visit"] + pd.to_timedelta(time, "D")
    last = pd.Timestamp("2019-12-31")
    people["last_seen"] = death.where(death < last, last)
    before = people["visit"] - pd.to_timedelta(rng.integers(1, 300, COUNT), "D")
    events = [
        pd.DataFrame({"time": before, "code": "LAB//K", "numeric_value": lab}),
        pd.DataFrame({"time": before, "code": "LAB//NA", "numeric_value": rng.normal(140, 3, COUNT)}).iloc[:250],
        pd.DataFrame({"time": death, "code": "MEDS_DEATH"})[death < last],
        pd.DataFrame({"time": before, "code": "NOTE//visit", "text_value": "the patient feels well and walks"}),
        pd.DataFrame({"time": before, "code": MARKERS["a code of one person"], "numeric_value": 1.0}).iloc[:1],
    ]
    events[3].loc[5, "text_value"] += f" as a {MARKERS['words of one note']} should"
    table = pd.concat([each.assign(subject_id=people["patient"]) for each in events])
    columns = ["subject_id", "time", "code", "numeric_value", "text_value"]
    table.reindex(columns=columns).to_csv(data / "events.csv", index=False)
    people.to_csv(data / "subjects.csv", index=False)
    return people


def encoded(text: str) -> list[bytes]:
    """Return a text as files may hold it: UTF-8, UTF-16, and in the middle of something in base64."""
    plain = text.encode()
    found = [plain, text.encode("utf-16-le"), text.encode("utf-16-be")]
    for before in range(3):
        # Letters that are of this text alone, wherever in the whole it begins.
        letters = base64.b64encode(b"\0" * before + plain)
        found.append(letters[-(-8 * before // 6) : 8 * (before + len(plain)) // 6])
    return found


def contents(path: Path) -> Iterator[bytes]:
    """Yield what a file holds: its bytes, and those of what is packed in it."""
    raw = path.read_bytes()
    yield raw
    if path.suffix == ".parquet":
        yield pd.read_parquet(path).to_csv().encode()
    elif zipfile.is_zipfile(io.BytesIO(raw)):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    elif raw[:1] == b"\x78":
        yield zlib.decompress(raw)
    elif raw[:2] == b"\x1f\x8b":
        yield zlib.decompress(raw, wbits=31)
    if path.suffix in {".html", ".svg"}:
        for packed in re.findall(rb"[A-Za-z0-9+/]{200,}={0,2}", raw):
            content = base64.b64decode(packed + b"=" * (-len(packed) % 4))
            yield content
            if content[:2] == b"\x1f\x8b":
                yield zlib.decompress(content, wbits=31)
