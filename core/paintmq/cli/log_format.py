"""Log lines as JSON: one object a line, with the task it is about."""

import json
import logging
import re
from datetime import UTC, datetime

_TASK = re.compile(r"\b[0-9a-f]{32}\b")


class JsonFormatter(logging.Formatter):
    """Formats a record as ``{"time": …, "level": …, "logger": …, "message": …}``.

    ``task_id`` is added where the record has one, or its message names a task; ``task_ids`` has
    all of them where it names several; ``error`` holds a traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        line: dict[str, str | list[str]] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        task = getattr(record, "task_id", None)
        tasks = [str(task)] if task is not None else list(dict.fromkeys(_TASK.findall(message)))
        if tasks:
            line["task_id"] = tasks[0]
        if len(tasks) > 1:
            line["task_ids"] = tasks
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
