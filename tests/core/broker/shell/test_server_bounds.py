"""Limits of the broker over real sockets: what is too much is refused in words, and not held."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from tests.harness.toy_broker import (
    by_pipes,
    picture_task,
    toy_client,
    toy_config,
    toy_plugins,
    toy_task,
    toy_worker,
)
from tests.harness.wire_peer import WirePeer

from paintmq.broker.shell.server import BrokerServer
from paintmq.broker.stores.writer import Writer
from paintmq.config import Config, Limits, Timers
from paintmq.task import TaskState
from paintmq.testing.example_tasks import describe
from paintmq.wire.messages import (
    Accepted,
    Assign,
    AttemptRecorded,
    AttemptSucceeded,
    BrokerHeartbeat,
    Finished,
    Heartbeat,
    Rejected,
    Submit,
    WhoAreYou,
)

MIB = 1024 * 1024


def limited(config: Config, **limits: Any) -> Config:
    return evolve(config, limits=Limits(**limits))


@pytest.fixture(params=["router", "pushpull"])
def config(request: pytest.FixtureRequest) -> Config:
    return toy_config() if request.param == "router" else by_pipes(toy_config())


@pytest.fixture
def small(config: Config) -> Iterator[BrokerServer]:
    """A broker that takes 2 MiB a task."""
    config = limited(config, max_task_bytes=2 * MIB, max_payload_bytes=2 * MIB)
    with BrokerServer(config, toy_plugins()) as server:
        yield server
        server.stop(grace=0)


def begin(peer: WirePeer, data: bytes) -> Submit:
    """Send the first burst of a large submission, and no more."""
    submit = Submit(picture_task(data))
    peer.link.send(submit, [data])
    peer.say_raw(*map(bytes, peer.link.outgoing()[0]))
    return submit


def ask_who_i_am(server: BrokerServer) -> None:
    """Wait for an answer that needs no journal: the loop runs."""
    with WirePeer(server.client_endpoint) as stranger:
        stranger.say_raw(b"nonsense")
        stranger.hear(WhoAreYou)


def test_a_submission_that_is_too_large_is_refused_while_it_comes(small: BrokerServer) -> None:
    """I15: and its connection serves on."""
    with toy_client(small) as client:
        data = bytes(20 * MIB)
        client.say(Submit(picture_task(data)), [data])
        rejected = client.hear(Rejected)

        client.say(Submit(toy_task()))
        client.hear(Accepted)

    assert rejected.code == "invalid_input"
    assert f"{20 * MIB} bytes of payloads are too many: {2 * MIB} at most" in rejected.reason


def test_a_result_that_is_too_large_ends_its_task_in_words(small: BrokerServer) -> None:
    """Its worker is told that it was recorded, and need not repeat it for ever."""
    with toy_client(small) as client, toy_worker(small) as worker:
        request = toy_task()
        client.say(Submit(request))
        fence = worker.hear(Assign).assignments[0].fence
        result = bytes(3 * MIB)
        outputs = (describe("image", result),)
        worker.say(
            AttemptSucceeded(task_id=request.id, fence=fence, outputs=outputs, ran=0.1), [result]
        )

        assert worker.hear(AttemptRecorded).fence == fence
        finished = client.hear(Finished)

    assert finished.state is TaskState.FAILED
    assert finished.error is not None
    assert finished.error.code == "too_large"
    assert "its result: 3145728 bytes of payloads are too many" in finished.error.message


def test_submissions_are_refused_while_too_much_of_others_is_arriving() -> None:
    """I14, I15: with a time to come again; what is under way goes on."""
    config = limited(toy_config(), max_bytes_arriving=12 * MIB)
    with BrokerServer(config, toy_plugins()) as server:
        data = bytes(12 * MIB)
        with toy_client(server) as first, toy_client(server) as second:
            begin(first, data)
            begin(second, data)
            for peer in (first, second):
                peer.say(Heartbeat())
                peer.hear(BrokerHeartbeat)
            with toy_client(server) as third:
                large = Submit(picture_task(bytes(16 * MIB)))
                third.say(large, [bytes(16 * MIB)])
                rejected = third.hear(Rejected)
        server.stop(grace=0)

    assert (rejected.task_id, rejected.code) == (large.task.id, "bytes_full")
    assert rejected.retry_after == 5.0


def test_a_transfer_that_stops_in_the_middle_is_forgotten() -> None:
    """I14: even when its sender goes on to say that it lives."""
    config = evolve(toy_config(), timers=Timers(lease=0.5, heartbeat=0.1))
    with BrokerServer(config, toy_plugins()) as server, toy_client(server) as client:
        begin(client, bytes(12 * MIB))
        while True:
            client.say(Heartbeat())
            if isinstance(client.hear(BrokerHeartbeat | WhoAreYou), WhoAreYou):  # type: ignore[arg-type]
                break
        server.stop(grace=0)


def test_a_slow_disk_refuses_tasks_and_holds_up_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I2, I15, I19."""
    may_write = threading.Event()
    commit = Writer._commit

    def slow(self: Writer, batch: Any) -> None:
        assert may_write.wait(20)
        commit(self, batch)

    monkeypatch.setattr(Writer, "_commit", slow)
    config = limited(toy_config(tmp_path), max_unwritten_records=10)
    with BrokerServer(config, toy_plugins()) as server, toy_client(server) as flooding:
        opened = server._opened
        assert opened is not None
        try:
            while opened.machine.statistics(now=0.0).rejected == 0:
                flooding.say(Submit(toy_task()))
                ask_who_i_am(server)
            assert opened.journal.sequence - opened.journal.durable > 10
            assert flooding.put_aside() == []  # not even the refusal: it could betray an acceptance
        finally:
            may_write.set()
        rejected = flooding.hear(Rejected)
        answer: Accepted | Rejected = rejected
        while isinstance(answer, Rejected):
            latest = toy_task()
            flooding.say(Submit(latest))
            while answer.task_id != latest.id:
                answer = flooding.hear(Accepted | Rejected)  # type: ignore[arg-type]
        server.stop(grace=0)

    assert (rejected.code, rejected.retry_after) == ("disk_busy", 1.0)
    assert "too many records wait" in rejected.reason
