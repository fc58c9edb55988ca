"""Liveness and readiness: for any Host, without a token, and without words for strangers."""

import asyncio
import json
from typing import Any

from attrs import define
from tests.harness.gateway_callers import callers_of, origins_of

from paintmq.gateway.guard import Guard, GuardLimits
from paintmq.gateway.probes import Probes


@define
class Broker:
    trouble: str = ""
    answers: bool = True
    asked: int = 0

    async def ask(self, subject: str, **_: object) -> object:
        self.asked += 1
        if not self.answers:
            raise TimeoutError("tcp://10.0.0.7:5550 does not answer")
        return "1.0"


def probe(probes: Probes, path: str, method: str = "GET") -> tuple[int, Any]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("it passed the guard")

    limits = GuardLimits(body=1, bodies=1, requests=1)
    table = {"/healthz": probes.alive, "/readyz": probes.ready}
    guard = Guard(app, callers_of("t" * 20), origins_of("here"), limits, probes=table)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"host", b"10.9.8.7")]}
    asyncio.run(guard(scope, app, send))  # type: ignore[arg-type]  # nothing is received
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_a_gateway_lives_without_a_broker_and_is_ready_with_one() -> None:
    for broker in (Broker(answers=False), Broker(trouble="no broker has answered at tcp://x")):
        probes = Probes(broker)  # type: ignore[arg-type]  # scripted

        assert probe(probes, "/healthz") == (200, {"ok": True})
        assert probe(probes, "/readyz") == (503, {"ok": False, "code": "no_broker"})
    assert probe(Probes(Broker()), "/readyz") == (200, {"ok": True})  # type: ignore[arg-type]


def test_probes_of_strangers_are_no_load_for_the_broker() -> None:
    broker, now = Broker(), [0.0]
    probes = Probes(broker, clock=lambda: now[0])  # type: ignore[arg-type]  # scripted
    for _ in range(100):
        probe(probes, "/readyz")
    assert broker.asked == 1

    now[0] += 1.0
    probe(probes, "/readyz")
    assert broker.asked == 2


def test_other_methods_and_paths_are_no_probes() -> None:
    probes = Probes(Broker())  # type: ignore[arg-type]  # scripted

    assert probe(probes, "/healthz", "POST")[0] == 403
    assert probe(probes, "/healthz/x")[0] == 403
