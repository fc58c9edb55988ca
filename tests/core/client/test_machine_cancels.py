"""Cancels of the client's machine: held, repeated, settled."""

from tests.harness.client_conversation import (
    T1,
    T2,
    Conversation,
    accepted,
    finished,
    request,
    said,
)

from paintmq.client.commands import (
    CancelSettled,
)
from paintmq.task import TaskState
from paintmq.wire.messages import (
    Cancel,
    CancelAnswered,
    Progressed,
    Rejected,
    Submit,
    UnknownTask,
)


def test_a_cancel_is_held_until_the_task_is_accepted(talk: Conversation) -> None:
    talk.submit(request())

    assert talk.cancel() == []
    assert Cancel(T1) not in said(talk.wait(20))
    assert Cancel(T1) not in said(talk.reopen())
    assert said(talk.hear(accepted())) == [Cancel(T1)]


def test_a_cancel_held_is_sent_when_progress_shows_the_acceptance(talk: Conversation) -> None:
    talk.submit(request())
    talk.cancel()

    assert said(talk.hear(Progressed(task_id=T1, state=TaskState.RUNNING))) == [Cancel(T1)]


def test_a_cancel_is_repeated_until_it_is_answered(talk: Conversation) -> None:
    talk.submit(request())
    talk.hear(accepted())

    assert said(talk.cancel()) == [Cancel(T1)]
    assert talk.cancel() == []
    assert Cancel(T1) in said(talk.wait(6))
    assert talk.hear(CancelAnswered(T1, "cancelled")) == [CancelSettled(T1, "cancelled")]
    assert Cancel(T1) not in said(talk.wait(60))


def test_an_ending_settles_a_cancel(talk: Conversation) -> None:
    for task_id, state in ((T1, TaskState.CANCELLED), (T2, TaskState.SUCCEEDED)):
        talk.submit(request(task_id))
        talk.hear(accepted(task_id))
        talk.cancel(task_id)

        answer = "cancelled" if state is TaskState.CANCELLED else "too_late"
        assert CancelSettled(task_id, answer) in talk.hear(finished(task_id, state))


def test_a_refusal_settles_a_cancel(talk: Conversation) -> None:
    talk.submit(request())
    talk.cancel()

    assert CancelSettled(T1, "too_late") in talk.hear(
        Rejected(task_id=T1, code="queue_full", reason="full")
    )


def test_a_task_of_another_client_can_be_cancelled(talk: Conversation) -> None:
    assert said(talk.cancel(T2)) == [Cancel(T2)]
    assert talk.hear(CancelAnswered(T2, "unknown")) == [CancelSettled(T2, "unknown")]


def test_a_cancel_that_came_before_its_task_is_repeated_once_that_is_accepted(
    talk: Conversation,
) -> None:
    talk.cancel(T2)
    talk.submit(request(T2))

    assert Cancel(T2) not in said(talk.wait(20))
    assert said(talk.hear(accepted(T2))) == [Cancel(T2)]


def test_a_cancel_is_repeated_on_a_new_connection(talk: Conversation) -> None:
    talk.submit(request())
    talk.hear(accepted())
    talk.cancel()

    assert Cancel(T1) in said(talk.reopen())


def test_after_the_broker_forgot_the_task_its_cancel_waits_for_the_acceptance(
    talk: Conversation,
) -> None:
    talk.submit(request())
    talk.hear(accepted())
    talk.cancel()

    assert said(talk.hear(UnknownTask(T1))) == [Submit(request())]
    assert Cancel(T1) not in said(talk.wait(5))
    assert said(talk.hear(accepted())) == [Cancel(T1)]
