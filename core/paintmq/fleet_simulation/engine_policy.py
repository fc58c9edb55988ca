"""The real scheduling engine, with any router, as a policy of the simulated fleet."""

import random

from attrs import define, field

from paintmq.broker.scheduling.scheduler import Pick, Scheduler, Waiting
from paintmq.fleet_simulation.fleet import Grant
from paintmq.fleet_simulation.traffic import SimulatedWorker, Traffic
from paintmq.plugin.catalog import Catalog, CheckedTask
from paintmq.routing import Router
from paintmq.task import PayloadInfo, PeerId, TaskId, TaskRequest
from paintmq.wire.messages import ModelLoaded, ModelUnloaded, ResidentModel, WorkerHello


@define(eq=False)
class EnginePolicy:
    """Drives one Scheduler with what happens in the fleet."""

    traffic: Traffic
    router: Router
    tenant_window: int = 8
    evicts_by_worth = True
    scheduler: Scheduler = field(init=False)
    _catalog: Catalog = field(init=False)
    _waiting: dict[TaskId, int] = field(factory=dict[TaskId, int], init=False)
    _checked: dict[tuple[str, int], CheckedTask] = field(
        factory=dict[tuple[str, int], CheckedTask], init=False
    )

    def __attrs_post_init__(self) -> None:
        self.scheduler = Scheduler(
            self.router, tenant_window=self.tenant_window, rng=random.Random(0)
        )
        self._catalog = Catalog(model.spec() for model in self.traffic.models)
        memory = {model.name: model.memory_mb for model in self.traffic.models}
        for number, worker in enumerate(self.traffic.workers):
            hello = _hello(worker, tuple(self._catalog.specs), memory)
            self.scheduler.worker_joined(_session(number), hello, now=0.0)

    def arrived(self, task: int, *, now: float) -> None:
        item = self.traffic.tasks[task]
        request = TaskRequest(
            id=TaskId(f"{task:032x}"),
            task_type="plugin",
            model=item.model,
            priority=item.priority,
            tenant=item.tenant,
            inputs=_image(item.pixels),
        )
        key = (item.model, item.pixels)
        checked = self._checked.get(key)
        if checked is None:
            checked = self._checked[key] = self._catalog.check(request)
        rank = item.at - item.priority * self.traffic.ageing
        self._waiting[request.id] = task
        waiting = Waiting(
            request=request,
            checked=checked,
            queue="gpu",
            rank=rank,
            not_before=0.0,
            suspect=False,
            excluded=(),
        )
        self.scheduler.add(waiting, now=now)

    def next_grant(self, *, now: float) -> Grant | None:
        pick: Pick | None = self.scheduler.next_pick(now=now)
        if pick is None:
            return None
        return Grant(
            _number(pick.session), tuple(self._waiting[task_id] for task_id in pick.task_ids)
        )

    def next_preload(self, *, now: float) -> tuple[int, str] | None:
        preload = self.scheduler.next_preload(now=now)
        return (_number(preload[0]), preload[1]) if preload is not None else None

    def next_wakeup(self, *, now: float) -> float | None:
        return self.scheduler.next_wakeup(now=now)

    def started(self, worker: int, task: int, *, loading: bool, now: float) -> None:
        self.scheduler.started(_session(worker), TaskId(f"{task:032x}"), loading=loading, now=now)

    def loaded(self, worker: int, model: str, seconds: float, *, now: float) -> None:
        memory = self._catalog.get(model).resident_mb
        message = ModelLoaded(model=model, seconds=seconds, memory_mb=memory)
        self.scheduler.model_loaded(_session(worker), message, now=now)

    def unloaded(self, worker: int, model: str, *, now: float) -> None:
        self.scheduler.model_unloaded(_session(worker), ModelUnloaded(model=model), now=now)

    def finished(self, worker: int, task: int, ran: float, *, now: float) -> None:
        task_id = TaskId(f"{task:032x}")
        del self._waiting[task_id]
        self.scheduler.released(_session(worker), task_id, ran=ran, now=now)


def _session(number: int) -> PeerId:
    return PeerId(number.to_bytes(8))


def _number(session: PeerId) -> int:
    return int.from_bytes(session)


def _hello(worker: SimulatedWorker, models: tuple[str, ...], memory: dict[str, int]) -> WorkerHello:
    return WorkerHello(
        name=worker.name,
        node=worker.name.split("/")[0],
        queue="gpu",
        device=worker.device,
        # Workers of one speed share what is learned of them, as those of one device name do.
        device_name=f"speed {worker.speed:g}",
        gpu_memory_mb=worker.memory_mb if worker.device == "cuda" else 0,
        memory_mb=worker.memory_mb if worker.device == "cpu" else 0,
        cores=8,
        models=models,
        resident=tuple(
            ResidentModel(model=name, memory_mb=memory[name], pinned=True) for name in worker.pinned
        ),
    )


def _image(pixels: int) -> tuple[PayloadInfo, ...]:
    if not pixels:
        return ()
    return (
        PayloadInfo(name="image", size=pixels * 3, digest="", kind="file", width=pixels, height=1),
    )
