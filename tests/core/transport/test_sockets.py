"""Sockets with every option set."""

import socket as socketlib
from collections.abc import Callable, Iterator

import pytest
import zmq

from paintmq.errors import ConfigError, PortInUseError
from paintmq.identifiers import new_peer_id
from paintmq.transport.sockets import Context, Socket, bind, dealer, new_context, pull, push, router


def _has_loopback_of_version_6() -> bool:
    with socketlib.socket(socketlib.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
        return True


@pytest.fixture
def context() -> Iterator[Context]:
    with new_context() as context:
        yield context


@pytest.fixture
def pair(context: Context) -> Iterator[tuple[Socket, Socket]]:
    with router(context) as listening, dealer(context, new_peer_id()) as connecting:
        connecting.connect(bind(listening, "127.0.0.1", 0, purpose="clients"))
        yield listening, connecting


def test_router_and_dealer_talk(pair: tuple[Socket, Socket]) -> None:
    listening, connecting = pair
    connecting.send(b"question")
    peer, question = listening.recv_multipart()
    listening.send_multipart([peer, b"answer"])

    assert question == b"question"
    assert connecting.recv() == b"answer"


def test_sending_to_a_peer_that_is_gone_is_an_error(pair: tuple[Socket, Socket]) -> None:
    with pytest.raises(zmq.ZMQError, match=r"Host unreachable|No route to host"):
        pair[0].send_multipart([b"nobody", b"hello"])


def test_no_socket_waits_for_ever_at_exit_or_takes_frames_without_limit(
    pair: tuple[Socket, Socket],
) -> None:
    for socket in pair:
        assert socket.getsockopt(zmq.LINGER) == 0
        assert socket.getsockopt(zmq.MAXMSGSIZE) == 2 * 1024 * 1024


@pytest.mark.parametrize(
    "make",
    [
        router,
        lambda context: dealer(context, new_peer_id()),
        lambda context: push(context, connects=True),
        lambda context: push(context, connects=False),
        lambda context: pull(context, connects=True),
        lambda context: pull(context, connects=False),
    ],
    ids=["router", "dealer", "push out", "push in", "pull out", "pull in"],
)
def test_a_machine_that_is_gone_is_noticed_by_the_kernel_and_not_by_zmtp(
    context: Context, make: Callable[[Context], Socket]
) -> None:
    """With heartbeats of ZMTP, libzmq 4.3.5 aborts: see `tests/system/test_killed_clients.py`."""
    with make(context) as socket:
        assert socket.getsockopt(zmq.HEARTBEAT_IVL) == 0
        assert socket.getsockopt(zmq.TCP_KEEPALIVE) == 1
        assert socket.getsockopt(zmq.TCP_KEEPALIVE_IDLE) == 10
        assert socket.getsockopt(zmq.TCP_KEEPALIVE_INTVL) == 5
        assert socket.getsockopt(zmq.TCP_KEEPALIVE_CNT) == 4
        assert socket.getsockopt(zmq.TCP_MAXRT) == 30_000


def test_a_dealer_may_be_allowed_to_send_on_while_it_closes(context: Context) -> None:
    with dealer(context, new_peer_id(), linger=1.5) as socket:
        assert socket.getsockopt(zmq.LINGER) == 1_500


def test_nothing_is_queued_for_a_broker_that_is_not_there(context: Context) -> None:
    with dealer(context, new_peer_id()) as socket:
        socket.connect("tcp://127.0.0.1:1")

        with pytest.raises(zmq.Again):
            socket.send(b"hello", zmq.DONTWAIT)


def test_a_taken_port_is_refused_with_its_number_and_queue(
    context: Context, pair: tuple[Socket, Socket]
) -> None:
    endpoint = pair[0].getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    port = int(endpoint.rstrip(b"\0").rsplit(b":", 1)[1])

    with (
        router(context) as second,
        pytest.raises(PortInUseError, match=f"port {port} for queue 'gpu-high' is taken"),
    ):
        bind(second, "127.0.0.1", port, purpose="queue 'gpu-high'")


def test_an_address_of_another_machine_is_refused(context: Context) -> None:
    with (
        router(context) as socket,
        pytest.raises(ConfigError, match=r"cannot bind 192\.0\.2\.1:0 for clients"),
    ):
        bind(socket, "192.0.2.1", 0, purpose="clients")


def test_a_name_that_is_no_address_is_refused(context: Context) -> None:
    with router(context) as socket, pytest.raises(ConfigError, match="cannot bind no address"):
        bind(socket, "no address", 0, purpose="clients")


@pytest.mark.skipif(not _has_loopback_of_version_6(), reason="this machine has no IPv6")
def test_loopback_of_version_6_is_an_address(context: Context) -> None:
    with router(context) as listening, dealer(context, new_peer_id()) as connecting:
        connecting.setsockopt(zmq.IPV6, 1)

        endpoint = bind(listening, "::1", 0, purpose="clients")
        connecting.connect(endpoint)
        connecting.send(b"hello")

        assert endpoint.startswith("tcp://[::1]:")
        assert listening.recv_multipart()[1] == b"hello"
