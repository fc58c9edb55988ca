"""A queue's ``requirements``: the short form of what its tasks may need, as a table of its own.

``{"port": 5555, "requirements": {"gpu": True, "gpu_memory": 8192, "models": ["lama"]}}`` says the
same as the keys ``device``, ``gpu_memory_mb`` and ``models`` of the queue itself. It is rewritten
to them before anything is checked, and what is wrong is named by the path that was written.
"""

from collections.abc import Mapping
from typing import Any

from attrs import asdict, evolve, frozen

from paintmq.config import Config, QueueConfig
from paintmq.errors import ConfigError
from paintmq.settings.conflicts import conflicts
from paintmq.settings.structure import KeyPath, problems_in, structure_config

REQUIREMENTS: Mapping[str, str] = {
    "gpu": "device",
    "gpu_memory": "gpu_memory_mb",
    "memory": "memory_mb",
    "cores": "cores",
    "cpu_cores": "cores",
    "effort": "effort",
    "models": "models",
}
"""Key of a requirement, and the key of the queue that it stands for."""


@frozen(kw_only=True)
class Rewritten:
    """Settings without ``requirements``."""

    table: dict[str, Any]
    written: Mapping[KeyPath, KeyPath]
    """Path of each key that came from a requirement, and the path it was written at."""
    problems: tuple[str, ...]

    def as_written(self, problem: str) -> str:
        """Return a problem that names a key with the path at which the user wrote it."""
        for key, path in self.written.items():
            name = ".".join(key)
            if problem.startswith((f"{name}:", f"{name} ")):
                return ".".join(path) + problem.removeprefix(name)
        return problem


def without_requirements(table: Mapping[str, Any]) -> Rewritten:
    """Return the settings with the requirements of each queue as keys of the queue itself."""
    queues = table.get("queues")
    if not isinstance(queues, Mapping):
        return Rewritten(table=dict(table), written={}, problems=())
    written: dict[KeyPath, KeyPath] = {}
    problems: list[str] = []
    rewritten: dict[str, Any] = {}
    for name, queue in queues.items():
        if isinstance(queue, Mapping) and "requirements" in queue:
            queue = _rewritten_queue(str(name), queue, written, problems)
        rewritten[name] = queue
    return Rewritten(
        table={**table, "queues": rewritten}, written=written, problems=tuple(problems)
    )


def _rewritten_queue(
    name: str, queue: Mapping[str, Any], written: dict[KeyPath, KeyPath], problems: list[str]
) -> dict[str, Any]:
    keys = {key: value for key, value in queue.items() if key != "requirements"}
    wanted = queue["requirements"]
    at = f"queues.{name}.requirements"
    if not isinstance(wanted, Mapping):
        problems.append(f"{at}: expected a table, got {wanted!r}")
        return keys
    for requirement, value in wanted.items():
        key = REQUIREMENTS.get(requirement)
        if key is None:
            valid = ", ".join(REQUIREMENTS)
            problems.append(f"{at}.{requirement}: unknown requirement; valid ones: {valid}")
            continue
        if key in keys:
            first = ".".join(written.get(("queues", name, key), ("queues", name, key)))
            problems.append(f"{at}.{requirement} says again what {first} says: keep one of them")
            continue
        if requirement == "gpu":
            if not isinstance(value, bool):
                problems.append(f"{at}.gpu: expected true or false, got {value!r}")
                continue
            value = "cuda" if value else "cpu"
        keys[key] = value
        written["queues", name, key] = ("queues", name, "requirements", requirement)
    return keys


def queues_from(given: Mapping[str, QueueConfig | Mapping[str, Any]]) -> dict[str, QueueConfig]:
    """Return the queues a program describes: each as a QueueConfig, or as a dictionary with its
    ``port`` and its ``requirements``, or with the keys of QueueConfig.

    These are all queues there are: nothing is laid over the default ones.

    Raises:
        ConfigError: every problem, one a line.
    """
    tables = {
        name: queue if isinstance(queue, QueueConfig) else _with_lists(queue)
        for name, queue in given.items()
    }
    ready = {name: queue for name, queue in tables.items() if isinstance(queue, QueueConfig)}
    rewritten = without_requirements(
        {"queues": {name: queue for name, queue in tables.items() if name not in ready}}
    )
    problems = [*rewritten.problems]
    problems += [rewritten.as_written(line) for line in problems_in(rewritten.table)]
    if not problems:
        made = structure_config(rewritten.table).queues
        queues = {name: ready.get(name) or made[name] for name in tables}
        problems = conflicts(evolve(Config(), queues=queues))
        if not problems:
            return queues
    raise ConfigError("\n".join(f"queue_configs: {line}" for line in problems))


def queue_table(queue: QueueConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return a queue, or some of its settings, as a table of a settings file."""
    table: dict[str, Any] = _with_lists(
        asdict(queue) if isinstance(queue, QueueConfig) else dict(queue)
    )
    return table


def _with_lists(value: Any) -> Any:
    """Return a program's own tables as TOML would give them."""
    match value:
        case Mapping():
            return {str(key): _with_lists(each) for key, each in value.items()}
        case tuple():
            return list(value)
        case _:
            return value
