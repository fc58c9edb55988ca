"""Hostile and clumsy peers on a broker's sockets: it lives, forgets them, and serves the others."""

import random
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
import zmq
from attrs import evolve

from paintmq.broker.server import BrokerServer
from paintmq.config import Limits
from paintmq.identifiers import new_peer_id
from paintmq.task import TaskState
from paintmq.testing.fuzz import Mutator
from paintmq.testing.toy_broker import (
    by_pipes,
    picture_task,
    toy_client,
    toy_config,
    toy_plugins,
    toy_worker,
)
from paintmq.testing.wire_peer import WirePeer, describe
from paintmq.transport.sockets import dealer, new_context
from paintmq.wire.codec import encode
from paintmq.wire.frames import HEADER_BYTES, KIND_OF, Header, unpack_header
from paintmq.wire.messages import (
    Assign,
    AttemptSucceeded,
    ClientHello,
    Finished,
    Refused,
    Submit,
    Welcome,
    WhoAreYou,
)

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
READY = b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"
INPUTS = 2_000


@pytest.fixture(params=["router", "pushpull"])
def broker(request: pytest.FixtureRequest) -> Iterator[BrokerServer]:
    config = toy_config() if request.param == "router" else by_pipes(toy_config())
    with BrokerServer(config, toy_plugins()) as broker:
        yield broker
        broker.stop(grace=0)


def endpoints(broker: BrokerServer) -> list[str]:
    return [broker.client_endpoint, *broker.queue_endpoints.values()]


def serves(broker: BrokerServer) -> None:
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


def read(connection: socket.socket, size: int) -> bytes:
    """Return exactly so many bytes, as TCP may bring them in parts."""
    received = b""
    while len(received) < size:
        more = connection.recv(size - len(received))
        assert more, "the broker hung up"
        received += more
    return received


def raw(endpoint: str, *parts: bytes, wait: bool = True) -> None:
    """Say these bytes over plain TCP, until the broker hangs up or has had enough time."""
    host, port = urlsplit(endpoint).hostname, urlsplit(endpoint).port
    with socket.create_connection((host, port), timeout=0.3) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                if part is GREETING:
                    read(connection, len(GREETING))
                elif part is READY:
                    read(connection, len(READY))
            while wait and connection.recv(65_536):
                pass
        except (TimeoutError, ConnectionError):
            pass


def test_the_raw_handshake_of_these_tests_is_a_good_one(broker: BrokerServer) -> None:
    hello = encode(ClientHello(name="by hand"))
    where = urlsplit(broker.client_endpoint)
    with socket.create_connection((where.hostname, where.port), timeout=20.0) as connection:
        connection.sendall(GREETING)
        read(connection, len(GREETING))
        connection.sendall(READY)
        read(connection, len(READY))
        connection.sendall(bytes([0, len(hello)]) + hello)
        answer = read(connection, 2 + HEADER_BYTES)

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


def test_another_version_is_told_why_it_is_refused(broker: BrokerServer) -> None:
    head = bytearray(Header(KIND_OF[WhoAreYou]).pack())
    head[2] = 99

    with WirePeer(broker.client_endpoint) as newer:
        newer.say_raw(bytes(head))
        refused = newer.hear(Refused)

    assert "version 99; 1 to 1 are spoken here" in refused.reason
    serves(broker)


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

    assert "3 peers are too many" in refused.reason
