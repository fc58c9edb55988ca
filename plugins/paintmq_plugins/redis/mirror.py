"""What Redis is to hold: made from a broker's events, bounded, and enough to write all anew.

Rule 1: what is not written yet is one mark a task, however often it changes; so a Redis that is
gone costs no memory that grows. Only events wait in a line, and the oldest of them are dropped.
Rule 2: nothing here waits or does I/O. The caller holds a lock.
"""

import json
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, field, frozen

if TYPE_CHECKING:
    from paintmq.statistics import BrokerStatistics

MOST_LIVE = 100_000
"""Unfinished tasks that are followed; of the oldest ones beyond, nothing more is written."""
MOST_ENDED = 10_000
"""Ended tasks that are kept to be written again after a loss."""
MOST_ENTRIES = 10_000
"""Events that wait to be written, and as many messages to subscribers."""
LONGEST_TEXT = 500

Fields: TypeAlias = dict[str, str]

_TAKEN = (
    "state", "task_type", "model", "tenant", "priority", "queue", "worker", "attempt", "error",
    "detail", "accepted_at", "leased_at", "started_at", "ended_at",
)  # fmt: skip
_WAITING = frozenset({"queued"})
_RUNNING = frozenset({"leased", "loading", "running"})
_SAMPLED = (
    "accepted", "succeeded", "failed", "cancelled", "expired", "dead", "rejected", "retries",
    "workers", "capacity", "bytes_waiting", "expected_work", "oldest_wait", "throughput_1m",
)  # fmt: skip


@frozen(kw_only=True)
class Changes:
    """What is to be written next."""

    tasks: dict[str, tuple[Fields, float]]
    """The fields of tasks by id, and for how many seconds they are to be kept."""
    queues: dict[str, Fields]
    entries: list[Fields]
    """Of the stream, oldest first."""
    news: list[tuple[str, str]]
    """Messages of a task's channel."""
    is_all: bool
    """Whether Redis holds everything once this is written."""


@define(kw_only=True, eq=False)
class Mirror:
    """A broker's tasks and queues as fields of hashes."""

    ttl: float
    most_live: int = MOST_LIVE
    most_entries: int = MOST_ENTRIES
    live: "OrderedDict[str, Fields]" = field(factory=OrderedDict[str, Fields], init=False)
    ended: "OrderedDict[str, tuple[Fields, float]]" = field(
        factory=OrderedDict[str, tuple[Fields, float]], init=False
    )
    """With the time at which each need not be kept any more."""
    incarnation: str = field(default="", init=False)
    dropped: int = field(default=0, init=False)
    """Events that never reached the stream."""
    untracked: int = field(default=0, init=False)
    """Unfinished tasks that were too many to be followed."""
    _queues: dict[str, Fields] = field(factory=dict[str, Fields], init=False)
    _tasks_due: dict[str, None] = field(factory=dict[str, None], init=False)
    _queues_due: dict[str, None] = field(factory=dict[str, None], init=False)
    _counts: dict[str, list[int]] = field(factory=dict[str, list[int]], init=False)
    """Of each queue, the tasks that wait and run."""
    _entries: deque[Fields] = field(factory=deque[Fields], init=False)
    _news: deque[tuple[str, str]] = field(factory=deque[tuple[str, str]], init=False)
    _told_dropped: int = field(default=0, init=False)

    # ---- in ------------------------------------------------------------------------------------

    def events(self, batch: Iterable[Mapping[str, Any]], now: float) -> None:
        """Take in a batch of the hook ``paintmq_events``; ``now``: of any clock that only grows."""
        for event in batch:
            match str(event["event"]):
                case "boot":
                    self._booted(event)
                case "dropped":
                    self._missed(int(event["count"]))
                case "purge":
                    pass  # it ended, and is kept for as long as the settings say
                case "restored":
                    self._task(event, now)
                case _:
                    if "task_id" in event:
                        self._task(event, now)
                    self._add_entry(event)

    def progress(self, batch: Iterable[Mapping[str, Any]]) -> None:
        """Take in a batch of the hook ``paintmq_progress``."""
        for each in batch:
            task_id = each["task_id"]
            known = self.live.get(task_id)
            if known is None:
                continue
            told = {key: _text(each[key]) for key in ("attempt", "step", "total", "at")}
            known |= {"step": told["step"], "total": told["total"], "updated_at": told["at"]}
            self._tasks_due[task_id] = None
            self._tell(task_id, {"event": "progress", **told})

    def sample(self, sample: "BrokerStatistics") -> None:
        """Take in a sample of the statistics: what can be known of queues by no event."""
        for name, queue in sample.queues.items():
            fields = self._queues.setdefault(name, {})
            fields |= {key: _text(getattr(queue, key)) for key in _SAMPLED}
            for key in ("wait", "run"):
                durations = getattr(queue, key)
                fields |= {f"{key}_p50": _text(durations.p50), f"{key}_p99": _text(durations.p99)}
            fields["sampled_at"] = _text(queue.updated_at)
            self._queues_due[name] = None
        for name in self._queues.keys() - sample.queues.keys():
            del self._queues[name]  # removed: its hash ends by itself

    def write_all_again(self) -> None:
        """Mark everything as not written: Redis has lost it, or may have."""
        self._tasks_due = dict.fromkeys([*self.ended, *self.live])
        self._queues_due = dict.fromkeys([*self._queues, *self._counts])

    def keep_live(self) -> None:
        """Mark what is not over as not written, so that it does not expire."""
        self._tasks_due |= dict.fromkeys(self.live)
        self._queues_due |= dict.fromkeys([*self._queues, *self._counts])

    # ---- out -----------------------------------------------------------------------------------

    def take(self, most: int, now: float) -> Changes:
        """Return what is to be written, ``most`` of each kind; it counts as written from now on."""
        self._forget(now)
        tasks: dict[str, tuple[Fields, float]] = {}
        for task_id in list(self._tasks_due)[:most]:
            del self._tasks_due[task_id]
            if task_id in self.live:
                tasks[task_id] = dict(self.live[task_id]), self.ttl
            elif task_id in self.ended:
                fields, until = self.ended[task_id]
                tasks[task_id] = fields, max(1.0, until - now)
        queues = {name: self._queue(name) for name in self._queues_due}
        self._queues_due = {}
        if self._entries and self.dropped > self._told_dropped:
            count, self._told_dropped = self.dropped - self._told_dropped, self.dropped
            self._entries.appendleft({"event": "dropped", "count": str(count)})
        entries = [self._entries.popleft() for _ in range(min(most, len(self._entries)))]
        news = [self._news.popleft() for _ in range(min(most, len(self._news)))]
        is_all = not self._tasks_due and not self._entries
        return Changes(tasks=tasks, queues=queues, entries=entries, news=news, is_all=is_all)

    def put_back(self, entries: list[Fields]) -> None:
        """Take back events that could not be written; the oldest of too many are dropped."""
        self._entries.extendleft(reversed(entries))
        self._drop_entries()

    def forget_news(self) -> None:
        """Drop what nobody could hear: subscribers read the hash when they come back."""
        self._news.clear()

    @property
    def is_due(self) -> bool:
        return bool(self._tasks_due or self._queues_due or self._entries or self._news)

    # ---- parts ---------------------------------------------------------------------------------

    def _booted(self, event: Mapping[str, Any]) -> None:
        """Begin with what this broker tells: another may have ended what was live."""
        self.incarnation = str(event["incarnation"])
        for name in self._counts:
            self._queues_due[name] = None
        self._counts = {name: [0, 0] for name in self._counts}
        self.live.clear()
        self._tasks_due = {each: None for each in self._tasks_due if each in self.ended}
        self._add_entry(event)

    def _missed(self, count: int) -> None:
        """Note that the broker dropped events: what is live may have ended meanwhile."""
        self.dropped += count
        for task_id, fields in self.live.items():
            fields["uncertain"] = "1"
            self._tasks_due[task_id] = None

    def _task(self, event: Mapping[str, Any], now: float) -> None:
        task_id = str(event["task_id"])
        before = self._remove(task_id)
        fields = {key: _text(event[key]) for key in _TAKEN if event.get(key) is not None}
        fields["updated_at"] = _text(event.get("at"))
        fields["boot"] = self.incarnation
        if "number" in event:
            fields["number"] = _text(event["number"])
        if not event.get("error", "-"):
            fields["detail"] = ""
        is_same = before.get("attempt") == fields.get("attempt")
        for key in ("step", "total"):
            fields[key] = before.get(key, "0") if is_same else "0"
        fields["uncertain"] = "0"
        fields = {"state": "queued", "error": "", "detail": ""} | before | fields
        if fields["state"] in _WAITING | _RUNNING:
            fields["ended_at"] = ""
            self.live[task_id] = fields
            self._count(fields, 1)
        else:
            age = event["at"] - event["ended_at"] if event["event"] == "restored" else 0.0
            self.ended[task_id] = fields, now + self.ttl - age
        self._tasks_due[task_id] = None
        if len(self.live) > self.most_live:
            self._give_up(self.live)
            self.untracked += 1
        if len(self.ended) > MOST_ENDED:
            self._give_up(self.ended)
        self._tell(task_id, {"event": str(event.get("what", event["event"])), **fields})

    def _remove(self, task_id: str) -> Fields:
        fields = self.live.pop(task_id, None)
        if fields is not None:
            self._count(fields, -1)
            return fields
        return self.ended.pop(task_id, ({}, 0.0))[0]

    def _count(self, fields: Fields, by: int) -> None:
        counts = self._counts.setdefault(fields["queue"], [0, 0])
        counts[0 if fields["state"] in _WAITING else 1] += by
        self._queues_due[fields["queue"]] = None

    def _queue(self, name: str) -> Fields:
        waiting, running = self._counts.get(name, (0, 0))
        return {"waiting": str(waiting), "running": str(running), **self._queues.get(name, {})}

    def _add_entry(self, event: Mapping[str, Any]) -> None:
        entry = {key: _text(value) for key, value in event.items() if value is not None}
        self._entries.append({"boot": self.incarnation, **entry})
        self._drop_entries()

    def _drop_entries(self) -> None:
        while len(self._entries) > self.most_entries:
            self._entries.popleft()
            self.dropped += 1

    def _tell(self, task_id: str, fields: Fields) -> None:
        self._news.append((task_id, json.dumps({"task_id": task_id, **fields})))
        if len(self._news) > self.most_entries:
            self._news.popleft()

    def _forget(self, now: float) -> None:
        while self.ended and next(iter(self.ended.values()))[1] <= now:
            self._give_up(self.ended)

    def _give_up(self, tasks: Mapping[str, object]) -> None:
        """Follow the oldest of these no more, whether it was written or not."""
        oldest = next(iter(tasks))
        self._remove(oldest)
        self._tasks_due.pop(oldest, None)


def _text(value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)[:LONGEST_TEXT]
    return json.dumps(value)[:LONGEST_TEXT] if isinstance(value, list | dict) else f"{value}"
