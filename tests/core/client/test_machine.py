"""The client's half of the promise, rule by rule, without a socket or a clock."""

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
    Send,
    TaskAccepted,
    TaskEnded,
    TaskProgressed,
    TaskRefused,
    TaskUnknown,
)
from paintmq.task import TaskState
from paintmq.wire.messages import (
    Answer,
    Ask,
    FromClient,
    Heartbeat,
    Progressed,
    Query,
    Rejected,
    ResultReceived,
    Submit,
    UnknownTask,
    client_hello,
)

# ---- submitting ----------------------------------------------------------------------------------


def test_a_connection_begins_with_hello() -> None:
    talk = Conversation(welcome=False)

    assert said(talk.reopen()) == [client_hello("test")]


def test_what_is_asked_for_before_a_connection_is_said_on_it() -> None:
    talk = Conversation(welcome=False)

    assert talk.submit(request()) == []
    assert talk.machine.fetch(T2, now=talk.now) == []
    assert talk.ask(1, "version") == []
    assert talk.machine.next_deadline() is None
    assert talk.machine.tick(now=talk.now + 100) == []
    assert said(talk.reopen()) == [
        client_hello("test"),
        Submit(request()),
        Query((T2,)),
        Ask(request_id=1, subject="version"),
    ]


def test_a_submission_is_repeated_until_it_is_answered(talk: Conversation) -> None:
    talk.submit(request())

    assert Submit(request()) in said(talk.wait(3))
    assert Submit(request()) in said(talk.wait(6))


def test_repetitions_double_up_to_a_limit(talk: Conversation) -> None:
    talk.submit(request())

    repeated = said(talk.wait(300)).count(Submit(request()))

    # 2, 4, 8, 16 and then every 30 seconds, each a fifth shorter or longer
    assert 10 <= repeated <= 18


def test_after_the_acceptance_the_task_is_asked_after_instead(talk: Conversation) -> None:
    talk.submit(request())
    talk.hear(accepted())

    messages = said(talk.wait(60))

    assert Query((T1,)) in messages
    assert Submit(request()) not in messages


def test_whether_a_large_submission_arrived_is_asked_rather_than_repeating_it(
    talk: Conversation,
) -> None:
    large = request(size=10_000_000)
    talk.submit(large)

    messages = said(talk.wait(3))

    assert Query((T1,)) in messages
    assert Submit(large) not in messages
    assert said(talk.hear(UnknownTask(T1))) == [Submit(large)]


def test_submitting_a_task_again_while_it_is_under_way_says_nothing(talk: Conversation) -> None:
    talk.submit(request())

    assert talk.submit(request()) == []
    assert talk.machine.unfinished == 1


def test_a_task_that_was_fetched_can_still_be_submitted(talk: Conversation) -> None:
    talk.machine.fetch(T1, now=talk.now)
    talk.submit(request())

    assert said(talk.hear(UnknownTask(T1))) == [Submit(request())]


def test_acceptance_is_reported_with_its_queue_and_reason(talk: Conversation) -> None:
    talk.submit(request())

    told = accepted(waiting_for="no worker")
    assert talk.hear(told) == [TaskAccepted(told)]


def test_a_second_acceptance_tells_where_the_task_stands_now(talk: Conversation) -> None:
    talk.submit(request())
    talk.hear(accepted(waiting_for="no worker"))

    assert talk.hear(accepted()) == [TaskAccepted(accepted())]


def test_a_refusal_ends_the_task(talk: Conversation) -> None:
    talk.submit(request())
    refusal = Rejected(task_id=T1, code="queue_full", reason="full", retry_after=5.0)

    assert talk.hear(refusal) == [TaskRefused(refusal)]
    assert talk.hear(refusal) == []
    assert talk.machine.unfinished == 0


def test_a_patient_submission_waits_out_a_refusal_that_passes(talk: Conversation) -> None:
    talk.submit(request(), patient=True)

    assert talk.hear(Rejected(task_id=T1, code="queue_full", reason="full", retry_after=9)) == []
    assert Submit(request()) not in said(talk.wait(8))
    assert Submit(request()) in said(talk.wait(2))


def test_a_patient_submission_is_ended_by_a_refusal_that_stays(talk: Conversation) -> None:
    talk.submit(request(), patient=True)

    commands = talk.hear(Rejected(task_id=T1, code="unknown_model", reason="no such model"))

    assert [type(command) for command in commands] == [TaskRefused]


def test_a_refusal_that_crossed_with_the_acceptance_changes_nothing(talk: Conversation) -> None:
    talk.submit(request())
    talk.hear(accepted())

    assert talk.hear(Rejected(task_id=T1, code="draining", reason="shutting down")) == []
    assert talk.machine.unfinished == 1


# ---- endings -------------------------------------------------------------------------------------


def test_the_first_ending_is_reported_and_confirmed(talk: Conversation) -> None:
    talk.submit(request())
    talk.hear(accepted())

    assert talk.hear(finished()) == [TaskEnded(finished()), Send(ResultReceived(T1))]


def test_a_second_ending_is_confirmed_and_not_reported(talk: Conversation) -> None:
    """I4."""
    talk.submit(request())
    talk.hear(finished())

    assert talk.hear(finished(state=TaskState.FAILED)) == [Send(ResultReceived(T1))]


def test_a_task_that_ended_is_not_asked_after(talk: Conversation) -> None:
    talk.submit(request())
    talk.hear(accepted())
    talk.hear(finished())

    assert set(map(type, said(talk.wait(120)))) == {Heartbeat}


def test_a_confirmation_may_be_left_to_the_shell() -> None:
    talk = Conversation(acknowledges=False)
    talk.submit(request())

    assert talk.hear(finished()) == [TaskEnded(finished())]
    assert talk.hear(finished()) == []
    assert talk.machine.acknowledge(T1) == [Send(ResultReceived(T1))]
    assert talk.machine.acknowledge(T1) == []
    assert talk.hear(finished()) == [Send(ResultReceived(T1))]


def test_progress_is_reported_and_shows_that_the_task_was_accepted(talk: Conversation) -> None:
    talk.submit(request())
    message = Progressed(task_id=T1, state=TaskState.RUNNING, step=1, total=4)

    assert talk.hear(message) == [TaskProgressed(message)]
    assert Submit(request()) not in said(talk.wait(30))


def test_while_a_task_tells_of_itself_it_is_not_asked_after(talk: Conversation) -> None:
    talk.submit(request())
    talk.hear(accepted())
    messages: list[FromClient | Heartbeat] = []
    for step in range(30):
        talk.hear(Progressed(task_id=T1, state=TaskState.RUNNING, step=step, total=30))
        messages += said(talk.wait(1))

    assert set(map(type, messages)) == {Heartbeat}


def test_news_of_a_task_nobody_follows_is_ignored(talk: Conversation) -> None:
    assert talk.hear(accepted()) == []
    assert talk.hear(Progressed(task_id=T1, state=TaskState.RUNNING)) == []
    assert talk.hear(UnknownTask(T1)) == []
    assert talk.hear(Rejected(task_id=T1, code="queue_full", reason="full")) == []


def test_a_task_that_is_forgotten_is_followed_no_more(talk: Conversation) -> None:
    talk.submit(request())
    talk.machine.forget(T1)

    assert said(talk.wait(60)) == [Heartbeat()] * 12
    assert told(talk.hear(finished())) == []


# ---- fetching ------------------------------------------------------------------------------------


def test_fetching_asks_until_the_ending_is_there(talk: Conversation) -> None:
    assert said(talk.machine.fetch(T1, now=talk.now)) == [Query((T1,))]
    assert Query((T1,)) in said(talk.wait(3))
    assert TaskEnded(finished()) in talk.hear(finished())


def test_fetching_what_the_broker_does_not_know_ends_at_once(talk: Conversation) -> None:
    talk.machine.fetch(T1, now=talk.now)

    assert talk.hear(UnknownTask(T1)) == [TaskUnknown(T1)]
    assert talk.machine.unfinished == 0


def test_fetching_twice_asks_once(talk: Conversation) -> None:
    talk.machine.fetch(T1, now=talk.now)

    assert talk.machine.fetch(T1, now=talk.now) == []


# ---- questions -----------------------------------------------------------------------------------


def test_an_answer_comes_back_under_its_number_once(talk: Conversation) -> None:
    assert said(talk.ask(7, "why", task_id=T1)) == [
        Ask(request_id=7, subject="why", arguments={"task_id": T1})
    ]
    assert talk.hear(Answer(request_id=7, value={"a": 1})) == [Answered(7, {"a": 1}, "")]
    assert talk.hear(Answer(request_id=7, value={"a": 1})) == []


def test_a_question_nobody_waits_for_is_not_repeated(talk: Conversation) -> None:
    talk.ask(7, "version")
    talk.machine.forget_ask(7)

    assert said(talk.reopen()) == [client_hello("test")]
