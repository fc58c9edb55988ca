"""Following a broker's events: what to ask for next, and when. Pure.

A reader remembers the number of the last event it has. A broker that was started anew counts from
its start again, which its ``incarnation`` shows; then the reader is told that it may have missed
some, and goes on with the first one there is.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import define, field

from paintmq.task import Json

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two questions: while there is something new, and when nothing comes."""


@define
class EventReader:
    """The place of one reader in a broker's events."""

    filters: Mapping[str, Json]
    after: int | None = None
    """The number of the last event it has; 0: begin with what is still there; None: with what
    comes from now on."""
    _incarnation: int | None = field(default=None, init=False)
    _pause: float = field(default=FIRST_PAUSE, init=False)

    def question(self) -> dict[str, Json]:
        """Return the arguments to ask ``events`` with."""
        return {**self.filters, "after": -1 if self.after is None else self.after}

    def take(self, answer: Any) -> Iterator[dict[str, Any]]:
        """Give the events of an answer, one ``missed`` among them where some are gone."""
        began_anew = self._incarnation not in (None, answer["incarnation"])
        self._incarnation = answer["incarnation"]
        if began_anew:
            self.after, self._pause = 0, 0.0
            yield {"kind": "broker", "event": "restarted", "number": 0}
            return
        if answer["missed"]:
            yield {"kind": "broker", "event": "missed", "count": answer["missed"], "number": 0}
        for event in answer["events"]:
            self.after = event["number"]
            yield event
        self.after = answer["next"]
        if answer["more"]:
            self._pause = 0.0
        elif answer["events"]:
            self._pause = FIRST_PAUSE
        else:
            self._pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, 1.5 * self._pause))

    @property
    def pause(self) -> float:
        """Seconds to wait before the next question."""
        return self._pause
