"""What arrives and does not end is bounded in bytes and in time."""

from tests.harness.message_strategies import payload_infos

from paintmq.broker.connections.reassembly import ReassemblyBudget
from paintmq.task import Buffer, Fence, PeerId, TaskId, TaskRequest
from paintmq.wire.codec import encode
from paintmq.wire.link import Link
from paintmq.wire.messages import AttemptSucceeded, Heartbeat, Submit
from paintmq.wire.transfer import BURST_BYTES

ALICE, BOB = PeerId(b"alice"), PeerId(b"bob")
TASK = TaskId("0" * 31 + "1")
SIZE = 4 * BURST_BYTES
PATIENCE = 30.0


def bursts(message: Submit | AttemptSucceeded) -> list[list[Buffer]]:
    sender = Link()
    sender.send(message, [bytes(SIZE)])
    return sender.outgoing()


def submit() -> Submit:
    infos = payload_infos([SIZE])
    return Submit(TaskRequest(id=TASK, task_type="inpaint", model="lama", inputs=infos))


def result() -> AttemptSucceeded:
    outputs = payload_infos([SIZE])
    return AttemptSucceeded(task_id=TASK, fence=Fence(1, 1), outputs=outputs, ran=0.1)


def feed(
    budget: ReassemblyBudget, peer: PeerId, link: Link, burst: list[Buffer], now: float = 0.0
) -> Submit | None:
    link.receive(burst)
    return budget.heard(peer, link, now=now)


def test_what_is_held_is_counted_until_it_is_whole() -> None:
    budget, link = ReassemblyBudget(10 * SIZE, PATIENCE), Link()
    held = []

    for burst in bursts(submit()):
        assert feed(budget, ALICE, link, burst) is None
        held.append(budget.bytes)

    assert held == [BURST_BYTES, 2 * BURST_BYTES, 3 * BURST_BYTES, 0]
    assert len(budget) == 0


def test_a_submission_that_comes_when_too_much_is_arriving_is_given_back() -> None:
    """I14, I15."""
    budget = ReassemblyBudget(3 * BURST_BYTES, PATIENCE)
    first, second = Link(), Link()
    for burst in bursts(submit())[:3]:
        assert feed(budget, ALICE, first, burst) is None

    refused = feed(budget, BOB, second, bursts(submit())[0])

    assert refused == submit()
    assert (second.arriving, second.arrived_bytes) == (None, 0)
    assert budget.bytes == 3 * BURST_BYTES


def test_results_are_taken_however_much_is_arriving() -> None:
    budget, link = ReassemblyBudget(1, PATIENCE), Link()

    for burst in bursts(result()):
        assert feed(budget, ALICE, link, burst) is None

    assert budget.bytes == 0


def test_a_peer_that_stops_in_the_middle_is_overdue() -> None:
    budget, link = ReassemblyBudget(10 * SIZE, PATIENCE), Link()
    first, second, *_ = bursts(submit())
    feed(budget, ALICE, link, first, now=0.0)
    feed(budget, ALICE, link, second, now=20.0)
    feed(budget, ALICE, link, [encode(Heartbeat())], now=45.0)

    assert budget.overdue(now=49.9) == []
    assert budget.overdue(now=50.0) == [ALICE]


def test_nothing_is_kept_of_a_peer_that_is_gone() -> None:
    budget, link = ReassemblyBudget(10 * SIZE, PATIENCE), Link()
    feed(budget, ALICE, link, bursts(submit())[0])

    budget.drop_peer(ALICE)
    budget.drop_peer(BOB)

    assert (budget.bytes, len(budget), budget.overdue(now=1e9)) == (0, 0, [])
