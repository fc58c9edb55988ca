"""The terms of a key: until when it is valid, and for which queues."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Self

from attrs import fields, frozen

from paintmq.task import MAX_PRIORITY, MIN_PRIORITY, Json

SOON = 14 * 86_400.0
"""A key is worth a warning this many seconds before its end."""

MAX_TENANT = 200
"""Characters, as in a task."""
MAX_QUOTA = 1_000_000_000

_SPAN = re.compile(r"([1-9][0-9]{0,5})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@frozen(kw_only=True)
class KeyTerms:
    """The restrictions of a key; without any it is valid for ever, and for every queue."""

    not_after: float | None = None
    """Unix time in whole seconds: from then on the key is refused."""
    queues: tuple[str, ...] | None = None
    """Queues to which a client may submit tasks, or whose tasks a worker may run."""
    tenant: str | None = None
    """The tenant of all tasks of a client."""
    max_priority: int | None = None
    """The highest priority of a client's tasks."""
    quota: int | None = None
    """Unfinished tasks that a client may have at once."""

    @property
    def limits_tasks(self) -> bool:
        """Whether something is said of tasks, which only clients submit."""
        return (self.tenant, self.max_priority, self.quota) != (None, None, None)

    def has_expired(self, now: float) -> bool:
        return self.not_after is not None and self.not_after <= now

    def expires_soon(self, now: float) -> bool:
        """Return whether the key ends soon or has expired, so that a new one is needed."""
        return self.not_after is not None and self.not_after <= now + SOON

    @property
    def end(self) -> str:
        """When the key expires, as date and time in UTC; empty: never."""
        if self.not_after is None:
            return ""
        return f"{datetime.fromtimestamp(self.not_after, UTC):%Y-%m-%d %H:%M:%S} UTC"

    def to_json(self) -> dict[str, Json]:
        """Return the fields of a key file; restrictions that are not set are left out."""
        data: dict[str, Json] = {}
        if self.not_after is not None:
            data["not_after"] = datetime.fromtimestamp(self.not_after, UTC).isoformat()
        if self.queues is not None:
            data["queues"] = list(self.queues)
        claims = {"tenant": self.tenant, "max_priority": self.max_priority, "quota": self.quota}
        return data | {name: value for name, value in claims.items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: the fields are malformed.
        """
        not_after, queues = data.get("not_after"), data.get("queues")
        if not (queues is None or (isinstance(queues, list) and queues and _all_text(queues))):
            raise ValueError(f"queues = {queues!r} is no list of names")
        if not_after is None:
            end = None
        elif isinstance(not_after, str):
            end = _moment(not_after)
        else:
            raise ValueError(f"not_after = {not_after!r} is no time")
        return cls(
            not_after=end,
            queues=None if queues is None else tuple(queues),
            tenant=_tenant(data.get("tenant")),
            max_priority=_number(data, "max_priority", MIN_PRIORITY, MAX_PRIORITY),
            quota=_number(data, "quota", 1, MAX_QUOTA),
        )


NO_TERMS = KeyTerms()
TERMS = frozenset(field.name for field in fields(KeyTerms))
"""The names of all terms, as key files have them."""


def parse_expiry(text: str, *, now: float) -> float:
    """Return the time that a user means by ``90d``, ``12h``, ``4w``, a date or a date and time.

    A date is the last day on which the key is valid. Days begin and end in UTC, and times are in
    UTC unless they name an offset.

    Raises:
        ValueError: it is none of these, or past.
    """
    if (span := _SPAN.fullmatch(text)) is not None:
        until = datetime.fromtimestamp(int(now), UTC) + int(span[1]) * _UNITS[span[2]]
        return until.timestamp()
    end = _end(text)
    if end <= now:
        raise ValueError(f"{text} is past")
    return end


def _end(text: str) -> float:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return _moment(text)
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + 86_400.0


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return float(int(moment.timestamp()))
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time: use 90d, 12h, 4w or a date as 2027-12-31") from None


def _tenant(value: object) -> str | None:
    if value is None or (isinstance(value, str) and 0 < len(value) <= MAX_TENANT):
        return value
    raise ValueError(f"tenant = {value!r} is no name of at most {MAX_TENANT} characters")


def _number(data: Mapping[str, object], name: str, least: int, most: int) -> int | None:
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    raise ValueError(f"{name} = {value!r} is no number from {least} to {most}")


def _all_text(values: Sequence[object]) -> bool:
    return all(isinstance(each, str) and each for each in values)
