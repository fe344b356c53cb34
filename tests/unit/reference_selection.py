"""A slow, plain reading of the cohort language, person by person, to compare the real one with.

It shares no code with the package: people are dictionaries, times are `datetime`, everything is a loop.
"""

import datetime as dt

__all__ = ["Person", "reference_selection"]

DAY = dt.timedelta(days=1)
MIDNIGHT = dt.time(0)


class Person:
    """A person: columns of the subject table, and events as (time or None, code, number or None, text or None)."""

    def __init__(self, name, columns, events):
        self.name, self.columns, self.events = name, columns, events

    def times(self, prefix):
        """Return the times of the dated events with a prefix, in order."""
        return sorted(time for time, code, *_ in self.events if time is not None and code.startswith(prefix))

    def first(self, prefix):
        """Return the first of them."""
        return min(self.times(prefix), default=None)


def covers(time):
    """Return the last moment that a time covers."""
    return time + DAY - dt.timedelta(microseconds=1) if time.time() == MIDNIGHT else time


def known_at(time, moment):
    """Tell whether an event was known at a moment: one without an hour not on the day of a moment with an hour."""
    if time.time() == MIDNIGHT and moment.time() != MIDNIGHT:
        return time.date() < moment.date()
    return time <= moment


def nth_birthday(birth, number):
    """Return the day of a birthday; 29 February has its birthday on the 28th where there is no 29th."""
    try:
        return dt.datetime(birth.year + number, birth.month, birth.day)
    except ValueError:
        return dt.datetime(birth.year + number, birth.month, 28)


def age_at(birth, time):
    """Return the age: the birthdays that have been, and the part of the way to the next one."""
    years = 0
    while nth_birthday(birth, years + 1) <= time:
        years += 1
    last, following = nth_birthday(birth, years), nth_birthday(birth, years + 1)
    return years + (time - last) / (following - last)


def first_seen(person):
    """Return the time of the first dated event, birth and death aside."""
    others = (time for time, code, *_ in person.events if time and not code.startswith(("MEDS_BIRTH", "MEDS_DEATH")))
    return min(others, default=None)


def has_code(code, patterns):
    """Tell whether a code is meant."""
    return any(code == p[:-1] if p.endswith("$") else code[: len(p)] == p for p in patterns)


def fits(number, text, values):
    """Tell whether a value is as asked."""
    if values is None:
        return True
    if values.above is not None and not (number is not None and number > values.above):
        return False
    if values.below is not None and not (number is not None and number < values.below):
        return False
    return not values.equals or any((text if isinstance(want, str) else number) == want for want in values.equals)


def index_times(person, index):
    """Return the index times of a person."""
    if index is None or index.at == "column":
        time = person.columns.get("index_time" if index is None else index.column)
        offset = 0 if index is None else index.offset
        return [] if time is None else [time + dt.timedelta(days=offset)]
    birth = person.first("MEDS_BIRTH")
    if index.at == "date":
        date = dt.datetime.combine(index.date, MIDNIGHT)
        return [] if birth is not None and birth > date else [date]
    if index.at == "age":
        if birth is None:
            return []
        day = nth_birthday(birth, int(index.years))
        while age_at(birth, day) < index.years:
            day += DAY
        return [day]
    found = sorted({
        time for time, code, number, text in person.events
        if time is not None and has_code(code, index.codes) and fits(number, text, index.values)
    })  # fmt: skip
    if index.at == "first_event":
        found = found[:1]
    else:
        spaced = []
        for time in found:
            if not spaced or time - spaced[-1] >= index.minimum_gap * DAY:
                spaced.append(time)
        found = spaced[: index.most]
    return [time + dt.timedelta(days=index.offset) for time in found]


def end_of_observation(person, followup, index_time, *, column):
    """Return the end of the observation, or None where it is not known."""
    if followup.last_contact == "last_event":
        end = max(
            (time for time, code, *_ in person.events if time and not code.startswith("MEDS_BIRTH")), default=None
        )
    elif column:
        end = person.columns["followup_end"]
    else:
        end = dt.datetime.max.replace(microsecond=0)
    if end is None:
        return None
    candidates = [end]
    if followup.date is not None and covers(end) >= dt.datetime.combine(followup.date, MIDNIGHT):
        candidates.append(dt.datetime.combine(followup.date, MIDNIGHT))
    if followup.days is not None:
        # An instant: only at a midnight it needs to be told from a date, which would cover the whole day.
        limit = index_time + followup.days * DAY
        limit += dt.timedelta(microseconds=limit.time() == MIDNIGHT)
        candidates = [limit if covers(min(candidates)) >= limit else min(candidates)]
    end = min(candidates)
    if end.year > 9000:
        return None
    death = person.first("MEDS_DEATH")
    return death if death is not None and death < end else end


def meets(person, criterion, index_time):
    """Tell whether a person meets a criterion."""
    if criterion.column is not None:
        value = person.columns.get(criterion.column)
        if criterion.column == "age":
            birth = person.first("MEDS_BIRTH")
            value = None if birth is None else age_at(birth, index_time)
        if value is None:
            return False
        return fits(value if not isinstance(value, str) else None, value, criterion.values)
    low, high = criterion.window
    count = 0
    for time, code, number, text in person.events:
        if not has_code(code, criterion.codes) or not fits(number, text, criterion.values):
            continue
        if time is None:
            count += low is None
        else:
            late_enough = low is None or time >= index_time + low * DAY
            end = None if high is None else index_time + high * DAY
            early_enough = end is None or (time <= end if high > 0 else known_at(time, end))
            count += late_enough and early_enough
    return count >= criterion.count


class Subject:
    """A person at one index time."""

    def __init__(self, name, person, time, end):
        self.name, self.person, self.time, self.end = name, person, time, end
        self.death = person.first("MEDS_DEATH")

    def alive(self):
        """Tell whether the death, if any, comes later."""
        return self.death is None or covers(self.death) >= self.time

    def followed(self):
        """Tell whether the observation lasts to the index time."""
        return self.end is None or covers(self.end) >= self.time

    def known_for(self, days):
        """Tell whether the history is long enough."""
        seen = first_seen(self.person)
        return seen is not None and self.time - seen >= days * DAY

    def seen(self):
        """Tell whether something was recorded by the index time."""
        seen = first_seen(self.person)
        return seen is not None and seen <= self.time

    def observed_for(self, days):
        """Tell whether the observation is long enough, or ends with death."""
        dies = self.death is not None and (self.end is None or covers(self.end) >= self.death)
        return dies or (self.end is not None and self.end - self.time >= days * DAY)


def conditions_of(population, subjects, people):
    """Return the steps after the index time: name and condition."""
    conditions = []
    if any(subject.death for subject in subjects):
        conditions.append(("alive", Subject.alive))
    if any(subject.end for subject in subjects):
        conditions.append(("followup", Subject.followed))
    by_calendar = population.index is not None and population.index.at in ("age", "date")
    if by_calendar and any(first_seen(person) for person in people):
        conditions.append(("entry", Subject.seen))
    if population.minimum_history is not None:
        conditions.append(("history", lambda subject: subject.known_for(population.minimum_history)))
    if population.minimum_followup is not None:
        conditions.append(("observation", lambda subject: subject.observed_for(population.minimum_followup)))
    for wanted, criteria in ((True, population.include), (False, population.exclude)):
        conditions += [
            (
                asked.name,
                lambda subject, asked=asked, wanted=wanted: meets(subject.person, asked, subject.time) is wanted,
            )
            for asked in criteria
        ]
    return conditions


def negative_followup(people, population, *, column):
    """Tell whether somebody's own follow-up ends before the own index time, where both are taken."""
    index = population.index
    own = index is None or (index.at == "column" and index.column == "index_time")
    if not own or not column or population.followup.last_contact != "column":
        return False
    pairs = [(person.columns["index_time"], person.columns["followup_end"]) for person in people]
    return any(None not in pair and covers(pair[1]) < pair[0] for pair in pairs)


def reference_selection(people, population, *, column):
    """Return {subject_id: (person, index time, end)} and the steps (name, excluded, remaining, people).

    A step that leaves nobody ends the selection: its name is returned instead of the subjects, as is what is wrong with
    the dates. `column` tells whether the subject table has a column followup_end.
    """
    if negative_followup(people, population, column=column):
        return "negative follow-up", []
    several = population.index is not None and population.index.at == "every_event"
    chosen = []
    for person in people:
        for number, time in enumerate(index_times(person, population.index), start=1):
            name = f"{person.name}@{number}" if several else person.name
            end = end_of_observation(person, population.followup, time, column=column)
            chosen.append(Subject(name, person, time, end))
    indexed = len({subject.person.name for subject in chosen})
    steps = [("subjects", 0, len(people), len(people)), ("index_time", len(people) - indexed, indexed, indexed)]
    if not chosen:
        return "index_time", steps
    if several:
        steps.append(("index_times", 0, len(chosen), indexed))
    for step, condition in conditions_of(population, chosen, people):
        left = [subject for subject in chosen if condition(subject)]
        steps.append((step, len(chosen) - len(left), len(left), len({subject.person.name for subject in left})))
        chosen = left
        if not chosen:
            return step, steps
    return {subject.name: (subject.person.name, subject.time, subject.end) for subject in chosen}, steps
