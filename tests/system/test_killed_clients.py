"""Clients that are killed in the middle of a burst: the broker they sent it to lives on."""

import subprocess
import sys

import pytest
from tests.harness.broker_process import BrokerProcess
from tests.harness.toy_broker import toy_client

from paintmq.wire.messages import Answer, Ask

pytestmark = pytest.mark.slow

STALL = 6.0
"""Seconds: a heartbeat of ZMTP is usually due after 5."""


def test_clients_killed_in_a_burst_leave_the_broker_alive() -> None:
    """Heartbeats of ZMTP must stay off: libzmq 4.3.5 aborts (`!_io_error`) when one falls due."""
    with BrokerProcess(stall=STALL) as broker:
        clients = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.harness.raw_peer", broker.client_endpoint],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        for client in clients:
            wait_for(client, "ready")

        broker.stall()
        for client in clients:
            with client:
                tell(client)
                wait_for(client, "bytes were taken")
                client.kill()

        with toy_client(broker) as honest:
            honest.say(Ask(request_id=7, subject="version"))
            assert honest.hear(Answer).request_id == 7
        assert broker.is_running


def wait_for(client: "subprocess.Popen[str]", line: str) -> None:
    assert client.stdout is not None
    assert client.stdout.readline().endswith(f"{line}\n")


def tell(client: "subprocess.Popen[str]") -> None:
    assert client.stdin is not None
    client.stdin.write("\n")
    client.stdin.flush()
