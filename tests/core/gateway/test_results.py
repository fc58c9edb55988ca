"""Results: as files, when they are there, and confirmed once they were sent."""

import asyncio
from typing import Any

import pytest

from paintmq.client.result import Result
from paintmq.errors import (
    TaskFailedError,
)
from paintmq.task import TaskId, TaskState

pytest.importorskip("starlette", reason="needs paintmq[http]")

from tests.harness.gateway_callers import callers_of, origins_of
from tests.harness.scripted_gateway import (
    ID,
    PIXELS,
    ScriptedClient,
    ScriptedHandle,
    Site,
    WaitingHandle,
    app_for,
)

from paintmq.gateway.followed import FollowedTasks
from paintmq.gateway.guard import Guard, GuardLimits


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
