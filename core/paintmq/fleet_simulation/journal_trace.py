"""Turns a broker's journal into traffic: what arrived, when, and how long it ran."""

from collections.abc import Sequence
from pathlib import Path

from paintmq.broker.records import StoredTask
from paintmq.broker.stores.log_reader import read_past
from paintmq.errors import ConfigError, StoreError
from paintmq.fleet_simulation.traffic import SimulatedModel, TrafficTask


def read_journal(path: Path, models: Sequence[SimulatedModel]) -> list[TrafficTask]:
    """Return the tasks that a broker accepted, in order; the first comes at 0.

    ``path``: the journal's folder or its database, or a backup; a broker may be using it.

    Raises:
        ConfigError: it is no journal, or cannot be read.
    """
    try:
        return trace_of(read_past(path), models)
    except StoreError as error:
        raise ConfigError(str(error)) from error


def trace_of(stored: Sequence[StoredTask], models: Sequence[SimulatedModel]) -> list[TrafficTask]:
    """Return the traffic that these tasks were.

    A task takes as long as its last attempt that succeeded; one that never did takes as long as
    others of its model did on average, or as ``models`` say.
    """
    declared = {model.name: model.run for model in models}
    runs = {item.request.id: seconds for item in stored if (seconds := _ran(item)) is not None}
    of_model: dict[str, list[float]] = {}
    for item in stored:
        if item.request.id in runs:
            of_model.setdefault(item.request.model, []).append(runs[item.request.id])
    typical = declared | {model: sum(values) / len(values) for model, values in of_model.items()}
    first = min((item.status.accepted_at for item in stored), default=0.0)
    tasks = [
        TrafficTask(
            at=item.status.accepted_at - first,
            model=item.request.model,
            run=runs.get(item.request.id, typical.get(item.request.model, 1.0)),
            priority=item.request.priority,
            tenant=item.request.tenant,
            pixels=max((image.width * image.height for image in item.request.inputs), default=0),
        )
        for item in stored
    ]
    return sorted(tasks, key=lambda task: task.at)


def _ran(item: StoredTask) -> float | None:
    runs = [
        report.ended_at - report.started_at
        for report in item.status.history
        if report.started_at is not None and report.outcome == "succeeded"
    ]
    return runs[-1] if runs else None
