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
from paintmq.digests import is_cryptographic
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
from paintmq.gateway.submission import TaskFields
from paintmq.http_api import Caller

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
        if subject == "version":
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
            _ask(self._app, method, path, body, given, self.caller)
        )
        return status, told


async def _ask(
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


def test_inputs_of_a_task_with_a_key_get_digests_that_cannot_be_forged(
    site: Site, client: ScriptedClient
) -> None:
    body = b'{"model": "x", "inputs": {"data": "AAAA"}, "idempotency_key": "order-17"}'
    assert [site.ask("POST", "/v1/tasks", body)[0] for _ in range(2)] == [202, 202]

    first, again = [task.prepare().request for task in client.submitted]
    assert first == again
    assert is_cryptographic(first.inputs[0].digest)


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
    status, answer = site.ask("GET", f"/v1/tasks/{ID}/result?colour=red")

    assert (status, "colour" in answer["message"]) == (400, True)


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
    client.answers["dead_show"] = RejectedError("invalid_question", "no task: never accepted")

    for path in ("", "/result", "/preview"):
        assert site.ask("GET", f"/v1/tasks/{ID}{path}")[0] == 404


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


# ---- how a task is told ------------------------------------------------------------------------


def test_a_task_that_waits_tells_its_place_in_line(site: Site, client: ScriptedClient) -> None:
    workers = [
        {"verdict": "busy", "free_in": 2.0},
        {"verdict": "busy", "free_in": 4.0},
        {"verdict": "unfit", "free_in": 0.0},
    ]
    explanation = {"position": 3, "backlog": 7, "workers": workers}
    client.answers["why"] = {"explanation": explanation, "waiting_for": "a worker"}

    _, told = site.ask("GET", f"/v1/tasks/{ID}")

    assert (told["position"], told["backlog"], told["waiting_for"]) == (3, 7, "a worker")
    assert told["starts_in"] == 5.0, "one round of all workers, then the first that is free"
    client.answers["why"] = {"explanation": {**explanation, "workers": workers[2:]}}
    assert site.ask("GET", f"/v1/tasks/{ID}")[1]["starts_in"] is None


def test_how_a_task_ended_is_told_without_its_result(site: Site, client: ScriptedClient) -> None:
    error = {"code": "model_error", "message": "no", "retryable": False}
    client.answers["dead_show"] = row(state="failed", error=error)

    status, told = site.ask("GET", f"/v1/tasks/{ID}")

    assert (status, told["state"]) == (200, "failed")
    assert told["error"] == {"code": "model_error", "message": "no"}
    assert client.fetched == []


def test_a_followed_task_tells_its_error_too(site: Site, client: ScriptedClient) -> None:
    site.ask("POST", "/v1/tasks", b'{"model": "x"}')
    assert site.ask("GET", f"/v1/tasks/{ID}")[1]["error"] is None

    client.handle.outcome = TaskFailedError(ID, TaskState.FAILED, "model_error", "no")

    (task_id,) = site.followed._handles
    told = site.ask("GET", f"/v1/tasks/{task_id}")[1]
    assert told["error"] == {"code": "model_error", "message": "no"}


def test_tasks_are_listed_page_by_page_newest_first(site: Site, client: ScriptedClient) -> None:
    rows = [row(id=f"{number:032x}") for number in range(5)]
    client.answers["tasks"] = {"tasks": rows, "more": 0}

    _, first = site.ask("GET", "/v1/tasks?limit=2&state=queued&model=toy")
    _, second = site.ask("GET", f"/v1/tasks?limit=2&before={first['next']}")
    _, third = site.ask("GET", f"/v1/tasks?limit=2&before={second['next']}")

    seen = [each["id"] for each in (*first["tasks"], *second["tasks"], *third["tasks"])]
    assert seen == [each["id"] for each in reversed(rows)]
    assert third["next"] is None
    assert "owner" not in first["tasks"][0], "the gateway's own key"
    subject, asked = client.asked[0]
    assert (subject, asked["state"], asked["model"]) == ("tasks", "queued", "toy")


@pytest.mark.parametrize("query", ["state=odd", "limit=0", "limit=x", "limit=1001", "colour=red"])
def test_a_list_that_cannot_be_had_is_refused(
    site: Site, client: ScriptedClient, query: str
) -> None:
    client.answers["tasks"] = {"tasks": [], "more": 0}

    assert site.ask("GET", f"/v1/tasks?{query}")[0] == 400


def test_a_batch_is_submitted_each_task_by_itself(site: Site, client: ScriptedClient) -> None:
    body = {"tasks": [{"model": "a"}, {"model": "b", "priority": 77}, {"model": "c"}]}

    status, told = site.ask("POST", "/v1/tasks", json.dumps(body).encode())

    assert (status, [each["status"] for each in told["tasks"]]) == (202, [202, 400, 202])
    assert told["tasks"][1]["error"]["code"] == "invalid_task"
    assert sorted(task.config["model"] for task in client.submitted) == ["a", "c"]


def test_a_form_brings_files_and_options(site: Site, client: ScriptedClient) -> None:
    parts = [
        ('name="model"', b"opencv"),
        ('name="option.radius"', b"5"),
        ('name="image"; filename="x"', b"\x89PNG picture"),
        ('name="mask"; filename="y"', b"mask"),
    ]
    body = b"".join(
        b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data + b"\r\n"
        for head, data in parts
    )

    status, _ = site.ask("POST", "/v1/tasks", body + b"--b--\r\n", FORM)

    assert status == 202
    (task,) = client.submitted
    assert task.inputs == {"image": b"\x89PNG picture", "mask": b"mask"}
    assert task.config["radius"] == 5


@pytest.mark.parametrize("body", [b"", b"--b", b"--b\r\nnonsense\r\n\r\nx\r\n--b--\r\n"])
def test_a_form_that_cannot_be_read_is_refused(site: Site, body: bytes) -> None:
    kind = "multipart/form-data; boundary=b"

    assert site.ask("POST", "/v1/tasks", body, kind)[0] == 400
    assert site.ask("POST", "/v1/tasks", b"x", "multipart/form-data")[0] == 400


# ---- the result's form -------------------------------------------------------------------------


def test_a_result_comes_in_the_format_that_is_asked_for(site: Site, client: ScriptedClient) -> None:
    client.handle.outcome = Result(outputs={"image": PIXELS}, task_id=ID)
    for query, begins in (
        ("format=jpeg", b"\xff\xd8\xff"),
        ("format=JPG&quality=10", b"\xff\xd8\xff"),
        ("format=webp", b"RIFF"),
        ("", b"\x89PNG"),
    ):
        assert site.ask("GET", f"/v1/tasks/{ID}/result?{query}")[1].startswith(begins)
    for query in ("format=bmp", "quality=0", "quality=101", "quality=x"):
        assert site.ask("GET", f"/v1/tasks/{ID}/result?{query}")[0] == 400


def test_a_part_of_a_result_is_no_reason_to_forget_it(site: Site, client: ScriptedClient) -> None:
    client.handle.outcome = Result(outputs={"image": b"0123456789"}, task_id=ID)
    path = f"/v1/tasks/{ID}/result"

    assert site.ask("GET", path, range="bytes=2-4") == (206, b"234")
    assert site.ask("GET", path, range="bytes=10-")[0] == 416
    assert client.confirmed == []
    assert site.ask("GET", path, range="bytes=-3") == (206, b"789")
    assert client.confirmed == [ID]
    assert site.ask("GET", path, range="bytes=2-4", if_range='"another"') == (200, b"0123456789")


def test_who_has_a_result_already_is_not_sent_it_again(site: Site, client: ScriptedClient) -> None:
    client.handle.outcome = Result(outputs={"image": b"0123456789"}, task_id=ID)
    path = f"/v1/tasks/{ID}/result"
    site.ask("GET", path)
    etag = site.headers["etag"]

    assert site.ask("GET", path, if_none_match=f'"x", {etag}') == (304, b"")
    assert site.ask("GET", path, if_none_match='"x"')[0] == 200


# ---- roles, and the document -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "roles"),
    [
        ("GET", "/v1/models", {"user", "admin"}),
        ("GET", "/v1/statistics", {"metrics", "admin"}),
        ("GET", "/v1/workers", {"admin"}),
        ("POST", "/v1/workers/drain?name=x", {"admin"}),
        ("POST", f"/v1/dead/{ID}/requeue", {"admin"}),
        ("DELETE", f"/v1/dead/{ID}", {"admin"}),
        ("POST", "/v1/tasks", {"user", "admin"}),
    ],
)
def test_each_role_may_do_its_own(
    site: Site, client: ScriptedClient, method: str, path: str, roles: set[str]
) -> None:
    client.answers |= {"dead_requeue": row(), "dead_drop": row(), "workers": []}
    for role in ("user", "admin", "metrics"):
        site.caller = Caller(name=role, role=role, owner=ID[:12])

        status, told = site.ask(method, path, b'{"model": "x"}')

        assert (status != 403) is (role in roles), (role, told)


def test_another_users_dead_letters_do_not_exist(site: Site, client: ScriptedClient) -> None:
    client.answers["tasks"] = {"tasks": [row(), row(id="b" * 32)], "more": 0}
    site.caller = Caller(name="bert", owner="b" * 12)

    assert [each["id"] for each in site.ask("GET", "/v1/dead")[1]["tasks"]] == ["b" * 32]
    assert client.asked[0][1]["mark"] == "b" * 12
    for path in (f"/v1/dead/{ID}", f"/v1/tasks/{ID}/why", f"/v1/tasks/{ID}/preview"):
        assert site.ask("GET", path)[0] == 404


def test_the_document_tells_of_every_route_and_no_other(site: Site) -> None:
    routes = {
        (route.path, method.lower())
        for route in app_for(site.client).routes
        for method in getattr(route, "methods", None) or ()
        if method != "HEAD" and is_v1(route.path)
    }
    status, told = site.ask("GET", "/v1/openapi.json")

    assert status == 200
    described = {(path, method) for path, each in told["paths"].items() for method in each}
    assert described - {("/v1/me", "get")} == routes
    states = told["components"]["schemas"]["Task"]["properties"]["state"]["enum"]
    assert states == [each.value for each in TaskState]
    fields = told["components"]["schemas"]["NewTask"]["properties"]
    assert set(fields) == set(TaskFields.__struct_fields__)
    assert b"/v1/tasks/{id}/why" in site.ask("GET", "/v1/docs")[1]


def is_v1(path: str) -> bool:
    return path.startswith("/v1/") and path not in ("/v1/openapi.json", "/v1/docs")
