"""The statistics that are shown: the machine's state now, and the counts of the ledger. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from attrs import evolve

from paintmq.broker.accounting.ledger import Ledger
from paintmq.broker.accounting.tally import Cell, ModelTally, Rejections, together
from paintmq.statistics import (
    BrokerStatistics,
    ModelStatistics,
    QueueStatistics,
    TenantStatistics,
    WorkerStatistics,
)


def report(
    now: BrokerStatistics, ledger: Ledger, running: Iterable[tuple[str, str]]
) -> BrokerStatistics:
    """Return the machine's statistics with all that the ledger has counted.

    ``running``: model and tenant of each task that a worker holds. The ledger must be settled.
    """
    models, tenants = Counter[str](), Counter[str]()
    for model, tenant in running:
        models[model] += 1
        tenants[ledger.tenant(tenant).name] += 1
    cells = list(ledger.cells.values())
    by_queue, by_model = defaultdict[str, list[Cell]](list), defaultdict[str, list[Cell]](list)
    for cell in cells:
        by_queue[cell.queue].append(cell)
        by_model[cell.model].append(cell)
    queues = dict(now.queues)
    for name in by_queue.keys() - queues.keys():
        queues[name] = QueueStatistics(name=name, port=0, updated_at=now.updated_at)
    queues = {
        name: _queue(queue, together(by_queue[name]), ledger.rejections.get(name))
        for name, queue in queues.items()
    }
    for name in ledger.models.keys() - by_model.keys():
        by_model[name] = []
    whole = together(cells)
    one, five, fifteen = whole.throughput.rates
    codes = Counter[str]()
    for each in ledger.rejections.values():
        codes.update(each.codes)
    return evolve(
        now,
        queues=queues,
        accepted=whole.accepted,
        rejected=codes.total(),
        rejected_by=dict(codes),
        retries=whole.retries,
        leases_lost=whole.leases_lost,
        crashes=whole.crashes,
        since=ledger.since,
        throughput_1m=one,
        throughput_5m=five,
        throughput_15m=fifteen,
        wait=whole.wait.summary(),
        run=whole.run.summary(),
        total_time=whole.total.summary(),
        models={
            name: _model(name, together(its), ledger.models.get(name), models[name])
            for name, its in sorted(by_model.items())
        },
        by_worker={name: _worker(name, ledger) for name in ledger.workers},
        tenants=_tenants(ledger, tenants),
    )


def without_names(statistics: BrokerStatistics) -> BrokerStatistics:
    """Return the statistics as whoever is no admin may see them."""
    return evolve(statistics, tenants={}, by_worker={}, nodes={})


def _queue(queue: QueueStatistics, counted: Cell, rejections: Rejections | None) -> QueueStatistics:
    codes = {} if rejections is None else rejections.codes
    one, five, fifteen = counted.throughput.rates
    return evolve(
        queue,
        accepted=counted.accepted,
        succeeded=counted.succeeded,
        failed=counted.failed,
        cancelled=counted.cancelled,
        expired=counted.expired,
        dead=counted.dead,
        rejected=sum(codes.values()),
        rejected_by=dict(codes),
        retries=counted.retries,
        leases_lost=counted.leases_lost,
        crashes=counted.crashes,
        throughput_1m=one,
        throughput_5m=five,
        throughput_15m=fifteen,
        wait=counted.wait.summary(),
        run=counted.run.summary(),
        total=counted.total.summary(),
    )


def _model(name: str, counted: Cell, tally: ModelTally | None, running: int) -> ModelStatistics:
    tally = tally or ModelTally(name)
    at_work = min(running, counted.unfinished)
    return ModelStatistics(
        name=name,
        accepted=counted.accepted,
        waiting=counted.unfinished - at_work,
        running=at_work,
        succeeded=counted.succeeded,
        failed=counted.failed,
        cancelled=counted.cancelled,
        expired=counted.expired,
        dead=counted.dead,
        retries=counted.retries,
        crashes=counted.crashes,
        warm_starts=counted.warm_starts,
        cold_starts=counted.cold_starts,
        loads=tally.loads,
        load_failures=tally.load_failures,
        evictions=tally.evictions,
        throughput_1m=counted.throughput.rates[0],
        wait=counted.wait.summary(),
        run=counted.run.summary(),
        total=counted.total.summary(),
        load=tally.load.summary(),
    )


def _worker(name: str, ledger: Ledger) -> WorkerStatistics:
    tally = ledger.workers[name]
    return WorkerStatistics(
        name=name,
        succeeded=tally.succeeded,
        failed=tally.failed,
        crashes=tally.crashes,
        leases_lost=tally.leases_lost,
        run_seconds=tally.run_seconds,
        loads=tally.loads,
    )


def _tenants(ledger: Ledger, running: Mapping[str, int]) -> dict[str, TenantStatistics]:
    shown = {}
    for name, tally in ledger.tenants.items():
        unfinished = tally.accepted - tally.succeeded - tally.failed
        at_work = min(running.get(name, 0), unfinished)
        shown[name] = TenantStatistics(
            name=name,
            accepted=tally.accepted,
            waiting=unfinished - at_work,
            running=at_work,
            succeeded=tally.succeeded,
            failed=tally.failed,
            run_seconds=tally.run_seconds,
        )
    return shown
