"""What arrives together is one step of the machine, and each payload stays with its own message."""

import pytest
from attrs import evolve
from tests.harness.toy_broker import (
    picture_task,
    toy_client,
    toy_config,
    toy_plugins,
    toy_task,
    toy_worker,
)

from paintmq.broker.machine import BrokerMachine
from paintmq.broker.shell.server import BrokerServer
from paintmq.task import TaskState
from paintmq.testing.example_tasks import describe
from paintmq.wire.messages import (
    Accepted,
    Assign,
    AttemptStarted,
    AttemptSucceeded,
    Finished,
    Heartbeat,
    Rejected,
    Submit,
)


def test_tasks_of_one_message_are_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    finish = BrokerMachine.finish

    def counted(machine: BrokerMachine, *, now: float) -> object:
        step = finish(machine, now=now)
        steps.append(len(step.records))
        return step

    with BrokerServer(toy_config(), toy_plugins()) as server, toy_client(server) as client:
        client.say(Submit(toy_task()))
        client.hear(Accepted)
        monkeypatch.setattr(BrokerMachine, "finish", counted)
        for _ in range(40):
            client.link.send(Submit(toy_task()))
        client.say(Heartbeat())
        for _ in range(40):
            client.hear(Accepted)
        monkeypatch.undo()
        server.stop(grace=0)

    assert steps[:3] == [16, 16, 8], "in slices, between which workers are read"


def test_a_repeated_submission_with_other_bytes_cannot_replace_those_of_the_first() -> None:
    """I22, also where both arrive in one message and are one step."""
    first = picture_task(b"the first")
    second = evolve(first, inputs=(describe("image", b"the other"),))
    with (
        BrokerServer(toy_config(), toy_plugins()) as server,
        toy_client(server) as client,
        toy_worker(server) as worker,
    ):
        client.link.send(Submit(first), [b"the first"])
        client.link.send(Submit(second), [b"the other"])
        client.say(Heartbeat())

        assert client.hear(Rejected).code == "conflict"
        assert worker.hear_with_payloads(Assign)[1] == [b"the first"]
        server.stop(grace=0)


def test_results_of_one_message_reach_their_own_tasks() -> None:
    """I22."""
    tasks = [picture_task(bytes([number])) for number in range(3)]
    with BrokerServer(toy_config(), toy_plugins()) as server, toy_client(server) as client:
        for number, task in enumerate(tasks):
            client.link.send(Submit(task), [bytes([number])])
        client.say(Heartbeat())
        with toy_worker(server, credit=3) as worker:
            for _ in tasks:
                assign, (data,) = worker.hear_with_payloads(Assign)
                task_id, fence = assign.assignments[0].task.id, assign.assignments[0].fence
                worker.link.send(AttemptStarted(task_id=task_id, fence=fence))
                outputs = (describe("image", data * 5),)
                worker.link.send(
                    AttemptSucceeded(task_id=task_id, fence=fence, outputs=outputs, ran=0.01),
                    [data * 5],
                )
            worker.say(Heartbeat())
            ended = {}
            for _ in tasks:
                finished, results = client.hear_with_payloads(Finished)
                assert finished.state is TaskState.SUCCEEDED
                assert finished.ran == pytest.approx(0.01, abs=0.02)
                ended[finished.task_id] = results
        server.stop(grace=0)

    assert ended == {task.id: [bytes([number]) * 5] for number, task in enumerate(tasks)}
