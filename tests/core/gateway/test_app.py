"""The routes of the gateway, with a broker's client that does as it is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from attrs import define, field

from paintmq.client.result import Progress, Result
from paintmq.errors import (
    InvalidOptionError,
    PaintMQError,
    RejectedError,
    TaskCancelledError,
    TaskDeadError,
    TaskFailedError,
    TaskRejectedError,
    TaskUnknownError,
)
from paintmq.plugin.registry import PluginRoute
from paintmq.task import TaskId, TaskState

pytest.importorskip("starlette", reason="needs paintmq[http]")

from starlette.requests import Request

from paintmq.gateway import app as app_module
from paintmq.gateway.app import Gateway, status_of
from paintmq.gateway.guard import Guard, GuardLimits

ID = TaskId("a" * 32)
PIXELS = np.full((2, 3, 3), 7, np.uint8)


@define
class ScriptedHandle:
    """One task, in whatever state a test wants it."""

    id: TaskId = ID
    state: TaskState = TaskState.QUEUED
    outcome: Result | PaintMQError | None = None

    def done(self) -> bool:
        return self.outcome is not None

    def progress(self) -> Progress:
        return Progress(state=self.state, queue="cpu-light", step=1, total=4)

    async def updates(self, **_: object) -> AsyncIterator[Progress]:
        yield self.progress()

    async def result(self, **_: object) -> Result:
        if self.outcome is None:
            raise TimeoutError("not yet")
        if isinstance(self.outcome, PaintMQError):
            raise self.outcome
        return self.outcome


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

    async def submit(self, task: Any, **_: object) -> ScriptedHandle:
        self.submitted.append(task)
        return self.handle

    async def fetch(self, task_id: str) -> ScriptedHandle:
        self.fetched.append(task_id)
        return self.handle

    async def cancel(self, task: str) -> str:
        return self.answer

    async def ask(self, subject: str, **_: object) -> Any:
        if subject == "version":
            raise TimeoutError("no answer of the broker")
        return {"subject": subject}

    async def close(self) -> None:
        self.closed = True


@define
class Site:
    client: ScriptedClient
    routes: list[PluginRoute] = field(factory=list[PluginRoute])
    _app: Any = None

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> tuple[int, Any]:
        """Return the status, and the body: parsed where it is JSON."""
        if self._app is None:
            self._app = Gateway(self.client).app(self.routes)  # type: ignore[arg-type]  # scripted
        return asyncio.run(_ask(self._app, method, path, body, kind))


async def _ask(app: Any, method: str, path: str, body: bytes, kind: str) -> tuple[int, Any]:
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
        "headers": [(b"content-type", kind.encode()), (b"host", b"localhost")],
    }
    await app(scope, receive, send)
    start, *rest = sent
    data = b"".join(message.get("body", b"") for message in rest)
    headers = dict(start["headers"])
    is_json = headers.get(b"content-type") == b"application/json"
    return start["status"], json.loads(data) if is_json else data


@pytest.fixture
def client() -> ScriptedClient:
    return ScriptedClient()


@pytest.fixture
def site(client: ScriptedClient) -> Site:
    return Site(client)


def test_an_accepted_task_is_described(site: Site, client: ScriptedClient) -> None:
    status, answer = site.ask("POST", "/v1/tasks", b'{"model": "opencv"}')

    assert (status, answer["id"], answer["state"]) == (202, ID, "queued")
    assert (answer["queue"], answer["step"], answer["total"]) == ("cpu-light", 1, 4)
    assert client.submitted[0].config["model"] == "opencv"


def test_an_image_may_be_the_body(site: Site, client: ScriptedClient) -> None:
    status, _ = site.ask("POST", "/v1/tasks?model=x", b"pixels", kind="image/png")

    assert status == 202
    assert client.submitted[0].inputs == {"image": b"pixels"}


def test_a_refusal_is_the_answer_but_a_quick_failure_is_told_later(
    site: Site, client: ScriptedClient
) -> None:
    client.handle.outcome = TaskFailedError(ID, TaskState.FAILED, "model_error", "no")
    assert site.ask("POST", "/v1/tasks", b'{"model": "x"}')[0] == 202

    client.handle.outcome = TaskRejectedError(ID, None, "no_queue_fits", "too big")
    status, answer = site.ask("POST", "/v1/tasks", b'{"model": "x"}')
    assert (status, answer["code"]) == (422, "no_queue_fits")


def test_a_task_somebody_else_handed_in_is_asked_for_once(
    site: Site, client: ScriptedClient
) -> None:
    for _ in range(2):
        assert site.ask("GET", f"/v1/tasks/{ID}")[0] == 200

    assert client.fetched == [ID]


def test_only_so_many_tasks_are_remembered(
    site: Site, client: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "REMEMBERED", 1)
    for letter in "abcd":
        client.handle = ScriptedHandle(id=TaskId(letter * 32))
        assert site.ask("POST", "/v1/tasks", b'{"model": "x"}')[0] == 202

    assert site.ask("GET", f"/v1/tasks/{'d' * 32}")[0] == 200
    assert client.fetched == []
    client.handle = ScriptedHandle(id=ID)
    assert site.ask("GET", f"/v1/tasks/{ID}")[0] == 200
    assert client.fetched == [ID]


def test_a_task_nobody_knows_is_not_found(site: Site, client: ScriptedClient) -> None:
    client.handle.outcome = TaskUnknownError(ID, None, "unknown", "never heard of it")

    assert site.ask("GET", f"/v1/tasks/{ID}")[0] == 404


def test_results_are_given_as_files_by_name(site: Site, client: ScriptedClient) -> None:
    client.handle.outcome = Result(outputs={"image": PIXELS, "notes": b"bytes"}, task_id=ID)

    status, image = site.ask("GET", f"/v1/tasks/{ID}/result")

    assert (status, image[:4]) == (200, b"\x89PNG")
    assert site.ask("GET", f"/v1/tasks/{ID}/result?output=notes") == (200, b"bytes")
    status, answer = site.ask("GET", f"/v1/tasks/{ID}/result?output=nothing")
    assert (status, answer["message"]) == (
        404,
        "this task has no output 'nothing'; it has image, notes",
    )


def test_a_result_that_is_not_there_yet_is_no_error(site: Site) -> None:
    status, answer = site.ask("GET", f"/v1/tasks/{ID}/result?wait=0")

    assert (status, answer["state"]) == (202, "queued")
    assert site.ask("GET", f"/v1/tasks/{ID}/result?wait=soon")[0] == 400


@pytest.mark.parametrize(("answer", "status"), [("cancelled", 200), ("unknown", 404)])
def test_cancelling_tells_what_became_of_it(
    site: Site, client: ScriptedClient, answer: str, status: int
) -> None:
    client.answer = answer

    assert site.ask("DELETE", f"/v1/tasks/{ID}") == (status, {"answer": answer})


def test_a_broker_that_does_not_answer_is_a_timeout(site: Site) -> None:
    assert site.ask("GET", "/v1/health")[0] == 504
    assert site.ask("GET", "/v1/models") == (200, {"subject": "models"})
    assert site.ask("GET", "/v1/statistics") == (200, {"subject": "statistics"})


def test_two_plugins_may_use_one_path(client: ScriptedClient) -> None:
    from starlette.responses import PlainTextResponse

    def plugin(name: str) -> PluginRoute:
        async def endpoint(request: object) -> PlainTextResponse:
            return PlainTextResponse(name)

        return PluginRoute(name, "/hello", endpoint, ("GET",))

    site = Site(client, [plugin("one"), plugin("two")])

    assert site.ask("GET", "/v1/plugins/two/hello") == (200, b"two")
    assert site.ask("GET", "/v1/plugins/one/hello") == (200, b"one")
    assert site.ask("GET", "/v1/plugins/one/hello/")[0] == 404


def test_a_plugins_route_that_cannot_be_served_harms_no_other(
    client: ScriptedClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def endpoint(request: object) -> None:
        pass

    site = Site(client, [PluginRoute("bad", "/{one}/{one}", endpoint, ("GET",))])

    assert site.ask("GET", "/v1/models")[0] == 200
    assert site.ask("GET", "/v1/plugins/bad/x")[0] == 404
    assert "routes of plugin bad are left out" in caplog.text


def test_no_route_is_reached_without_the_token(client: ScriptedClient) -> None:
    async def endpoint(request: object) -> None:
        raise AssertionError("it was reached")

    app = Gateway(client).app([PluginRoute("x", "/y", endpoint, ("GET",))])  # type: ignore[arg-type]
    guard = Guard(
        app, "the-token", frozenset({"localhost"}), GuardLimits(body=1, bodies=1, requests=1)
    )
    site = Site(client)
    site._app = guard
    paths = [str(route.path) for route in app.routes] + ["/v1/plugins/x/y"]

    assert len(paths) > 8
    for path in paths:
        for method in ("GET", "POST", "DELETE", "HEAD"):
            assert site.ask(method, path.replace("{id}", ID))[0] == 401, path
    assert client.submitted == client.fetched == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidOptionError("radius"), 400),
        (RejectedError("queue_full", "full", retry_after=2.5), 429),
        (passing("disk_busy", after=1.0), 429),
        (RejectedError("no_queue_fits", "too big"), 422),
        (TaskRejectedError(ID, None, "invalid_option", "radius"), 422),
        (TaskRejectedError(ID, None, "tenant_limit", "whatever it is"), 422),
        (TaskFailedError(ID, TaskState.FAILED, "invalid_input", "no picture"), 422),
        (TaskFailedError(ID, TaskState.FAILED, "model_error", "a bug"), 500),
        (TaskDeadError(ID, TaskState.DEAD, "worker_crashed", "thrice"), 500),
        (TaskCancelledError(ID, TaskState.CANCELLED, "cancelled", ""), 410),
        (TaskUnknownError(ID, None, "unknown", ""), 404),
        (TimeoutError(), 504),
        (RuntimeError(), 500),
    ],
)
def test_the_status_says_whose_fault_it_is(error: Exception, status: int) -> None:
    assert status_of(error) == status


def test_who_may_come_again_is_told_when() -> None:
    later = asyncio.run(
        app_module._answer_error(Request({"type": "http"}), passing("x", after=4.2))
    )
    never = asyncio.run(app_module._answer_error(Request({"type": "http"}), TimeoutError()))

    assert later.headers["retry-after"] == "5"
    assert "retry-after" not in never.headers
