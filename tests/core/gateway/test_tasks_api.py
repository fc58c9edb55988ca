"""The routes of the gateway, with a broker's client that does as it is told."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pytest
from attrs import define, field

from paintmq.client.result import Progress, Result
from paintmq.config import HttpConfig
from paintmq.errors import (
    InvalidOptionError,
    NoRoomError,
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
from tests.harness.gateway_callers import callers_of, origins_of

from paintmq.gateway.answers import answer_error, status_of
from paintmq.gateway.callers_tasks import CallersTasks
from paintmq.gateway.followed import FollowedTasks
from paintmq.gateway.guard import Guard, GuardLimits
from paintmq.gateway.identity import TaskIds
from paintmq.gateway.mounting import chosen_apis, gateway_app
from paintmq.gateway.services import HttpServices
from paintmq.http_api import Caller

ID = TaskId("a" * 32)
ADMIN = Caller(name="operator", role="admin", owner=ID[:12])
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

    async def ask(self, subject: str, **_: object) -> Any:
        if subject == "version":
            raise TimeoutError("no answer of the broker")
        return {"subject": subject}

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
    _app: Any = None

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> tuple[int, Any]:
        """Return the status, and the body: parsed where it is JSON."""
        if self._app is None:
            self._app = app_for(self.client, self.routes, self.followed)
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
        "state": {"caller": ADMIN},
    }
    await app(scope, receive, send)
    start, *rest = sent
    data = b"".join(message.get("body", b"") for message in rest)
    headers = dict(start["headers"])
    is_json = headers.get(b"content-type") == b"application/json"
    return start["status"], json.loads(data) if is_json and data else data


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


def test_only_so_many_tasks_are_remembered(client: ScriptedClient) -> None:
    site = Site(client, followed=FollowedTasks(max_tasks=1))
    for letter in "abcd":
        client.handle = ScriptedHandle(id=TaskId(letter * 32))
        assert site.ask("POST", "/v1/tasks", b'{"model": "x"}')[0] == 202

    assert site.ask("GET", f"/v1/tasks/{'d' * 32}")[0] == 200
    assert client.fetched == []
    client.handle = ScriptedHandle(id=ID)
    assert site.ask("GET", f"/v1/tasks/{ID}")[0] == 200
    assert client.fetched == [ID]


def test_results_beyond_the_limit_are_left_with_the_broker_and_fetched_on_demand(
    client: ScriptedClient,
) -> None:
    """F7: the gateway kept the last 1,000 results whole, 23 GB of them."""
    site = Site(client, followed=FollowedTasks(max_result_bytes=100))
    for letter in "abc":
        client.handle = ScriptedHandle(id=TaskId(letter * 32), state=TaskState.SUCCEEDED)
        client.handle.outcome = Result(outputs={"image": b"x" * 60}, task_id=client.handle.id)
        assert site.ask("POST", "/v1/tasks", b'{"model": "x"}')[0] == 202

    assert site.followed.result_bytes == 60
    assert client.confirmed == []
    assert site.ask("GET", f"/v1/tasks/{'a' * 32}")[1]["state"] == "succeeded"
    assert client.fetched == [], "how it ended is still known"
    client.handle = ScriptedHandle(id=TaskId("a" * 32), state=TaskState.SUCCEEDED)
    client.handle.outcome = Result(outputs={"image": b"whole"}, task_id=client.handle.id)
    assert site.ask("GET", f"/v1/tasks/{'a' * 32}/result") == (200, b"whole")
    assert client.fetched == ["a" * 32]


def test_a_result_is_confirmed_when_it_was_sent_and_not_before(
    site: Site, client: ScriptedClient
) -> None:
    """F6: what its user never fetched was gone after 10 minutes."""
    client.handle.outcome = Result(outputs={"image": b"pixels"}, task_id=ID)
    site.ask("POST", "/v1/tasks", b'{"model": "x"}')
    site.ask("GET", f"/v1/tasks/{ID}")
    assert site.ask("GET", f"/v1/tasks/{ID}/result?output=nothing")[0] == 404
    assert site.ask("HEAD", f"/v1/tasks/{ID}/result")[0] == 200
    assert client.confirmed == []

    assert site.ask("GET", f"/v1/tasks/{ID}/result") == (200, b"pixels")
    assert client.confirmed == [ID]


def test_a_failure_that_was_told_is_confirmed_too(site: Site, client: ScriptedClient) -> None:
    client.handle.outcome = TaskFailedError(ID, TaskState.FAILED, "model_error", "no")

    status, answer = site.ask("GET", f"/v1/tasks/{ID}/result")

    assert (status, answer) == (500, {"code": "model_error", "message": "no"})
    assert client.confirmed == [ID]


def test_a_submission_without_room_is_told_to_come_later_at_once(
    site: Site, client: ScriptedClient
) -> None:
    """F11: it waited 30 seconds, and its place kept everybody else out."""
    client.refusal = NoRoomError("no room for another task")

    status, answer = site.ask("POST", "/v1/tasks", b'{"model": "x"}')

    assert (status, answer["code"]) == (429, "client_full")


def test_with_a_broker_that_does_not_answer_nothing_waits(
    site: Site, client: ScriptedClient
) -> None:
    client.trouble = "no broker has answered at tcp://127.0.0.1:1 for 7 s"

    for method, path in (
        ("GET", "/v1/health"),
        ("POST", "/v1/tasks"),
        ("GET", f"/v1/tasks/{ID}"),
        ("GET", f"/v1/tasks/{ID}/result?wait=60"),
    ):
        status, answer = site.ask(method, path, b'{"model": "x"}')
        assert (status, answer["message"]) == (504, client.trouble)
    assert client.submitted == client.fetched == []


def test_a_task_that_is_not_accepted_in_time_is_cancelled(
    site: Site, client: ScriptedClient
) -> None:
    client.handle = UnansweredHandle()

    assert site.ask("POST", "/v1/tasks", b'{"model": "x"}')[0] == 504
    assert client.cancelled == [ID]


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/v1/tasks", "application/json", b"[" * 900 + b"]" * 900),
        ("/v1/tasks", "application/json", b'{"model":' * 100_000),
        ("/v1/tasks?model=x&option.a=" + "[" * 3_000, "image/png", b"x"),
        ("/v1/tasks?priority=9", "application/json", b'{"model": "x"}'),
        ("/v1/tasks", "application/json", b'{"model": "x", "deadline": 1e300}'),
        ("/v1/tasks", "application/json", b'{"model": "' + b"x" * 200_000 + b'"}'),
        ("/v1/tasks", "application/json", b'{"model": "x", "task_type": "\\ud800"}'),
        ("/v1/tasks", "application/json", b'{"model": "x", "options": {"a": 1e999}}'),
    ],
    ids=range(8),
)
def test_what_no_broker_could_read_is_refused_as_the_callers_fault(
    site: Site, client: ScriptedClient, path: str, kind: str, body: bytes
) -> None:
    status, answer = site.ask("POST", path, body, kind)

    assert (status, answer["code"].startswith("invalid_")) == (400, True)
    assert client.submitted == []


@pytest.mark.parametrize("kind", ["Application/JSON", "application/json ; charset=utf-8"])
def test_a_content_type_means_the_same_however_it_is_written(
    site: Site, client: ScriptedClient, kind: str
) -> None:
    assert site.ask("POST", "/v1/tasks", b'{"model": "opencv"}', kind)[0] == 202
    assert client.submitted[0].model == "opencv"


def test_a_parameter_nobody_knows_is_refused(site: Site, client: ScriptedClient) -> None:
    status, answer = site.ask("GET", f"/v1/tasks/{ID}/result?format=jpg")

    assert (status, "format" in answer["message"]) == (400, True)


def test_a_poll_ends_when_its_peer_leaves(client: ScriptedClient) -> None:
    """F10: it held its place for the rest of its minute."""
    left = asyncio.Event()
    client.handle = WaitingHandle(ended=asyncio.Event())

    async def receive() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    async def run() -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        app = app_for(client)
        guard = Guard(
            app, callers_of("t"), origins_of("x"), GuardLimits(body=1, bodies=1, requests=1)
        )
        headers = [(b"host", b"x"), (b"authorization", b"Bearer t")]
        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/v1/tasks/{ID}/result",
            "query_string": b"wait=60",
            "headers": headers,
        }
        polls = [asyncio.create_task(guard(dict(scope), receive, send)) for _ in range(3)]
        while guard.slots.waiting < 3:  # noqa: ASYNC110 -- nothing else tells
            await asyncio.sleep(0)
        assert guard.slots.serving == 0, "whoever waits takes no place from others"
        left.set()
        await asyncio.gather(*polls)
        assert (guard.slots.serving, guard.slots.waiting) == (0, 0)
        return len(sent)

    assert asyncio.run(asyncio.wait_for(run(), 30)) > 0


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

    app = app_for(client, [PluginRoute("x", "/y", endpoint, ("GET",))])
    guard = Guard(
        app,
        callers_of("the-token"),
        origins_of("localhost"),
        GuardLimits(body=1, bodies=1, requests=1),
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
    later = asyncio.run(answer_error(Request({"type": "http"}), passing("x", after=4.2)))
    never = asyncio.run(answer_error(Request({"type": "http"}), TimeoutError()))

    assert later.headers["retry-after"] == "5"
    assert "retry-after" not in never.headers
