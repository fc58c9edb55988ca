"""What workers tell beside their work: they are believed about their own tasks alone."""

from typing import Any

import pytest
from tests.harness.broker_harness import ALICE, W1, W2, BrokerHarness
from tests.harness.measured_system import make_system
from tests.harness.two_owners import submit, with_two_owners

from paintmq.broker.machine import Credentials
from paintmq.broker.shell.observed import FORGET_AFTER, Observed
from paintmq.statistics import ShellStatistics
from paintmq.task import PeerId, TaskId
from paintmq.testing.example_tasks import make_hello
from paintmq.wire.messages import (
    OBSERVING_VERSION,
    LogLine,
    ModelLogged,
    NodeMeasured,
    WorkerWelcome,
)

ADMIN = Credentials()
SYSTEM = make_system()


def texts(observed: Observed, reader: Credentials, **which: Any) -> list[str]:
    answer: Any = observed.logs(which, reader)
    return [line["text"] for line in answer["events"]]


def of(key: str) -> Credentials:
    return Credentials(key=key, is_admin=False)


def observe(broker: BrokerHarness) -> Observed:
    return Observed(broker.machine, ShellStatistics())


def say(text: str, *tasks: str) -> ModelLogged:
    return ModelLogged(lines=(LogLine(text=text, tasks=tuple(map(TaskId, tasks)), age=2.0),))


def test_a_line_is_told_to_the_owner_of_its_task_and_to_admins() -> None:
    broker = with_two_owners()
    task = submit(broker, 1, ALICE).id
    observed = observe(broker)

    observed.hear(W1, say("of alice", task), now=10.0)

    assert texts(observed, of("alice")) == texts(observed, ADMIN) == ["of alice"]
    assert texts(observed, of("bob")) == []
    assert texts(observed, of("alice"), task=task) == ["of alice"]
    answer: Any = observed.logs({}, ADMIN)
    assert answer["events"][0]["at"] == 8.0


def test_a_worker_cannot_speak_of_a_task_that_another_one_has() -> None:
    broker = with_two_owners()
    task = submit(broker, 1, ALICE).id
    broker.join(W2, node="other")
    observed = observe(broker)

    observed.hear(W2, say("forged", task), now=1.0)
    observed.hear(W1, say("unknown", "f" * 32), now=1.0)

    assert texts(observed, of("alice")) == []
    assert texts(observed, ADMIN) == ["forged", "unknown"]


def test_a_stranger_is_not_heard() -> None:
    observed = observe(with_two_owners())

    observed.hear(PeerId(b"stranger"), say("x"), now=1.0)

    assert texts(observed, ADMIN) == []


def test_what_was_dropped_is_told_and_counted() -> None:
    observed = observe(with_two_owners())

    observed.hear(W1, ModelLogged(dropped=3), now=1.0)
    observed.leave_out(W1, say("x"), now=1.0)
    observed.leave_out(W1, NodeMeasured(system=SYSTEM), now=1.0)

    answer: Any = observed.logs({}, ADMIN)
    assert [line["count"] for line in answer["events"]] == [3, 1]
    assert observed._statistics.log_lines_dropped == 4


def test_a_node_is_shown_with_its_load_while_that_is_news() -> None:
    broker = with_two_owners()
    observed = observe(broker)
    observed.hear(W1, NodeMeasured(system=SYSTEM), now=10.0)

    (node,) = observed.nodes(now=12.0).values()
    assert (node.workers, node.age, node.system) == (1, 2.0, SYSTEM)
    (node,) = observed.nodes(now=11.0 + FORGET_AFTER).values()
    assert (node.workers, node.age, node.system) == (1, 0.0, None)


def test_questions_that_make_no_sense_are_answered() -> None:
    observed = observe(with_two_owners())

    for arguments in ({"after": "x"}, {"task": 3}):
        with pytest.raises(ValueError, match="is no"):
            observed.logs(arguments, ADMIN)


@pytest.mark.parametrize("version", [OBSERVING_VERSION - 1, OBSERVING_VERSION])
def test_an_older_worker_is_not_told_what_it_would_not_understand(version: int) -> None:
    broker = BrokerHarness()

    broker.receive(W1, make_hello(newest=version))

    (welcome,) = broker.heard(W1, WorkerWelcome)
    assert welcome.observes == (version >= OBSERVING_VERSION)
