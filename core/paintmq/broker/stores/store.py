"""What a store promises the broker.

Rule 1: ``append`` never waits for a disk; what it was given becomes durable in order, later.
Rule 2: no peer is told anything that depends on a record which is not durable yet. The store only
says how far it has come (``collect``); holding messages back until then is the outbox's work.
Rule 3: a failed write is never repeated in the hope that it works now: the store has failed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import msgspec
from attrs import frozen

from paintmq.broker.records import Record, Recovered
from paintmq.broker.stores.story import StoryLine
from paintmq.errors import StoreError
from paintmq.task import Buffer, TaskId

Direction: TypeAlias = Literal["in", "out"]


class PayloadKey(NamedTuple):
    """Names one payload: an input or an output of a task."""

    task_id: TaskId
    direction: Direction
    name: str


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One record on its way to the store, with the payloads that become durable with it."""

    sequence: int
    at: float
    """Broker time."""
    record: Record
    payloads: tuple[tuple[PayloadKey, Buffer], ...] = ()


@frozen(kw_only=True)
class Collected:
    """What a store has done since it was last asked."""

    durable_sequence: int
    payloads: tuple[tuple[PayloadKey, Buffer | None], ...] = ()
    """Answers to ``fetch``; None: missing, or its checksum is wrong."""
    disk_full: bool = False
    """New tasks should be refused until this is False again."""


@frozen(kw_only=True)
class BackupState:
    """How far a backup is."""

    path: str
    state: Literal["running", "done", "failed"] = "running"
    sequence: int = 0
    """The last record in it."""
    tasks: int = 0
    files: int = 0
    """Payload files in it."""
    size: int = 0
    """Bytes in total."""
    damaged: int = 0
    """Payload files of the journal that are lost or changed, and so are not in it."""
    error: str = ""
    """Why it failed."""


@frozen(kw_only=True)
class Leader:
    """The broker that leads on a store which several brokers share."""

    name: str
    address: str
    """Where its clients connect."""
    epoch: int
    """How often the lead has changed hands until it had it."""
    silent_for: float
    """Seconds since the store last heard of it."""

    def __str__(self) -> str:
        where = f" at {self.address}" if self.address else ""
        heard = f"heard of {self.silent_for:.1f} s ago"
        return f"{self.name}{where} leads (epoch {self.epoch}, {heard})"


class Store(ABC):
    """Where the journal lives. All methods are called by one thread, the broker's."""

    durability: Literal["full", "process"] = "full"
    """What a commit must survive: a power loss, or the end of the broker's process. Set before
    ``open``."""

    keeps_payloads: ClassVar[bool]
    """Whether ``fetch`` gives payloads back once they are durable, so that the broker need not
    hold them in memory."""
    _read_after: int | None = None

    needs_payloads: ClassVar[bool] = True
    """Whether entries come with their payloads."""

    @abstractmethod
    def open(self, wake: Callable[[], None]) -> Recovered:
        """Return what is stored. ``wake`` is called, from any thread, when ``collect`` has news.

        Raises:
            StoreError: it cannot be used: locked, newer than this program, damaged, incomplete.
        """

    def claim(self, name: str, address: str) -> Leader | None:
        """Take the lead among the brokers that share this store; return who has it instead.

        Called before ``open``, every now and then until it returns None. A store that no two
        brokers can share has nothing to do: its ``open`` refuses the second one.

        Args:
            name: of this broker, for the operator of another one.
            address: where this broker's clients connect.

        Raises:
            StoreError: it cannot be used: not there, newer than this program, access denied.
        """
        return None

    def confirm(self) -> bool:
        """Return whether this broker still leads for certain, after a short wait if need be.

        Called before each turn of the broker's loop, which says and does nothing while it is
        False.

        Raises:
            LeadLostError: another broker has the lead, or it was uncertain for too long.
            StoreError: writing failed.
        """
        return True

    def read_log_after(self, sequence: int) -> None:
        """Have ``open`` return the records after this one too, in ``Recovered.logged``.

        Statistics go on from there. A store that keeps no log need not: then they begin anew.
        """
        self._read_after = sequence

    @abstractmethod
    def append(self, entry: Entry) -> None:
        """Store this entry after all earlier ones. Sequences count up by one."""

    def append_all(self, entries: Sequence[Entry]) -> None:
        """Do the same for entries that come together; override it where that costs less."""
        for entry in entries:
            self.append(entry)

    @abstractmethod
    def fetch(self, key: PayloadKey) -> None:
        """Read a payload; ``collect`` will return it."""

    @abstractmethod
    def collect(self) -> Collected:
        """Return what became durable or was fetched since the last call.

        Raises:
            StoreError: writing failed; the broker must stop.
        """

    def back_up(self, path: Path) -> BackupState:
        """Start a backup into a new folder at that path, or return how far the one to it is.

        Raises:
            StoreError: it cannot be made, or another is under way.
        """
        raise StoreError(f"{type(self).__name__} cannot be backed up while it is in use")

    def story(self, task_id: TaskId) -> Sequence[StoryLine] | None:
        """Return the transitions of a task from the log; None: it is being read, ask again.

        Raises:
            StoreError: this store keeps no log that can be read while it is in use.
        """
        raise StoreError(f"{type(self).__name__} keeps no log that can be read while it is in use")

    @abstractmethod
    def close(self) -> None:
        """Make everything appended durable and close the store. Harmless to repeat.

        Raises:
            StoreError: something appended could not be made durable.
        """
