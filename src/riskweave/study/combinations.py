"""Settings of a study that are each allowed and impossible together: what the source has, and what is asked of it.

Each check returns a line for each problem: key, what is missing or contradicts what, and what to do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from riskweave.study.cohort import CodesEndpoint, ColumnsEndpoint, DaysEndpoint

if TYPE_CHECKING:
    from riskweave.study.study import Study

__all__ = ["Offer", "check_combinations", "offered"]

_DATED_BY_STUDY = ("meds", "omop", "mimic_iv")
_RESERVED = ("subject_id", "person_id", "index_time", "followup_end")


@dataclass(frozen=True)
class Offer:
    """What a source has for this study.

    Attributes
    ----------
    events, recordings, images, sounds : bool
        Whether it has such a table.
    notes : bool
        Whether there may be notes among its events.
    index : bool
        Whether it has index times of its own.
    end : bool
        Whether it has ends of follow-up of its own, for some people at least.
    relative : bool
        Whether its times count from the index time, so that no date means anything.
    """

    events: bool = True
    recordings: bool = False
    images: bool = False
    sounds: bool = False
    notes: bool = True
    index: bool = False
    end: bool = False
    relative: bool = False


def offered(study: "Study") -> Offer:
    """Return what the study's source has."""
    cohort = study.cohort
    match cohort.source:
        case "synthetic":
            also = cohort.also
            return Offer(
                recordings=True, images=True, sounds="audio" in also, notes="text" in also, index=True, end=True
            )
        case "nafld":
            return Offer(index=True, end=True, relative=True)
        case "public":
            return Offer(events=False)
        case "tables":
            relative = cohort.event_columns.time_unit != "dates"
            return Offer(
                events=cohort.events is not None,
                recordings=cohort.recordings is not None,
                images=cohort.images is not None,
                sounds=cohort.sounds is not None,
                index=relative or cohort.columns.index_time is not None,
                end=cohort.columns.followup_end is not None,
                relative=relative,
            )
        case _:
            return Offer(
                recordings=cohort.recordings is not None or getattr(cohort, "ecg", None) is not None,
                images=cohort.images is not None or getattr(cohort, "cxr", None) is not None,
                sounds=cohort.sounds is not None,
                end=cohort.source != "meds",
            )


def check_combinations(study: "Study") -> list[str]:
    """Find settings that are each allowed and impossible together."""
    offer = offered(study)
    indexed = _check_index(study, offer)
    if not indexed:
        checks = (_check_population, _check_features, _check_endpoints, _check_follow_up)
        indexed = [problem for check in checks for problem in check(study, offer)]
    return indexed


def _check_index(study: "Study", offer: Offer) -> list[str]:
    """Find studies of dated data without an index time, and index times that the source cannot give."""
    source, index = study.cohort.source, study.population.index
    if index is None:
        if source in _DATED_BY_STUDY:
            return [
                f"population.index: this key is required and missing: the source {source} has no index time of its "
                "own. Allowed for at: column, first_event, every_event, age, date"
            ]
        dated = [name for name in ("events", "recordings", "images", "sounds") if getattr(offer, name)]
        if dated and not offer.index:
            return [
                f"cohort.columns.index_time: is null, but cohort.{dated[0]} is dated. Name the column, or give "
                "population.index"
            ]
        return []
    problems = []
    if index.at == "column" and index.column == "index_time" and not offer.index:
        problems.append(
            f"population.index.column: the source {source} has no column 'index_time'. Name the column that holds it"
        )
    if index.at in ("first_event", "every_event") and not offer.events:
        problems.append(
            f"population.index: at {index.at} needs events, which the study's source {source} does not have"
        )
    if source == "public":
        problems.append("population.index: public cohorts are not dated: their times count from the start. Remove it")
    if offer.relative and index.at in ("age", "date"):
        problems.append(
            f"population.index: at {index.at} needs dates, and the times of this source count from an index time. "
            "Allowed for at: column, first_event, every_event"
        )
    return problems[:1]


def _check_population(study: "Study", offer: Offer) -> Iterator[str]:
    """Find conditions on events that the source does not have, and names that are taken."""
    population, source = study.population, study.cohort.source
    asks = {f"population.columns.{name}": True for name in population.columns}
    for kind in ("include", "exclude"):
        for criterion in getattr(population, kind):
            asks[f"population.{kind}.{criterion.name}"] = criterion.codes is not None
    asks["population.minimum_history"] = population.minimum_history is not None
    asks["population.followup.last_contact: last_event"] = population.followup.last_contact == "last_event"
    if not offer.events:
        for key, asked in asks.items():
            if asked:
                yield f"{key}: needs events, which the study's source {source} does not have. Remove it"
    for name in population.columns:
        if name in _RESERVED:
            yield f"population.columns: the name {name!r} is taken. Give the column another name"


def _check_features(study: "Study", offer: Offer) -> Iterator[str]:
    """Find feature sets of data that the source does not have."""
    source = study.cohort.source
    for name, block in study.feature_sets.items():
        needed = getattr(block, "raw", None)
        if block.modality == "ehr" and (block.events or block.history):
            needed = "events"
        if block.modality == "text" and not offer.notes:
            needed = "notes"
        if needed is None or getattr(offer, needed):
            continue
        if source == "synthetic":
            yield (
                f"feature_sets.{name}: the demo cohort has no {needed} unless they are asked for: give "
                f"cohort.also: [{block.modality}]"
            )
        elif needed in type(study.cohort).model_fields:
            yield (
                f"feature_sets.{name}: modality {block.modality} needs cohort.{needed}, which is not given. "
                "Give the path, or remove the feature set"
            )
        elif needed == "events":
            allowed = "static" if block.modality == "ehr" else "ehr with static alone"
            yield f"feature_sets.{name}: the source {source} has no events. Allowed: {allowed}"
        else:
            yield f"feature_sets.{name}: the source {source} has no {block.modality} data. Allowed: ehr"


def _check_endpoints(study: "Study", offer: Offer) -> Iterator[str]:
    """Find endpoints that the source or the index time cannot give, and horizons beyond the time at risk."""
    index, source = study.population.index, study.cohort.source
    dated = offer.index or index is not None
    for name, endpoint in study.endpoints.items():
        key = f"endpoints.{name}"
        if isinstance(endpoint, CodesEndpoint):
            if not offer.events:
                where = "cohort.events, which is not given" if source == "tables" else f"events; {source} has none"
                yield f"{key}: kind codes needs {where}"
            elif not dated:
                yield f"{key}: kind codes needs cohort.columns.index_time, which is null"
            elif not _ended(study, offer):
                lacking = "cohort.columns.followup_end, which is null" if source == "tables" else "an end of follow-up"
                yield (
                    f"{key}: kind codes needs {lacking}. Give population.followup: last_contact: last_event, "
                    "date or days"
                )
        elif index is not None and index.at in ("every_event", "age", "date"):
            yield (
                f"{key}: kind {endpoint.kind} holds days from one moment, which population.index (at {index.at}) "
                "moves. Take kind: codes, or an index time at: column or first_event"
            )
        elif isinstance(endpoint, ColumnsEndpoint) and getattr(index, "offset", 0) != 0:
            yield (
                f"{key}: kind columns holds days from the index time, which population.index.offset moves. Take kind: "
                "days with start, or kind: codes"
            )
        elif isinstance(endpoint, DaysEndpoint) and endpoint.start is None and _moved(study):
            yield (
                f"{key}.start: is not given, and population.index moves the index time from where the column of days "
                f"starts to count. Give the day on which the index time falls ({key}.start: 0 where it counts from "
                "there)"
            )
        if endpoint.until is not None and max(endpoint.horizons) > endpoint.until:
            yield (
                f"{key}.until: {endpoint.until} days end before the last horizon of {max(endpoint.horizons)} days. "
                f"Allowed: {max(endpoint.horizons)} and up, or shorter horizons"
            )


def _moved(study: "Study") -> bool:
    """Tell whether the study's index time may be another moment than the one that columns count from."""
    index = study.population.index
    return index is not None and (index.at != "column" or index.offset != 0)


def _ended(study: "Study", offer: Offer) -> bool:
    """Tell whether anything says when observation ends."""
    followup = study.population.followup
    return offer.end or followup.last_contact == "last_event" or followup.date is not None or followup.days is not None


def _check_follow_up(study: "Study", offer: Offer) -> Iterator[str]:
    """Find ends of observation that contradict the rest of the study."""
    followup, minimum = study.population.followup, study.population.minimum_followup
    if offer.relative and followup.date is not None:
        yield "population.followup.date: the times of this source count from an index time. Give days instead"
    if not (offer.index or study.population.index is not None):
        asked = {
            "minimum_history": study.population.minimum_history,
            "minimum_followup": minimum,
            "followup.date": followup.date,
            "followup.days": followup.days,
        }
        for key, value in asked.items():
            if value is not None:
                yield f"population.{key}: needs an index time, and this study has no dates. Remove it"
    elif minimum is not None and not _ended(study, offer):
        yield "population.minimum_followup: needs an end of follow-up. Give population.followup"
    if followup.days is None:
        return
    if minimum is not None and minimum > followup.days:
        yield (
            f"population.minimum_followup: {minimum} days are more than population.followup.days ({followup.days}), so "
            f"that only people who die would stay. Allowed: 1 to {followup.days}"
        )
    for name, endpoint in study.endpoints.items():
        if isinstance(endpoint, CodesEndpoint) and max(endpoint.horizons) > followup.days:
            yield (
                f"population.followup.days: {followup.days} days end before the horizon of {max(endpoint.horizons)} "
                f"days of endpoints.{name}. Lengthen it, or shorten the horizons"
            )
    if all(isinstance(endpoint, ColumnsEndpoint) for endpoint in study.endpoints.values()):
        yield "population.followup.days: endpoints of kind columns are taken as they are. Give until in the endpoint"
