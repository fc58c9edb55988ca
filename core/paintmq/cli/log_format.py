"""Log lines as JSON: one object a line, with the task it is about."""

import json
import logging
import re
from datetime import UTC, datetime

_TASK = re.compile(r"\b[0-9a-f]{32}\b")


class JsonFormatter(logging.Formatter):
    """Formats a record as ``{"time": …, "level": …, "logger": …, "message": …}``.

    ``task_id`` is added where the record has one, or its message names a task; ``error`` holds a
    traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        task = getattr(record, "task_id", None)
        if task is None and (found := _TASK.search(message)) is not None:
            task = found[0]
        if task is not None:
            line["task_id"] = str(task)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
