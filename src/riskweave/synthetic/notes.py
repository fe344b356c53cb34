"""Clinical notes: dated events with a text whose findings depend on the subject's latent states."""

from statistics import NormalDist

import numpy as np
import pandas as pd

from riskweave.synthetic.codes import NOTES
from riskweave.synthetic.latent import STREAMS
from riskweave.synthetic.phrases import (
    CLOSINGS,
    DISTRACTORS,
    FAMILY,
    GRADED,
    HEADINGS,
    OPENINGS,
    SINCE_TARGET,
)

__all__ = ["EARLIER_NOTES", "draw_notes", "write_note"]

EARLIER_NOTES = 1.5  # per subject, on average, in the two years before the latest
BLUR = 0.15  # standard deviation of what one finding says beyond the state
UNTOLD = 0.04  # share of the notes that leave a finding out
FAMILY_WRONG = 0.02
TARGET_TOLD = 0.8


def draw_notes(*, latents: pd.DataFrame, schedule: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Draw the notes of all subjects.

    Parameters
    ----------
    latents : pandas.DataFrame
        As `riskweave.synthetic.latent.draw_latents` returns it with "text" among `also`, n rows.
    schedule : pandas.DataFrame
        As `riskweave.synthetic.schedule.draw_schedule` returns it, m rows.
    seed : int
        Seed of the generator.

    Returns
    -------
    pandas.DataFrame
        m rows, one per note, with the columns of `riskweave.synthetic.ehr.draw_events`.
    """
    states = latents.to_dict("records")
    texts, codes = [], []
    for item in schedule.itertuples():
        rng = np.random.default_rng([seed, STREAMS["text"], item.row, item.number])
        codes.append(NOTES[rng.choice(len(NOTES), p=(0.6, 0.25, 0.15))].code)
        texts.append(write_note(state=states[item.row], after_target=item.after_target, rng=rng))
    return pd.DataFrame(
        {
            "subject_id": latents["subject_id"].to_numpy()[schedule["row"].to_numpy(dtype=int)],
            "time": schedule["time"].to_numpy().astype("datetime64[us]"),
            "code": np.array(codes, dtype=object),
            "numeric_value": np.full(len(schedule), np.nan, dtype=np.float32),
            "text_value": np.array(texts, dtype=object),
        }
    )


def write_note(*, state: dict, after_target: bool, rng: np.random.Generator) -> str:
    """Write one note.

    Parameters
    ----------
    state : dict
        States of the subject: angina and frailty (standard normal), family_history (0 or 1), centre (the style of its
        writers).
    after_target : bool
        Whether the note may tell of the target event.
    rng : numpy.random.Generator
        Source of the wording, of the sentences without meaning, and of what the note leaves out.

    Returns
    -------
    str
        Some 60 to 130 words.
    """
    findings = [_graded(levels, state[name], rng) for name, aspects in GRADED.items() for levels in aspects]
    told = state["family_history"] ^ (rng.random() < FAMILY_WRONG)
    findings.append(_one(FAMILY[told], rng))
    findings = [sentence for sentence in findings if rng.random() >= UNTOLD]
    if after_target and rng.random() < TARGET_TOLD:
        findings.append(_one(SINCE_TARGET, rng))
    others = list(rng.choice(DISTRACTORS, size=rng.integers(3, 8), replace=False))
    # Most writers keep to their centre's style.
    style = state["centre"] if rng.random() < 0.7 else int(rng.integers(len(HEADINGS)))
    heading = HEADINGS[style % len(HEADINGS)]
    cut = int(rng.integers(1, len(others)))
    history, examination = [*findings, *others[:cut]], others[cut:]
    rng.shuffle(history)
    parts = [
        [_one(OPENINGS, rng)] if rng.random() < 0.8 else [],
        [heading.get("history", ""), *history],
        [heading.get("examination", ""), *examination],
        [heading.get("plan", ""), _one(CLOSINGS, rng)],
    ]
    paragraphs = [" ".join(sentence for sentence in part if sentence) for part in parts]
    separator = "\n" if heading else " "
    return separator.join(paragraph for paragraph in paragraphs if paragraph)


def _graded(levels: tuple, state: float, rng: np.random.Generator) -> str:
    """Put a state into words: equally frequent levels of what the writer makes of it."""
    seen = (state + rng.normal(0, BLUR)) / np.hypot(1, BLUR)
    share = NormalDist().cdf(seen)
    return _one(levels[min(int(share * len(levels)), len(levels) - 1)], rng)


def _one(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
