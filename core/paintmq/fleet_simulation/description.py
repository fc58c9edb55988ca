"""Reads what to simulate: a fleet and its traffic from TOML, recorded traffic from JSON lines."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tomli
from attrs import asdict, frozen

from paintmq.errors import ConfigError
from paintmq.fleet_simulation.generators import Pattern, generate
from paintmq.fleet_simulation.journal_trace import read_journal
from paintmq.fleet_simulation.traffic import SimulatedModel, SimulatedWorker, Traffic, TrafficTask

_T = TypeVar("_T")


@frozen(kw_only=True)
class Description:
    """A simulation as described by a file."""

    traffic: Traffic
    routers: Mapping[str, Mapping[str, Any]]
    """Names of routers to try and their parameters; empty: all installed ones."""


def read_description(
    path: Path, trace: Path | None = None, journal: Path | None = None
) -> Description:
    """Read a TOML file; ``trace`` (JSON lines) or a broker's ``journal`` replaces its traffic.

    Raises:
        ConfigError: it cannot be read or is not valid; the text names file and table.
    """
    try:
        with path.open("rb") as file:
            document = tomli.load(file)
    except (OSError, tomli.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    known = {"name", "seed", "traffic", "models", "workers", "routers"}
    if unknown := sorted(document.keys() - known):
        raise ConfigError(f"{path}: no such table: {', '.join(unknown)}; there are {sorted(known)}")
    models = _many(path, document, "models", SimulatedModel)
    workers = _many(path, document, "workers", SimulatedWorker)
    name = str(document.get("name", path.stem))
    if trace is not None:
        traffic = Traffic(name=name, models=models, workers=workers, tasks=read_trace(trace))
    elif journal is not None:
        tasks = read_journal(journal, models)
        traffic = Traffic(name=name, models=models, workers=workers, tasks=tasks)
    else:
        shape = dict(document.get("traffic", {}))
        if "priorities" in shape:
            shape["priorities"] = {int(key): share for key, share in shape["priorities"].items()}
        pattern = _make(path, "traffic", Pattern, shape)
        traffic = generate(name, models, workers, pattern, seed=int(document.get("seed", 0)))
    _check(path, traffic)
    return Description(traffic=traffic, routers=document.get("routers", {}))


def read_trace(path: Path) -> list[TrafficTask]:
    """Read a recorded day: one JSON object a line, with the fields of a TrafficTask.

    Raises:
        ConfigError: a line is no task; names file and line.
    """
    tasks = []
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            tasks.append(TrafficTask(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{path}, line {number}: {error}") from error
    return sorted(tasks, key=lambda task: task.at)


def write_trace(path: Path, tasks: Sequence[TrafficTask]) -> None:
    """Write a trace that ``read_trace`` gives back exactly."""
    path.write_text("".join(json.dumps(asdict(task)) + "\n" for task in tasks), "utf-8")


def _many(path: Path, document: Mapping[str, Any], table: str, make: type[_T]) -> list[_T]:
    items: list[_T] = []
    for given in document.get(table, []):
        values = dict(given)
        count = values.pop("count", 1)
        for place in range(count):
            name = values.get("name", table)
            numbered = values | {"name": f"{name}-{place}" if count > 1 else name}
            items.append(_make(path, table, make, numbered))
    if not items:
        raise ConfigError(f"{path}: describe at least one of [[{table}]]")
    return items


def _make(path: Path, table: str, make: type[_T], values: Mapping[str, Any]) -> _T:
    try:
        return make(**values)
    except (TypeError, ValueError) as error:
        attributes: Any = make.__attrs_attrs__  # type: ignore[attr-defined]  # all are attrs classes
        known = ", ".join(item.name for item in attributes)
        raise ConfigError(f"{path}: [{table}] {error}; it takes {known}") from error


def _check(path: Path, traffic: Traffic) -> None:
    models = {model.name: model for model in traffic.models}
    for task in traffic.tasks:
        if task.model not in models:
            raise ConfigError(
                f"{path}: the trace names model {task.model!r}, which is none of [[models]]:"
                f" {', '.join(models)}"
            )
    if not traffic.tasks:
        raise ConfigError(f"{path}: there are no tasks to simulate")
    for model in traffic.models:
        fitting = [
            worker
            for worker in traffic.workers
            if worker.device == model.device and worker.memory_mb >= model.memory_mb
        ]
        if not fitting:
            raise ConfigError(f"{path}: model {model.name!r} fits no worker")
