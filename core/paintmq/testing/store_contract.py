"""What every store must do: inherit ``StoreContract`` in the tests of yours."""

import threading
from abc import ABC, abstractmethod
from pathlib import Path

import pytest
from attrs import define, field

from paintmq.broker.records import (
    BrokerBooted,
    Record,
    Recovered,
    SettingsChanged,
    TaskAccepted,
    TaskChanged,
    TaskPurged,
    replay,
)
from paintmq.broker.stores import Collected, Entry, PayloadKey, Store
from paintmq.task import Buffer, TaskRequest, TaskState
from paintmq.task_status import TaskStatus
from paintmq.testing.example_tasks import PATIENCE, describe, make_request

__all__ = ["OpenStore", "StoreContract", "accepted", "changed", "finished"]


def accepted(name: str, *inputs: bytes) -> TaskAccepted:
    """Return the acceptance of a task with these inputs: ``0``, ``1`` …"""
    infos = tuple(describe(str(number), data) for number, data in enumerate(inputs))
    status = TaskStatus(state=TaskState.QUEUED, queue="q", accepted_at=1000.0, rank=1000.0)
    return TaskAccepted(make_request(name, inputs=infos), status)


def changed(before: TaskAccepted, state: TaskState, **more: object) -> TaskChanged:
    """Return a change of that task's state."""
    event = "finish" if state.is_final else "lease"
    status: TaskStatus = before.status.changed(state=state, **more)
    return TaskChanged(before.request.id, event, status)


def finished(before: TaskAccepted, *outputs: bytes) -> TaskChanged:
    """Return the success of that task with these outputs: ``0``, ``1`` …"""
    infos = tuple(describe(str(number), data) for number, data in enumerate(outputs))
    return changed(before, TaskState.SUCCEEDED, outputs=infos, ended_at=1001.0)


@define
class OpenStore:
    """An opened store, used as the broker does, and waited for."""

    store: Store
    recovered: Recovered = field(init=False)
    sequence: int = field(default=0, init=False)
    _woken: threading.Event = field(factory=threading.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.recovered = self.store.open(self._woken.set)
        self.sequence = self.recovered.durable_sequence

    def write(self, record: Record, *payloads: bytes, at: float = 1000.0) -> None:
        """Append a record with its payloads, without waiting."""
        self.sequence += 1
        keyed: tuple[tuple[PayloadKey, Buffer], ...] = ()
        if isinstance(record, TaskAccepted):
            keyed = _keyed(record.request, "in", payloads)
        elif isinstance(record, TaskChanged):
            keyed = tuple(
                (PayloadKey(record.task_id, "out", info.name), data)
                for info, data in zip(record.status.outputs, payloads, strict=True)
            )
        self.store.append(Entry(self.sequence, at, record, keyed))

    def collect_until(self, wanted: "type[Collected] | None" = None) -> Collected:
        """Wait until everything written is durable."""
        while True:
            self._woken.clear()
            collected = self.store.collect()
            if collected.durable_sequence == self.sequence:
                return collected
            if not self._woken.wait(PATIENCE):
                raise TimeoutError(f"durable up to {collected.durable_sequence} only")

    def collect_disk_full(self, *, full: bool) -> None:
        """Wait until the store says that its disk is full, or no longer."""
        while True:
            self._woken.clear()
            if self.store.collect().disk_full == full:
                return
            if not self._woken.wait(PATIENCE):
                raise TimeoutError(f"the store never said that disk_full is {full}")

    def fetch(self, request: TaskRequest, direction: str, name: str) -> bytes | None:
        """Read one payload back."""
        key = PayloadKey(request.id, "in" if direction == "in" else "out", name)
        self.store.fetch(key)
        while True:
            self._woken.clear()
            for found, data in self.store.collect().payloads:
                if found == key:
                    return None if data is None else bytes(data)
            if not self._woken.wait(PATIENCE):
                raise TimeoutError(f"{key} was never given")


def _keyed(
    request: TaskRequest, direction: str, payloads: tuple[bytes, ...]
) -> tuple[tuple[PayloadKey, Buffer], ...]:
    return tuple(
        (PayloadKey(request.id, "in", info.name), data)
        for info, data in zip(request.inputs, payloads, strict=True)
    )


class StoreContract(ABC):
    """Implement ``make``; it is called again to open the same store a second time."""

    @abstractmethod
    def make(self, tmp_path: Path) -> Store:
        """Return a store in this folder, not opened yet."""

    def test_a_new_store_is_empty(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)

        assert OpenStore(store).recovered == Recovered()
        store.close()

    def test_what_is_appended_becomes_durable_in_order(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        opened = OpenStore(store)
        seen = [0]
        for number in range(200):
            opened.write(accepted(str(number)))
            seen.append(store.collect().durable_sequence)

        assert opened.collect_until().durable_sequence == 200
        assert seen == sorted(seen)
        store.close()

    def test_closing_twice_is_harmless(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        OpenStore(store)
        store.close()
        store.close()

    def test_closing_an_unopened_store_is_harmless(self, tmp_path: Path) -> None:
        self.make(tmp_path).close()

    def test_a_durable_store_gives_back_what_a_replay_of_its_records_would(
        self, tmp_path: Path
    ) -> None:
        store = self.make(tmp_path)
        if not store.keeps_payloads:
            pytest.skip("this store keeps nothing")
        opened = OpenStore(store)
        one, two, three = accepted("1"), accepted("2"), accepted("3")
        records: list[Record] = [
            BrokerBooted(7, 1000.0),
            two,
            one,
            three,
            changed(one, TaskState.LEASED, attempt=1, incarnation=7),
            SettingsChanged('{"queues": 1}', 1000.0),
            finished(two),
            SettingsChanged('{"queues": 2}', 1001.0),
            TaskPurged(three.request.id),
        ]
        for record in records:
            opened.write(record, at=1005.5)
        store.close()
        again = OpenStore(self.make(tmp_path))

        assert again.recovered.tasks == tuple(replay(records).values())
        assert again.recovered.durable_sequence == len(records)
        assert again.recovered.last_time == 1005.5
        assert again.recovered.damaged == ()
        assert again.recovered.changes == '{"queues": 2}'
        again.store.close()

    @pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 3_000_000])
    def test_a_durable_store_gives_payloads_back(self, tmp_path: Path, size: int) -> None:
        store = self.make(tmp_path)
        if not store.keeps_payloads:
            pytest.skip("this store keeps nothing")
        data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        opened = OpenStore(store)
        one, two = accepted("1", data, b"mask"), accepted("2", data)
        opened.write(one, data, b"mask")
        opened.write(two, data)
        opened.write(finished(two, b"result" + data), b"result" + data)
        opened.collect_until()
        before = opened.fetch(one.request, "in", "0")
        store.close()
        again = OpenStore(self.make(tmp_path))

        assert before == data
        assert again.recovered.damaged == ()
        assert again.fetch(one.request, "in", "0") == data
        assert again.fetch(one.request, "in", "1") == b"mask"
        assert again.fetch(two.request, "out", "0") == b"result" + data
        assert again.fetch(two.request, "in", "0") is None  # not needed after the end
        again.store.close()
