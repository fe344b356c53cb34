"""How the report spells metrics, estimates, intervals and counts."""

import math
from dataclasses import dataclass

from riskweave.drawing import in_years
from riskweave.page import SUPPRESSED

__all__ = [
    "METRICS",
    "NOTHING",
    "Metric",
    "at_day",
    "duration",
    "estimate",
    "group_value",
    "interval",
    "number",
    "percent",
    "shown",
    "signed",
    "stacked",
]

NOTHING = "\u2013"
"""Stands for a value that there is not."""


@dataclass(frozen=True)
class Metric:
    """How a metric is called, and which of its values is best.

    Attributes
    ----------
    title, short : str
        In a sentence, and at the head of a column.
    best : str
        What to look for, in words.
    meaning : str
        What it tells, for a reader who does not know it.
    """

    title: str
    short: str
    best: str
    meaning: str


METRICS = {
    "harrell_c": Metric(
        "Harrell's concordance",
        "Concordance",
        "higher is better; 0.5 is chance",
        "Of two people of whom one has the event first: how often that one was given the higher risk.",
    ),
    "uno_c": Metric(
        "Uno's concordance",
        "Uno's concordance",
        "higher is better; 0.5 is chance",
        "The same, with weights for those who were not followed to the end.",
    ),
    "auc": Metric(
        "time-dependent AUC",
        "AUC",
        "higher is better; 0.5 is chance",
        "Of one person who has the event by that day and one who is free of it then: how often the first was given the "
        "higher risk.",
    ),
    "ibs": Metric(
        "integrated Brier score",
        "Brier score",
        "lower is better",
        "Mean squared distance between the predicted risk and what happened (0 or 1), over the time up to that day.",
    ),
    "ipa": Metric(
        "index of prediction accuracy",
        "IPA",
        "higher is better; 0 is no better than one risk for all",
        "By which share the Brier score is smaller than with the same risk for everybody.",
    ),
    "observed_expected": Metric(
        "observed over expected events",
        "Observed / expected",
        "1 is best",
        "Events that happened over events predicted. Above 1 the risks are too low on average, below 1 too high.",
    ),
    "calibration_slope": Metric(
        "calibration slope",
        "Calibration slope",
        "1 is best; below 1 risks are too extreme",
        "Below 1, high risks are too high and low ones too low; above 1, the risks differ too little between people.",
    ),
}


def number(value: float, digits: int = 3) -> str:
    """Spell a number with a true minus sign; a dash where there is none."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:z.{digits}f}".replace("-", "\u2212")


def signed(value: float, digits: int = 3) -> str:
    """Spell a difference, with its sign."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:+z.{digits}f}".replace("-", "\u2212")


def interval(lower: float, upper: float, digits: int = 3) -> str:
    """Spell an interval; empty where there is none."""
    return f"{number(lower, digits)} to {number(upper, digits)}" if math.isfinite(lower) else ""


def estimate(value: float, lower: float, upper: float, digits: int = 3, *, difference: bool = False) -> str:
    """Spell an estimate with its interval.

    Examples
    --------
    >>> estimate(0.7123, 0.69, 0.7351)
    '0.712 (0.690 to 0.735)'
    >>> estimate(0.0123, 0.001, 0.02, difference=True)
    '+0.012 (0.001 to 0.020)'
    """
    text = signed(value, digits) if difference else number(value, digits)
    bounds = interval(lower, upper, digits)
    return text if text == NOTHING or not bounds else f"{text} ({bounds})"


def stacked(text: str) -> str:
    """Put the interval below its estimate: a narrow cell."""
    return text.replace(" (", "\n(", 1)


def percent(value: float) -> str:
    """Spell a share as a percentage."""
    return NOTHING if not math.isfinite(value) else f"{100 * value:.4g} %"


def at_day(days: int) -> str:
    """Name a day after the index time; one that ends a year with the number of years.

    Examples
    --------
    >>> at_day(3652), at_day(360)
    ('day 3652 (10 years)', 'day 360')
    """
    return f"day {days}{in_years(days)}"


def group_value(group: str, value: str) -> str:
    """Spell the value of a subgroup: age bands in words.

    Examples
    --------
    >>> [group_value("age", band) for band in ("<40", "40 to <55", ">=70")]
    ['under 40', '40 to under 55', '70 and over']
    >>> group_value("centre", "<b>")
    '<b>'
    """
    if group != "age":
        return value
    return f"{value[2:]} and over" if value.startswith(">=") else value.replace("<", "under ")


def duration(seconds: float) -> str:
    """Spell a length of time as a physician would read it.

    Examples
    --------
    >>> duration(1.9), duration(75), duration(3700)
    ('1.9 s', '1 min 15 s', '1 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def shown(count: int | None) -> str:
    """Spell a count, or the mark of one that is not shown."""
    return SUPPRESSED if count is None else f"{count}"
