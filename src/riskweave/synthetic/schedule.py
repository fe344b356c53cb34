"""When recordings, images, notes and sounds are made, of whom none exists, and how a state differs between days."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from riskweave.synthetic.latent import STREAMS
from riskweave.synthetic.outcomes import YEAR

__all__ = ["draw_schedule", "states_shown"]

OLDER, LATER = 0.08, 0.06
DAY_TO_DAY = 0.5  # standard deviation of a standard normal state between days


def draw_schedule(
    *, latents: pd.DataFrame, outcomes: pd.DataFrame, modality: str, missing: float, seed: int, further: float = 0
) -> pd.DataFrame:
    """Draw the recordings of one modality.

    Parameters
    ----------
    latents, outcomes : pandas.DataFrame
        As `draw_latents` and `draw_outcomes` return them, n rows.
    modality : str
        "ecg", "image", "text" or "audio".
    missing : float
        Share of the subjects without a recording at or before the index time (0 to 1): exactly that share, more of them
        in some centres than in others, and independent of every latent state.
    seed : int
        Seed of the generator.
    further : float
        Mean number of further recordings of a subject who has one, 60 days to 2 years before the index time.

    Returns
    -------
    pandas.DataFrame
        One row per recording, sorted by subject and time: row (of the subject), number (0, 1, ... of the subject), time
        (datetime64[s]), days (from the index time) and after_target (bool: made after the target event). Each subject
        who is not missing has one in the 60 days before the index time, some an older one; some subjects, missing or
        not, have one after the index time, which no prediction may use. None lies after the end of follow-up.
    """
    rng = np.random.default_rng([seed, STREAMS[f"schedule_{modality}"]])
    n = len(latents)
    # Weighted draw without replacement (Gumbel top-k) gives the exact share.
    preference = rng.normal(0, 0.4, latents["centre"].max() + 1)[latents["centre"]] + rng.gumbel(size=n)
    present = np.ones(n, dtype=bool)
    present[np.argsort(-preference, kind="stable")[: round(missing * n)]] = False
    end = outcomes["end"].to_numpy()
    current = -rng.uniform(0, 60, n)
    older = -rng.uniform(180, 2 * YEAR, n)
    later = rng.uniform(30, 4 * YEAR, n)
    has_older = present & (rng.random(n) < OLDER)
    has_later = (rng.random(n) < LATER) & (later < end)
    everybody = np.arange(n)
    # A stream of its own: further recordings leave the others where they are.
    extra = np.random.default_rng([seed, STREAMS[f"further_{modality}"]])
    of = np.repeat(everybody, extra.poisson(further, n) * present)
    frame = pd.DataFrame(
        {
            "row": np.concatenate([everybody[present], everybody[has_older], everybody[has_later], of]),
            "days": np.concatenate(
                [current[present], older[has_older], later[has_later], -extra.uniform(60, 2 * YEAR, len(of))]
            ),
        }
    ).sort_values(["row", "days"], ignore_index=True)
    row = frame["row"].to_numpy()
    frame["number"] = frame.groupby("row").cumcount()
    seconds = np.floor(frame["days"].to_numpy() * 86400).astype("timedelta64[s]")
    frame["time"] = outcomes["index_time"].to_numpy().astype("datetime64[s]")[row] + seconds
    frame["after_target"] = frame["days"].to_numpy() > outcomes["target"].to_numpy()[row]
    return frame


def states_shown(
    *, latents: pd.DataFrame, schedule: pd.DataFrame, modality: str, names: Collection[str], repeats: float, seed: int
) -> pd.DataFrame:
    """Return what each recording shows of its subject.

    Parameters
    ----------
    latents : pandas.DataFrame
        As `draw_latents` returns it, n rows.
    schedule : pandas.DataFrame
        As `draw_schedule` returns it, m rows.
    modality : str
        "ecg", "image" or "audio".
    names : collection of str
        The modality's standard normal states.
    repeats : float
        Further recordings of a subject, on average. With 0 every recording shows the states themselves; otherwise each,
        the latest too, shows the states of its day, which differ from them by a normal deviate of standard deviation
        `DAY_TO_DAY`.
    seed : int
        Seed of the generator.

    Returns
    -------
    pandas.DataFrame
        m rows: the columns of `latents`, with the states of the day in place of `names`.
    """
    shown = latents.iloc[schedule["row"].to_numpy(dtype=int)].reset_index(drop=True)
    if repeats:
        rng = np.random.default_rng([seed, STREAMS[f"day_{modality}"]])
        shown[list(names)] += rng.normal(0, DAY_TO_DAY, (len(shown), len(names)))
    return shown
