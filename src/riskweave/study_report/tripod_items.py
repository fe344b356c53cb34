"""The items of TRIPOD+AI, in our own short words.

Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement: updated guidance for reporting clinical prediction models
that use regression or machine learning methods. BMJ 2024;385:e078378. Only the numbers are the checklist's own: read
its sentences there before a manuscript is sent off.
"""

from dataclasses import dataclass

__all__ = ["ITEMS", "Item"]


@dataclass(frozen=True)
class Item:
    """An item of the checklist.

    Attributes
    ----------
    number : str
        As in the checklist, such as ``12c``.
    section, topic : str
    wanted : str
        What a report tells under it.
    applies : str
        ``D`` development, ``E`` evaluation, ``D;E`` both.
    author : str
        What the authors have to write: all of it where no run can know, or what a run's facts leave open; empty where
        nothing is.
    """

    number: str
    section: str
    topic: str
    wanted: str
    applies: str
    author: str


BOTH = "D;E"
FRONT, INTRODUCTION, METHODS = "Title and abstract", "Introduction", "Methods"
OPEN, PUBLIC, RESULTS, DISCUSSION = "Open science", "Patient and public involvement", "Results", "Discussion"

ITEMS = (
    Item("1", FRONT, "Title", "Development or evaluation, whom, which outcome", BOTH, "The title."),
    Item("2", FRONT, "Abstract", "Summary by TRIPOD+AI for Abstracts", BOTH, "The abstract."),
    Item("3a", INTRODUCTION, "Background", "Health context, why a model, earlier models", BOTH, "All of it."),
    Item("3b", INTRODUCTION, "Background", "Target population, purpose in care, users", BOTH, "All of it."),
    Item("3c", INTRODUCTION, "Background", "Known health inequalities between groups", BOTH, "All of it."),
    Item("4", INTRODUCTION, "Objectives", "Aims; development, evaluation or both", BOTH, ""),
    Item("5a", METHODS, "Data", "Sources, why these, how representative", BOTH, "Why these data; whom they represent."),
    Item("5b", METHODS, "Data", "Dates of accrual and follow-up", BOTH, "First and last day of accrual."),
    Item("6a", METHODS, "Participants", "Setting, number and place of centres", BOTH, "The setting of care."),
    Item("6b", METHODS, "Participants", "Who was eligible", BOTH, ""),
    Item("6c", METHODS, "Participants", "Treatments, and how they were dealt with", BOTH, "All of it."),
    Item(
        "7", METHODS, "Data preparation", "Preparation and checks, alike across groups", BOTH, "Checks at the source."
    ),
    Item(
        "8a", METHODS, "Outcome", "Definition, horizon, assessment, alike across groups", BOTH, "How it was assessed."
    ),
    Item("8b", METHODS, "Outcome", "Who judged a subjective outcome", BOTH, "All of it, where judgement was needed."),
    Item("8c", METHODS, "Outcome", "Blinding of the outcome's assessment", BOTH, "All of it."),
    Item("9a", METHODS, "Predictors", "Why these, and any selection beforehand", "D", "Why these."),
    Item(
        "9b",
        METHODS,
        "Predictors",
        "Definition, time and way of measurement, blinding",
        BOTH,
        "How they were measured.",
    ),
    Item(
        "9c", METHODS, "Predictors", "Who judged subjective predictors", BOTH, "All of it, where judgement was needed."
    ),
    Item("10", METHODS, "Sample size", "How it came about, and whether it is enough", BOTH, "Why it is enough."),
    Item("11", METHODS, "Missing data", "How handled; why data were left out", BOTH, "Why values are missing."),
    Item("12a", METHODS, "Analysis", "How the data were used and divided", "D", ""),
    Item("12b", METHODS, "Analysis", "Form and scaling of predictors", "D", ""),
    Item("12c", METHODS, "Analysis", "Models, building steps, tuning, internal validation", "D", "Why these models."),
    Item("12d", METHODS, "Analysis", "Differences between clusters such as hospitals", BOTH, "Why, or why not."),
    Item("12e", METHODS, "Analysis", "Measures and plots of performance, comparisons", BOTH, ""),
    Item("12f", METHODS, "Analysis", "Updating after the evaluation", "E", ""),
    Item("12g", METHODS, "Analysis", "How predictions were computed", "E", ""),
    Item("13", METHODS, "Class imbalance", "Whether and how it was dealt with", BOTH, ""),
    Item("14", METHODS, "Fairness", "What was done for fairness, and why", BOTH, "Why these groups; further steps."),
    Item("15", METHODS, "Model output", "What the model gives; any thresholds", "D", ""),
    Item("16", METHODS, "Development and evaluation", "Differences between the two data sets", BOTH, ""),
    Item("17", METHODS, "Ethical approval", "Committee; consent or waiver", BOTH, "All of it."),
    Item("18a", OPEN, "Funding", "Sources and role of funders", BOTH, "All of it."),
    Item("18b", OPEN, "Conflicts of interest", "Of all authors", BOTH, "All of it."),
    Item("18c", OPEN, "Protocol", "Where it is, or that there is none", BOTH, "Where the protocol is."),
    Item("18d", OPEN, "Registration", "Register and number, or none", BOTH, "All of it."),
    Item("18e", OPEN, "Data sharing", "Whether data are available", BOTH, "All of it."),
    Item("18f", OPEN, "Code sharing", "Whether code is available", BOTH, "Where the code can be had."),
    Item("19", PUBLIC, "Involvement", "How patients and public took part, or not", BOTH, "All of it."),
    Item("20a", RESULTS, "Participants", "Flow, with and without outcome, follow-up", BOTH, ""),
    Item(
        "20b", RESULTS, "Participants", "Characteristics, missing values, differences", BOTH, "Differences that matter."
    ),
    Item("20c", RESULTS, "Participants", "Evaluation against development data", "E", ""),
    Item("21", RESULTS, "Model development", "People and events in each analysis", BOTH, ""),
    Item("22", RESULTS, "Model specification", "The full model, for use by others", "D", "Who may have the models."),
    Item("23a", RESULTS, "Performance", "Estimates with intervals, also in subgroups", BOTH, ""),
    Item("23b", RESULTS, "Performance", "Differences between clusters", BOTH, ""),
    Item("24", RESULTS, "Model updating", "Updated models and their performance", "E", ""),
    Item("25", DISCUSSION, "Interpretation", "Main results, fairness, earlier studies", BOTH, "All of it."),
    Item("26", DISCUSSION, "Limitations", "Sample, overfitting, missing data, bias", BOTH, "All of it."),
    Item(
        "27a",
        DISCUSSION,
        "Usability",
        "Poor or missing input when the model is used",
        "D",
        "How input is judged in care.",
    ),
    Item("27b", DISCUSSION, "Usability", "What users do, and what they must know", "D", "All of it."),
    Item("27c", DISCUSSION, "Usability", "Next steps, other places", BOTH, "All of it."),
)
