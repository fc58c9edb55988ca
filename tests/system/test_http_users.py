"""Two users of one gateway reach nothing of each other's, by any route, restarts included."""

import base64
import json
import signal
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import numpy as np
import pytest
from attrs import frozen
from tests.harness.command_process import CommandProcess, private_environment, run_command
from tests.harness.trial_models import write_trial_distribution

from paintmq.image import encode_image
from paintmq.testing.example_inputs import make_mask, make_picture

pytest.importorskip("starlette", reason="needs paintmq[http]")
pytest.importorskip("uvicorn", reason="needs paintmq[http]")

pytestmark = pytest.mark.slow

PICTURE = make_picture((40, 60), seed=1)
MASK = np.repeat(make_mask((40, 60), seed=1)[..., None], 3, 2)
INPUTS = {
    name: base64.b64encode(encode_image(pixels, "png")).decode()
    for name, pixels in (("image", PICTURE), ("mask", MASK))
}


@frozen
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@frozen
class User:
    port: int
    token: str

    def ask(self, method: str, path: str, fields: object = None, **headers: str) -> Answer:
        body = None if fields is None else json.dumps(fields).encode()
        sent = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=50)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            got = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, got, answer.read())
        finally:
            connection.close()

    def submit(self, **fields: Any) -> Answer:
        task = {"model": "trial", "task_type": "inpaint", "inputs": INPUTS} | fields
        return self.ask("POST", "/v1/tasks", task)

    def open(self, path: str, **headers: str) -> Answer:
        """Send no token, and what browsers send when their user types an address."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=50)
        try:
            connection.request("GET", path, headers={"sec-fetch-site": "none"} | headers)
            answer = connection.getresponse()
            got = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, got, answer.read())
        finally:
            connection.close()


def start_gateway(environment: dict[str, str], endpoint: str) -> CommandProcess:
    return CommandProcess(["http", "--connect", endpoint], environment)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("users")
    token = folder / "operator"
    token.write_text("the-operators-own-token\n")
    token.chmod(0o600)
    return private_environment(
        folder,
        plugins=write_trial_distribution(folder / "plugins"),
        PAINTMQ_BROKER__PORT="0",
        PAINTMQ_HTTP__PORT="0",
        PAINTMQ_HTTP__TOKEN_FILE=str(token),
    )


@pytest.fixture(scope="module")
def endpoint(environment: dict[str, str]) -> Iterator[str]:
    with CommandProcess(["up"], environment) as up:
        yield up.wait_for_line(r"broker for clients at (\S+)")[1]
        up.process.send_signal(signal.SIGTERM)
        assert up.wait() == 0


def served(gateway: CommandProcess) -> int:
    return int(gateway.wait_for_line(r"serving http://127\.0\.0\.1:(\d+)")[1])


def made(environment: dict[str, str], name: str, *terms: str) -> str:
    command = run_command("http", "tokens", "add", name, *terms, environment=environment)
    return command.stdout.strip()


def test_two_users_reach_nothing_of_each_others_whatever_is_restarted(
    environment: dict[str, str], endpoint: str
) -> None:
    anna_token, bert_token = made(environment, "anna"), made(environment, "bert")
    with start_gateway(environment, endpoint) as gateway:
        port = served(gateway)
        anna, bert = User(port, anna_token), User(port, bert_token)
        done = anna.submit(idempotency_key="order-17").json["id"]
        assert anna.ask("GET", f"/v1/tasks/{done}/result?wait=50").status == 200
        kept = anna.submit().json["id"]
        assert_apart(anna, bert, [done, kept])
        assert bert.submit(idempotency_key="order-17").json["id"] != done
        assert anna.submit(idempotency_key="order-17").json["id"] == done

    with start_gateway(environment, endpoint) as gateway:
        port = served(gateway)
        anna, bert = User(port, anna_token), User(port, bert_token)
        assert_apart(anna, bert, [done, kept])
        assert anna.ask("GET", f"/v1/tasks/{kept}/result?wait=50").status == 200
        assert anna.submit(idempotency_key="order-17").json["id"] == done
        chief = User(port, "the-operators-own-token")
        assert chief.ask("GET", f"/v1/tasks/{done}").status == 200
        assert bert.ask("GET", "/v1/statistics").json["code"] == "role"


def assert_apart(anna: User, bert: User, tasks: list[str]) -> None:
    """Each of Anna's tasks is there for her, and does not exist for Bert."""
    for task_id in tasks:
        assert anna.ask("GET", f"/v1/tasks/{task_id}").status == 200
        for variant in (task_id, task_id.upper(), f"{task_id[:8]}-{task_id[8:12]}-"):
            for method, path in (
                ("GET", f"/v1/tasks/{variant}"),
                ("GET", f"/v1/tasks/{variant}/result?wait=1"),
                ("HEAD", f"/v1/tasks/{variant}/result"),
                ("DELETE", f"/v1/tasks/{variant}"),
            ):
                answer = bert.ask(method, path)
                assert answer.status == 404, (method, path, answer.body)


def test_limits_of_a_token_hold_and_a_revoked_one_is_shut_out_at_once(
    environment: dict[str, str], endpoint: str
) -> None:
    with start_gateway(environment, endpoint) as gateway:
        port = served(gateway)
        small = User(port, made(environment, "small", "--quota", "1", "--queues", "cpu-light"))
        slow = {"do": "heed", "seconds": 300}

        first = small.submit(options=slow)
        assert (first.status, first.json["queue"]) == (202, "cpu-light"), first.body
        refused = small.submit(options=slow)
        assert (refused.status, refused.json["code"]) == (429, "quota")
        assert "retry-after" in refused.headers
        assert small.ask("DELETE", f"/v1/tasks/{first.json['id']}").json["answer"] == "cancelled"
        again = small.submit(options=slow)
        assert again.status == 202, again.body

        run_command("http", "tokens", "revoke", "small", environment=environment)
        assert small.ask("GET", "/v1/models").status == 401
        chief = User(port, "the-operators-own-token")
        assert chief.ask("DELETE", f"/v1/tasks/{again.json['id']}").json["answer"] == "cancelled"


def test_probes_need_no_token_and_any_host_will_do(
    environment: dict[str, str], endpoint: str
) -> None:
    with start_gateway(environment, endpoint) as gateway:
        stranger = User(served(gateway), "")

        assert stranger.ask("GET", "/healthz", host="10.1.2.3").status == 200
        assert stranger.ask("GET", "/readyz", host="10.1.2.3").json == {"ok": True}
        assert stranger.ask("GET", "/v1/models", host="10.1.2.3").status == 403


def test_a_link_from_the_command_line_signs_a_browser_in(
    environment: dict[str, str], endpoint: str
) -> None:
    with start_gateway(environment, endpoint) as gateway:
        port = served(gateway)
        link = run_command("http", "link", environment=environment).stdout.strip()
        path = "/login" + link.partition("/login")[2]
        browser = User(port, "")

        opened = browser.open(path)
        assert opened.status == 303, opened.body
        held = opened.headers["set-cookie"].partition(";")[0]
        assert browser.open("/v1/me", cookie=held).json["name"] == "operator"
        assert browser.open("/v1/me").status == 401


def test_the_whole_of_v1_works_on_a_real_broker(environment: dict[str, str], endpoint: str) -> None:
    token = made(environment, "carla")
    with start_gateway(environment, endpoint) as gateway:
        port = served(gateway)
        carla, chief = User(port, token), User(port, "the-operators-own-token")
        batch = carla.ask("POST", "/v1/tasks", {"tasks": [task() for _ in range(3)]}).json
        ids = [each["id"] for each in batch["tasks"]]
        for task_id in ids:
            assert carla.ask("GET", f"/v1/tasks/{task_id}/result?wait=50&format=jpeg").status == 200
        page = carla.ask("GET", "/v1/tasks?state=succeeded&limit=2").json
        rest = carla.ask("GET", f"/v1/tasks?state=succeeded&before={page['next']}").json
        assert {each["id"] for each in page["tasks"] + rest["tasks"]} == set(ids)

        picture = carla.ask("GET", f"/v1/tasks/{ids[0]}/result", accept="image/webp")
        assert picture.body.startswith(b"RIFF")
        tagged = carla.ask(
            "GET",
            f"/v1/tasks/{ids[0]}/result",
            accept="image/webp",
            if_none_match=picture.headers["etag"],
        )
        assert (tagged.status, tagged.body) == (304, b"")

        given_up = carla.submit(options={"do": "raise-retryable"}, max_attempts=1).json["id"]
        ended = carla.ask("GET", f"/v1/tasks/{given_up}/result?wait=50")
        assert ended.status == 500, ended.body
        told = carla.ask("GET", f"/v1/tasks/{given_up}").json
        assert (told["state"], bool(told["error"]["code"])) == ("dead", True)
        assert [each["id"] for each in carla.ask("GET", "/v1/dead").json["tasks"]] == [given_up]
        assert carla.ask("POST", f"/v1/dead/{given_up}/requeue").status == 403
        assert chief.ask("POST", f"/v1/dead/{given_up}/requeue").status == 200
        assert chief.ask("POST", f"/v1/dead/{ids[0]}/requeue").status == 409

        blocking = carla.submit(options={"do": "heed", "seconds": 300}).json["id"]
        assert carla.ask("GET", f"/v1/tasks/{blocking}/result?wait=0").status == 202
        assert carla.ask("GET", f"/v1/tasks/{blocking}/why").status == 200
        assert carla.ask("GET", f"/v1/tasks/{blocking}/preview").status == 204
        assert len(chief.ask("GET", "/v1/workers").json["workers"]) >= 1
        assert carla.ask("DELETE", f"/v1/tasks/{blocking}").json["answer"] == "cancelled"
        assert carla.ask("GET", "/v1/openapi.json", authorization="").status == 200


def task() -> dict[str, Any]:
    return {"model": "trial", "task_type": "inpaint", "inputs": INPUTS}
