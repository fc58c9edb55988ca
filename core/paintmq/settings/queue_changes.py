"""Queues as operators changed them while the broker worked: one more layer over file and variables.

Kept in the journal, so that they hold after the next start. What `paintmq queues set` says of a key
wins over the file until `paintmq queues reset` gives the queue back to it.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast

import msgspec
from attrs import asdict, evolve, frozen

from paintmq.config import Config, QueueConfig
from paintmq.errors import ConfigError
from paintmq.settings.conflicts import conflicts
from paintmq.settings.requirements import without_requirements
from paintmq.settings.structure import problems_in, structure_config
from paintmq.task import Json

QueueState: TypeAlias = Literal["open", "paused", "draining"]
STATES: tuple[QueueState, ...] = ("open", "paused", "draining")
MOST_QUEUES = 256
"""Each has sockets of its own; more are a mistake, or an attack."""


@frozen(kw_only=True)
class QueueChange:
    """What was changed in one queue."""

    settings: Mapping[str, Json] = {}
    """Keys of ``QueueConfig``; of a queue that the file lacks, all that are not default."""
    removed: bool = False
    state: QueueState = "open"


Changes: TypeAlias = Mapping[str, QueueChange]


def with_changes(config: Config, changes: Changes) -> Config:
    """Return the settings with the changes laid over them.

    Raises:
        ConfigError: together they make no sense: every problem, one a line.
    """
    tables: dict[str, Any] = {}
    queues: dict[str, QueueConfig] = {}
    for name, queue in config.queues.items():
        if name not in changes:
            queues[name] = queue
        elif not changes[name].removed:
            queues[name] = queue
            tables[name] = {**_table(queue), **changes[name].settings}
    for name, change in changes.items():
        if name not in config.queues and not change.removed:
            tables[name] = dict(change.settings)
    problems = problems_in({"queues": tables})
    if not problems:
        made = structure_config({"queues": tables}).queues
        queues |= {name: made[name] for name in tables}
        changed = evolve(config, queues=queues)
        problems = conflicts(changed)
        if len(queues) > MOST_QUEUES:
            problems.append(f"queues: {len(queues)} are more than the {MOST_QUEUES} allowed")
        if not problems:
            return changed
    raise ConfigError("\n".join(problems))


def changed(
    changes: Changes, config: Config, action: str, name: str, settings: Mapping[str, Json]
) -> Changes:
    """Return the changes after an operator's action on one queue.

    ``config``: the settings without any changes.

    Raises:
        ConfigError: there is no such queue, or there is already, or no such action.
    """
    settings = _without_requirements(name, settings)
    before = changes.get(name, QueueChange())
    in_file = name in config.queues
    exists = not before.removed and (in_file or name in changes)
    if action == "add":
        if exists:
            raise ConfigError(f"there is a queue {name!r} already: change it with `queues set`")
        if not name or len(name) > 100 or not name.isprintable():
            raise ConfigError(f"{name!r} is no name for a queue")
        if in_file:
            defaults = _table(QueueConfig())
            return {**changes, name: QueueChange(settings={**defaults, **settings})}
        return {**changes, name: QueueChange(settings=settings)}
    if action == "reset" and name in changes:
        return {key: change for key, change in changes.items() if key != name}
    if not exists:
        known = ", ".join(with_changes(config, changes).queues)
        raise ConfigError(f"there is no queue {name!r}; there are {known}")
    match action:
        case "set":
            after = evolve(before, settings={**before.settings, **settings})
        case "pause" | "resume" | "drain":
            states: Mapping[str, QueueState] = {
                "pause": "paused",
                "resume": "open",
                "drain": "draining",
            }
            after = evolve(before, state=states[action])
        case "remove":
            after = QueueChange(removed=True)
        case "reset":
            return changes
        case _:
            raise ConfigError(f"unknown action {action!r}")
    kept = {**changes, name: after}
    if (action == "remove" and not in_file) or (after == QueueChange() and in_file):
        del kept[name]
    return kept


def _without_requirements(name: str, settings: Mapping[str, Json]) -> Mapping[str, Json]:
    rewritten = without_requirements({"queues": {name: settings}})
    if rewritten.problems:
        raise ConfigError("\n".join(rewritten.problems))
    queue: Mapping[str, Json] = rewritten.table["queues"][name]
    return queue


def to_text(changes: Changes) -> str:
    """Return the changes as the journal keeps them."""
    return msgspec.json.encode({name: asdict(change) for name, change in changes.items()}).decode()


def from_text(text: str) -> Changes:
    """Return what ``to_text`` was given; no text, no changes.

    Raises:
        ConfigError: it is none of ours, or a newer version wrote it.
    """
    if not text:
        return {}
    try:
        tables = cast("dict[str, dict[str, Any]]", msgspec.json.decode(text))
        changes = {name: QueueChange(**table) for name, table in tables.items()}
    except (msgspec.DecodeError, TypeError, AttributeError) as error:
        raise ConfigError(f"the journal's changes of queues cannot be read: {error}") from error
    return changes


def in_state(changes: Changes, state: QueueState) -> tuple[str, ...]:
    """Return the queues that an operator brought into this state, in order."""
    return tuple(sorted(name for name, change in changes.items() if change.state == state))


def _table(queue: QueueConfig) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(queue).items()
    }
