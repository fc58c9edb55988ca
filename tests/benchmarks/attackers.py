"""What attackers do to a broker, each as fast as one process can, without end."""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

import zmq
from attrs import evolve

from paintmq.identifiers import new_peer_id, new_task_id
from paintmq.task import Buffer
from paintmq.transport.curve import secure_with
from paintmq.transport.key_files import (
    KeyPair,
    PeerKey,
)
from paintmq.transport.sockets import Socket, dealer, new_context
from paintmq.wire.codec import encode
from paintmq.wire.messages import Answer, Ask, ClientHello, Query, Submit
from tests.harness.raw_peer import GREETING, RawPeer, frame
from tests.harness.toy_broker import picture_task, toy_task
from tests.harness.wire_peer import WirePeer

MIB = 1024 * 1024
Attack = Callable[[str, str], None]
"""Goes on for ever; takes the endpoint for clients and the broker's public key, if it has one."""


def tiny(endpoint: str, _: str) -> None:
    """Messages of one byte, by four connections, as fast as they go."""
    with new_context() as context:
        sockets = [dealer(context, new_peer_id()) for _ in range(4)]
        for each in sockets:
            each.connect(endpoint)
        while True:
            for each in sockets:
                _send(each, [b"x"])


def oversized(endpoint: str, _: str) -> None:
    """Frames of 3 MiB, by a new connection each."""
    while True:
        _by_hand(endpoint, [frame(bytes(3 * MIB))])


def many_frames(endpoint: str, _: str) -> None:
    """Messages of 20,000 empty frames."""
    message = frame(b"", more=True) * 19_999 + frame(b"")
    while True:
        _by_hand(endpoint, [message])


def thousand_frames(endpoint: str, _: str) -> None:
    """Messages of as many frames as allowed that make no sense, 100 by each connection."""
    message = frame(b"", more=True) * 1_024 + frame(b"")
    while True:
        _by_hand(endpoint, [message * 100])


def storm(endpoint: str, _: str) -> None:
    """100 connections that say hello, and then send empty frames that never end, all at once."""
    frames = frame(b"", more=True) * 100_000
    while True:
        with ExitStack() as stack:
            peers = [stack.enter_context(RawPeer(endpoint, timeout=20.0)) for _ in range(100)]
            with suppress(ConnectionError, TimeoutError):
                for peer in peers:
                    peer.shake_hands()
                    peer.say(frame(encode(ClientHello())))
            for peer in peers:
                peer.socket.setblocking(False)
            while peers:
                peers = [peer for peer in peers if _takes(peer, frames)]


def sleepers(endpoint: str, _: str) -> None:
    """100 connections that say hello, and then 16 messages of 20,000 empty frames each, at once."""
    message = frame(b"", more=True) * 19_999 + frame(b"")
    while True:
        with ExitStack() as stack:
            peers = [stack.enter_context(RawPeer(endpoint, timeout=20.0)) for _ in range(100)]
            with suppress(ConnectionError, TimeoutError):
                for peer in peers:
                    peer.shake_hands()
                    peer.say(frame(encode(ClientHello())))
            for peer in 16 * peers:
                peer.socket.settimeout(0.001)
                with suppress(ConnectionError, TimeoutError):
                    peer.say(message)


def _takes(peer: RawPeer, data: bytes) -> bool:
    """Send what is taken at once; return whether the connection is still there."""
    try:
        peer.socket.send(data)
    except BlockingIOError:
        pass
    except ConnectionError:
        return False
    return True


def endless(endpoint: str, _: str) -> None:
    """Messages that never end, in frames of 1 MiB: 64 MiB, then from the beginning."""
    while True:
        _by_hand(endpoint, [frame(bytes(MIB), more=True)] * 64)


def deaf(endpoint: str, _: str) -> None:
    """Questions with long answers, of which none is read."""
    ask = frame(encode(ClientHello())) + frame(encode(Ask(request_id=1, subject="tasks"))) * 100
    while True:
        _by_hand(endpoint, [ask] * 1_000)


def slowloris(endpoint: str, _: str) -> None:
    """800 connections that begin to shake hands and stop."""
    peers = [RawPeer(endpoint) for _ in range(800)]
    for peer in peers:
        peer.say(GREETING[:20])
    time.sleep(3600)


def half_open(endpoint: str, _: str) -> None:
    """50 submissions of 100 MiB of which the first 8 MiB come, again and again."""
    data = bytes(100 * MIB)
    with new_context() as context:
        while True:
            peers = [WirePeer(endpoint, ClientHello(), context=context) for _ in range(50)]
            for peer in peers:
                peer.link.send(Submit(picture_task(data)), [data])
                for burst in peer.link.outgoing():
                    _send(peer.socket, burst)
            for peer in peers:
                peer.close()


def hellos(endpoint: str, _: str) -> None:
    """Connections that say hello and leave without a word."""
    while True:
        _by_hand(endpoint, [frame(encode(ClientHello()))])


def handshakes(endpoint: str, broker_key: str) -> None:
    """Handshakes with keys that the broker does not know, 20 at a time."""
    with new_context() as context:
        while True:
            peers = [dealer(context, new_peer_id()) for _ in range(20)]
            for peer in peers:
                public, secret = (key.decode() for key in zmq.curve_keypair())
                secure_with(peer, PeerKey("x", "client", KeyPair(public, secret), broker_key))
                peer.connect(endpoint)
            peers[-1].poll(200)
            for peer in peers:
                peer.close()


def questions(endpoint: str, _: str) -> None:
    """Questions after everything there is, 50 at once, with their answers read."""
    subjects = ("tasks", "statistics", "workers", "dead_list", "models")
    with WirePeer(endpoint, ClientHello()) as peer:
        while True:
            for subject in 10 * subjects:
                peer.say(Ask(request_id=1, subject=subject))
            for _ in 10 * subjects:
                peer.hear(Answer)


def submissions(endpoint: str, _: str) -> None:
    """More tasks than the queue holds, 200 at once, with the refusals read."""
    tasks = [toy_task(queue="cpu-intensive") for _ in range(200)]
    with WirePeer(endpoint, ClientHello()) as peer:
        while True:
            for task in tasks:
                peer.link.send(Submit(evolve(task, id=new_task_id())))
            for multipart in peer.link.outgoing():
                _send(peer.socket, multipart)
            peer.take_all()


def unknown(endpoint: str, _: str) -> None:
    """Questions after 1,000 tasks that never were, with the answers read."""
    rng = random.Random(1)
    query = Query(tuple(evolve(toy_task(), id=new_task_id()).id for _ in range(1_000)))
    with WirePeer(endpoint, ClientHello()) as peer:
        while True:
            peer.say(query)
            peer.say(Ask(request_id=rng.randrange(1000), subject="why", arguments={"task_id": "x"}))
            peer.hear(Answer)
            peer.take_all()


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        tiny,
        oversized,
        many_frames,
        thousand_frames,
        storm,
        sleepers,
        endless,
        deaf,
        slowloris,
        half_open,
        hellos,
        handshakes,
        questions,
        submissions,
        unknown,
    )
}


def _send(socket: Socket, frames: Sequence[Buffer]) -> None:
    socket.setsockopt(zmq.SNDTIMEO, 1_000)
    with suppress(zmq.Again):
        socket.send_multipart(frames)


def _by_hand(endpoint: str, parts: list[bytes]) -> None:
    """Connect, say this and read nothing, until the broker hangs up or takes no more."""
    with suppress(ConnectionError, TimeoutError), RawPeer(endpoint, timeout=1.0) as peer:
        peer.shake_hands()
        peer.say(*parts)
