"""When recordings and images are made, and of whom none exists."""

import numpy as np
import pandas as pd

from riskweave.synthetic.latent import STREAMS
from riskweave.synthetic.outcomes import YEAR

__all__ = ["draw_schedule"]

OLDER, LATER = 0.08, 0.06


def draw_schedule(
    *, latents: pd.DataFrame, outcomes: pd.DataFrame, modality: str, missing: float, seed: int
) -> pd.DataFrame:
    """Draw the recordings of one modality.

    Parameters
    ----------
    latents, outcomes : pandas.DataFrame
        As `draw_latents` and `draw_outcomes` return them, n rows.
    modality : str
        "ecg" or "image".
    missing : float
        Share of the subjects without a recording at or before the index time (0 to 1): exactly that share, more of them
        in some centres than in others, and independent of every latent state.
    seed : int
        Seed of the generator.

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
    frame = pd.DataFrame(
        {
            "row": np.concatenate([everybody[present], everybody[has_older], everybody[has_later]]),
            "days": np.concatenate([current[present], older[has_older], later[has_later]]),
        }
    ).sort_values(["row", "days"], ignore_index=True)
    row = frame["row"].to_numpy()
    frame["number"] = frame.groupby("row").cumcount()
    seconds = np.floor(frame["days"].to_numpy() * 86400).astype("timedelta64[s]")
    frame["time"] = outcomes["index_time"].to_numpy().astype("datetime64[s]")[row] + seconds
    frame["after_target"] = frame["days"].to_numpy() > outcomes["target"].to_numpy()[row]
    return frame
