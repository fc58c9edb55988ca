"""The routes of the gateway's own API, with a broker's client that does as it is told."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from attrs import define, field

from paintmq.client.result import Progress, Result
from paintmq.config import HttpConfig
from paintmq.errors import (
    PaintMQError,
    TaskRejectedError,
    TaskUnknownError,
)
from paintmq.gateway.callers_tasks import CallersTasks
from paintmq.gateway.followed import FollowedTasks
from paintmq.gateway.identity import TaskIds
from paintmq.gateway.mounting import chosen_apis, gateway_app
from paintmq.gateway.services import HttpServices
from paintmq.http_api import Caller
from paintmq.plugin.registry import PluginRoute
from paintmq.task import TaskId, TaskState

ID = TaskId("a" * 32)
ADMIN = Caller(name="operator", role="admin", owner=ID[:12])
FORM = "multipart/form-data; boundary=b"
PIXELS = np.full((2, 3, 3), 7, np.uint8)


@define
class ScriptedHandle:
    """One task, in whatever state a test wants it."""

    id: TaskId = ID
    state: TaskState = TaskState.QUEUED
    outcome: Result | PaintMQError | None = None
    callbacks: list[Any] = field(factory=list[Any])

    def done(self) -> bool:
        return self.outcome is not None

    def progress(self) -> Progress:
        return Progress(state=self.state, queue="cpu-light", step=1, total=4)

    def add_done_callback(self, callback: Any) -> None:
        if self.done():
            callback(self)
        else:
            self.callbacks.append(callback)

    @property
    def error(self) -> PaintMQError | None:
        return self.outcome if isinstance(self.outcome, PaintMQError) else None

    @property
    def result_bytes(self) -> int:
        outputs = self.outcome.outputs if isinstance(self.outcome, Result) else {}
        return sum(len(bytes(each)) for each in outputs.values())

    async def accepted(self, **_: object) -> Self:
        if isinstance(self.outcome, TaskRejectedError | TaskUnknownError):
            raise self.outcome
        return self

    async def result(self, **_: object) -> Result:
        if self.outcome is None:
            raise TimeoutError("not yet")
        if isinstance(self.outcome, PaintMQError):
            raise self.outcome
        return self.outcome


class UnansweredHandle(ScriptedHandle):
    async def accepted(self, **_: object) -> Self:
        raise TimeoutError("not yet")


@define
class WaitingHandle(ScriptedHandle):
    ended: asyncio.Event = field(kw_only=True)

    async def result(self, **_: object) -> Result:
        await self.ended.wait()
        raise AssertionError


def row(**changes: Any) -> dict[str, Any]:
    """Return what a broker tells of a task that waits."""
    fields: dict[str, Any] = {
        "id": ID,
        "state": "queued",
        "model": "toy",
        "device": "auto",
        "queue": "cpu-light",
        "priority": 0,
        "tenant": "",
        "owner": "the gateway's key",
        "worker": "",
        "attempts": 1,
        "age": 2.0,
        "ended": None,
        "reason": "",
        "error": None,
        "options": {},
        "history": [],
    }
    return fields | changes


def passing(code: str, *, after: float) -> TaskRejectedError:
    """Return a refusal as a client's handle raises it."""
    error = TaskRejectedError(ID, None, code, "come later")
    error.retry_after = after
    return error


@define
class ScriptedClient:
    handle: ScriptedHandle = field(factory=ScriptedHandle)
    submitted: list[Any] = field(factory=list[Any])
    fetched: list[str] = field(factory=list[str])
    answer: str = "cancelled"
    closed: bool = False
    trouble: str = ""
    confirmed: list[str] = field(factory=list[str])
    cancelled: list[str] = field(factory=list[str])
    refusal: Exception | None = None
    answers: dict[str, Any] = field(factory=lambda: {"dead_show": row(), "why": {}})
    asked: list[Any] = field(factory=list[Any])

    async def submit(self, task: Any, **_: object) -> ScriptedHandle:
        if self.refusal is not None:
            raise self.refusal
        self.submitted.append(task)
        return self.handle

    async def fetch(self, task_id: str) -> ScriptedHandle:
        self.fetched.append(task_id)
        return self.handle

    async def cancel(self, task: Any, **_: object) -> str:
        self.cancelled.append(getattr(task, "id", task))
        return self.answer

    async def confirm(self, task: ScriptedHandle) -> None:
        self.confirmed.append(task.id)

    async def ask(self, subject: str, **arguments: object) -> Any:
        if subject == "version" and subject not in self.answers:
            raise TimeoutError("no answer of the broker")
        answer = self.answers.get(subject, {"subject": subject})
        if isinstance(answer, Exception):
            raise answer
        self.asked.append((subject, arguments))
        return answer

    async def close(self) -> None:
        self.closed = True


def app_for(
    client: ScriptedClient,
    routes: Sequence[PluginRoute] = (),
    followed: FollowedTasks | None = None,
) -> Any:
    """Return the application of our own API, without a guard."""
    tasks = CallersTasks(
        client,  # type: ignore[arg-type]  # scripted
        TaskIds(b"secret"),
        followed=followed or FollowedTasks(),
    )
    services = HttpServices(tasks=tasks, config=HttpConfig(apis=("v1",)))
    return gateway_app(services, chosen_apis(services, {}), routes)


@define
class Site:
    client: ScriptedClient
    routes: list[PluginRoute] = field(factory=list[PluginRoute])
    followed: FollowedTasks = field(factory=FollowedTasks, kw_only=True)
    caller: Caller = field(factory=lambda: ADMIN)
    headers: dict[str, str] = field(factory=dict[str, str])
    """Of the last answer."""
    _app: Any = None

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        kind: str = "application/json",
        **headers: str,
    ) -> tuple[int, Any]:
        """Return the status, and the body: parsed where it is JSON."""
        if self._app is None:
            self._app = app_for(self.client, self.routes, self.followed)
        given = {"content-type": kind, "host": "localhost"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        status, self.headers, told = asyncio.run(
            ask_app(self._app, method, path, body, given, self.caller)
        )
        return status, told


async def ask_app(
    app: Any, method: str, path: str, body: bytes, headers: dict[str, str], caller: Caller
) -> tuple[int, dict[str, str], Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "state": {"caller": caller},
    }
    await app(scope, receive, send)
    start, *rest = sent
    data = b"".join(message.get("body", b"") for message in rest)
    got = {bytes(name).decode(): bytes(value).decode() for name, value in start["headers"]}
    is_json = got.get("content-type") == "application/json"
    return start["status"], got, json.loads(data) if is_json and data else data
