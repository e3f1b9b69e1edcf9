"""Crontabs: five fields of numbers, and the minutes that they name, in UTC."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Final

FIELDS: Final = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 7),
)

DAYS_MAX: Final = 9 * 366
"""Days between two ticks at most: from one 29 February to the next there are up to eight years."""

_PART: Final = re.compile(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", re.ASCII)


@dataclass(frozen=True)
class Crontab:
    """Every minute that five fields name, in UTC: minute, hour, day of the month, month, day of the week.

    A field is `*`, numbers, ranges and steps with commas: `0,30`, `9-17`, `*/5`. Sunday is 0, and 7. Raises
    `ValueError` for what cannot be read, and for days of both kinds: cron takes either, Celery only both.
    """

    text: str

    def __post_init__(self) -> None:
        _, _, day, _, weekday = self._fields
        if "*" not in {day, weekday}:
            raise ValueError(f"the crontab {self.text!r} names days of the month and of the week: give one of them")
        self.after(datetime(2000, 1, 1, tzinfo=UTC))  # raises when there is no such day

    def __str__(self) -> str:
        return self.text

    def after(self, moment: datetime) -> datetime:
        """The first tick after a moment."""
        moment = moment.astimezone(UTC)
        first = bisect_right(self._times, moment.time())
        for day in self._days(moment.date(), 1):
            times = self._times[first:] if day == moment.date() else self._times
            if times:
                return datetime.combine(day, times[0], UTC)
        raise ValueError(f"the crontab {self.text!r} names no day that there is")

    def until(self, moment: datetime) -> datetime:
        """The last tick that is not after a moment."""
        moment = moment.astimezone(UTC)
        end = bisect_right(self._times, moment.time())
        for day in self._days(moment.date(), -1):
            times = self._times[:end] if day == moment.date() else self._times
            if times:
                return datetime.combine(day, times[-1], UTC)
        raise ValueError(f"the crontab {self.text!r} names no day that there is")

    @property
    def _fields(self) -> list[str]:
        fields = self.text.split()
        if len(fields) != len(FIELDS):
            raise ValueError(
                f"the crontab {self.text!r} has {len(fields)} fields; it needs {len(FIELDS)}: * * * * *"
            )
        return fields

    @cached_property
    def _numbers(self) -> list[frozenset[int]]:
        return [
            _numbers(field, f"the {name} of the crontab {self.text!r}", low, high)
            for field, (name, low, high) in zip(self._fields, FIELDS, strict=True)
        ]

    @cached_property
    def _times(self) -> list[time]:
        minutes, hours, *_ = self._numbers
        return [time(hour, minute) for hour in sorted(hours) for minute in sorted(minutes)]

    def _days(self, first: date, step: int) -> Iterator[date]:
        """The days of ticks from one day on, forwards or backwards."""
        *_, days, months, weekdays = self._numbers
        weekdays = frozenset(day % 7 for day in weekdays)
        for count in range(DAYS_MAX):
            day = first + timedelta(days=step * count)
            if day.month in months and day.day in days and day.isoweekday() % 7 in weekdays:
                yield day


def _numbers(field: str, whose: str, low: int, high: int) -> frozenset[int]:
    chosen: set[int] = set()
    for part in field.split(","):
        found = _PART.fullmatch(part)
        if found is None or (found[1] and found[3] and not found[2]):
            raise ValueError(f"{whose} cannot be read: {part!r}; it is *, numbers, ranges, and steps of these")
        first = int(found[1] or low)
        last = int(found[2] or found[1] or high)
        if not low <= first <= last <= high or found[3] == "0":
            raise ValueError(f"{whose} is {part!r}; its numbers go up, from {low} to {high}")
        chosen.update(range(first, last + 1, int(found[3] or 1)))
    return frozenset(chosen)
