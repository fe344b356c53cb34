"""The words of the study report, for a reader who meets them for the first time."""

import pandas as pd

__all__ = ["glossary_table"]

WORDS = {
    "subject": "One person (or one of several predictions for the same person, where the study has several).",
    "index time": "The moment of prediction. What was recorded up to it is used; what comes after it is predicted.",
    "endpoint": "What is predicted: the first of the events that the study names, its target events.",
    "at risk": "Without a target event before the index time, and observed after it.",
    "competing event": "An event after which the endpoint can no longer come, such as death.",
    "censored": "Followed up to some day and free of all of these events so far; what came later is not known.",
    "risk": "Predicted probability of a target event by a stated day.",
    "horizon": "A day after the index time up to which risks are predicted and compared.",
    "modality": "A kind of data: ehr (health records: diagnoses, laboratory values, ...), ecg, image, text, audio.",
    "feature set": "A group of columns of one modality that a model may use.",
    "experiment": "Feature sets with a model: ehr.cox is a Cox regression on the columns that the study calls ehr, "
    "ehr+ecg.cox on those of ecg too.",
    "reference": "The experiment that the others are compared with.",
    "fold": "A part of the subjects. Its risks come from models that were trained on other parts.",
    "calibration": "Whether risks are right as numbers: of 100 people given a risk of 10%, 10 have the event.",
    "interval": "The range of values that fit the data. It tells of chance, not of other people, places or times.",
}


def glossary_table() -> pd.DataFrame:
    """Return each word with its meaning: word, meaning."""
    return pd.DataFrame(list(WORDS.items()), columns=["word", "meaning"])
