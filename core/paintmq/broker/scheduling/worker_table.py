"""Connected workers: what each holds, and which models it has or is loading.

Rule 1: a decision made here counts at once. From the moment a worker is told to load a model, it
counts as a copy and its memory as taken. Otherwise the next decisions, before its report arrives,
would load the same model elsewhere or fill the same memory twice. Reports confirm or correct.
"""

from collections.abc import Iterable, Iterator, Mapping
from heapq import merge

from attrs import define, field

from paintmq.broker.scheduling.backlog import Backlog, WaitingTask
from paintmq.broker.scheduling.filters import Profile
from paintmq.broker.scheduling.worker import CoolOff, Holding, Resident, Worker
from paintmq.task import PeerId, TaskId
from paintmq.wire.messages import ResidentModel, WorkerHello

FIRST_COOL_OFF, LONGEST_COOL_OFF = 5.0, 300.0
"""Seconds before a worker is asked again to load a model that it failed to load."""


@define(eq=False)
class WorkerTable:
    """The connected workers and the indices that make decisions quick."""

    profiles: list[Profile] = field(factory=list[Profile], init=False)
    """Every profile seen so far; bits of a backlog's mask are positions in this list."""
    any_restricted: bool = field(default=False, init=False)
    """Whether some profile is limited to certain queues."""
    _profile_numbers: dict[Profile, int] = field(factory=dict[Profile, int], init=False)
    _workers: dict[PeerId, Worker] = field(factory=dict[PeerId, Worker], init=False)
    _idle: dict[int, dict[PeerId, Worker]] = field(
        factory=dict[int, dict[PeerId, Worker]], init=False
    )
    """Idle workers of each profile, longest idle first."""
    _live: dict[int, dict[PeerId, Worker]] = field(
        factory=dict[int, dict[PeerId, Worker]], init=False
    )
    """Workers of each profile that are not leaving."""
    _copies: dict[str, dict[PeerId, Worker]] = field(
        factory=dict[str, dict[PeerId, Worker]], init=False
    )
    _idle_copies: dict[str, dict[PeerId, Worker]] = field(
        factory=dict[str, dict[PeerId, Worker]], init=False
    )
    """Idle workers that have a model, longest idle first."""
    _joined: int = field(default=0, init=False)
    _live_profiles: int = field(default=0, init=False)
    """Bit mask of the profiles that live workers have."""
    edition: int = field(default=0, init=False)
    """Counts the changes of which workers are live."""

    # ---- joining and leaving -------------------------------------------------------------------

    def number_of(self, profile: Profile) -> int | None:
        """Return the index of a profile that was seen before."""
        return self._profile_numbers.get(profile)

    def add_profile(self, profile: Profile) -> int:
        number = len(self.profiles)
        self.profiles.append(profile)
        self.any_restricted |= profile.queues is not None
        self._profile_numbers[profile] = number
        return number

    def join(self, session: PeerId, hello: WorkerHello, profile: Profile, *, now: float) -> Worker:
        """Add a worker; its profile must be known."""
        number = self._profile_numbers[profile]
        self._joined += 1
        worker = Worker(hello, session, self._joined, number, now)
        self._workers[session] = worker
        self._live.setdefault(number, {})[session] = worker
        self._live_profiles |= 1 << number
        self.edition += 1
        self._idle.setdefault(number, {})[session] = worker
        for item in hello.resident:
            self.resident(worker, item, now=now)
        return worker

    def leave(self, session: PeerId) -> Worker | None:
        worker = self._workers.pop(session, None)
        if worker is not None:
            self.drain(worker)
            for model in [*worker.resident, *worker.loading]:
                self._drop_copy(model, worker)
        return worker

    def drain(self, worker: Worker) -> None:
        worker.draining = True
        live = self._live[worker.profile]
        live.pop(worker.session, None)
        if not live:
            self._live_profiles &= ~(1 << worker.profile)
        self.edition += 1
        self._note_busy(worker)

    # ---- what they hold ------------------------------------------------------------------------

    def give(self, worker: Worker, holding: Holding) -> None:
        worker.holdings.append(holding)
        worker.count(holding.model)
        self._note_busy(worker)

    def take_back(self, worker: Worker, task_id: TaskId, *, now: float) -> WaitingTask | None:
        """Release the task from its worker; the credit returns with the last task of its batch."""
        for holding in worker.holdings:
            task = holding.tasks.pop(task_id, None)
            if task is None:
                continue
            if not holding.tasks:
                worker.holdings.remove(holding)
                wanted = any(other.model == holding.model for other in worker.holdings)
                if holding.model in worker.loading and not wanted:
                    # Returned before its model was loaded. If the model is loaded all the same,
                    # the worker reports it.
                    self.unloaded(worker, holding.model)
                if worker.idle and not worker.draining:
                    self._note_idle(worker, now)
            return task
        return None

    def _note_idle(self, worker: Worker, now: float) -> None:
        worker.idle_since = now
        self._idle[worker.profile][worker.session] = worker
        for model in worker.resident:
            self._idle_copies.setdefault(model, {})[worker.session] = worker

    def _note_busy(self, worker: Worker) -> None:
        if self._idle[worker.profile].pop(worker.session, None) is not None:
            for model in worker.resident:
                del self._idle_copies[model][worker.session]

    # ---- what they have in memory --------------------------------------------------------------

    def will_load(self, worker: Worker, model: str, memory_mb: int, ready_at: float) -> None:
        """Count the model as a copy from now on, and what it will evict as unloaded."""
        if model in worker.resident:
            return
        if model not in worker.loading:
            for victim in worker.victims(memory_mb):
                self.unloaded(worker, victim)
        worker.reserve(model, memory_mb, ready_at)
        self._copies.setdefault(model, {})[worker.session] = worker

    def resident(self, worker: Worker, item: ResidentModel, *, now: float) -> None:
        worker.keep(item.model, Resident(item.memory_mb, item.pinned, now))
        worker.cool_offs.pop(item.model, None)
        self._copies.setdefault(item.model, {})[worker.session] = worker
        if worker.session in self._idle[worker.profile]:
            self._idle_copies.setdefault(item.model, {})[worker.session] = worker

    def unloaded(self, worker: Worker, model: str) -> None:
        worker.forget(model)
        self._idle_copies.get(model, {}).pop(worker.session, None)
        self._drop_copy(model, worker)

    def failed_to_load(self, worker: Worker, model: str, *, now: float) -> float:
        """Keep the model away from the worker for a while; return until when."""
        known = worker.cool_offs.get(model)
        failures = 1 if known is None else known.failures + 1
        pause = min(LONGEST_COOL_OFF, FIRST_COOL_OFF * 2.0 ** (failures - 1))
        worker.cool_offs[model] = CoolOff(now + pause, failures)
        return now + pause

    def _drop_copy(self, model: str, worker: Worker) -> None:
        copies = self._copies.get(model, {})
        copies.pop(worker.session, None)
        if not copies:
            self._copies.pop(model, None)

    # ---- looking -------------------------------------------------------------------------------

    def get(self, session: PeerId) -> Worker | None:
        return self._workers.get(session)

    def all(self) -> Iterable[Worker]:
        """Return all connected workers, including those that are leaving."""
        return self._workers.values()

    def live(self) -> Iterator[Worker]:
        return (worker for worker in self._workers.values() if not worker.draining)

    def copies(self, model: str) -> Mapping[PeerId, Worker]:
        return self._copies.get(model, {})

    def idle_copies(self, model: str) -> Mapping[PeerId, Worker]:
        return self._idle_copies.get(model, {})

    def has_live(self, mask: int) -> bool:
        """Return whether a live worker has one of the mask's profiles."""
        return bool(mask & self._live_profiles)

    def live_of(self, mask: int) -> Iterator[Worker]:
        """Iterate over live workers with one of the mask's profiles, profile by profile."""
        for number, workers in self._live.items():
            if mask >> number & 1:
                yield from workers.values()

    def live_in(self, profile: int) -> int:
        return len(self._live.get(profile, ()))

    def idle_of(self, mask: int) -> Iterable[Worker]:
        """Iterate over idle workers with one of the mask's profiles, longest idle first."""
        groups = [
            workers.values()
            for number, workers in self._idle.items()
            if workers and mask >> number & 1
        ]
        if len(groups) == 1:
            return groups[0]
        return merge(*groups, key=lambda worker: (worker.idle_since, worker.number))

    def may_take(self, worker: Worker, backlog: Backlog, *, now: float) -> bool:
        """Return whether the worker may run the backlog's tasks once it is free."""
        key = backlog.key
        if worker.draining or not key.profiles >> worker.profile & 1:
            return False
        if worker.cool_offs and worker.cooling(key.model, now):
            return False
        return not key.excluded or worker.name not in key.excluded or not self._others(backlog)

    def _others(self, backlog: Backlog) -> bool:
        """Return whether a live worker that is not excluded could run the tasks."""
        key = backlog.key
        return any(worker.name not in key.excluded for worker in self.live_of(key.profiles))

    def check(self) -> None:
        """Raise AssertionError if an index or a guarantee is broken; for tests and simulations."""
        for worker in self._workers.values():
            name = worker.name
            # An attempt that a worker claims late, over a connection that was thought dead, was
            # not a decision made here.
            given = [holding for holding in worker.holdings if not holding.claimed]
            assert len(given) <= max(1, worker.hello.credit), f"I11: {name} holds too much"
            alone = len(given) == 1 and len(given[0].tasks) == 1
            suspects = any(holding.suspect for holding in given)
            assert not suspects or alone, f"I11: a suspect is not alone on {name}"
            is_listed = worker.session in self._idle[worker.profile]
            assert is_listed == (worker.idle and not worker.draining), f"{name}: idle or not?"
            assert not worker.resident.keys() & worker.loading.keys(), f"{name} loads what it has"
            for model in worker.resident:
                listed = worker.session in self.idle_copies(model)
                assert listed == is_listed, f"{model} of {name}: idle or not?"
            for model in [*worker.resident, *worker.loading]:
                assert worker.session in self._copies[model], f"{model} of {name} is not listed"
        for model, copies in self._copies.items():
            for worker in copies.values():
                assert model in worker.resident or model in worker.loading, f"{model}: no copy"
