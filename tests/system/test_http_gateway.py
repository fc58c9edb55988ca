"""Tasks over HTTP: `paintmq http` beside a broker, as processes of their own."""

import base64
import io
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import frozen
from PIL import Image
from tests.harness.command_process import CommandProcess, private_environment, run_command
from tests.harness.trial_models import write_trial_distribution
from tests.harness.written_distribution import python_path, write_distribution

from paintmq.image import encode_image
from paintmq.testing.example_inputs import make_mask, make_picture

pytest.importorskip("starlette", reason="needs paintmq[http]")
pytest.importorskip("uvicorn", reason="needs paintmq[http]")

pytestmark = pytest.mark.slow

PICTURE = make_picture((40, 60), seed=1)
MASK = make_mask((40, 60), seed=1)

ROUTES = """
def paintmq_register_routes(register):
    from starlette.responses import JSONResponse

    async def hello(request):
        return JSONResponse({"hello": request.query_params.get("name", "")})

    async def broken(request):
        raise RuntimeError("a secret of the inside")

    register("/hello", hello)
    register("/broken", broken)
"""


@frozen
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@frozen
class Site:
    port: int
    token: str

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        sent = {"authorization": f"Bearer {self.token}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        connection = HTTPConnection("127.0.0.1", self.port, timeout=50)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Answer(
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                answer.read(),
            )
        finally:
            connection.close()

    def submit(self, **fields: Any) -> Answer:
        return self.ask(
            "POST", "/v1/tasks", json.dumps(fields).encode(), content_type="application/json"
        )


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("gateway")
    plugins = write_trial_distribution(folder / "plugins")
    write_distribution(
        plugins,
        "paintmq-hello",
        entry_points={"hello": "hello_of_test"},
        files={"hello_of_test.py": ROUTES},
    )
    return private_environment(
        folder,
        plugins=plugins,
        PAINTMQ_BROKER__PORT="0",
        PAINTMQ_HTTP__PORT="0",
        PAINTMQ_HTTP__MAX_BODY_BYTES="1000000",
        PAINTMQ_LOG="info",
    )


@pytest.fixture(scope="module")
def site(environment: dict[str, str]) -> Iterator[Site]:
    """Start a broker with workers and a gateway; stop both in order."""
    with CommandProcess(["up"], environment) as up:
        endpoint = up.wait_for_line(r"broker for clients at (\S+)")[1]
        with CommandProcess(["http", "--connect", endpoint], environment) as gateway:
            token = gateway.wait_for_line(r"token, kept in \S+: (\S+)")[1]
            port = int(gateway.wait_for_line(r"serving http://127\.0\.0\.1:(\d+)")[1])
            yield Site(port, token)
            gateway.process.send_signal(signal.SIGTERM)
            assert gateway.wait() in (0, -signal.SIGTERM)
            assert token not in "".join(gateway.said[1:])
        up.process.send_signal(signal.SIGTERM)
        assert up.wait() == 0


def file_of(pixels: Any) -> bytes:
    return encode_image(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2), "png")


def text_of(pixels: Any) -> str:
    return base64.b64encode(file_of(pixels)).decode()


def test_a_picture_is_restored_pixels_outside_the_mask_untouched(site: Site) -> None:
    accepted = site.submit(
        task_type="inpaint",
        model="opencv",
        options={"radius": 5},
        inputs={"image": text_of(PICTURE), "mask": text_of(MASK)},
    )
    assert accepted.status == 202, accepted.body
    where = accepted.headers["location"]
    assert where == f"/v1/tasks/{accepted.json['id']}"

    result = site.ask("GET", f"{where}/result?wait=50")
    after = site.ask("GET", where)

    assert (result.status, result.headers["content-type"]) == (200, "image/png")
    assert result.headers["x-content-type-options"] == "nosniff"
    with Image.open(io.BytesIO(result.body)) as image:
        restored = np.asarray(image)
    assert np.array_equal(restored[MASK == 0], PICTURE[MASK == 0])
    assert not np.array_equal(restored, PICTURE)
    assert after.json["state"] == "succeeded"


def test_what_a_model_needs_beside_an_image_that_is_the_body_is_told_at_once(site: Site) -> None:
    query = "model=trial&task_type=plugin&option.do=paint"

    refused = site.ask("POST", f"/v1/tasks?{query}", file_of(PICTURE), content_type="image/png")

    assert (refused.status, refused.json["code"]) == (422, "invalid_input")
    assert "model trial needs input 'mask'" in refused.json["message"]


def test_a_running_task_is_cancelled_and_its_result_gone(site: Site) -> None:
    inputs = {"image": text_of(PICTURE), "mask": text_of(MASK)}
    slow = site.submit(model="trial", options={"do": "heed", "seconds": 60}, inputs=inputs)
    where = slow.headers["location"]

    early = site.ask("GET", f"{where}/result")
    cancelled = site.ask("DELETE", where)
    result = site.ask("GET", f"{where}/result?wait=50")

    assert early.status == 202
    assert (cancelled.status, cancelled.json) == (200, {"answer": "cancelled"})
    assert result.status == 410


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": "opencw"}, 422, "did you mean 'opencv'"),
        ({"model": "opencv", "options": {"radius": 0}}, 422, "radius"),
        ({"model": "opencv", "priority": 77}, 400, "priority"),
        ({"modle": "opencv"}, 400, "unknown field"),
    ],
)
def test_what_cannot_work_is_refused_in_words(
    site: Site, fields: dict[str, Any], status: int, words: str
) -> None:
    answer = site.submit(**fields)

    assert (answer.status, words in answer.json["message"]) == (status, True), answer.body


def test_models_and_statistics_can_be_asked_for(site: Site) -> None:
    assert site.ask("GET", "/v1/health").json == {"ok": True}
    assert "opencv" in site.ask("GET", "/v1/models").body.decode()
    assert "cpu-light" in site.ask("GET", "/v1/statistics").json["queues"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/tasks/" + "0" * 32, 404),
        ("/v1/tasks/" + "0" * 32 + "/result?wait=5", 404),
        ("/v1/tasks/../../etc/passwd", 404),
        ("/v1/tasks/ABC", 404),
        ("/v1/nothing", 404),
        ("/v1/health/", 404),
        ("/nothing", 404),
    ],
)
def test_what_is_not_there_is_not_found_and_nobody_is_sent_elsewhere(
    site: Site, path: str, status: int
) -> None:
    assert site.ask("GET", path).status == status


def test_a_plugin_adds_a_route_behind_the_same_guard(site: Site) -> None:
    hello = site.ask("GET", "/v1/plugins/hello/hello?name=you")
    stranger = Site(site.port, "not-the-token").ask("GET", "/v1/plugins/hello/hello")
    broken = site.ask("GET", "/v1/plugins/hello/broken")

    assert hello.json == {"hello": "you"}
    assert stranger.status == 401
    assert broken.status == 500
    assert "secret" not in broken.body.decode()


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/v1/health", {"authorization": "Bearer x"}, 401),
        ("GET", "/v1/nothing", {"authorization": "Bearer x"}, 401),
        ("DELETE", "/v1/tasks/" + "0" * 32, {"authorization": ""}, 401),
        ("GET", "/v1/health", {"host": "attacker.example"}, 403),
        ("GET", "/v1/health", {"origin": "http://attacker.example"}, 403),
        ("OPTIONS", "/v1/tasks", {}, 405),
        ("PUT", "/v1/tasks", {}, 405),
        (
            "GET",
            "/v1/health",
            {
                "upgrade": "websocket",
                "connection": "upgrade",
                "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
                "sec_websocket_version": "13",
                "authorization": "Bearer x",
            },
            401,
        ),
    ],
)
def test_the_guard_stands_before_everything(
    site: Site, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    assert site.ask(method, path, None, **headers).status == status


def test_a_body_beyond_the_limit_is_refused_before_it_is_sent(site: Site) -> None:
    connection = HTTPConnection("127.0.0.1", site.port, timeout=50)
    connection.putrequest("POST", "/v1/tasks")
    connection.putheader("authorization", f"Bearer {site.token}")
    connection.putheader("content-type", "image/png")
    connection.putheader("content-length", "1000001")
    connection.endheaders()

    assert connection.getresponse().status == 413
    connection.close()


def test_the_token_is_kept_for_its_owner_alone(tmp_path: Path, environment: dict[str, str]) -> None:
    file = tmp_path / "token"
    ours = environment | {"PAINTMQ_HTTP__TOKEN_FILE": str(file)}
    file.write_text("a-token-that-is-long-enough\n", encoding="utf-8")
    file.chmod(0o644)

    readable = run_command("http", environment=ours)
    file.chmod(0o600)
    file.write_text("short\n", encoding="utf-8")
    short = run_command("http", environment=ours)

    assert (readable.returncode, short.returncode) == (2, 2)
    assert f"chmod 600 {file}" in readable.stderr
    assert "at least 20 characters" in short.stderr


def test_an_address_that_will_not_do_is_refused_in_a_line(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = run_command("http", environment=environment | {"PAINTMQ_HTTP__PORT": str(port)})
    exposed = run_command("http", environment=environment | {"PAINTMQ_HTTP__HOST": "0.0.0.0"})

    assert (taken.returncode, exposed.returncode) == (2, 2)
    assert f"http.port = {port}: Address already in use" in taken.stderr
    assert "http.behind_proxy = true" in exposed.stderr
    assert len(exposed.stderr.splitlines()) == len(taken.stderr.splitlines()) == 1


# ---- nobody keeps the others out ---------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"deadline": 1e300},
        {"run_limit": 1e300},
        {"max_attempts": 2**63},
        {"options": {f"x{number}": 1 for number in range(300)}},
        {"model": "x" * 200_000},
        {"task_type": "x" * 200_000},
        {"inputs": {"x" * 200_000: ""}},
        {"options": {"x": [[[[[[[[[[1]]]]]]]]]]}},
        {"idempotency_key": "\ud800"},
    ],
    ids=range(9),
)
def test_a_body_no_broker_could_read_is_refused_and_the_next_request_is_served(
    site: Site, fields: dict[str, Any]
) -> None:
    """F4: one such body and every later submission timed out until the gateway was restarted."""
    bad = site.submit(**({"model": "opencv"} | fields))
    good = site.submit(
        model="opencv",
        task_type="inpaint",
        inputs={"image": text_of(PICTURE), "mask": text_of(MASK)},
    )

    assert bad.status == 400, bad.body
    assert good.status == 202, good.body


def test_many_silent_connections_keep_nobody_out(site: Site) -> None:
    """F9: 140 of them did, without a token."""
    silent = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(200)]
    try:
        assert site.ask("GET", "/v1/health").status == 200
        for each in silent:
            each.settimeout(30)
            assert each.recv(1) == b"", "they are closed after some seconds"
    finally:
        for each in silent:
            each.close()


def test_polls_that_were_left_and_polls_that_wait_keep_nobody_out(site: Site) -> None:
    """F10: 70 polls whose clients had left answered 429 to everybody for a minute."""
    inputs = {"image": text_of(PICTURE), "mask": text_of(MASK)}
    slow = site.submit(model="trial", options={"do": "heed", "seconds": 60}, inputs=inputs)
    where = slow.headers["location"]
    request = (
        f"GET {where}/result?wait=60 HTTP/1.1\r\nhost: localhost:{site.port}\r\n"
        f"authorization: Bearer {site.token}\r\n\r\n"
    )
    polls = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(100)]
    try:
        for each in polls:
            each.sendall(request.encode())
        assert site.ask("GET", "/v1/health").status == 200
        for each in polls[:50]:
            each.close()
        assert site.ask("GET", "/v1/health").status == 200
        assert site.ask("DELETE", where).json == {"answer": "cancelled"}
        for each in polls[50:]:
            each.settimeout(30)
            assert each.recv(12) == b"HTTP/1.1 410"
    finally:
        for each in polls:
            each.close()


def test_an_answer_that_was_never_fetched_is_kept_for_its_user(
    site: Site, environment: dict[str, str]
) -> None:
    """F6: the gateway confirmed each result when it had it, and so it was soon forgotten."""
    inputs = {"image": text_of(PICTURE), "mask": text_of(MASK)}
    ids = [
        site.submit(model="opencv", task_type="inpaint", inputs=inputs).json["id"] for _ in range(2)
    ]
    for task_id in ids:
        while site.ask("GET", f"/v1/tasks/{task_id}").json["state"] != "succeeded":
            pass
    fetched = site.ask("GET", f"/v1/tasks/{ids[0]}/result?wait=30")
    assert fetched.status == 200
    again = site.ask("GET", f"/v1/tasks/{ids[0]}/result")

    assert again.body == fetched.body, "a while it may be fetched again"
    assert site.ask("GET", f"/v1/tasks/{ids[1]}/result").status == 200


FAILING_CLIENT = """
    from paintmq.client.session_loop import SessionLoop


    def fail(self, mailbox):
        raise RuntimeError("planted")


    SessionLoop._run_once = fail
"""


def test_a_gateway_whose_client_has_ended_by_itself_exits_with_status_1(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """It would answer every request with an error for ever, and a supervisor would not notice."""
    plugins = write_distribution(
        tmp_path / "plugins",
        "paintmq-failing",
        entry_points={"failing": "paintmq_failing"},
        files={"paintmq_failing.py": FAILING_CLIENT},
    )
    changes = {"PYTHONPATH": python_path(plugins), "PAINTMQ_HTTP__APIS": '["v1"]'}
    changes |= {"PAINTMQ_PLUGINS__ALLOW": '["failing"]'}
    arguments = ["http", "--connect", "tcp://127.0.0.1:1"]
    with CommandProcess(arguments, environment | changes) as gateway:
        port = int(gateway.wait_for_line(r"serving http://127\.0\.0\.1:(\d+)")[1])
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        with suppress(OSError, HTTPException):
            connection.request("GET", "/readyz")  # the client begins with the first question
            connection.getresponse()
        connection.close()

        assert gateway.wait() == 1
    assert "error: the gateway's client has ended by itself" in "".join(gateway.said)
