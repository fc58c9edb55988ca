"""The statistics that are shown: the machine's state now, and the counts of the ledger. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping

from attrs import evolve

from paintmq.broker.accounting.ledger import Ledger
from paintmq.broker.accounting.sketch import merged
from paintmq.broker.accounting.tally import Cell
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
    queues = dict(now.queues)
    for name in {cell.queue for cell in cells} - queues.keys():
        queues[name] = QueueStatistics(name=name, port=0, updated_at=now.updated_at)
    queues = {name: _queue(queue, ledger) for name, queue in queues.items()}
    rates = _rates(cells)
    codes = Counter[str]()
    for each in ledger.rejections.values():
        codes.update(each.codes)
    return evolve(
        now,
        queues=queues,
        accepted=sum(cell.accepted for cell in cells),
        rejected=codes.total(),
        rejected_by=dict(codes),
        retries=sum(cell.retries for cell in cells),
        leases_lost=sum(cell.leases_lost for cell in cells),
        crashes=sum(cell.crashes for cell in cells),
        since=ledger.since,
        throughput_1m=rates[0],
        throughput_5m=rates[1],
        throughput_15m=rates[2],
        wait=merged(cell.wait for cell in cells).summary(),
        run=merged(cell.run for cell in cells).summary(),
        total_time=merged(cell.total for cell in cells).summary(),
        models=_models(cells, ledger, models),
        by_worker={name: _worker(name, ledger) for name in ledger.workers},
        tenants=_tenants(ledger, tenants),
    )


def without_names(statistics: BrokerStatistics) -> BrokerStatistics:
    """Return the statistics as whoever is no admin may see them."""
    return evolve(statistics, tenants={}, by_worker={})


def _queue(queue: QueueStatistics, ledger: Ledger) -> QueueStatistics:
    cells = [cell for cell in ledger.cells.values() if cell.queue == queue.name]
    codes = ledger.rejections[queue.name].codes if queue.name in ledger.rejections else {}
    rates = _rates(cells)
    return evolve(
        queue,
        accepted=sum(cell.accepted for cell in cells),
        succeeded=sum(cell.succeeded for cell in cells),
        failed=sum(cell.failed for cell in cells),
        cancelled=sum(cell.cancelled for cell in cells),
        expired=sum(cell.expired for cell in cells),
        dead=sum(cell.dead for cell in cells),
        rejected=sum(codes.values()),
        rejected_by=dict(codes),
        retries=sum(cell.retries for cell in cells),
        leases_lost=sum(cell.leases_lost for cell in cells),
        crashes=sum(cell.crashes for cell in cells),
        throughput_1m=rates[0],
        throughput_5m=rates[1],
        throughput_15m=rates[2],
        wait=merged(cell.wait for cell in cells).summary(),
        run=merged(cell.run for cell in cells).summary(),
        total=merged(cell.total for cell in cells).summary(),
    )


def _rates(cells: Iterable[Cell]) -> tuple[float, float, float]:
    one, five, fifteen = 0.0, 0.0, 0.0
    for cell in cells:
        rates = cell.throughput.rates
        one, five, fifteen = one + rates[0], five + rates[1], fifteen + rates[2]
    return one, five, fifteen


def _models(
    cells: Iterable[Cell], ledger: Ledger, running: Mapping[str, int]
) -> dict[str, ModelStatistics]:
    by_model: dict[str, list[Cell]] = {name: [] for name in ledger.models}
    for cell in cells:
        by_model.setdefault(cell.model, []).append(cell)
    return {name: _model(name, its, ledger, running) for name, its in sorted(by_model.items())}


def _model(
    name: str, cells: list[Cell], ledger: Ledger, running: Mapping[str, int]
) -> ModelStatistics:
    tally = ledger.models.get(name)
    unfinished = sum(cell.unfinished for cell in cells)
    at_work = min(running.get(name, 0), unfinished)
    return ModelStatistics(
        name=name,
        accepted=sum(cell.accepted for cell in cells),
        waiting=unfinished - at_work,
        running=at_work,
        succeeded=sum(cell.succeeded for cell in cells),
        failed=sum(cell.failed for cell in cells),
        cancelled=sum(cell.cancelled for cell in cells),
        expired=sum(cell.expired for cell in cells),
        dead=sum(cell.dead for cell in cells),
        retries=sum(cell.retries for cell in cells),
        crashes=sum(cell.crashes for cell in cells),
        warm_starts=sum(cell.warm_starts for cell in cells),
        cold_starts=sum(cell.cold_starts for cell in cells),
        loads=0 if tally is None else tally.loads,
        load_failures=0 if tally is None else tally.load_failures,
        evictions=0 if tally is None else tally.evictions,
        throughput_1m=_rates(cells)[0],
        wait=merged(cell.wait for cell in cells).summary(),
        run=merged(cell.run for cell in cells).summary(),
        total=merged(cell.total for cell in cells).summary(),
        load=merged(() if tally is None else (tally.load,)).summary(),
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
