"""What a webhook says: that a task has ended, how, and where its result is."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_SENT = ("id", "state", "queue", "worker", "attempt", "error")


def payload(task: Mapping[str, Any], root_path: str, at: datetime) -> str:
    """Return the body, JSON.

    ``task``: its fields as ``GET /v1/tasks/ID`` tells them.
    """
    where = f"{root_path}/v1/tasks/{task['id']}/result"
    data = {name: task.get(name) for name in _SENT}
    data["result"] = where if task["state"] == "succeeded" else None
    said = {"type": "task.ended", "timestamp": at.isoformat(timespec="milliseconds"), "data": data}
    return json.dumps(said, separators=(",", ":"))
