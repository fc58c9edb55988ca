"""What one decision costs: 200 models, 1,000 workers, 100,000 waiting tasks, any installed router.

python -m tests.benchmarks.router_decisions [--profile] [router ...]
"""

import argparse
import cProfile
import pstats
import random
import time
from collections.abc import Callable
from heapq import heappop, heappush

from paintmq.broker.scheduling.scheduler import Scheduler, Waiting
from paintmq.config import RouterConfig
from paintmq.model import Job, ModelSpec
from paintmq.plugin.catalog import Catalog
from paintmq.plugin.manager import PluginManager
from paintmq.task import PeerId, TaskId, TaskRequest
from paintmq.wire.messages import ModelLoaded, WorkerHello
from tests.benchmarks.page import run_with_page

MODELS, WORKERS, WAITING = 200, 1_000, 100_000
DECISIONS = 10_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("routers", nargs="*", default=[])
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    plugins = PluginManager.installed()
    for name in arguments.routers or plugins.routers:
        scheduler = Scheduler(
            plugins.make_router(RouterConfig(name=name)), tenant_window=8, rng=random.Random(0)
        )
        if arguments.profile:
            with cProfile.Profile() as profile:
                measure(name, scheduler)
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        else:
            measure(name, scheduler)


def _constant(seconds: float) -> Callable[[Job], float]:
    return lambda job: seconds


def measure(name: str, scheduler: Scheduler) -> None:
    """Print the mean cost of a pick and of everything around it, in a crowd and in a lull."""
    rng = random.Random(1)
    catalog = Catalog(
        ModelSpec(
            name=f"m{number}",
            implementation="x:Y",
            load_seconds=rng.uniform(1, 12),
            run_seconds=_constant(rng.uniform(0.3, 6)),
            resident_mb=rng.choice((1500, 4000, 9000)),
        )
        for number in range(MODELS)
    )
    names = tuple(catalog.specs)
    weights = [1 / (place + 1) for place in range(MODELS)]
    checked = {
        model: catalog.check(TaskRequest(id=TaskId(""), task_type="plugin", model=model))
        for model in names
    }
    count = 0
    models: dict[TaskId, str] = {}

    def add(now: float) -> None:
        nonlocal count
        count += 1
        model = rng.choices(names, weights)[0]
        request = TaskRequest(id=TaskId(f"{count:032x}"), task_type="plugin", model=model)
        waiting = Waiting(
            request=request,
            checked=checked[model],
            queue="cpu-light",
            rank=now,
            not_before=0.0,
            suspect=False,
            excluded=(),
        )
        models[request.id] = model
        scheduler.add(waiting, now=now)

    for number in range(WORKERS):
        hello = WorkerHello(
            name=f"w{number}",
            node="n",
            queue="cpu-light",
            device="cpu",
            memory_mb=24_000,
            cores=8,
            models=names,
        )
        scheduler.worker_joined(PeerId(number.to_bytes(8)), hello, now=0.0)

    agenda: list[tuple[float, PeerId, TaskId, str]] = []
    spent = {"pick": 0.0, "other": 0.0}
    decisions = 0

    def settle(now: float) -> None:
        nonlocal decisions
        while True:
            before = time.process_time()
            pick = scheduler.next_pick(now=now)
            spent["pick"] += time.process_time() - before
            if pick is None:
                return
            decisions += 1
            for task_id in pick.task_ids:
                at = now + rng.uniform(0.5, 6)
                heappush(agenda, (at, pick.session, task_id, models.pop(task_id)))

    def end_next(*, refill: bool) -> float:
        """Let the next task end, and perhaps another one come; return the time."""
        now, session, task_id, model = heappop(agenda)
        before = time.process_time()
        if model not in scheduler.resident_models(session):
            memory = checked[model].spec.resident_mb
            loaded = ModelLoaded(model=model, seconds=3.0, memory_mb=memory)
            scheduler.model_loaded(session, loaded, now=now)
        scheduler.released(session, task_id, ran=1.0, now=now)
        if refill:
            add(now)
        spent["other"] += time.process_time() - before
        return now

    def run(label: str) -> None:
        """Let tasks end and others come; print what that cost on average."""
        nonlocal decisions
        decisions = 0
        spent.update(pick=0.0, other=0.0)
        while decisions < DECISIONS:
            settle(end_next(refill=True))
        print(
            f"{name:16} {label:6} {decisions:6} decisions"
            f" {1e6 * spent['pick'] / decisions:7.1f} us to pick"
            f" {1e6 * spent['other'] / decisions:7.1f} us for the events around it"
        )

    before = time.process_time()
    for _ in range(WAITING + WORKERS):
        add(0.0)
    print(f"{name:16} {1e6 * (time.process_time() - before) / WAITING:.1f} us to add a task")
    settle(0.0)
    run("crowd")
    for task_id in list(models):
        scheduler.remove(task_id)
    while len(agenda) > WORKERS // 2:
        end_next(refill=False)
    run("lull")


if __name__ == "__main__":
    run_with_page(main)
