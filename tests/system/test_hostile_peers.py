"""Hostile and clumsy peers on a broker's sockets: it lives, forgets them, and serves the others."""

import random
from collections.abc import Iterator

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
import zmq
from attrs import evolve
from tests.harness.broker_process import BrokerProcess
from tests.harness.mutator import Mutator
from tests.harness.raw_peer import GREETING, READY, RawPeer, frame
from tests.harness.toy_broker import (
    Reachable,
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
from paintmq.config import Limits
from paintmq.identifiers import new_peer_id
from paintmq.task import TaskState
from paintmq.testing.example_tasks import describe, make_hello
from paintmq.transport.sockets import dealer, new_context
from paintmq.wire.frames import HEADER_BYTES, KIND_OF, Header, unpack_header
from paintmq.wire.messages import (
    Accepted,
    Answer,
    Ask,
    Assign,
    AttemptSucceeded,
    ClientHello,
    Finished,
    Refused,
    Submit,
    Welcome,
    WhoAreYou,
    WorkerGoodbye,
    WorkerHello,
    WorkerWelcome,
)

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
INPUTS = 2_000


@pytest.fixture(params=["router", "pushpull"])
def broker(request: pytest.FixtureRequest) -> Iterator[BrokerServer]:
    config = toy_config() if request.param == "router" else by_pipes(toy_config())
    with BrokerServer(config, toy_plugins()) as broker:
        yield broker
        broker.stop(grace=0)


def endpoints(broker: Reachable) -> list[str]:
    return [broker.client_endpoint, *broker.queue_endpoints.values()]


def serves(broker: Reachable) -> None:
    """Check that a task of two honest peers goes its whole way."""
    with toy_client(broker) as client, toy_worker(broker) as worker:
        request = picture_task(b"picture")
        client.say(Submit(request), [b"picture"])
        assign, inputs = worker.hear_with_payloads(Assign)
        worker.say(
            AttemptSucceeded(
                task_id=request.id,
                fence=assign.assignments[0].fence,
                outputs=(describe("image", b"result"),),
                ran=0.1,
            ),
            [b"result"],
        )
        finished, outputs = client.hear_with_payloads(Finished)

        assert inputs == [b"picture"]
        assert (finished.state, outputs) == (TaskState.SUCCEEDED, [b"result"])


def memory() -> int:
    return int(psutil.Process().memory_info().rss)


def raw(endpoint: str, *parts: bytes) -> None:
    """Say these bytes over plain TCP, until the broker hangs up or has had enough time."""
    with RawPeer(endpoint, timeout=0.3) as peer:
        try:
            for part in parts:
                peer.say(part)
                if part in (GREETING, READY):
                    peer.read(len(part))
            while peer.socket.recv(65_536):
                pass
        except (TimeoutError, ConnectionError):
            pass


def test_the_raw_handshake_of_these_tests_is_a_good_one(broker: BrokerServer) -> None:
    with RawPeer(broker.client_endpoint) as peer:
        peer.shake_hands()
        peer.say_message(ClientHello(name="by hand"))
        answer = peer.read(2 + HEADER_BYTES)

    assert unpack_header(answer, 2).kind == KIND_OF[Welcome]


def test_a_flood_of_damaged_messages_disturbs_nobody(broker: BrokerServer) -> None:
    """I14, I19."""
    mutator = Mutator(random.Random(1))
    before = memory()

    with new_context() as context:
        for endpoint in endpoints(broker):
            for _ in range(4):
                with dealer(context, new_peer_id(), linger=1.0) as attacker:
                    attacker.setsockopt(zmq.SNDTIMEO, 20_000)
                    attacker.connect(endpoint)
                    for _ in range(INPUTS // 4):
                        attacker.send_multipart(mutator.frames())
            serves(broker)

    assert broker.is_running
    assert memory() - before < 100 * MIB


@pytest.mark.parametrize(
    "parts",
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",),
        (random.Random(1).randbytes(10_000),),
        (GREETING[:20],),
        (GREETING, random.Random(2).randbytes(10_000)),
        (GREETING, READY, random.Random(3).randbytes(10_000)),
        (GREETING, READY, b"\x02" + (16 * 1024**3).to_bytes(8)),
        (GREETING, READY, b"\x02" + (2**63).to_bytes(8) + bytes(1000)),
        (GREETING, READY, b"\x03" + (3 * MIB).to_bytes(8) + bytes(3 * MIB)),
        (GREETING, READY, *[b"\x01\x01x"] * 10_000),
        (GREETING, READY, b"\x00\x00"),
        (GREETING, READY, b"\x01\x00\x00\x00"),
    ],
    ids=[
        "http",
        "noise",
        "half a greeting",
        "noise after the greeting",
        "noise after the handshake",
        "a frame of 16 GiB announced",
        "a frame of 2^63 bytes announced",
        "a frame of 3 MiB",
        "a message that never ends",
        "an empty message",
        "two empty frames",
    ],
)
def test_raw_bytes_disturb_nobody(broker: BrokerServer, parts: tuple[bytes, ...]) -> None:
    """I14, I19."""
    before = memory()

    for endpoint in endpoints(broker):
        raw(endpoint, *parts)

    serves(broker)
    assert memory() - before < 50 * MIB


@pytest.mark.parametrize("part", ["begin", "chunks"])
def test_transfers_that_never_end_cost_what_was_sent_and_no_more(
    broker: BrokerServer, part: str
) -> None:
    """A hundred peers announce 200 MiB each and stop."""
    before = memory()
    peers: list[WirePeer] = []
    with new_context() as context:
        try:
            for _ in range(100):
                peer = WirePeer(broker.client_endpoint, context=context)
                peers.append(peer)
                request = picture_task(b"")
                image = evolve(request.inputs[0], size=200 * MIB)
                peer.link.send(Submit(evolve(request, inputs=(image,))), [bytes(200 * MIB)])
                burst = peer.link.outgoing()[0]
                peer.say_raw(*map(bytes, burst if part == "chunks" else [burst[0], b"x"]))
            serves(broker)
        finally:
            for peer in peers:
                peer.close()

    assert memory() - before < 600 * MIB


def test_a_lie_about_sizes_is_answered_and_forgotten(broker: BrokerServer) -> None:
    with WirePeer(broker.client_endpoint) as liar:
        liar.say_raw(Header(KIND_OF[WhoAreYou], body_bytes=2**32 - 1).pack())
        liar.hear(WhoAreYou)

    serves(broker)


@pytest.mark.parametrize("port", ["clients", "a queue"])
@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_told_why_it_is_refused(
    broker: BrokerServer, version: int, port: str
) -> None:
    """I18."""
    head = bytearray(Header(KIND_OF[WhoAreYou]).pack())
    head[2] = version
    client, *queues = endpoints(broker)

    with WirePeer(client if port == "clients" else queues[0]) as other:
        other.say_raw(bytes(head))
        refused = other.hear(Refused)

    assert f"version {version}; 1 to 1 are spoken here" in refused.reason
    serves(broker)


@pytest.mark.parametrize("hello", [ClientHello(oldest=9, newest=9), make_hello(oldest=9, newest=9)])
def test_a_peer_that_only_speaks_later_versions_is_told_so(
    broker: BrokerServer, hello: ClientHello | WorkerHello
) -> None:
    """I18: its hello is of the layout that never changes."""
    client, *queues = endpoints(broker)

    with WirePeer(client if isinstance(hello, ClientHello) else queues[0], hello) as later:
        refused = later.hear(Refused)

    oldest = 1 if isinstance(hello, ClientHello) else 2
    assert f"speaks protocol 9 to 9, this broker {oldest} to 4: update the broker" in refused.reason
    serves(broker)


def test_a_worker_of_version_1_is_told_to_be_updated(broker: BrokerServer) -> None:
    """I18: it would take every XXH3 digest for damage."""
    _, *queues = endpoints(broker)

    with WirePeer(queues[0], make_hello(newest=1)) as old:
        refused = old.hear(Refused)

    assert refused.reason == "speaks protocol 1 to 1, this broker 2 to 4: update it"
    serves(broker)


@pytest.mark.parametrize("as_worker", [False, True])
def test_whoever_sends_a_message_of_very_many_frames_is_cut_and_disturbs_nobody(
    broker: BrokerServer, as_worker: bool
) -> None:
    """I14, I19: ZeroMQ bounds the size of a frame, not their number."""
    client, *queues = endpoints(broker)
    before = memory()

    with RawPeer(queues[0] if as_worker else client) as attacker:
        attacker.shake_hands()
        attacker.say(frame(b"", more=True) * 100_000 + frame(b""))
        serves(broker)
        with pytest.raises(ConnectionError):
            attacker.read(10_000)

    serves(broker)
    assert memory() - before < 100 * MIB


def test_results_of_very_many_frames_disturb_nobody() -> None:
    """I14, I19: they come in by a port of their own."""
    with BrokerServer(by_pipes(toy_config()), toy_plugins()) as broker:
        with toy_worker(broker) as worker:
            port = worker.hear(WorkerWelcome).results_port
            worker.say(WorkerGoodbye())
        with RawPeer(f"tcp://127.0.0.1:{port}") as attacker:
            attacker.shake_hands(b"PUSH")
            attacker.say(frame(b"", more=True) * 20_000 + frame(b""))
            serves(broker)
        broker.stop(grace=0)


@pytest.mark.parametrize("transport", ["router", "pushpull"])
def test_a_message_that_never_ends_costs_a_bounded_amount(transport: str) -> None:
    """I14: ZeroMQ holds what has come of a message in frames; the broker hangs up."""
    with BrokerProcess(transport=transport) as process:
        before = process.memory()
        for endpoint in endpoints(process):
            with RawPeer(endpoint, timeout=50.0) as peer:
                peer.shake_hands()
                with pytest.raises(ConnectionError):
                    send_without_end(peer)
        grown = process.memory() - before
        serves(process)

    assert grown < 1_500 * MIB  # what one connection brings in the moments until it is seen


def send_without_end(peer: RawPeer) -> None:
    while True:
        peer.say(frame(bytes(MIB), more=True))


def test_answers_that_nobody_reads_do_not_pile_up() -> None:
    """I14: a peer asks for a long list again and again, and reads none of it."""
    with BrokerProcess() as process:
        with toy_client(process) as client:
            for _ in range(1_000):
                client.say(Submit(toy_task()))
            for _ in range(1_000):
                client.hear(Accepted)
        before = process.memory()

        with RawPeer(process.client_endpoint) as deaf:
            deaf.shake_hands()
            deaf.say_message(ClientHello(name="deaf"))
            for number in range(3_000):
                deaf.say_message(Ask(request_id=number, subject="tasks"))
            with toy_client(process) as honest:
                for number in range(150):  # each takes a turn, in which the deaf one has its share
                    honest.say(Ask(request_id=number, subject="version"))
                    honest.hear(Answer)
            grown = process.memory() - before
        assert process.is_running

    assert grown < 200 * MIB


def test_more_peers_than_allowed_are_refused_in_words() -> None:
    config = toy_config()
    config = evolve(config, limits=Limits(max_peers=3))
    with BrokerServer(config, toy_plugins()) as broker:
        peers = [toy_client(broker) for _ in range(3)]
        for peer in peers:
            peer.hear(Welcome)
        peers.append(toy_client(broker))
        try:
            refused = peers[3].hear(Refused)
        finally:
            for peer in peers:
                peer.close()
        broker.stop(grace=0)

    assert "this broker serves 3 peers of this kind already" in refused.reason
