from hypothesis import given
from hypothesis import strategies as st

from paintmq.broker.connections.outbox import Outbox, Outgoing
from paintmq.broker.machine import Send
from paintmq.task import PeerId
from paintmq.wire.messages import Answer


def numbered(number: int) -> Outgoing:
    return Outgoing(Send(PeerId(b"peer"), Answer(request_id=number)))


def test_a_message_without_records_of_its_own_waits_for_those_before_it() -> None:
    """I2."""
    outbox = Outbox()
    outbox.add(5, [numbered(1)])  # said while record 5 was on its way

    assert list(outbox.release(4)) == []
    assert list(outbox.release(5)) == [numbered(1)]


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 40)))
def test_messages_leave_in_order_each_once_and_never_early(
    steps: list[int], durables: list[int]
) -> None:
    outbox, sequence, sequences = Outbox(), 0, {}
    for number, step in enumerate(steps):
        sequence += step
        sequences[number] = sequence
        outbox.add(sequence, [numbered(number)])
    left: list[int] = []
    for durable in sorted(durables):
        released = [outgoing.send.message for outgoing in outbox.release(durable)]
        numbers = [message.request_id for message in released if isinstance(message, Answer)]
        assert all(sequences[number] <= durable for number in numbers)
        left += numbers

    assert left == list(range(len(left)))
    assert len(outbox) == len(steps) - len(left)
