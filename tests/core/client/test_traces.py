"""Tasks carry a trace to brokers that understand it, and none to others."""

import random
from collections.abc import Sequence

import pytest
from attrs import evolve

from paintmq.client.followed_tasks import FollowedTasks
from paintmq.client.machine import ClientMachine
from paintmq.client.mailbox import Submission
from paintmq.client.pending_answers import PendingAnswers
from paintmq.client.reachability import Reachability
from paintmq.client.session_loop import SessionLoop
from paintmq.client.task import Task
from paintmq.client.window import Window
from paintmq.task import Buffer
from paintmq.wire.messages import Submit, Welcome

TRACE = f"00-{'1' * 32}-{'2' * 16}-01"


class Sent:
    """A connection that keeps what is submitted."""

    def __init__(self) -> None:
        self.submits: list[Submit] = []

    def send(self, message: object) -> None:
        pass

    def submit(self, message: Submit, payloads: Sequence[Buffer]) -> None:
        self.submits.append(message)


@pytest.mark.parametrize(("newest", "sent"), [(4, TRACE), (3, "")])
def test_a_trace_is_left_out_for_a_broker_that_would_not_understand_it(
    newest: int, sent: str
) -> None:
    loop = SessionLoop(
        endpoint="tcp://127.0.0.1:1",
        machine=ClientMachine(random.Random(1)),
        followed=FollowedTasks(),
        answers=PendingAnswers(),
        window=Window(),
        reachability=Reachability("tcp://127.0.0.1:1"),
    )
    connection = Sent()
    loop._connection = connection  # type: ignore[assignment]  # as far as it is used here
    loop.machine.opened(now=0.0)
    welcome = Welcome(incarnation=1, durable_sequence=0, heartbeat=5.0, newest=newest)
    loop.obey(loop.machine.receive(welcome, now=0.0))
    request = evolve(Task("plugin", {"model": "toy"}).prepare().request, trace=TRACE)

    loop._carry_out(Submission(request, (), patient=False))
    loop.obey(loop.machine.tick(now=1.0))

    (message,) = connection.submits
    assert message.task.trace == sent
