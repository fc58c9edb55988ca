"""The client's machine over connections that end, and brokers that forgot."""

import pytest
from tests.harness.client_conversation import T1, T2, Conversation, accepted, request, said, told

from paintmq.client.commands import (
    AlarmRaised,
    Answered,
    Reconnect,
    Send,
    TaskRefused,
)
from paintmq.client.repetition import IDS_A_QUERY
from paintmq.task import TaskId
from paintmq.wire.messages import (
    ClientGoodbye,
    Heartbeat,
    Query,
    Refused,
    Rejected,
    Submit,
    UnknownTask,
    Welcome,
    WhoAreYou,
    client_hello,
)

# ---- a broker that forgot ------------------------------------------------------------------------


def test_an_accepted_task_the_broker_does_not_know_is_submitted_again_with_an_alarm(
    talk: Conversation,
) -> None:
    talk.submit(request())
    talk.hear(accepted())

    commands = talk.hear(UnknownTask(T1))

    assert [type(command) for command in commands] == [AlarmRaised, Send]
    assert said(commands) == [Submit(request())]
    assert talk.machine.alarms == 1


def test_a_sequence_that_went_back_is_an_alarm_and_every_promise_is_checked(
    talk: Conversation,
) -> None:
    talk.submit(request(T1))
    talk.hear(accepted(T1, sequence=40))
    talk.submit(request(T2))

    commands = talk.hear(Welcome(incarnation=6, durable_sequence=12, heartbeat=5.0))

    assert [type(command) for command in commands] == [AlarmRaised, Send]
    assert said(commands) == [Query((T1,))]
    assert talk.machine.alarms == 1


def test_answers_that_overtook_each_other_bring_one_round_of_questions(talk: Conversation) -> None:
    """Regression: each round brought answers, out of order again, and so another round each."""
    talk.submit(request())
    talk.hear(accepted(T1, sequence=40))
    first = talk.hear(accepted(T1, sequence=39))
    again = [talk.hear(accepted(T1, sequence=sequence)) for sequence in (41, 40, 42, 38)]
    talk.now += talk.machine.timers.resend_first
    talk.hear(accepted(T1, sequence=43))
    later = talk.hear(accepted(T1, sequence=37))

    assert Send(Query((T1,))) in first
    assert not any(Send(Query((T1,))) in commands for commands in again)
    assert Send(Query((T1,))) in later


def test_a_promise_is_kept_through_a_refusal_that_passes(talk: Conversation) -> None:
    talk.submit(request())
    talk.hear(accepted())
    talk.hear(UnknownTask(T1))

    assert talk.hear(Rejected(task_id=T1, code="draining", reason="", retry_after=1.0)) == []
    assert Submit(request()) in said(talk.wait(5))


# ---- connections ---------------------------------------------------------------------------------


def test_heartbeats_are_sent_as_often_as_the_broker_would_like(talk: Conversation) -> None:
    talk.hear(Welcome(incarnation=5, durable_sequence=0, heartbeat=2.0))

    assert said(talk.wait(20)).count(Heartbeat()) == 10


def test_a_silent_broker_costs_a_new_connection(talk: Conversation) -> None:
    commands = talk.wait(60, alive=False)

    assert told(commands) == [Reconnect("the broker does not answer")]
    assert talk.now == pytest.approx(1015.0)
    assert talk.machine.next_deadline() is None
    assert talk.machine.gave_up


def test_connections_that_are_never_answered_are_tried_less_and_less_often() -> None:
    talk = Conversation(welcome=False)
    waits = []
    for _ in range(6):
        talk.reopen()
        before = talk.now
        talk.wait(1000, alive=False)
        waits.append(talk.now - before)

    assert waits[0] == pytest.approx(5.0, rel=0.21)
    assert waits[-1] == pytest.approx(30.0, rel=0.21)
    assert talk.machine.connections == 6


def test_after_a_reconnect_accepted_tasks_are_asked_after_and_others_submitted(
    talk: Conversation,
) -> None:
    talk.submit(request(T1))
    talk.hear(accepted(T1))
    talk.submit(request(T2))

    messages = said(talk.reopen())

    assert messages == [client_hello("test"), Submit(request(T2)), Query((T1,))]


def test_many_tasks_are_asked_after_in_several_messages(talk: Conversation) -> None:
    ids = [TaskId(f"{number:032x}") for number in range(IDS_A_QUERY + 1)]
    for task_id in ids:
        talk.machine.fetch(task_id, now=talk.now)

    queries = [message for message in said(talk.reopen()) if isinstance(message, Query)]

    assert [len(query.task_ids) for query in queries] == [IDS_A_QUERY, 1]
    assert [task_id for query in queries for task_id in query.task_ids] == ids


def test_with_many_tasks_each_is_asked_after_less_often(talk: Conversation) -> None:
    many = 10_000
    for number in range(many):
        talk.machine.fetch(TaskId(f"{number:032x}"), now=talk.now)
    talk.wait(200)

    queries = [message for message in said(talk.wait(100)) if isinstance(message, Query)]

    assert sum(len(query.task_ids) for query in queries) < 2.5 * many


def test_a_broker_that_does_not_know_us_gets_a_new_connection(talk: Conversation) -> None:
    assert talk.hear(WhoAreYou()) == [
        Reconnect("the broker does not know it: it was restarted, or could not read a message")
    ]


def test_a_broker_that_asks_who_we_are_before_the_welcome_is_given_time_but_not_for_ever() -> None:
    talk = Conversation(welcome=False)
    talk.reopen()
    for _ in range(10):
        assert talk.hear(WhoAreYou()) == []
        if Reconnect("the broker does not answer") in talk.wait(1, alive=False):
            break

    assert talk.now < 1010


def test_a_broker_that_refuses_us_ends_what_it_had_not_accepted(talk: Conversation) -> None:
    talk.submit(request(T1))
    talk.hear(accepted(T1))
    talk.submit(request(T2))
    talk.ask(3, "statistics")

    commands = talk.hear(Refused("speaks versions 2 to 3"))

    assert commands == [
        TaskRefused(Rejected(task_id=T2, code="refused", reason="speaks versions 2 to 3")),
        Answered(3, None, "speaks versions 2 to 3"),
    ]
    assert talk.machine.unfinished == 1


def test_leaving_says_goodbye_once(talk: Conversation) -> None:
    assert talk.machine.leave() == [Send(ClientGoodbye())]
    assert talk.machine.leave() == []
    assert talk.machine.tick(now=talk.now + 100) == []
