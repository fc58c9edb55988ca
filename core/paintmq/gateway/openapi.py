"""The OpenAPI document of ``/v1``, kept by hand and compared with the routes by a test."""

from collections.abc import Mapping
from html import escape
from typing import Any

_PICTURES = ("image/png", "image/jpeg", "image/webp", "image/tiff")
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def _query(name: str, kind: str, said: str, **more: Any) -> dict[str, Any]:
    schema = {"type": kind, **more}
    return {"name": name, "in": "query", "description": said, "schema": schema}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _answer(said: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"description": said, **({} if schema is None else {"content": _json(schema)})}


def _operation(
    summary: str, answers: Mapping[str, Any], *parameters: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    responses = {**answers, "default": _answer("It was refused.", _ref("Error"))}
    return {"summary": summary, "parameters": list(parameters), "responses": responses, **more}


_FORM = (
    _query("format", "string", "else by the Accept header", enum=["png", "jpeg", "webp", "tiff"]),
    _query("quality", "integer", "of JPEG and WebP", minimum=1, maximum=100, default=95),
)
_TASK = _answer("Where it stands.", _ref("Task"))
_OBJECT: dict[str, Any] = {"type": "object"}
_NAME = _query("name", "string", "whom it concerns")


def _change(summary: str) -> dict[str, Any]:
    return _operation(summary, {"200": _answer("The queue as it is now.", _OBJECT)}, _NAME)


PATHS: dict[str, dict[str, Any]] = {
    "/v1/tasks": {
        "post": _operation(
            "Submit a task, or several",
            {"202": _answer("The broker has it.", _ref("Task"))},
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "Tasks of one user with equal keys are one task.",
                "schema": {"type": "string"},
            },
            requestBody={
                "required": True,
                "content": {
                    **_json({"oneOf": [_ref("NewTask"), _ref("NewTasks")]}),
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "description": "The fields of NewTask; options as one JSON object or as"
                            " option.NAME; files under their inputs' names.",
                        }
                    },
                    **{
                        kind: {"schema": {"type": "string", "format": "binary"}}
                        for kind in _PICTURES
                    },
                },
            },
        ),
        "get": _operation(
            "List one's own tasks, newest first; an admin's list has everybody's",
            {"200": _answer("A page.", _ref("TaskPage"))},
            _query("state", "string", "only those in this state"),
            _query("model", "string", "only those of this model"),
            _query("queue", "string", "only those in this queue"),
            _query("limit", "integer", "rows of a page", minimum=1, maximum=1000, default=100),
            _query("before", "string", "the `next` of the page before"),
        ),
    },
    "/v1/tasks/{id}": {
        "get": _operation("Tell where a task stands", {"200": _TASK}, _ID),
        "delete": _operation(
            "Cancel a task", {"200": _answer("cancelled or too_late", _OBJECT)}, _ID
        ),
    },
    "/v1/tasks/{id}/result": {
        "get": _operation(
            "Fetch a task's result; ranges and If-None-Match are understood",
            {
                "200": {
                    "description": "The output.",
                    "content": {
                        kind: {"schema": {"type": "string", "format": "binary"}}
                        for kind in (*_PICTURES, "application/octet-stream")
                    },
                },
                "202": _answer("It is not done yet.", _ref("Task")),
                "410": _answer("It was cancelled, or expired.", _ref("Error")),
            },
            _ID,
            _query("wait", "number", "seconds to wait for it", minimum=0, maximum=60, default=0),
            _query("output", "string", "which of its outputs", default="image"),
            *_FORM,
        ),
    },
    "/v1/tasks/{id}/preview": {
        "get": _operation(
            "Fetch the picture so far",
            {"200": {"description": "A picture."}, "204": {"description": "There is none."}},
            _ID,
            *_FORM,
        ),
    },
    "/v1/tasks/{id}/why": {
        "get": _operation(
            "Tell why a task waits", {"200": _answer("Each worker's verdict.", _OBJECT)}, _ID
        ),
    },
    "/v1/webhooks/secret": {
        "get": _operation(
            "Tell the secret that signs one's own webhooks", {"200": _answer("", _OBJECT)}
        )
    },
    "/v1/models": {
        "get": _operation("List the models and their options", {"200": _answer("Models.")})
    },
    "/v1/health": {
        "get": _operation("Ask whether the broker answers", {"200": _answer("It does.", _OBJECT)})
    },
    "/v1/statistics": {
        "get": _operation("Counts of all queues (admin, metrics)", {"200": _answer("", _OBJECT)})
    },
    "/v1/workers": {
        "get": _operation("List the workers (admin)", {"200": _answer("Workers.", _OBJECT)})
    },
    "/v1/workers/drain": {
        "post": _operation(
            "Give a worker no more tasks (admin)",
            {"200": _answer("It drains.", _OBJECT)},
            _query("name", "string", "the worker's name"),
            _query("grace", "number", "seconds for what it runs", default=30),
        )
    },
    "/v1/workers/cordon": {
        "post": _operation(
            "Give a worker or node nothing more; it stays (admin)",
            {"200": _answer("The workers it concerns.", _OBJECT)},
            _NAME,
        )
    },
    "/v1/workers/uncordon": {
        "post": _operation(
            "End cordon (admin)", {"200": _answer("The workers it concerns.", _OBJECT)}, _NAME
        )
    },
    "/v1/queues": {
        "get": _operation("Tell the queues' states and settings (admin)", {"200": _answer("")})
    },
    "/v1/queues/pause": {"post": _change("Let no task of a queue start; it takes tasks (admin)")},
    "/v1/queues/resume": {"post": _change("End pause and drain (admin)")},
    "/v1/queues/drain": {"post": _change("Take no new tasks in a queue (admin)")},
    "/v1/queues/purge": {"post": _change("Cancel what waits in a queue (admin)")},
    "/v1/version": {
        "get": _operation("Tell the versions of gateway and broker", {"200": _answer("", _OBJECT)})
    },
    "/v1/dead": {
        "get": _operation("List tasks that were given up", {"200": _answer("", _ref("TaskPage"))})
    },
    "/v1/dead/{id}": {
        "get": _operation("Tell what became of one", {"200": _answer("", _OBJECT)}, _ID),
        "delete": _operation("Forget one (admin)", {"200": _answer("", _OBJECT)}, _ID),
    },
    "/v1/dead/{id}/requeue": {
        "post": _operation("Try one again (admin)", {"200": _answer("", _OBJECT)}, _ID)
    },
    "/v1/ws": {
        "get": _operation(
            "Follow tasks by WebSocket, submit and cancel; see core/OPERATING.md",
            {"101": {"description": "It is a WebSocket."}, "426": _answer("It was no upgrade.")},
            _query("task", "string", "follow this task alone, until it has ended"),
            _query("previews", "string", "with the picture so far", enum=["1"]),
        )
    },
    "/v1/events": {
        "get": _operation(
            "Follow tasks by Server-Sent Events",
            {"200": {"description": "A stream.", "content": {"text/event-stream": {}}}},
            _query("task", "string", "follow this task alone, until it has ended"),
            _query("previews", "string", "with the picture so far", enum=["1"]),
        )
    },
    "/v1/me": {"get": _operation("Tell who one is", {"200": _answer("", _OBJECT)})},
}

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_WHOLE = {"type": "integer"}

SCHEMAS: dict[str, Any] = {
    "NewTask": {
        "type": "object",
        "required": ["model"],
        "additionalProperties": False,
        "properties": {
            "model": _TEXT,
            "task_type": {"type": "string", "default": "plugin"},
            "options": {"type": "object", "description": "`GET /v1/models` describes them."},
            "inputs": {
                "type": "object",
                "additionalProperties": {"type": "string", "contentEncoding": "base64"},
            },
            "device": {"type": "string", "enum": ["auto", "cpu", "cuda"], "default": "auto"},
            "queue": _TEXT,
            "priority": {"type": "integer", "minimum": 0, "maximum": 9, "default": 0},
            "deadline": _NUMBER,
            "run_limit": _NUMBER,
            "max_attempts": {"type": "integer", "default": 3},
            "idempotency_key": _TEXT,
            "strict": {"type": "boolean", "default": False},
            "webhook": {
                "type": "string",
                "format": "uri",
                "description": "told once the task has ended; its host must be allowed",
            },
        },
    },
    "NewTasks": {
        "type": "object",
        "required": ["tasks"],
        "properties": {"tasks": {"type": "array", "items": _ref("NewTask"), "maxItems": 256}},
    },
    "Task": {
        "type": "object",
        "properties": {
            "id": _TEXT,
            "state": {
                "type": "string",
                "enum": [
                    *("submitted", "queued", "leased", "loading", "running"),
                    *("succeeded", "failed", "cancelled", "expired", "dead"),
                ],
            },
            "queue": _TEXT,
            "worker": _TEXT,
            "attempt": _WHOLE,
            "step": _WHOLE,
            "total": _WHOLE,
            "note": _TEXT,
            "waiting_for": _TEXT,
            "position": {**_WHOLE, "description": "in its line, counted from 1; while queued"},
            "backlog": _WHOLE,
            "starts_in": {"type": ["number", "null"], "description": "about so many seconds"},
            "error": {"oneOf": [_ref("Error"), {"type": "null"}]},
            "webhook": {**_OBJECT, "description": "url, state, attempts, next_at and error"},
        },
    },
    "TaskPage": {
        "type": "object",
        "properties": {
            "tasks": {"type": "array", "items": _OBJECT},
            "next": {"type": ["string", "null"]},
        },
    },
    "Error": {"type": "object", "properties": {"code": _TEXT, "message": _TEXT}},
}


def document(root_path: str) -> dict[str, Any]:
    """Return the document, OpenAPI 3.1."""
    from importlib.metadata import version

    return {
        "openapi": "3.1.0",
        "info": {"title": "PaintMQ", "version": version("paintmq")},
        "servers": [{"url": root_path or "/"}],
        "paths": PATHS,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
        "security": [{"bearer": []}, {"basic": []}],
    }


def page_of(described: Mapping[str, Any]) -> str:
    """Return a page that shows the document, without scripts and styles."""
    rows = []
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            names = (
                f"<code>{escape(each['name'])}</code>"
                for each in operation["parameters"]
                if each["in"] != "path"
            )
            rows.append(
                f"<tr><td><code>{method.upper()}</code></td><td><code>{escape(path)}</code></td>"
                f"<td>{escape(operation['summary'])}</td><td>{', '.join(names)}</td></tr>"
            )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>PaintMQ /v1</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"></head><body>'
        f"<h1>PaintMQ {escape(described['info']['version'])}: /v1</h1>"
        "<p>Send <code>Authorization: Bearer TOKEN</code>. Everything in detail: "
        '<a href="openapi.json">openapi.json</a>.</p>'
        '<table border="1" cellpadding="6"><caption>Requests</caption>'
        "<thead><tr><th>method</th><th>path</th><th>what it does</th><th>parameters</th></tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table></body></html>"
    )
