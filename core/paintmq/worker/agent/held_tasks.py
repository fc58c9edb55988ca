"""The tasks that a model host has, in the words of a log line: what is about them names them."""

from collections.abc import Iterable

from paintmq.worker.machine.batches import HandedOver

MOST_NAMED = 8
"""Tasks in one line; the others are counted."""


def held_tasks(batches: Iterable[HandedOver]) -> str:
    """Return what to put behind a sentence about a host: the ids of its tasks; empty for none."""
    tasks = [str(task_id) for batch in batches for task_id, _ in batch.keys]
    if not tasks:
        return ""
    more = f" and {len(tasks) - MOST_NAMED} more" if len(tasks) > MOST_NAMED else ""
    return f" (it had {', '.join(tasks[:MOST_NAMED])}{more})"
