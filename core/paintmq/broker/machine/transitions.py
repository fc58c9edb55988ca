"""The life of a task as one table: each state and event leads to a state, a record and timers.

Rule 1: ``StepBuilder`` looks every transition up here. What is not in the table is a bug: it raises
AssertionError instead of being recorded.
Rule 2: a transition ends all timers of the task but those that it sets; which ones a state may have
is in ``TIMERS``.

``core/README.md`` shows the table and its diagram, which ``diagram`` and ``table`` generate.
"""

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from attrs import frozen

from paintmq.task import FINAL_STATES, LEASED_STATES, TaskState


class Event(StrEnum):
    """What happened to a task."""

    ACCEPT = "accept"
    LEASE = "lease"
    LOAD = "load"
    RUN = "run"
    RETRY = "retry"
    FORGIVE = "forgive"
    MOVE = "move"
    ADOPT = "adopt"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    EXPIRE = "expire"
    GIVE_UP = "give up"
    ACKNOWLEDGE = "acknowledge"
    REVIVE = "revive"
    PURGE = "purge"


TimerKind: TypeAlias = Literal["expire", "exclusion", "lease", "run", "purge"]

LEASED: Final = tuple(state for state in TaskState if state in LEASED_STATES)
ENDED: Final = tuple(state for state in TaskState if state in FINAL_STATES)

_Q, _S = TaskState.QUEUED, TaskState.SUBMITTED

RECORDS: Mapping[Event, str] = {
    Event.ACCEPT: "TaskAccepted",
    Event.LEASE: "lease",
    Event.LOAD: "start",
    Event.RUN: "start",
    Event.RETRY: "requeue",
    Event.FORGIVE: "forgive",
    Event.MOVE: "move",
    Event.ADOPT: "adopt",
    Event.SUCCEED: "finish",
    Event.FAIL: "finish",
    Event.CANCEL: "finish",
    Event.EXPIRE: "finish",
    Event.GIVE_UP: "finish",
    Event.ACKNOWLEDGE: "acknowledge",
    Event.REVIVE: "revive",
    Event.PURGE: "TaskPurged",
}
"""The record of each event: a kind of its own, or the ``event`` of a ``TaskChanged``. These words
are in existing journals, so they must not change."""


@frozen
class Timers:
    """The timers of a state: those it always has, and those it may have."""

    always: frozenset[TimerKind]
    maybe: frozenset[TimerKind] = frozenset()

    def allow(self, kinds: Collection[str]) -> bool:
        """Return whether a task in this state may have exactly these timers."""
        return self.always <= set(kinds) <= self.always | self.maybe


TIMERS: Mapping[TaskState, Timers] = {
    # "exclusion" ends the exclusion of workers that failed the task. Otherwise the task would wait
    # for the one worker that did not fail it, however long that one is busy or stuck.
    TaskState.QUEUED: Timers(frozenset(), frozenset({"expire", "exclusion"})),
    # Heartbeats renew "lease" but not "run", so a worker that is alive but never begins or ends an
    # attempt does not keep its task for ever.
    **dict.fromkeys(LEASED, Timers(frozenset({"lease", "run"}))),
    **dict.fromkeys(ENDED, Timers(frozenset({"purge"}))),
}

_ENDINGS = {
    Event.SUCCEED: TaskState.SUCCEEDED,
    Event.FAIL: TaskState.FAILED,
    Event.CANCEL: TaskState.CANCELLED,
    Event.EXPIRE: TaskState.EXPIRED,
    Event.GIVE_UP: TaskState.DEAD,
}

_STAYS = frozenset({Event.ACKNOWLEDGE, Event.ADOPT})
"""Events that change no state; they would only clutter the diagram."""

ENDING_EVENTS: Mapping[TaskState, Event] = {state: event for event, state in _ENDINGS.items()}
"""The event that leads to each ending."""

TRANSITIONS: Mapping[tuple[TaskState, Event], TaskState | None] = {
    (_S, Event.ACCEPT): _Q,
    (_Q, Event.LEASE): TaskState.LEASED,
    (_Q, Event.FORGIVE): _Q,
    (_Q, Event.MOVE): _Q,
    # A task that the journal held may lack its model; one that is retried may be too late.
    **{(_Q, event): _ENDINGS[event] for event in (Event.CANCEL, Event.EXPIRE, Event.GIVE_UP)},
    **{(state, Event.RETRY): _Q for state in LEASED},
    # An attempt may end before it is known to have begun: messages may be lost.
    (TaskState.LEASED, Event.LOAD): TaskState.LOADING,
    (TaskState.LEASED, Event.RUN): TaskState.RUNNING,
    (TaskState.LOADING, Event.RUN): TaskState.RUNNING,
    **{
        (state, event): _ENDINGS[event]
        for state in LEASED
        for event in (Event.SUCCEED, Event.FAIL, Event.CANCEL, Event.GIVE_UP)
    },
    (TaskState.DEAD, Event.REVIVE): _Q,
    **{(state, Event.ADOPT): state for state in TIMERS},
    **{(state, Event.ACKNOWLEDGE): state for state in ENDED},
    **{(state, Event.PURGE): None for state in ENDED},
}
"""Where each event leads from each state; None: the task is gone."""


def check(before: TaskState, event: Event, after: TaskState | None, timers: Collection[str]) -> str:
    """Return the name of the transition's record.

    Raises:
        AssertionError: the table has no such transition, or not with these timers.
    """
    looked_up = before, event, after, *timers
    if (word := _checked.get(looked_up)) is not None:
        return word
    known = TRANSITIONS.get((before, event), "nowhere")
    assert known == after, f"{event} from {before} leads to {known}, not to {after}"
    assert after is None or TIMERS[after].allow(timers), f"{event} to {after} with {set(timers)}"
    _checked[looked_up] = RECORDS[event]
    return RECORDS[event]


_checked: dict[tuple[object, ...], str] = {}
"""What was looked up and found right: every transition is, and there are few different ones."""


# ---- pictures ----------------------------------------------------------------------------------


def diagram() -> str:
    """Return the table as a Mermaid state diagram.

    Leased and ended states are drawn as groups: what all states of a group have in common is one
    arrow of the group.
    """
    lines = ["stateDiagram-v2"]
    for group, states in (("worker", LEASED), ("ended", ENDED)):
        lines += [f"    state {group} {{", *(f"        {state.name}" for state in states), "    }"]
    arrows: dict[tuple[str, str], list[str]] = {}
    for sources, event, after in _grouped():
        if event in _STAYS:
            continue
        target = "[*]" if after is None else after.name
        arrows.setdefault((_name(sources), target), []).append(event)
    for (source, target), events in arrows.items():
        lines.append(f"    {source} --> {target}: {', '.join(events)}")
    return "\n".join(lines)


def table() -> str:
    """Return the table as Markdown."""
    lines = ["| state | event | state after | record | timers after |", "| --- " * 5 + "|"]
    for sources, event, after in _grouped():
        before = " ".join(state.name for state in sources)
        target = "the same" if event in _STAYS else "" if after is None else after.name
        lines.append(f"| {before} | {event} | {target} | `{RECORDS[event]}` | {_timers(after)} |")
    return "\n".join(lines)


def _grouped() -> Iterator[tuple[tuple[TaskState, ...], Event, TaskState | None]]:
    """Give the transitions; those of a whole group that do the same, once."""
    for (before, event), after in TRANSITIONS.items():
        group = next((states for states in (LEASED, ENDED) if before in states), (before,))
        if any((state, event) not in TRANSITIONS for state in group):
            yield (before,), event, after
        elif before is group[0]:
            yield group, event, after


def _name(states: tuple[TaskState, ...]) -> str:
    match states:
        case (TaskState.SUBMITTED,):
            return "[*]"
        case (state,):
            return state.name
        case _:
            return "worker" if states == LEASED else "ended"


def _timers(state: TaskState | None) -> str:
    if state is None:
        return ""
    timers = TIMERS[state]
    return ", ".join([*sorted(timers.always), *(f"({kind})" for kind in sorted(timers.maybe))])
