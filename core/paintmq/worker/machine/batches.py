"""The attempts a worker holds, as the batches in which they are run."""

from collections import deque
from math import inf

from attrs import define, field, frozen

from paintmq.wire.messages import Assignment, AttemptProgressed, AttemptStarted
from paintmq.worker.channel.messages import BatchProgressed, Key, Run, RunItem

PUT_BACKS = 2
"""How often a batch that a host died with, and never began, goes to the next host uncharged."""
TELL_AFTER = 0.05
"""Seconds a batch runs before the broker is told that it has begun. One that ends sooner says so by
its end: two thirds of the messages about short tasks would be news that is no longer true."""
LOOK_MOST = 2.0
"""Most seconds between two looks whether a batch has begun."""


@define
class HeldAttempt:
    """An attempt that the worker still owes the broker an answer for."""

    assignment: Assignment
    stop_at: float | None = None
    """Set once the broker abandoned it: when the worker stops asking and acts."""

    @property
    def key(self) -> Key:
        return self.assignment.task.id, self.assignment.fence


@frozen
class HandedOver:
    """A batch that a host has: what is left of it, and how many attempts shared it."""

    number: int
    keys: tuple[Key, ...]
    size: int


@define(eq=False)
class Batch:
    """Attempts that run together, in the order they came."""

    number: int
    model: str
    attempts: dict[Key, HeldAttempt]
    """Those that the host has not answered."""
    size: int
    """How many there were at first: a crash is charged to an attempt that was alone."""
    begun: bool = field(default=False, init=False)
    """The host has said, or marked, that it has begun it: its payloads may have been touched."""
    put_backs: int = field(default=0, init=False)
    """How often a host died that was to begin it next."""
    run_until: float = field(default=inf, init=False)
    stall_at: float = field(default=inf, init=False)
    tell_at: float = field(default=inf, init=False)
    """When to see whether it has begun, and tell the broker; infinity: it was told, or waits for
    the batch before it."""
    _was_told: bool = field(default=False, init=False)
    _look_after: float = field(default=TELL_AFTER, init=False)

    def is_next(self, *, now: float) -> None:
        """Record that the host has nothing to do before it: it begins about now."""
        if not self._was_told:
            self.tell_at, self._look_after = now + TELL_AFTER, TELL_AFTER

    def look_later(self, *, now: float) -> None:
        """Record that the host is not that far: it reads slowly, or has been stopped."""
        self._look_after = min(2 * self._look_after, LOOK_MOST)
        self.tell_at = now + self._look_after

    def begin(self, *, now: float) -> None:
        """Record that the host has begun it."""
        self.begun = True
        self.is_next(now=now)

    def put_back(self) -> None:
        """Record that another host will begin it anew."""
        self.begun, self._was_told, self.tell_at = False, False, inf

    def told_started(self) -> list[AttemptStarted]:
        """Return what tells the broker that it has begun, as it does not know yet."""
        if self.tell_at == inf:
            return []
        self.begun = self._was_told = True
        self.tell_at = inf
        return [AttemptStarted(task_id=task_id, fence=fence) for task_id, fence in self.attempts]

    @property
    def run_limit(self) -> float:
        """Seconds that the whole batch may take."""
        return max(held.assignment.run_limit for held in self.attempts.values())

    def renew(self, *, stall_limit: float, now: float) -> None:
        """Give it its time, from now."""
        self.run_until, self.stall_at = now + self.run_limit, now + stall_limit

    def next_deadline(self) -> float:
        """Return when it will have taken too long, or been silent for too long."""
        return min(self.run_until, self.stall_at)

    def progress(self, message: BatchProgressed) -> list[AttemptStarted | AttemptProgressed]:
        """Return what to tell the broker of each attempt; a preview is of the first alone."""
        return [*self.told_started(), *self._progressed(message)]

    def _progressed(self, message: BatchProgressed) -> list[AttemptProgressed]:
        return [
            AttemptProgressed(
                task_id=task_id,
                fence=fence,
                step=message.step,
                total=message.total,
                preview=() if place else message.preview,
            )
            for place, (task_id, fence) in enumerate(self.attempts)
        ]

    def order(self) -> Run:
        """Return what to tell the host."""
        items = tuple(
            RunItem(
                task_id=held.assignment.task.id,
                fence=held.assignment.fence,
                task_type=held.assignment.task.task_type,
                options=held.assignment.task.options,
                inputs=held.assignment.task.inputs,
                trace=held.assignment.task.trace,
            )
            for held in self.attempts.values()
        )
        return Run(batch=self.number, model=self.model, items=items)


@define
class Batches:
    """Waiting batches, and those the host has: it runs the first while it reads the second."""

    waiting: deque[Batch] = field(factory=deque[Batch], init=False)
    sent: deque[Batch] = field(factory=deque[Batch], init=False)
    _count: int = field(default=0, init=False)
    _outline: list[tuple[int, int]] = field(factory=list[tuple[int, int]], init=False)
    _handed_over: tuple[HandedOver, ...] = field(default=(), init=False)

    @property
    def running(self) -> Batch | None:
        """What the host is at, or will be as soon as it has read it."""
        return self.sent[0] if self.sent else None

    @property
    def handed_over(self) -> tuple[HandedOver, ...]:
        # It is asked for after every event, and seldom another than before. Attempts only leave.
        outline = [(batch.number, len(batch.attempts)) for batch in self.sent]
        if outline != self._outline:
            known = {(each.number, len(each.keys)): each for each in self._handed_over}
            self._outline = outline
            self._handed_over = tuple(
                known.get((batch.number, len(batch.attempts)))
                or HandedOver(batch.number, tuple(batch.attempts), batch.size)
                for batch in self.sent
            )
        return self._handed_over

    def next_to_tell(self) -> float:
        """Return when ``pop_untold`` is worth calling; infinity: not for now."""
        return min((batch.tell_at for batch in self.sent), default=inf)

    def pop_untold(self, *, now: float) -> list[AttemptStarted]:
        """Return what to tell the broker of batches that have run for a while."""
        started: list[AttemptStarted] = []
        for batch in self.sent:
            if batch.tell_at > now:
                continue
            if batch.begun:
                started += batch.told_started()
            else:
                batch.look_later(now=now)
        return started

    def marked(self, number: int) -> None:
        """Record which batch the host has marked as begun; 0: none, or it keeps no mark."""
        if number and (batch := self.find_sent(number)) is not None:
            batch.begun = True

    def add(self, model: str, attempts: list[HeldAttempt]) -> None:
        self._count += 1
        by_key = {held.key: held for held in attempts}
        self.waiting.append(Batch(self._count, model, by_key, len(by_key)))

    def find_sent(self, number: int) -> Batch | None:
        return next((batch for batch in self.sent if batch.number == number), None)

    def drop_waiting(self, key: Key) -> bool:
        """Remove an attempt that the host has not been sent; return whether there was one."""
        for batch in self.waiting:
            if batch.attempts.pop(key, None) is not None:
                if not batch.attempts:
                    self.waiting.remove(batch)
                else:
                    batch.size -= 1
                return True
        return False

    def pop_waiting(self, model: str | None = None) -> list[Key]:
        """Take out all waiting attempts (of a model); return their keys in order."""
        gone = [batch for batch in self.waiting if model in (None, batch.model)]
        for batch in gone:
            self.waiting.remove(batch)
        return [key for batch in gone for key in batch.attempts]

    def pop_abandoned(self) -> list[HeldAttempt]:
        """Remove what waits again after its host died, though the broker had abandoned it there."""
        gone = [
            held
            for batch in self.waiting
            for held in batch.attempts.values()
            if held.stop_at is not None
        ]
        for held in gone:
            self.drop_waiting(held.key)
        return gone

    def put_back(self) -> None:
        """Let the next host run what this one was sent and has not touched."""
        for batch in self.sent:
            batch.put_back()
        self.waiting.extendleft(reversed([batch for batch in self.sent if batch.attempts]))
        self.sent.clear()

    def host_lost(self) -> Batch | None:
        """Put back what had not begun; return the batch that is charged with the host's death.

        A batch that is handed over again and again and never begins kills hosts while they read
        it, so after ``PUT_BACKS`` times it is charged as well.
        """
        charged = self.running
        if charged is not None and not charged.begun and charged.put_backs < PUT_BACKS:
            charged.put_backs += 1
            charged = None
        if charged is not None:
            self.sent.popleft()
        self.put_back()
        return charged
