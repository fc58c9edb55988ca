"""How long honest tasks take during an attack.

A broker, an honest client with an honest worker, and the attackers are processes of their own. The
honest ones bring one small task after the other to its end and ask one question beside each. The
figures are against the same broker's in quiet, of the same run, since all share the machine.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from math import inf
from pathlib import Path
from typing import Any

import zmq
from attrs import evolve, frozen

from paintmq.identifiers import new_peer_id, new_task_id
from paintmq.task import Buffer
from paintmq.transport.curve import secure_with
from paintmq.transport.key_files import (
    LOCAL_ADMIN,
    LOCAL_WORKER,
    KeyPair,
    PeerKey,
    init_keys,
    load_peer_key,
)
from paintmq.transport.pipes import Secure, no_keys
from paintmq.transport.sockets import Socket, dealer, new_context
from paintmq.wire.codec import encode
from paintmq.wire.messages import Answer, Ask, ClientHello, Query, Submit
from tests.benchmarks.page import run_with_page
from tests.harness.broker_process import BrokerProcess
from tests.harness.honest_work import HonestWork
from tests.harness.raw_peer import GREETING, RawPeer, frame
from tests.harness.toy_broker import picture_task, toy_client, toy_task
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


# ---- measuring ---------------------------------------------------------------------------------


@frozen
class Figures:
    """Of some seconds; times in milliseconds."""

    tasks: int
    task_p50: float
    task_p99: float
    question_p99: float
    turn_p99: float
    """Of the turns of the broker's loop, during each of which it hears nobody."""
    busy_p99: float
    """Of the processor's time in a turn: what others on the machine do not change."""
    busy_longest: float
    memory: int


def measure(broker: BrokerProcess, honest: HonestWork, asker: WirePeer, seconds: float) -> Figures:
    tasks, questions_, memory = [], [], 0
    before = turn_counts(asker)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.monotonic()
        asker.say(Ask(request_id=1, subject="version"))
        asker.hear(Answer)
        questions_.append(time.monotonic() - began)
        began = time.monotonic()
        honest.submit(1)
        honest.finish()
        tasks.append(time.monotonic() - began)
        memory = max(memory, broker.memory())
        time.sleep(0.005)
    turns, busy = (
        {bound: count - old[bound] for bound, count in new.items()}
        for old, new in zip(before, turn_counts(asker), strict=True)
    )
    return Figures(
        len(tasks),
        1000 * _share(tasks, 0.5),
        1000 * _share(tasks, 0.99),
        1000 * _share(questions_, 0.99),
        1000 * share_of(turns, 0.99),
        1000 * share_of(busy, 0.99),
        1000 * share_of(busy, 1.0),
        memory,
    )


def turn_counts(asker: WirePeer) -> tuple[dict[float, int], dict[float, int]]:
    """Return how many turns the broker's loop has made, by the seconds they took at most, and by
    those of the processor.
    """
    asker.say(Ask(request_id=2, subject="turns"))
    while (answer := asker.hear(Answer)).request_id != 2:
        pass
    value: Any = answer.value
    bounds = [*value["bounds"], inf]
    turns, busy = (dict(zip(bounds, value[name], strict=True)) for name in ("counts", "busy"))
    return turns, busy


def share_of(counts: Mapping[float, int], share: float) -> float:
    """Return the bound that this share of what was counted is not above."""
    wanted, seen = share * sum(counts.values()), 0
    for bound in sorted(counts):
        seen += counts[bound]
        if seen >= wanted and seen:
            return bound
    return 0.0


def _share(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def run(name: str, seconds: float, folder: Path) -> tuple[Figures, Figures]:
    """Return the figures in quiet, and under the attack."""
    with ExitStack() as stack:
        keys = folder / "keys"
        secure: dict[str, Secure] = {}
        broker_key = ""
        if name == "handshakes":
            init_keys(keys)
            for local in (LOCAL_ADMIN, LOCAL_WORKER):
                key = load_peer_key(keys / f"{local}.key")
                broker_key = key.broker
                secure[local] = lambda socket, key=key: secure_with(socket, key)  # type: ignore[misc]
        broker = stack.enter_context(
            BrokerProcess(
                journal=folder / "journal",
                broker={"keys": str(keys)} if secure else {},
                timers={"lease": 600.0},
            )
        )
        client, worker = secure.get(LOCAL_ADMIN, no_keys), secure.get(LOCAL_WORKER, no_keys)
        asker = stack.enter_context(toy_client(broker, client))
        for _ in range(2_000):  # a backlog that nobody works off, for lists to be long
            asker.say(Submit(toy_task(queue="cpu-intensive")))
        honest = stack.enter_context(HonestWork(broker, secure_client=client, secure_worker=worker))
        measure(broker, honest, asker, 0.5)
        quiet = measure(broker, honest, asker, seconds)
        attacker = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.benchmarks.attacks",
                "--be",
                name,
                broker.client_endpoint,
                broker_key,
            ]
        )
        try:
            time.sleep(1.0)
            attacked = measure(broker, honest, asker, seconds)
        except TimeoutError:
            attacked = Figures(
                0, inf, inf, inf, inf, inf, inf, broker.memory()
            )  # no answer in 20 s
        finally:
            attacker.kill()
            attacker.wait()
        assert broker.is_running, "the broker died"
        return quiet, attacked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attacks", nargs="*", default=list(ATTACKS))
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--be", nargs=3, metavar=("ATTACK", "ENDPOINT", "KEY"))
    chosen = parser.parse_args()
    if chosen.be:
        attack, endpoint, key = chosen.be
        ATTACKS[attack](endpoint, key)
    print(
        "| attack | task p50, ms | task p99, ms | question p99, ms "
        "| turn p99, ms | processor p99, ms | at most, ms "
        "| memory, MiB |"
    )
    print("|" + 8 * " --- |")
    for name in chosen.attacks:
        with tempfile.TemporaryDirectory() as folder:
            quiet, attacked = run(name, chosen.seconds, Path(folder))
        print(
            f"| {name.replace('_', ' ')} "
            f"| {quiet.task_p50:.1f} → {attacked.task_p50:.1f} "
            f"| {quiet.task_p99:.1f} → {attacked.task_p99:.1f} "
            f"| {quiet.question_p99:.1f} → {attacked.question_p99:.1f} "
            f"| {quiet.turn_p99:.1f} → {attacked.turn_p99:.1f} "
            f"| {quiet.busy_p99:.1f} → {attacked.busy_p99:.1f} "
            f"| {quiet.busy_longest:.1f} → {attacked.busy_longest:.1f} "
            f"| {quiet.memory // MIB} → {attacked.memory // MIB} |",
            flush=True,
        )


if __name__ == "__main__":
    run_with_page(main)
