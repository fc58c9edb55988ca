"""One command that starts a broker, its workers and a gateway, and says how to sign in."""

import os
import re
import signal
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.harness.command_process import CommandProcess, private_environment, run_command

pytest.importorskip("starlette", reason="needs paintmq[http]")
pytest.importorskip("uvicorn", reason="needs paintmq[http]")

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return private_environment(tmp_path, PAINTMQ_BROKER__PORT="0", PAINTMQ_HTTP__PORT="0")


def got(address: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(address)
    assert parts.port is not None
    connection = HTTPConnection("127.0.0.1", parts.port, timeout=30)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(
            "GET", f"{parts.path}?{parts.query}", None, {"host": parts.netloc} | sent
        )
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_the_link_signs_in_once_and_the_page_is_there(environment: dict[str, str]) -> None:
    with CommandProcess(["up", "--http"], environment) as up:
        link = up.wait_for_line(r"open (http://localhost:\d+/login\?ticket=\S+)")[1]
        address = link.partition("/login")[0]
        first = got(link, sec_fetch_site="none")
        again = got(link, sec_fetch_site="none")
        cookie = first[1]["set-cookie"].partition(";")[0]
        page = got(f"{address}/studio/", cookie=cookie, sec_fetch_site="none")

        up.process.send_signal(signal.SIGTERM)
        assert up.wait() == 0

        assert (first[0], first[1]["location"]) == (303, "/")
        assert again[0] == 410
        assert (page[0], b"PaintMQ Studio" in page[2]) == (200, True)
        with pytest.raises(ConnectionError):
            got(address)


def test_a_gateway_outlives_no_broker_that_was_killed(environment: dict[str, str]) -> None:
    with CommandProcess(["up", "--http"], environment) as up:
        link = up.wait_for_line(r"open (http://localhost:\d+/login\?ticket=\S+)")[1]
        os.kill(up.process.pid, signal.SIGKILL)
        while True:
            try:
                got(link.partition("?")[0])
            except ConnectionError:
                break


def test_a_gateway_that_cannot_start_is_no_service(environment: dict[str, str]) -> None:
    told = run_command("up", "--http", environment=environment | {"PAINTMQ_HTTP__APIS": '["nope"]'})

    assert told.returncode == 1
    assert re.search("http.apis: 'nope' is not installed", told.stderr)
    assert "the gateway has ended by itself (exit status 2)" in told.stderr
