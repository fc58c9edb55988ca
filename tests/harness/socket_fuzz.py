"""Throws damaged and hostile messages at the sockets of a running broker, beside honest work.

The broker is a process of its own. It must live, its memory must stay bounded, and every honest
task that was under way meanwhile must come back with its own result.
"""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from attrs import frozen

from paintmq.task import Buffer, Fence, TaskId
from paintmq.testing.example_tasks import make_hello
from paintmq.transport.curve import secure_with
from paintmq.transport.key_files import LOCAL_ADMIN, LOCAL_WORKER, add_key, init_keys, load_peer_key
from paintmq.transport.pipes import Secure, no_keys
from paintmq.transport.sockets import Socket, new_context
from paintmq.wire.codec import encode
from paintmq.wire.frames import HEADER_BYTES, KIND_OF, unpack_header
from paintmq.wire.messages import (
    Answer,
    Ask,
    AttemptRecorded,
    AttemptReturned,
    ClientHello,
    WorkerHello,
    WorkerWelcome,
)
from tests.harness.broker_process import BrokerProcess
from tests.harness.honest_work import HonestWork
from tests.harness.mutator import Mutator
from tests.harness.raw_peer import GREETING, READY, RawPeer
from tests.harness.toy_broker import TOY_QUEUES
from tests.harness.wire_peer import WirePeer

MIB = 1024 * 1024
BATCH = 500
"""Inputs on one connection."""
IN_FLIGHT = 50
"""Honest tasks."""
ALLOWED_GROWTH = 200 * MIB
_QUEUE = next(iter(TOY_QUEUES))
_MARK = TaskId("f" * 32)
_TRIES = 60


@frozen
class SocketFuzzReport:
    """What came of it."""

    transport: str
    keys: bool
    inputs: int
    honest_tasks: int
    grown: int
    """Bytes of main memory the broker took more, at most."""
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.inputs:,} inputs at the sockets of a broker "
            f"({self.transport}{', keys' if self.keys else ''}) in {self.seconds:.1f} s: it lives, "
            f"grew by {self.grown / MIB:.0f} MiB, and all {self.honest_tasks:,} honest tasks "
            f"beside them came back right"
        )


def attack_sockets(
    inputs: int, seed: int, *, transport: str = "router", keys: bool = False
) -> SocketFuzzReport:
    """Throw ``inputs`` at a broker's ports; the same ones for one seed.

    Raises:
        AssertionError: the broker died, grew too much, or an honest task did not end as it should.
    """
    begin = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "keys"
        secure: dict[str, Secure] = {}
        if keys:
            init_keys(folder)
            for name in ("fuzzing-client", "fuzzing-worker"):
                add_key(folder, name, "client" if name.endswith("client") else "worker")
            names = (LOCAL_ADMIN, LOCAL_WORKER, "fuzzing-client", "fuzzing-worker")
            secure = {name: _with_key(folder / f"{name}.key") for name in names}
        broker = stack.enter_context(
            BrokerProcess(
                transport=transport,
                broker={"keys": str(folder)} if keys else {},
                timers={"lease": 600.0},  # the honest ones never beat
                limits={"max_spent_bytes": MIB},  # nor is what they are done with to be kept
            )
        )
        honest = stack.enter_context(
            HonestWork(
                broker,
                secure_client=secure.get(LOCAL_ADMIN, no_keys),
                secure_worker=secure.get(LOCAL_WORKER, no_keys),
            )
        )
        attack = _Attack(
            broker,
            random.Random(seed),
            client=secure.get("fuzzing-client", no_keys),
            worker=secure.get("fuzzing-worker", no_keys),
        )
        before, most = broker.memory(), 0
        while attack.thrown < inputs:
            honest.submit(IN_FLIGHT - honest.in_flight)
            try:
                attack.throw(min(BATCH, inputs - attack.thrown), honest.work)
            except TimeoutError as error:
                reason = f"the broker neither takes nor sends anything; seed {seed}"
                raise AssertionError(f"{reason}, input {attack.thrown}") from error
            assert broker.is_running, f"the broker died; seed {seed}, input {attack.thrown}"
            most = max(most, broker.memory())
        honest.finish()
        most = max(most, broker.memory())
        assert broker.is_running, f"the broker died; seed {seed}"
        assert most - before < ALLOWED_GROWTH, f"the broker grew by {(most - before) / MIB} MiB"
        return SocketFuzzReport(
            transport, keys, attack.thrown, honest.done, most - before, time.monotonic() - begin
        )


class _Attack:
    """Makes connections, each for a batch of inputs that it waits to be read."""

    def __init__(
        self, broker: BrokerProcess, rng: random.Random, *, client: Secure, worker: Secure
    ) -> None:
        self._broker = broker
        self._rng = rng
        self._mutator = Mutator(rng)
        self._client, self._worker = client, worker
        self._connections = 0
        self.thrown = 0

    def throw(self, inputs: int, meanwhile: Callable[[], None]) -> None:
        """Throw inputs by the port for clients or by a queue's, and some bytes that are no ZMTP."""
        self._connections += 1
        as_worker = self._rng.random() < 0.5
        hello: ClientHello | WorkerHello = ClientHello(name="fuzz")
        endpoint, secure = self._broker.client_endpoint, self._client
        if as_worker:
            hello = make_hello(f"fuzz/{self._connections}", queue=_QUEUE, models=())
            endpoint, secure = self._broker.queue_endpoints[_QUEUE], self._worker
        with (
            new_context() as context,
            WirePeer(endpoint, hello, context=context, secure=secure) as peer,
        ):
            if as_worker:
                peer.hear(WorkerWelcome)
            for number in range(inputs):
                frames: Sequence[Buffer] = (
                    self._mutator.frames() if number % 2 else [self._mutator.next()]
                )
                by_pipe = peer.has_pipes and self._rng.random() < 0.5
                peer.say_raw(*frames, by_pipe=by_pipe)
                self.thrown += 1
                if number % 50 == 0:
                    meanwhile()
            self._wait_until_read(peer, hello, meanwhile)
        self._throw_bytes(endpoint)

    def _wait_until_read(
        self, peer: WirePeer, hello: ClientHello | WorkerHello, meanwhile: Callable[[], None]
    ) -> None:
        """Ask for an answer that nothing thrown before can have led to."""
        mark = 1_000_000 + self._connections
        question = encode(hello) + (
            encode(AttemptReturned(task_id=_MARK, fence=Fence(1, mark), cancelled=False))
            if isinstance(hello, WorkerHello)
            else encode(Ask(request_id=mark, subject="nothing"))
        )
        for _ in range(_TRIES):
            peer.say_raw(question)
            try:
                while not any(_is_answer(item, mark) for item in _items(_next(peer, meanwhile))):
                    pass
            except TimeoutError:
                continue  # what was still in its pipe made the broker forget it
            return
        raise AssertionError("the broker does not answer")

    def _throw_bytes(self, endpoint: str) -> None:
        try:
            with RawPeer(endpoint, timeout=20.0) as peer:
                peer.say(GREETING)
                peer.read(len(GREETING))
                if self._rng.random() < 0.5:
                    peer.say(READY)
                peer.say(self._rng.randbytes(self._rng.randrange(1, 3_000)))
        except ConnectionError:
            pass  # thrown out in the middle: as it should be
        self.thrown += 1


def _next(peer: WirePeer, meanwhile: Callable[[], None]) -> bytes:
    """Return the head of the next message to the peer."""
    while (frames := peer.take_raw()) is None:
        meanwhile()
        peer.wait(patience=1.0)
    return frames[0]


def _items(head: bytes) -> Iterator[bytes]:
    """Iterate over the items of a head that the broker made."""
    offset = 0
    while offset < len(head):
        end = offset + HEADER_BYTES + unpack_header(head, offset).body_bytes
        yield head[offset:end]
        offset = end


def _is_answer(item: bytes, mark: int) -> bool:
    header = unpack_header(item)
    if header.kind == KIND_OF[AttemptRecorded]:
        return header.fence == Fence(1, mark)
    return header.kind == KIND_OF[Answer] and mark.to_bytes(4) in item[HEADER_BYTES:]


def _with_key(path: Path) -> Secure:
    key = load_peer_key(path)

    def secure(socket: Socket) -> None:
        secure_with(socket, key)

    return secure
