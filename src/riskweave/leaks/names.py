"""Names that outcomes and follow-up have, and predictors have not.

A name is read word by word (``lengthOfStay``, ``length_of_stay`` and ``LENGTH-OF-STAY`` are the same three), so that
``closure`` is no ``los`` and ``event_free_diet`` no event. Words of the past or of relatives clear a name:
``prior_discharge``, ``father_death``.
"""

import re

from riskweave.leaks.evidence import FeatureColumn
from riskweave.leaks.finding import Finding

__all__ = ["STRONG", "check_name", "suspicious"]

_CLEARING = {
    *(
        "prior",
        "previous",
        "past",
        "history",
        "hx",
        "earlier",
        "before",
        "baseline",
        "since",
        "preadmission",
        "last12m",
    ),
    *("family", "familial", "father", "mother", "paternal", "maternal", "parent", "parental", "sibling", "brother"),
    *("sister", "spouse", "partner", "grandparent", "relative", "relatives", "cell", "fetal", "foetal", "child"),
}
_ANATOMY = {"ear", "nasal", "nose", "vaginal", "urethral", "nipple", "wound", "eye", "ocular", "purulent"}
_AIR = {"co2", "co", "air", "volume", "tidal", "flow", "o2", "minute", "ventilation"}

# Words that alone give a name away.
_WORDS = {
    **dict.fromkeys(
        ("death", "deaths", "died", "dead", "deceased", "mortality", "mort", "dod", "deathdate", "deathtime",
         "deathday", "deathflag", "fatal", "alive", "expire", "expired", "expireflag"), "death",
    ),
    **dict.fromkeys(("censor", "censored", "censoring", "cens", "censdate", "censtime"), "censoring"),
    **dict.fromkeys(
        ("followup", "followuptime", "futime", "fup", "fudays", "lenfol", "futimes", "fustat", "fstat", "lfol"),
        "follow-up",
    ),
    **dict.fromkeys(("survival", "survived", "survtime", "survtimes", "survivaltime", "survstat"), "survival"),
    **dict.fromkeys(("pfs", "dfs", "tte", "ttd", "osmonths", "ostime", "pfstime", "efs", "rfs"), "survival"),
    **dict.fromkeys(("outcome", "outcomes", "endpoint", "endpoints"), "outcome"),
    **dict.fromkeys(
        ("discharge", "discharged", "dischtime", "dischloc", "dischdate", "dischargedate", "dischargetime", "disch"),
        "discharge",
    ),
    **dict.fromkeys(("los", "lengthofstay", "lostay", "icustay"), "length of stay"),
    **dict.fromkeys(("readmission", "readmitted", "readmit", "rehospitalization", "rehospitalisation"), "readmission"),
    **dict.fromkeys(("timetoevent", "timetodeath", "daystodeath", "daystoevent"), "time to an event"),
    **dict.fromkeys(("label", "groundtruth"), "outcome"),
}  # fmt: skip
_PHRASES = (
    (r"(length|duration|days) (of|in|at) (the )?(\w+ )?(stay|hospital|icu|hospitali[sz]ation)", "length of stay"),
    (r"(hospital|icu|stay|inpatient) (days|duration|length)", "length of stay"),
    (r"follow up", "follow-up"),
    (r"^fu( (time|days|months|years|status|date|end))?$", "follow-up"),
    (r"(last|final) (contact|visit|seen|alive|known alive|status)", "follow-up"),
    (r"(exit|withdrawal|dropout|drop out) (of|from) (the )?study|study (exit|end|withdrawal)", "end of the study"),
    (r"^exit( (date|time|reason|age))?$|(age|date|time) (at |of )?(exit|end)$", "end of the study"),
    (r"(time|days|weeks|months|years|hours|minutes) (to|until|till) \w+", "time to an event"),
    (r"^(is |had |any |has )?events?( \w*(status|flag|time|date|day|days|indicator|type|observed|yn|occurred))?$",
     "event"),
    (r"(vital|survival|life|event|final|exit|death|patient) status$", "status at the end"),
    (r"^status( \w*(time|date|end|last|fu))?$", "status at the end"),
    (r"^(os|pfs) (time|days|months|years|status|event)$|^surv( (time|status|days|months|years))?$", "survival"),
    (r"cause of (death|exit)", "death"),
)  # fmt: skip
STRONG = {"death", "censoring", "follow-up", "outcome", "survival"}
"""What the name of an event code may say only where it is a leak; columns of the subject table are judged by more."""


def _words(name: str) -> list[str]:
    """Split a name into lower-case words without numbers."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    apart = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", apart)
    words = re.split(r"[^A-Za-z0-9]+", apart.lower())
    return [bare for word in words if (bare := word if word in _AIR else re.sub(r"\d+", "", word))]


def suspicious(name: str) -> str | None:
    """Return what a column's name says it is (``death``, ``length of stay``, ...), None for names of predictors.

    Parameters
    ----------
    name : str
        Name of a column or an event code.
    """
    words = _words(name)
    if _CLEARING & set(words):
        return None
    for word in words:
        kind = _WORDS.get(word)
        cleared = (kind == "discharge" and _ANATOMY & set(words)) or (word.startswith("expire") and _AIR & set(words))
        # "survival"-like short words are places too: los angeles.
        if kind is not None and not cleared and not (word == "los" and "angeles" in words):
            return kind
    text = " ".join(words)
    return next((kind for pattern, kind in _PHRASES if re.search(pattern, text)), None)


def check_name(column: FeatureColumn) -> list[Finding]:
    """Judge a column by its name: of columns made from events the codes, and only by the plainest words."""
    kind = suspicious(column.stem)
    if kind is None or (not column.static and column.aggregate is not None and kind not in STRONG):
        return []
    problem = f"the name says {kind}, which is known only after the index time"
    remedy = "Take it out of the feature set; if it is known by the index time, allow the finding and say how"
    return [Finding("name_pattern", column.place, problem, None, remedy)]
