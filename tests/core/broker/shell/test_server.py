"""The broker over real sockets, with a plugin of its own and no worker processes."""

import gc
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
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
from paintmq.broker.shell.stop_report import StopReport
from paintmq.broker.stores.journal import Journal
from paintmq.config import BrokerConfig, Limits, QueueConfig, Timers
from paintmq.errors import ConfigError, PaintMQError, PortInUseError, StoreError
from paintmq.task import TaskState
from paintmq.testing.example_tasks import describe, make_hello
from paintmq.transport.sockets import new_context
from paintmq.wire.messages import (
    PROTOCOL_VERSION,
    Accepted,
    Answer,
    Ask,
    Assign,
    AttemptProgressed,
    AttemptRecorded,
    AttemptStarted,
    AttemptSucceeded,
    BrokerHeartbeat,
    ClientHello,
    Finished,
    Heartbeat,
    Progressed,
    Query,
    Refused,
    Rejected,
    Submit,
    Welcome,
    WhoAreYou,
    WorkerWelcome,
)

LARGE = bytes(range(256)) * 8192  # 2 MiB: a transfer on the wire, a file in the store


@pytest.fixture(params=["memory", "process", "pushpull"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerServer]:
    config = toy_config(tmp_path / "journal" if request.param == "process" else None)
    if request.param == "pushpull":
        config = by_pipes(config)
    with BrokerServer(config, toy_plugins()) as server:
        yield server
        server.stop(grace=0)


@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "large"])
def test_payloads_pass_from_client_to_worker_and_back(server: BrokerServer, data: bytes) -> None:
    with toy_client(server) as alice, toy_worker(server) as bob:
        request = picture_task(data)
        alice.say(Submit(request), [data])
        assign, inputs = bob.hear_with_payloads(Assign)
        fence = assign.assignments[0].fence
        result = data[::-1] + b"!"
        bob.say(
            AttemptSucceeded(
                task_id=request.id, fence=fence, outputs=(describe("image", result),), ran=0.1
            ),
            [result],
        )
        finished, outputs = alice.hear_with_payloads(Finished)

        assert inputs == [data]
        assert (finished.state, outputs) == (TaskState.SUCCEEDED, [result])
        assert bob.hear(AttemptRecorded).task_id == request.id


def test_previews_pass_through_beside_progress(server: BrokerServer) -> None:
    with toy_client(server) as alice, toy_worker(server) as bob:
        request = toy_task()
        alice.say(Submit(request))
        fence = bob.hear(Assign).assignments[0].fence
        bob.say(AttemptStarted(task_id=request.id, fence=fence))
        bob.say(
            AttemptProgressed(
                task_id=request.id, fence=fence, step=1, total=2, preview=(describe("p", b"xy"),)
            ),
            [b"xy"],
        )
        while True:
            progressed, previews = alice.hear_with_payloads(Progressed)
            if progressed.step == 1:
                break

        assert previews == [b"xy"]


def test_answers_carry_how_far_the_store_has_come(server: BrokerServer) -> None:
    with toy_client(server) as alice:
        welcome = alice.hear(Welcome)
        alice.say(Submit(toy_task()))
        first = alice.hear(Accepted)
        alice.say(Submit(toy_task()))
        second = alice.hear(Accepted)

        assert welcome.durable_sequence <= first.durable_sequence < second.durable_sequence


def test_a_client_in_the_same_process_may_use_inproc() -> None:
    context = new_context()
    server = BrokerServer(toy_config(), toy_plugins(), context=context)
    server.start()
    with WirePeer(server.inproc_endpoint, ClientHello(), context=context) as alice:
        alice.say(Submit(toy_task()))

        assert alice.hear(Accepted).state is TaskState.QUEUED
    server.stop()
    context.term()  # would hang if the broker had left a socket behind


def test_worker_messages_are_refused_on_the_client_port(server: BrokerServer) -> None:
    with WirePeer(server.client_endpoint, make_hello()) as stranger:
        assert "WorkerHello is not understood" in stranger.hear(Refused).reason


def test_client_messages_are_refused_on_a_queue_port(server: BrokerServer) -> None:
    with WirePeer(server.queue_endpoints["cpu-light"], ClientHello()) as stranger:
        assert "ClientHello is not understood" in stranger.hear(Refused).reason


def test_a_worker_of_another_queue_is_told_that_the_port_is_wrong(server: BrokerServer) -> None:
    hello = make_hello(queue="cpu-intensive")
    with WirePeer(server.queue_endpoints["cpu-light"], hello) as bob:
        assert "not of cpu-intensive" in bob.hear(Refused).reason


@pytest.mark.parametrize(
    "frames",
    [(b"",), (b"nonsense",), (b"\0" * 4096,), (b"", b"", b""), (b"\xff" * 64, b"x" * 100_000)],
)
def test_nonsense_harms_only_who_sends_it(server: BrokerServer, frames: tuple[bytes, ...]) -> None:
    with toy_client(server) as alice, WirePeer(server.client_endpoint) as hostile:
        alice.hear(Welcome)
        hostile.say_raw(*frames)
        assert isinstance(hostile.hear(WhoAreYou | Refused), WhoAreYou | Refused)  # type: ignore[arg-type]
        alice.say(Submit(toy_task()))

        alice.hear(Accepted)


def test_an_honest_peer_recovers_from_a_garbled_message(server: BrokerServer) -> None:
    with toy_client(server) as alice:
        alice.hear(Welcome)
        alice.say_raw(b"garbled")
        alice.hear(WhoAreYou)
        alice.say(ClientHello())
        alice.hear(Welcome)
        alice.say(Submit(toy_task()))

        alice.hear(Accepted)


def test_a_second_connection_with_a_known_id_gets_nothing_of_the_first(
    server: BrokerServer,
) -> None:
    context = new_context()
    with toy_client(server) as alice:
        alice.hear(Welcome)
        thief = context.socket(zmq.DEALER)
        thief.setsockopt(zmq.IDENTITY, alice.id)
        thief.setsockopt(zmq.LINGER, 0)
        thief.connect(server.queue_endpoints["cpu-light"])
        thief.send(b"anything")
        assert thief.poll(20_000)  # a refusal: the id belongs to another connection
        alice.say(Submit(toy_task()))

        alice.hear(Accepted)
        thief.close()
    context.term()


def test_more_peers_than_allowed_are_refused_in_words() -> None:
    settings = evolve(toy_config(), limits=Limits(max_peers=1))
    server = BrokerServer(settings, toy_plugins())
    with server, toy_client(server) as alice:
        alice.hear(Welcome)
        with toy_client(server) as bob:
            assert "limits.max_peers" in bob.hear(Refused).reason
        alice.say(Submit(toy_task()))
        alice.hear(Accepted)


def test_a_peer_that_left_makes_room_for_another() -> None:
    settings = evolve(toy_config(), limits=Limits(max_peers=1), timers=Timers(heartbeat=0.05))
    server = BrokerServer(settings, toy_plugins())
    with server:
        with toy_client(server) as alice:
            alice.hear(Welcome)
        # The broker notices when it next says something to the peer, a heartbeat later.
        for _ in range(1000):
            with toy_client(server) as bob:
                answer = bob.hear(Welcome | Refused)  # type: ignore[arg-type]
            if isinstance(answer, Welcome):
                break

        assert isinstance(answer, Welcome)


def test_heartbeats_are_answered(server: BrokerServer) -> None:
    with toy_client(server) as alice, toy_worker(server) as bob:
        alice.hear(Welcome)
        bob.hear(WorkerWelcome)
        alice.say(Heartbeat())
        bob.say(Heartbeat())

        alice.hear(BrokerHeartbeat)
        bob.hear(BrokerHeartbeat)


def test_the_server_says_where_it_listens_and_what_it_is(server: BrokerServer) -> None:
    with toy_client(server) as alice:
        answers = []
        for number, subject in enumerate(("endpoints", "version", "models", "no such thing")):
            alice.say(Ask(request_id=number, subject=subject))
            answers.append(alice.hear(Answer))

        endpoints, version, models, unknown = answers
        assert isinstance(endpoints.value, dict)
        assert endpoints.value["client"] == server.client_endpoint
        assert endpoints.value["queues"] == dict(server.queue_endpoints)
        assert isinstance(version.value, dict)
        assert version.value["protocol"] == PROTOCOL_VERSION
        assert isinstance(models.value, list)
        assert [model["name"] for model in models.value] == ["picture", "toy"]  # type: ignore[index,call-overload]
        assert unknown.error


def test_a_busy_port_is_named_and_what_was_bound_is_free_again() -> None:
    context = new_context()
    taken, free = socket.socket(), socket.socket()
    for port_holder in (taken, free):
        port_holder.bind(("127.0.0.1", 0))
    taken.listen()
    port, free_port = taken.getsockname()[1], free.getsockname()[1]
    free.close()
    queues = {"first": QueueConfig(port=free_port), "second": QueueConfig(port=port)}
    # The context is ours, so closing it is no way to free the ports.
    server = BrokerServer(evolve(toy_config(), queues=queues), toy_plugins(), context=context)

    with pytest.raises(PortInUseError, match=rf"{port}.*second"):
        server.start()
    assert not server.is_running
    taken.close()
    with server:  # the port of the first queue must be free again, or this fails
        assert server.queue_endpoints["second"].endswith(str(port))
    context.term()


def test_another_address_than_loopback_needs_an_explicit_word() -> None:
    with pytest.raises(ConfigError, match="insecure"):
        BrokerServer(toy_config(host="0.0.0.0"), toy_plugins()).start()
    with BrokerServer(toy_config(host="0.0.0.0", insecure=True), toy_plugins()) as server:
        assert server.is_running


def test_nothing_is_left_behind_and_starting_again_works() -> None:
    server = BrokerServer(toy_config(), toy_plugins())
    before = set(threading.enumerate())
    for _ in range(3):
        server.start()
        with toy_client(server) as alice:
            alice.hear(Welcome)
        assert server.stop() == StopReport()
        assert set(threading.enumerate()) == before
    assert server.stop() == StopReport()


def test_stop_says_what_was_still_waiting(server: BrokerServer) -> None:
    with toy_client(server) as alice, toy_worker(server) as bob:
        running = toy_task()
        alice.say(Submit(running))
        bob.hear(Assign)
        waiting = [toy_task() for _ in range(3)]
        for request in waiting:
            alice.say(Submit(request))
        for _ in range(4):
            alice.hear(Accepted)
        report = server.stop(grace=0)

        assert report.running == 1
        assert sum(report.waiting.values()) == 3
        assert set(report.tasks) == {running.id, *(request.id for request in waiting)}
        assert "3 waiting in" in str(report)


def test_stop_lets_running_attempts_finish_and_takes_no_more(server: BrokerServer) -> None:
    with toy_client(server) as alice, toy_worker(server) as bob:
        request = toy_task()
        alice.say(Submit(request))
        fence = bob.hear(Assign).assignments[0].fence
        bob.say(AttemptStarted(task_id=request.id, fence=fence))
        reports: list[StopReport] = []
        stopping = threading.Thread(target=lambda: reports.append(server.stop(grace=20)))
        stopping.start()
        while True:
            alice.say(Submit(toy_task()))
            if isinstance(alice.hear(Accepted | Rejected), Rejected):  # type: ignore[arg-type]
                break
        bob.say(AttemptSucceeded(task_id=request.id, fence=fence, outputs=(), ran=0.1))

        assert alice.hear(Finished).state is TaskState.SUCCEEDED
        stopping.join()
        assert reports[0].running == 0


def test_a_client_may_ask_the_broker_to_shut_down() -> None:
    server = BrokerServer(toy_config(), toy_plugins())
    reports: list[StopReport] = []
    listening = threading.Event()
    foreground = threading.Thread(target=lambda: reports.append(server.run(listening.set)))
    foreground.start()
    assert listening.wait(20)
    with toy_client(server) as alice:
        alice.say(Ask(request_id=1, subject="shutdown", arguments={"grace": 0}))
        assert alice.hear(Answer).value == {"stopping": True}
    foreground.join()

    assert reports == [StopReport()]


def test_a_crash_of_the_thread_is_never_silent(
    server: BrokerServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*args: object, **kwargs: object) -> None:
        raise StoreError("planted")

    with toy_client(server) as alice:
        alice.hear(Welcome)
        monkeypatch.setattr(Journal, "collect", explode)
        with caplog.at_level(logging.CRITICAL):
            alice.say(Submit(toy_task()))
            thread = server._thread
            assert thread is not None
            thread.join(20)

    assert isinstance(server.failure, StoreError)
    assert "planted" in caplog.text
    assert not server.is_running
    with pytest.raises(PaintMQError, match="planted"):
        server.stop()


def test_a_second_broker_on_the_same_journal_is_refused(tmp_path: Path) -> None:
    with (
        BrokerServer(toy_config(tmp_path / "journal"), toy_plugins()),
        pytest.raises(StoreError, match="in use by another broker"),
    ):
        BrokerServer(toy_config(tmp_path / "journal"), toy_plugins()).start()


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
def test_a_restarted_broker_goes_on_where_it_stopped(tmp_path: Path, data: bytes) -> None:
    server = BrokerServer(toy_config(tmp_path / "journal"), toy_plugins())
    done, waiting = picture_task(data), picture_task(data + b"2")
    with server, toy_client(server) as alice, toy_worker(server) as bob:
        alice.say(Submit(done), [data])
        fence = bob.hear(Assign).assignments[0].fence
        bob.say(
            AttemptSucceeded(
                task_id=done.id, fence=fence, outputs=(describe("image", data * 2),), ran=0.1
            ),
            [data * 2],
        )
        before = alice.hear(Finished)
    with server, toy_client(server) as alice:
        alice.say(Submit(waiting), [data + b"2"])
        accepted = alice.hear(Accepted)
        assert server.stop(grace=0).kept
    with server, toy_client(server) as alice, toy_worker(server) as bob:
        welcome = alice.hear(Welcome)
        alice.say(Query((done.id, waiting.id)))
        assign, inputs = bob.hear_with_payloads(Assign)
        after, outputs = alice.hear_with_payloads(Finished)

        assert welcome.durable_sequence > accepted.durable_sequence
        assert assign.assignments[0].task.id == waiting.id
        assert inputs == [data + b"2"]
        assert (after, outputs) == (before, [data * 2])
        server.stop(grace=0)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_broker_whose_journal_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    server = BrokerServer(toy_config(tmp_path / "file" / "journal"), toy_plugins())
    config = evolve(toy_config(), broker=BrokerConfig(port=0, journal="no-such-store:"))
    unknown = BrokerServer(
        evolve(config, broker=evolve(config.broker, durability="full")), toy_plugins()
    )
    for each in (server, unknown):
        with pytest.raises(PaintMQError):
            each.start()  # whatever Python opens once
        gc.collect()
        before = open_descriptors()
        for _ in range(5):
            with pytest.raises(PaintMQError):
                each.start()
        gc.collect()

        assert open_descriptors() <= before
