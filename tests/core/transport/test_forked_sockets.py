"""The ports of a broker are free once it is gone, whatever it has forked."""

import os
import socket
from collections.abc import Iterator

import pytest
import zmq
from tests.harness.forked_child import forked_child

from paintmq.transport import forked_sockets
from paintmq.transport.sockets import Context, bind, dealer, new_context, pull, router


@pytest.fixture
def context() -> Iterator[Context]:
    with new_context() as context:
        yield context


def test_a_port_can_be_bound_again_while_a_forked_child_of_its_last_owner_lives(
    context: Context,
) -> None:
    listening = router(context)
    endpoint = bind(listening, "127.0.0.1", 0, purpose="clients")
    port = int(endpoint.rpartition(":")[2])
    with forked_child():
        listening.close()
        with router(context) as again:
            assert bind_when_free(again, port) == endpoint


def bind_when_free(again: "zmq.Socket[bytes]", port: int) -> str:
    """Bind once libzmq's own thread has closed the socket before."""
    for _ in range(1000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                probe.close()
                again.poll(5)
                continue
        break
    return bind(again, "127.0.0.1", port, purpose="clients")


def test_a_child_leaves_connections_to_its_parents_ports_and_nothing_else(
    context: Context,
) -> None:
    listening = router(context)
    endpoint = bind(listening, "127.0.0.1", 0, purpose="clients")
    port = int(endpoint.rpartition(":")[2])
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as foreign, dealer(context, b"peer") as peer:  # type: ignore[arg-type]  # any bytes
        peer.connect(endpoint)
        peer.send(b"hello")
        assert listening.recv_multipart()[1] == b"hello"
        kept = [ours.fileno(), foreign.fileno()]

        def check() -> None:
            for descriptor in kept:
                os.fstat(descriptor)
            ports = [port_of(descriptor) for descriptor in forked_sockets._descriptors()]
            assert port not in ports

        with forked_child(check):
            pass
    listening.close()
    ours.close()
    theirs.close()


def port_of(descriptor: int) -> int:
    try:
        return forked_sockets._local_port(descriptor)
    except OSError:
        return 0


def test_a_port_of_a_socket_that_is_closed_is_no_longer_ours_to_close(context: Context) -> None:
    """The program may have bound it since."""
    closed = pull(context, connects=False)
    endpoint = bind(closed, "127.0.0.1", 0, purpose="results")
    port = int(endpoint.rpartition(":")[2])
    closed.close()
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    while True:
        try:
            server.bind(("127.0.0.1", port))
            break
        except OSError:
            continue  # libzmq's own thread has not closed it yet
    server.listen()

    with forked_child(lambda: None if server.getsockname()[1] == port else os.abort()):
        pass
    server.close()
