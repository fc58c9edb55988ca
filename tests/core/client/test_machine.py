"""The client's half of the promise, rule by rule, without a socket or a clock."""

import random

import pytest

from paintmq.client.commands import (
    AlarmRaised,
    Answered,
    CancelSettled,
    Command,
    Reconnect,
    Send,
    TaskAccepted,
    TaskEnded,
    TaskProgressed,
    TaskRefused,
    TaskUnknown,
)
from paintmq.client.machine import ClientMachine
from paintmq.client.repetition import IDS_A_QUERY
from paintmq.task import PayloadInfo, TaskId, TaskRequest, TaskState
from paintmq.wire.messages import (
    Accepted,
    Answer,
    Ask,
    BrokerHeartbeat,
    Cancel,
    CancelAnswered,
    ClientGoodbye,
    ClientHello,
    Finished,
    FromClient,
    Heartbeat,
    Progressed,
    Query,
    Refused,
    Rejected,
    ResultReceived,
    Submit,
    ToClient,
    UnknownTask,
    Welcome,
    WhoAreYou,
)

T1 = TaskId("1" * 32)
T2 = TaskId("2" * 32)


def request(task_id: TaskId = T1, *, size: int = 0) -> TaskRequest:
    inputs = (PayloadInfo(name="image", size=size, digest="", kind="file"),) if size else ()
    return TaskRequest(id=task_id, task_type="inpaint", model="opencv", inputs=inputs)


def accepted(task_id: TaskId = T1, *, sequence: int = 1, waiting_for: str = "") -> Accepted:
    return Accepted(
        task_id=task_id, queue="cpu-light", durable_sequence=sequence, waiting_for=waiting_for
    )


def finished(task_id: TaskId = T1, state: TaskState = TaskState.SUCCEEDED) -> Finished:
    return Finished(task_id=task_id, state=state)


def said(commands: list[Command]) -> list[FromClient | Heartbeat]:
    return [command.message for command in commands if isinstance(command, Send)]


def told(commands: list[Command]) -> list[Command]:
    return [command for command in commands if not isinstance(command, Send)]


class Conversation:
    """A machine and its clock; each step returns what the machine ordered."""

    def __init__(self, *, acknowledges: bool = True, welcome: bool = True) -> None:
        self.now = 1000.0
        self.machine = ClientMachine(random.Random(7), "test", acknowledges=acknowledges)
        if welcome:
            self.machine.opened(now=self.now)
            self.hear(Welcome(incarnation=5, durable_sequence=0, heartbeat=5.0))

    def submit(self, task: TaskRequest, *, patient: bool = False) -> list[Command]:
        return self.machine.submit(task, now=self.now, patient=patient)

    def cancel(self, task_id: TaskId = T1) -> list[Command]:
        return self.machine.cancel(task_id, now=self.now)

    def hear(self, message: ToClient) -> list[Command]:
        return self.machine.receive(message, now=self.now)

    def reopen(self) -> list[Command]:
        return self.machine.opened(now=self.now)

    def wait(self, seconds: float, *, alive: bool = True) -> list[Command]:
        """Let time pass in steps, as a shell does; the broker shows that it lives, or not."""
        commands: list[Command] = []
        end = self.now + seconds
        while self.now < end:
            deadline = self.machine.next_deadline()
            self.now = end if deadline is None else min(max(deadline, self.now), end)
            step = self.machine.tick(now=self.now)
            commands += step
            if alive and Heartbeat() in said(step):
                self.hear(BrokerHeartbeat())
            if any(isinstance(command, Reconnect) for command in step):
                break
        return commands


@pytest.fixture
def talk() -> Conversation:
    return Conversation()


# ---- submitting --------------------------------------------------------------------------------


def test_a_connection_begins_with_hello() -> None:
    talk = Conversation(welcome=False)

    assert said(talk.reopen()) == [ClientHello(name="test")]


def test_what_is_asked_for_before_a_connection_is_said_on_it() -> None:
    talk = Conversation(welcome=False)

    assert talk.submit(request()) == []
    assert talk.machine.fetch(T2, now=talk.now) == []
    assert talk.machine.ask(1, "version", {}) == []
    assert talk.machine.next_deadline() is None
    assert talk.machine.tick(now=talk.now + 100) == []
    assert said(talk.reopen()) == [
        ClientHello(name="test"),
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

    assert talk.hear(accepted(waiting_for="no worker")) == [
        TaskAccepted(task_id=T1, queue="cpu-light", state=TaskState.QUEUED, waiting_for="no worker")
    ]


def test_a_second_acceptance_tells_where_the_task_stands_now(talk: Conversation) -> None:
    talk.submit(request())
    talk.hear(accepted(waiting_for="no worker"))

    assert talk.hear(accepted()) == [
        TaskAccepted(task_id=T1, queue="cpu-light", state=TaskState.QUEUED, waiting_for="")
    ]


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


# ---- endings -----------------------------------------------------------------------------------


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


# ---- fetching ----------------------------------------------------------------------------------


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


# ---- cancelling --------------------------------------------------------------------------------


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


# ---- a broker that forgot ----------------------------------------------------------------------


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


# ---- connections -------------------------------------------------------------------------------


def test_heartbeats_are_sent_as_often_as_the_broker_would_like(talk: Conversation) -> None:
    talk.hear(Welcome(incarnation=5, durable_sequence=0, heartbeat=2.0))

    assert said(talk.wait(20)).count(Heartbeat()) == 10


def test_a_silent_broker_costs_a_new_connection(talk: Conversation) -> None:
    commands = talk.wait(60, alive=False)

    assert told(commands) == [Reconnect("the broker does not answer")]
    assert talk.now == pytest.approx(1015.0)
    assert talk.machine.next_deadline() is None


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

    assert messages == [ClientHello(name="test"), Submit(request(T2)), Query((T1,))]


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
    assert talk.hear(WhoAreYou()) == [Reconnect("the broker was restarted")]


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
    talk.machine.ask(3, "statistics", {})

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


# ---- questions ---------------------------------------------------------------------------------


def test_an_answer_comes_back_under_its_number_once(talk: Conversation) -> None:
    assert said(talk.machine.ask(7, "why", {"task_id": T1})) == [
        Ask(request_id=7, subject="why", arguments={"task_id": T1})
    ]
    assert talk.hear(Answer(request_id=7, value={"a": 1})) == [Answered(7, {"a": 1}, "")]
    assert talk.hear(Answer(request_id=7, value={"a": 1})) == []


def test_a_question_nobody_waits_for_is_not_repeated(talk: Conversation) -> None:
    talk.machine.ask(7, "version", {})
    talk.machine.forget_ask(7)

    assert said(talk.reopen()) == [ClientHello(name="test")]
