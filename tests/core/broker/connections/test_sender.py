"""What leaves the broker, when, and what is said when a payload is lost."""

from collections.abc import Callable
from math import inf

from attrs import define, evolve, field

from paintmq.broker.connections.outbox import Outgoing
from paintmq.broker.connections.peers import LINE_LENGTH, Peer, PeerTable, UnreachableError
from paintmq.broker.connections.sender import (
    LINGER_SECONDS,
    LINGERING_MESSAGES,
    SLICE_SECONDS,
    Sender,
)
from paintmq.broker.machine import Send
from paintmq.broker.records import BrokerBooted, Recovered
from paintmq.broker.stores import Collected, Entry, PayloadKey, Store
from paintmq.broker.stores.journal import Journal
from paintmq.broker.stores.payload_cache import PayloadCache
from paintmq.errors import StoreError
from paintmq.task import Buffer, Fence, PeerId, TaskId, TaskState
from paintmq.testing.example_tasks import describe
from paintmq.testing.store_contract import accepted
from paintmq.wire.link import Delivery, Link
from paintmq.wire.messages import (
    Accepted,
    Answer,
    Assign,
    Assignment,
    AttemptRecorded,
    BrokerHeartbeat,
    Finished,
    FromBroker,
)

PEER = PeerId(b"peer")
LARGE = b"large " * 1_000_000


class SlowStore(Store):
    """Becomes durable, and reads, only when told to."""

    keeps_payloads = True

    def __init__(self) -> None:
        self.durable = 0
        self.asked: list[PayloadKey] = []

    def open(self, wake: Callable[[], None]) -> Recovered:
        return Recovered()

    def append(self, entry: Entry) -> None:
        pass

    def fetch(self, key: PayloadKey) -> None:
        self.asked.append(key)

    def collect(self) -> Collected:
        return Collected(durable_sequence=self.durable)

    def close(self) -> None:
        pass


@define(eq=False)
class Wire:
    """An endpoint and the peer at its other end."""

    name: str = "clients"
    is_queue: bool = False
    room: int = 1_000_000
    gone: bool = False
    is_broken: bool = False
    far_end: Link = field(factory=Link)
    heard: list[Delivery] = field(factory=list[Delivery])

    def send(self, peer: PeerId, frames: list[Buffer]) -> bool:
        if self.is_broken:
            raise ZeroDivisionError("no such luck")
        if self.gone:
            raise UnreachableError
        if self.room == 0:
            return False
        self.room -= 1
        self.heard += self.far_end.receive(frames)
        return True

    def by_pipe(self, peer: PeerId, frames: list[Buffer]) -> bool:
        return False

    def stamped(self, peer: PeerId, message: FromBroker) -> FromBroker:
        return message

    def role_of(self, peer: PeerId) -> str:
        return "admin"

    def key_of(self, peer: PeerId) -> str:
        return ""

    def forget_peer(self, peer: PeerId) -> None:
        pass


@define
class Stage:
    store: SlowStore = field(factory=SlowStore)
    wire: Wire = field(factory=Wire)
    payloads: PayloadCache = field(factory=lambda: PayloadCache(False))
    peers: PeerTable = field(factory=lambda: PeerTable(10, 10, 60.0, 5.0))
    seconds: list[float] = field(factory=list[float])
    """What the clock says next; when there is nothing left, that no time has passed."""
    faults: list[tuple[BaseException, object]] = field(factory=list[tuple[BaseException, object]])
    journal: Journal = field(init=False)
    sender: Sender = field(init=False)
    peer: Peer = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.journal = Journal(self.store)
        self.sender = Sender(self.journal, self.payloads, self.peers, self.caught, self.clock)
        self.peer = self.peers.open(PEER, self.wire, Link(), now=0.0)  # type: ignore[arg-type]

    def caught(self, error: BaseException, what: Callable[[], object]) -> None:
        if isinstance(error, StoreError):
            raise error
        self.faults.append((error, what()))

    def clock(self) -> float:
        return self.seconds.pop(0) if self.seconds else 0.0

    def say(self, message: FromBroker, *, sequence: int = 0) -> None:
        self.sender.send_after(sequence, [Outgoing(Send(PEER, message))])

    def turn(self) -> list[Peer]:
        self.journal.collect()
        self.sender.release()
        return self.sender.flush(now=0.0)

    def is_interrupted(self) -> bool:
        return self.sender.is_interrupted

    @property
    def heard(self) -> list[object]:
        return [delivery.message for delivery in self.wire.heard]


def answer(number: int) -> Answer:
    return Answer(request_id=number)


def test_nothing_leaves_before_its_records_are_durable() -> None:
    stage = Stage()
    sequence = stage.journal.write([BrokerBooted(1, 0.0)], {}, now=0.0)
    stage.say(answer(1), sequence=sequence)
    stage.turn()
    assert stage.heard == []
    stage.store.durable = sequence
    stage.turn()

    assert stage.heard == [answer(1)]
    assert stage.sender.has_sent_everything


def test_promises_carry_the_number_of_the_last_durable_record() -> None:
    stage = Stage()
    stage.store.durable = 41
    task = accepted("1").request
    stage.say(Accepted(task_id=task.id, queue="q", durable_sequence=0))
    stage.say(BrokerHeartbeat())
    stage.turn()

    assert [m.durable_sequence for m in stage.heard if isinstance(m, Accepted)] == [41]


def test_messages_to_one_peer_keep_their_order_behind_a_payload_that_is_read_back() -> None:
    stage = Stage()
    task = accepted("1").request
    outputs = (describe("image", b"result"),)
    ending = Finished(task_id=task.id, state=TaskState.SUCCEEDED, outputs=outputs)
    stage.say(answer(1))
    stage.say(ending)
    stage.say(answer(2))
    stage.turn()
    assert stage.heard == [answer(1)]
    assert not stage.sender.has_sent_everything
    (key,) = stage.store.asked
    stage.sender.fetched(key, b"result")
    stage.turn()

    assert stage.heard == [answer(1), ending, answer(2)]
    assert bytes(stage.wire.heard[1].payloads[0]) == b"result"


def test_a_result_that_is_lost_is_reported_as_corrupt_not_kept_quiet() -> None:
    stage = Stage()
    task = accepted("1").request
    outputs = (describe("image", b"result"),)
    stage.say(Finished(task_id=task.id, state=TaskState.SUCCEEDED, outputs=outputs))
    stage.turn()
    stage.sender.fetched(stage.store.asked[0], None)
    stage.turn()

    (told,) = stage.heard
    assert isinstance(told, Finished)
    assert told.state is TaskState.FAILED
    assert told.error is not None
    assert told.error.code == "corrupt"


def test_a_task_whose_input_is_lost_fails_alone_and_its_batch_goes_on() -> None:
    stage = Stage()
    bad, good = accepted("1", b"bad").request, accepted("2", b"good").request
    items = [Assignment(task=task, fence=Fence(1, 1), run_limit=9.0) for task in (bad, good)]
    stage.say(Assign(tuple(items)))
    stage.turn()
    for key in list(stage.store.asked):
        stage.sender.fetched(key, None if key.task_id == bad.id else b"good")
    stage.turn()
    failures = stage.sender.take_failures()

    assert stage.heard == [Assign((items[1],))]
    assert [(peer, failure.task_id) for peer, failure in failures] == [(PEER, bad.id)]
    assert failures[0][1].error.code == "corrupt"
    assert not failures[0][1].error.retryable


def test_a_peer_for_which_very_much_waits_is_not_dropped_while_it_reads() -> None:
    """I25: it may have 100,000 tasks that ended while it was away."""
    stage = Stage()
    stage.wire.room = 0
    for number in range(LINE_LENGTH + 2_000):
        stage.say(answer(number))
    assert stage.turn() == []
    assert stage.peer.is_behind

    stage.sender.send_after(0, [Outgoing(Send(PEER, BrokerHeartbeat()))])
    stage.wire.room = 1_000_000
    while not stage.sender.has_sent_everything:
        assert stage.turn() == []

    assert stage.heard == [answer(number) for number in range(LINE_LENGTH + 2_000)]
    assert not stage.peer.is_behind


def test_a_peer_whose_socket_takes_nothing_counts_as_gone_in_the_end() -> None:
    stage = Stage()
    stage.wire.room = 0
    stage.say(answer(1))
    stage.turn()

    assert stage.peers.silent(now=29.9) == []
    assert stage.peers.silent(now=30.0) == [stage.peer]


def test_a_peer_that_reads_again_gets_everything_in_order() -> None:
    stage = Stage()
    stage.wire.room = 0
    for number in range(100):
        stage.say(answer(number))
        stage.turn()
    stage.wire.room = 1_000
    while not stage.sender.has_sent_everything:
        stage.turn()

    assert stage.heard == [answer(number) for number in range(100)]


def test_a_peer_that_is_gone_is_returned() -> None:
    stage = Stage()
    stage.wire.gone = True
    stage.sender.send_now(stage.peer, BrokerHeartbeat())

    assert stage.turn() == [stage.peer]


def test_nobody_waits_for_the_long_answers_of_another() -> None:
    """I19."""
    stage = Stage()
    other, wire = PeerId(b"other"), Wire()
    stage.peers.open(other, wire, Link(), now=0.0)  # type: ignore[arg-type]
    long = [Answer(request_id=number, value=[0] * 2_000) for number in range(2)]
    for each in long:
        stage.say(each)
    stage.sender.send_after(0, [Outgoing(Send(other, answer(7)))])

    stage.seconds = [0.0, 2 * SLICE_SECONDS]  # the first message takes all of its time
    stage.turn()

    assert [delivery.message for delivery in wire.heard] == [answer(7)]
    assert stage.heard == long, "there is a time for these as well"


def test_an_answer_too_large_to_send_is_replaced_by_an_error() -> None:
    stage = Stage()
    stage.say(Answer(request_id=1, value="x" * 10_000_000))
    stage.turn()

    (told,) = stage.heard
    assert isinstance(told, Answer)
    assert told.error


def test_sending_ends_when_its_time_is_up_and_goes_on_with_those_that_had_no_turn() -> None:
    """I19."""
    stage = Stage()
    other, wire = PeerId(b"other"), Wire()
    stage.peers.open(other, wire, Link(), now=0.0)  # type: ignore[arg-type]
    for number in range(3):
        stage.say(answer(number))
    stage.sender.send_after(0, [Outgoing(Send(other, answer(7)))])

    stage.seconds = [0.0, SLICE_SECONDS, 2 * SLICE_SECONDS]  # it begins; one message; another
    stage.turn()

    assert stage.heard == [answer(0), answer(1)]
    assert wire.heard == []
    assert stage.is_interrupted()
    stage.seconds = [0.0, 2 * SLICE_SECONDS]
    stage.turn()
    assert [delivery.message for delivery in wire.heard] == [answer(7)]
    assert stage.heard == [answer(0), answer(1)]
    stage.turn()
    assert stage.heard == [answer(0), answer(1), answer(2)]
    assert not stage.is_interrupted()
    assert stage.sender.has_sent_everything


def test_a_task_that_cannot_be_sent_to_its_worker_fails_instead_of_being_tried_for_ever() -> None:
    """I25."""
    stage = Stage()
    bad = accepted("1", b"in").request
    huge = evolve(bad, inputs=(), options={"text": ["x" * 30_000] * 100})
    item = Assignment(task=huge, fence=Fence(7, 1), run_limit=1.0)

    stage.say(Assign((item,)))
    lost = stage.turn()

    assert (lost, stage.heard, stage.faults) == ([], [], [])
    ((peer, failure),) = stage.sender.take_failures()
    assert (peer, failure.task_id, failure.fence) == (PEER, bad.id, Fence(7, 1))
    assert failure.error.code == "unsendable"
    assert "too large" in failure.error.message


def test_a_result_that_cannot_be_sent_becomes_an_ending_that_can() -> None:
    """I25: its client would wait for ever, and the broker would try again at every question."""
    stage = Stage()
    task = accepted("1").request.id
    outputs = (describe("image", b"more than is there"),)
    finished = Finished(task_id=task, state=TaskState.SUCCEEDED, outputs=outputs)
    stage.sender.send_after(0, [Outgoing(Send(PEER, finished), (b"less",))])
    stage.say(answer(1))

    assert stage.turn() == []
    told, after = stage.heard
    assert isinstance(told, Finished)
    assert (told.state, told.outputs) == (TaskState.FAILED, ())
    assert told.error is not None
    assert told.error.code == "unsendable"
    assert after == answer(1), "the connection goes on"


def test_whatever_goes_wrong_in_sending_to_a_peer_ends_that_session_alone() -> None:
    """I25."""
    stage = Stage()
    other, wire = PeerId(b"other"), Wire()
    stage.peers.open(other, wire, Link(), now=0.0)  # type: ignore[arg-type]
    stage.wire.is_broken = True
    stage.say(answer(1))
    stage.sender.send_after(0, [Outgoing(Send(other, answer(2)))])

    assert stage.turn() == [stage.peer]
    assert [delivery.message for delivery in wire.heard] == [answer(2)]
    ((error, what),) = stage.faults
    assert (str(error), what) == ("no such luck", ("sending to", PEER))


def test_a_confirmation_waits_a_moment_for_company() -> None:
    """Heard alone, it would wake a process that has nothing to do yet."""
    stage = Stage()
    stage.say(recorded(1))
    assert stage.turn() == []
    assert stage.wire.heard == []
    assert stage.sender.linger() == LINGER_SECONDS[AttemptRecorded]
    assert not stage.sender.has_sent_everything

    stage.say(BrokerHeartbeat())
    stage.turn()
    assert [type(each.message) for each in stage.wire.heard] == [AttemptRecorded, BrokerHeartbeat]
    assert stage.sender.has_sent_everything


def test_a_confirmation_that_finds_no_company_leaves_alone() -> None:
    stage = Stage()
    stage.say(recorded(1))
    stage.turn()
    stage.seconds[:] = 2 * [LINGER_SECONDS[AttemptRecorded]]
    stage.turn()

    assert [type(each.message) for each in stage.wire.heard] == [AttemptRecorded]
    assert stage.sender.has_sent_everything


def test_many_confirmations_are_company_enough() -> None:
    stage = Stage()
    for number in range(LINGERING_MESSAGES):
        stage.say(recorded(number))
    stage.turn()

    assert len(stage.wire.heard) == LINGERING_MESSAGES


def test_a_confirmation_for_a_peer_that_left_waits_for_nothing() -> None:
    stage = Stage()
    stage.say(recorded(1))
    stage.turn()
    stage.peers.close(stage.peer)
    stage.turn()

    assert stage.sender.has_sent_everything


def test_what_may_wait_shortest_says_when_all_leaves() -> None:
    stage = Stage()
    assert stage.sender.linger() == inf
    stage.say(recorded(1))
    stage.say(Accepted(task_id=TaskId("1" * 32), queue="q", durable_sequence=0))
    stage.say(recorded(2))
    stage.turn()

    assert stage.sender.linger() == LINGER_SECONDS[Accepted]


def recorded(number: int) -> AttemptRecorded:
    return AttemptRecorded(task_id=TaskId(f"{number:032x}"), fence=Fence(1, 1))
