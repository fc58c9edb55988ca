"""What the client's machine does about messages the broker cannot read, many tasks and refusals."""

from tests.harness.client_conversation import (
    T1,
    T2,
    Conversation,
    accepted,
    finished,
    request,
    said,
    told,
)

from paintmq.client.commands import (
    Answered,
    CancelSettled,
    Command,
    Reconnect,
    Send,
    TaskEnded,
    TaskRefused,
    TaskUnknown,
)
from paintmq.client.in_flight import LIMIT
from paintmq.task import TaskId
from paintmq.wire.messages import (
    Ask,
    Query,
    Refused,
    ResultReceived,
    Submit,
    UnknownTask,
    Welcome,
    WhoAreYou,
)


def question(number: int) -> Ask:
    return Ask(request_id=number, subject="why", arguments={})


# ---- what the broker cannot read ---------------------------------------------------------------


def forgotten(talk: Conversation, *, incarnation: int = 5) -> list[Command]:
    """Let the broker ask who we are, and welcome us on the next connection."""
    (reconnect,) = told(talk.hear(WhoAreYou()))
    assert isinstance(reconnect, Reconnect)
    commands = talk.reopen()
    welcome = Welcome(incarnation=incarnation, durable_sequence=0, heartbeat=5.0)
    return commands + talk.hear(welcome)


def test_a_submission_the_broker_cannot_read_is_failed_and_its_neighbours_go_on(
    talk: Conversation,
) -> None:
    """Regression (F4): it was sent again on each connection, and every other task with it."""
    talk.submit(request(T1))
    talk.submit(request(T2))
    talk.machine.fetch(TaskId("3" * 32), now=talk.now)
    refused: list[TaskRefused] = []
    unanswered: dict[TaskId, None] = {T1: None, T2: None, TaskId("3" * 32): None}
    commands = forgotten(talk)
    for _ in range(20):
        refused += [each for each in commands if isinstance(each, TaskRefused)]
        submitted = [each.task.id for each in said(commands) if isinstance(each, Submit)]
        queried = [
            id_ for each in said(commands) if isinstance(each, Query) for id_ in each.task_ids
        ]
        assert len(submitted + queried) <= 1, "one at a time"
        if T1 in submitted:
            commands = forgotten(talk)
        elif submitted or queried:
            unanswered.pop((submitted + queried)[0])
            commands = talk.hear(accepted((submitted + queried)[0]))
        else:
            break

    assert [(each.message.task_id, each.message.code) for each in refused] == [
        (T1, "not_understood")
    ]
    assert "does not understand" in refused[0].message.reason
    assert list(unanswered) == [T1]
    assert talk.machine.unread >= 2


def test_a_question_the_broker_cannot_read_is_answered_with_that(talk: Conversation) -> None:
    talk.ask(7)

    first, second = forgotten(talk), forgotten(talk)

    assert question(7) in said(first)
    (answer,) = [each for each in second if isinstance(each, Answered)]
    assert (answer.request_id, "does not understand" in answer.error) == (7, True)
    assert question(7) not in said(second)


def test_a_cancel_that_costs_its_connections_is_given_up(talk: Conversation) -> None:
    talk.cancel(T2)
    forgotten(talk)

    assert CancelSettled(T2, "unknown") in forgotten(talk)


def test_a_broker_that_was_restarted_again_and_again_gets_everything_again(
    talk: Conversation,
) -> None:
    talk.submit(request(T1))
    talk.submit(request(T2))
    for incarnation in (6, 7, 8):
        commands = forgotten(talk, incarnation=incarnation)
        assert Submit(request(T1)) in said(commands)
        assert Submit(request(T2)) in said(commands)

    assert talk.machine.unread == 0
    assert talk.machine.unfinished == 2


def test_many_tasks_are_asked_after_page_by_page(talk: Conversation) -> None:
    """F26: asked after all at once, 60,000 tasks brought more answers than a broker keeps."""
    many = 3 * LIMIT
    for number in range(many):
        talk.machine.fetch(TaskId(f"{number:032x}"), now=talk.now)
    asked: dict[TaskId, None] = {}
    answered = 0
    commands = talk.reopen()
    while commands:
        asked |= {id_: None for m in said(commands) if isinstance(m, Query) for id_ in m.task_ids}
        assert len(asked) - answered <= LIMIT
        commands = []
        while not commands and answered < len(asked):
            answered += 1
            commands = told_nothing(talk.hear(accepted(list(asked)[answered - 1])))

    assert len(asked) == many


def told_nothing(commands: list[Command]) -> list[Command]:
    return [command for command in commands if isinstance(command, Send)]


def test_why_the_broker_refuses_us_is_kept_until_it_welcomes_us(talk: Conversation) -> None:
    talk.hear(Refused("this key was revoked"))

    assert talk.machine.refusal == "this key was revoked"
    talk.reopen()
    assert talk.machine.refusal == "this key was revoked"
    talk.hear(Welcome(incarnation=5, durable_sequence=0, heartbeat=5.0))
    assert talk.machine.refusal == ""


# ---- relaying ----------------------------------------------------------------------------------


def test_what_is_relayed_is_confirmed_when_it_was_passed_on_and_not_before() -> None:
    talk = Conversation(relays=True)
    talk.submit(request())
    talk.hear(accepted())

    assert talk.hear(finished()) == [TaskEnded(finished())]
    assert talk.hear(finished()) == [], "heard again: still nobody has it"
    assert talk.machine.acknowledge(T1) == [Send(ResultReceived(T1))]
    talk.machine.leave()
    assert talk.machine.acknowledge(T1) == []


def test_what_is_relayed_is_not_submitted_again_once_the_broker_had_it() -> None:
    talk = Conversation(relays=True)
    talk.submit(request())
    talk.hear(accepted())

    assert talk.hear(UnknownTask(T1)) == [TaskUnknown(T1)]
