"""Webhooks of a real gateway, which is killed, to the receiver of the examples, which was away."""

import base64
import json
import signal
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import frozen
from tests.harness.command_process import CommandProcess, private_environment, run_command
from tests.harness.free_ports import free_ports

from paintmq.image import encode_image
from paintmq.testing.example_inputs import make_mask, make_picture

pytest.importorskip("starlette", reason="needs paintmq[http]")
pytest.importorskip("uvicorn", reason="needs paintmq[http]")

pytestmark = pytest.mark.slow

RECEIVER = Path(__file__).parents[2] / "examples/webhook_receiver.py"
PICTURE, MASK = make_picture((40, 60), seed=1), make_mask((40, 60), seed=1)
INPUTS = {
    name: base64.b64encode(encode_image(pixels, "png")).decode()
    for name, pixels in (("image", PICTURE), ("mask", np.repeat(MASK[..., None], 3, 2)))
}


class Receiver(CommandProcess):
    """The receiver of the examples."""

    def __init__(self, environment: dict[str, str], port: int, secret: str) -> None:
        super().__init__([], environment)
        arguments = ["--port", str(port), "--secret", secret]
        self._command = [sys.executable, str(RECEIVER), *arguments]


@frozen
class User:
    port: int
    token: str

    def ask(self, method: str, path: str, fields: object = None) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=50)
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        try:
            body = None if fields is None else json.dumps(fields).encode()
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def submit(self, **fields: Any) -> tuple[int, Any]:
        task = {"model": "opencv", "task_type": "inpaint", "inputs": INPUTS}
        return self.ask("POST", "/v1/tasks", task | fields)


@pytest.fixture(scope="module")
def hook_port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, hook_port: int) -> dict[str, str]:
    return private_environment(
        tmp_path_factory.mktemp("webhooks"),
        PAINTMQ_BROKER__PORT="0",
        PAINTMQ_HTTP__PORT="0",
        PAINTMQ_HTTP_TOKEN="the-operators-own-token",
        PAINTMQ_HTTP__APIS='["v1"]',
        PAINTMQ_HTTP__WEBHOOK_HOSTS=json.dumps([f"http://127.0.0.1:{hook_port}", "inside.example"]),
    )


@pytest.fixture(scope="module")
def endpoint(environment: dict[str, str]) -> Iterator[str]:
    with CommandProcess(["up"], environment) as up:
        yield up.wait_for_line(r"broker for clients at (\S+)")[1]
        up.process.send_signal(signal.SIGTERM)
        assert up.wait() == 0


def served(gateway: CommandProcess) -> int:
    return int(gateway.wait_for_line(r"serving http://127\.0\.0\.1:(\d+)")[1])


def test_a_webhook_reaches_its_receiver_though_gateway_and_receiver_were_away(
    environment: dict[str, str], endpoint: str, hook_port: int
) -> None:
    token = run_command("http", "tokens", "add", "anna", environment=environment).stdout.strip()
    url = f"http://127.0.0.1:{hook_port}/done"
    with CommandProcess(["http", "--connect", endpoint], environment) as gateway:
        anna = User(served(gateway), token)
        secret = anna.ask("GET", "/v1/webhooks/secret")[1]["secret"]
        status, task = anna.submit(webhook=url)
        assert status == 202, task
        # Without a receiver: the first attempt fails, and says so.
        while not (told := anna.ask("GET", f"/v1/tasks/{task['id']}")[1]["webhook"])["attempts"]:
            pass
        assert (told["state"], "cannot be reached" in told["error"]) == ("sending", True)
        gateway.process.kill()

    with (
        Receiver(environment, hook_port, secret) as receiver,
        CommandProcess(["http", "--connect", endpoint], environment) as gateway,
    ):
        anna = User(served(gateway), token)
        receiver.wait_for_line(rf"task {task['id']}: succeeded /v1/tasks/{task['id']}/result")
        while (told := anna.ask("GET", f"/v1/tasks/{task['id']}")[1]["webhook"])["next_at"]:
            pass
        assert (told["state"], told["attempts"], told["error"]) == ("delivered", 2, None)
        assert not any("refused" in line for line in receiver.said)


def test_a_webhook_that_may_not_be_sent_is_refused_and_there_is_no_task(
    environment: dict[str, str], endpoint: str
) -> None:
    with CommandProcess(["http", "--connect", endpoint], environment) as gateway:
        chief = User(served(gateway), "the-operators-own-token")
        before = len(chief.ask("GET", "/v1/tasks")[1]["tasks"])
        for url, words in (
            ("http://127.0.0.1:1/", "not among the hosts"),
            ("https://elsewhere.example/", "not among the hosts"),
            ("https://inside.example:8443/", "not among the hosts"),
            ("file:///etc/passwd", "begins with https://"),
        ):
            status, told = chief.submit(webhook=url)
            assert (status, told["code"], words in told["message"]) == (422, "webhook", True), told

        assert len(chief.ask("GET", "/v1/tasks")[1]["tasks"]) == before
