"""What a request may hand in, and how it is refused."""

import json

import pytest

from paintmq.digests import is_cryptographic
from paintmq.errors import (
    NoRoomError,
    TaskFailedError,
    TaskRejectedError,
)
from paintmq.task import TaskState

pytest.importorskip("starlette", reason="needs paintmq[http]")

from tests.harness.scripted_gateway import (
    FORM,
    ID,
    ScriptedClient,
    Site,
    UnansweredHandle,
)


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


def test_a_task_that_its_caller_can_come_back_to_is_not_cancelled(
    site: Site, client: ScriptedClient
) -> None:
    """Found by an hour of chaos: the request was repeated, its task accepted, and then cancelled by
    the first one, whose broker had not answered for half a minute.
    """
    client.handle = UnansweredHandle()
    body = b'{"model": "x", "idempotency_key": "order-17"}'

    assert site.ask("POST", "/v1/tasks", body)[0] == 504
    assert client.cancelled == []


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
