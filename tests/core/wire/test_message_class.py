"""A message is declared in one place: its class."""

import pytest
from attrs import frozen

from paintmq.wire import codec, link, messages
from paintmq.wire.frames import CHUNK, KIND_OF, is_work
from paintmq.wire.message_class import FIRST_OF_LINK, message, message_forms


def test_a_number_that_is_taken_names_both_messages() -> None:
    @frozen
    class Weather:
        pass

    with pytest.raises(ValueError, match="Weather has the kind 0x02, which is used by Submit"):
        message(0x02)(Weather)

    assert Weather not in message_forms()


@pytest.mark.parametrize("kind", [0, FIRST_OF_LINK, CHUNK + 1, 256])
def test_a_number_that_belongs_to_the_link_or_fits_no_byte_is_refused(kind: int) -> None:
    @frozen
    class Weather:
        pass

    with pytest.raises(ValueError, match="is not a kind of message"):
        message(kind)(Weather)


def test_messages_are_listed_in_order_of_their_numbers_however_they_are_declared() -> None:
    numbers = [form.kind for form in message_forms().values()]

    assert numbers == sorted(numbers) == list(KIND_OF.values())


def test_what_is_declared_of_a_message_reaches_every_table() -> None:
    forms = message_forms()

    assert {cls for cls in forms if forms[cls].large} == codec.LARGE
    assert {cls.__name__ for cls in forms if forms[cls].hello} == {"ClientHello", "WorkerHello"}
    work = {cls for cls in forms if is_work(b"PQ\x01" + bytes([forms[cls].kind]) + bytes(40))}
    assert work == {messages.Assign, messages.AttemptSucceeded}
    assert work == link._WORK
