"""Live news of tasks over a real WebSocket, with a real broker and worker."""

import base64
import json
import signal
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import numpy as np
import pytest
from attrs import define, field, frozen
from tests.harness.command_process import CommandProcess, private_environment, run_command
from tests.harness.trial_models import write_trial_distribution

from paintmq.image import encode_image
from paintmq.testing.example_inputs import make_mask, make_picture

pytest.importorskip("starlette", reason="needs paintmq[http]")
pytest.importorskip("websockets", reason="needs paintmq[http]")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

pytestmark = pytest.mark.slow

PICTURE = make_picture((40, 60), seed=1)
MASK = np.repeat(make_mask((40, 60), seed=1)[..., None], 3, 2)
TASK: dict[str, Any] = {
    "model": "trial",
    "task_type": "inpaint",
    "inputs": {
        name: base64.b64encode(encode_image(pixels, "png")).decode()
        for name, pixels in (("image", PICTURE), ("mask", MASK))
    },
}
SLOW = {**TASK, "options": {"do": "heed", "seconds": 300}}
OPERATOR = "the-operators-own-token"


@frozen
class Site:
    port: int
    anna: str
    bert: str

    def connect(self, token: str, path: str = "/v1/ws", **headers: str) -> ClientConnection:
        given = {"authorization": f"Bearer {token}"} | headers
        return connect(
            f"ws://127.0.0.1:{self.port}{path}", additional_headers=given, open_timeout=50
        )

    def submit(self, token: str, task: dict[str, Any]) -> str:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=50)
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        connection.request("POST", "/v1/tasks", json.dumps(task).encode(), headers)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return str(answer["id"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("live")
    environment = private_environment(
        folder,
        plugins=write_trial_distribution(folder / "plugins"),
        PAINTMQ_BROKER__PORT="0",
        PAINTMQ_HTTP__PORT="0",
        PAINTMQ_HTTP_TOKEN=OPERATOR,
    )
    with CommandProcess(["up"], environment) as up:
        endpoint = up.wait_for_line(r"broker for clients at (\S+)")[1]
        with CommandProcess(["http", "--connect", endpoint], environment) as gateway:
            port = int(gateway.wait_for_line(r"serving http://127\.0\.0\.1:(\d+)")[1])
            tokens = [
                run_command("http", "tokens", "add", name, environment=environment).stdout.strip()
                for name in ("anna", "bert")
            ]
            yield Site(port, *tokens)
        up.process.send_signal(signal.SIGTERM)


@define
class Ear:
    """Keeps what it has heard: news and answers come in any order."""

    socket: ClientConnection
    heard: list[Any] = field(factory=list[Any])

    def first(self, **wanted: Any) -> Any:
        """Return the first message with these fields that was not returned before."""
        while True:
            for message in self.heard:
                if wanted.items() <= message.items():
                    self.heard.remove(message)
                    return message
            self.heard.append(json.loads(self.socket.recv(timeout=50)))

    def ask(self, **fields: Any) -> Any:
        """Send a message, and return the answer to it."""
        ref = f"question {len(self.heard)} {sorted(fields)}"
        self.socket.send(json.dumps(fields | {"ref": ref}))
        return self.first(type="answer", ref=ref)


def to_the_end(socket: ClientConnection) -> tuple[list[Any], int]:
    """Return all messages, and the code with which the connection was closed."""
    told: list[Any] = []
    try:
        while True:
            told.append(json.loads(socket.recv(timeout=50)))
    except ConnectionClosed as closed:
        return told, 0 if closed.rcvd is None else closed.rcvd.code


def test_one_task_is_followed_to_its_end_and_the_connection_closed(site: Site) -> None:
    task_id = site.submit(site.anna, TASK)

    for path in (f"/v1/ws?task={task_id}", f"/v1/tasks/{task_id}/ws"):
        with site.connect(site.anna, path) as socket:
            told, code = to_the_end(socket)
        assert code == 1000
        assert {each["id"] for each in told} == {task_id}
        assert told[-1]["state"] == "succeeded"
        steps = [each["step"] for each in told]
        assert steps == sorted(steps)


def test_a_task_is_submitted_followed_and_cancelled_over_one_socket(site: Site) -> None:
    with site.connect(site.anna) as socket:
        ear = Ear(socket)
        ear.ask(subscribe="tasks")
        task_id = ear.ask(submit=SLOW)["task"]["id"]
        ear.first(id=task_id, state="running")
        other = site.submit(site.anna, TASK)

        assert ear.ask(cancel=task_id)["cancel"] == "cancelled"

        ear.first(id=task_id, state="cancelled")
        ear.first(id=other, state="succeeded")


def test_who_was_cut_off_goes_on_where_it_was(site: Site) -> None:
    with site.connect(site.anna) as socket:
        ear = Ear(socket)
        ear.ask(subscribe="tasks")
        task_id = ear.ask(submit=SLOW)["task"]["id"]
        had = ear.first(id=task_id, state="running")
    with site.connect(site.anna) as socket:
        assert Ear(socket).ask(cancel=task_id)["cancel"] == "cancelled"

    with site.connect(site.anna) as socket:
        ear = Ear(socket)
        answer = ear.ask(resume={"feed": had["feed"], "number": had["number"]}, subscribe="tasks")
        assert answer["missed"] is False
        ear.first(id=task_id, state="cancelled")
        again = ear.ask(resume={"feed": "of an earlier gateway", "number": 5})
        assert again["missed"] is True


def test_another_users_tasks_are_not_told_of(site: Site) -> None:
    task_id = site.submit(site.anna, SLOW)
    with site.connect(site.bert) as socket:
        ear = Ear(socket)
        assert "error" in ear.ask(subscribe=[task_id])
        assert "error" in ear.ask(subscribe="service")
        assert "error" in ear.ask(control={"subject": "workers"})
        assert ear.ask(subscribe="tasks", cancel=task_id)["cancel"] == "unknown"
    for token, path in ((site.bert, f"/v1/ws?task={task_id}"), ("wrong", "/v1/ws")):
        with pytest.raises(InvalidStatus) as refused:
            site.connect(token, path)
        assert refused.value.response.status_code in (401, 404)
    with pytest.raises(InvalidStatus):
        site.connect(site.anna, origin="http://evil.example")
    with site.connect(site.anna) as socket:
        assert Ear(socket).ask(cancel=task_id)["cancel"] == "cancelled"


@pytest.mark.parametrize(
    ("message", "code"), [(b"\0", 1003), ("nonsense", 1007), ("x" * 5_000_000, 1009)]
)
def test_what_is_no_message_ends_the_connection(
    site: Site, message: bytes | str, code: int
) -> None:
    with site.connect(site.anna) as socket:
        socket.send(message)
        assert to_the_end(socket)[1] == code


def test_an_admin_sees_the_service_and_controls_it(site: Site) -> None:
    with site.connect(OPERATOR) as socket:
        ear = Ear(socket)
        ear.ask(subscribe="service")
        service = ear.first(type="service")
        assert service["statistics"]["queues"]
        assert service["workers"]
        assert ear.ask(control={"subject": "workers"})["control"]
        assert ear.ask(control={"subject": "shutdown"})["error"]["code"] == "control"


def test_the_same_comes_as_server_sent_events(site: Site) -> None:
    task_id = site.submit(site.anna, TASK)
    request = urllib.request.Request(
        f"http://127.0.0.1:{site.port}/v1/events?task={task_id}",
        headers={"authorization": f"Bearer {site.anna}"},
    )
    with urllib.request.urlopen(request, timeout=50) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.read().decode().splitlines()

    told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert told[-1]["state"] == "succeeded"
    assert {each["id"] for each in told} == {task_id}
    assert any(line.startswith(f"id: {told[-1]['feed']}-") for line in lines)


def test_a_plain_request_for_the_socket_is_told_so(site: Site) -> None:
    connection = HTTPConnection("127.0.0.1", site.port, timeout=50)
    connection.request("GET", "/v1/ws", headers={"authorization": f"Bearer {site.anna}"})
    assert connection.getresponse().status == 426
    connection.close()
