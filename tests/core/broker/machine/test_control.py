"""Questions: dead letters, why a task waits, workers and statistics."""

from typing import Any

import pytest
from tests.harness.broker_harness import (
    ALICE,
    W1,
    W2,
    BrokerHarness,
    fail,
    ready,
    restarted,
    workers,
)

from paintmq.broker.machine import Credentials, control
from paintmq.broker.records import replay
from paintmq.config import Limits, Timers
from paintmq.model import InputSpec
from paintmq.task import TaskState
from paintmq.testing.example_tasks import make_request, make_spec
from paintmq.testing.plain_router import PlainRouter
from paintmq.wire.messages import Cancel, Drain, Heartbeat


def why_of(broker: BrokerHarness, task_id: str) -> Any:
    return broker.ask("why", task_id=task_id).value


def dead_task(broker: BrokerHarness) -> Any:
    task = broker.submit(make_request(max_attempts=1))
    fail(broker, broker.assigned()[-1], retryable=True)
    assert broker.status(task).state is TaskState.DEAD
    return task


def test_dead_letters_are_listed_shown_and_requeued() -> None:
    broker = ready()
    task = dead_task(broker)
    listing: Any = broker.ask("dead_list").value
    assert [row["id"] for row in listing["tasks"]] == [task.id]
    shown: Any = broker.ask("dead_show", task_id=task.id).value
    assert shown["history"][0]["error"]["message"] == "boom"

    broker.ask("dead_requeue", task_id=task.id)
    broker.succeed(broker.assigned()[-1])

    assert broker.status(task).state is TaskState.SUCCEEDED
    assert replay(broker.records) == broker.machine.stored()
    assert "not dead" in broker.ask("dead_drop", task_id=task.id).error


def test_a_dead_letter_can_be_dropped() -> None:
    broker = ready()
    task = dead_task(broker)
    broker.ask("dead_drop", task_id=task.id)

    assert broker.machine.stored() == {}
    assert "never accepted" in broker.ask("dead_show", task_id=task.id).error


def test_why_says_what_a_task_waits_for() -> None:
    broker = BrokerHarness()
    broker.greet()
    task = broker.submit()

    answer: Any = broker.ask("why", task_id=task.id).value

    assert answer["task"]["state"] == "queued"
    assert answer["waiting_for"]
    broker.join()
    answer = broker.ask("why", task_id=task.id).value
    assert answer["task"]["state"] == "leased"


def test_workers_are_listed_and_drained_by_name() -> None:
    broker = ready()
    task = broker.submit()
    row = workers(broker)[0]
    assert row["name"] == "node/cpu-0"
    assert row["running"] == [task.id]
    assert "connected: node/cpu-0" in broker.ask("drain_worker", name="x").error
    assert "grace" in broker.ask("drain_worker", name="node/cpu-0", grace=-1).error

    broker.ask("drain_worker", name="node/cpu-0", grace=3)

    assert broker.heard(W1, Drain) == [Drain(grace=3.0)]
    broker.succeed(broker.assigned()[0])
    broker.submit(make_request("2"))
    assert len(broker.assigned()) == 1


def test_a_worker_that_has_missed_two_heartbeats_is_told_to_be_silent_before_it_is_given_up() -> (
    None
):
    broker = ready()
    task = broker.submit()
    broker.start(broker.assigned()[0])
    broker.let_pass(10.0)
    broker.greet()  # the client lives
    assert workers(broker)[0]["silent"] == 0.0
    assert "lease" not in why_of(broker, task.id)

    broker.let_pass(2.0)

    assert workers(broker)[0]["silent"] == pytest.approx(12.0)
    why = why_of(broker, task.id)
    assert why["silent"] == pytest.approx(12.0)
    assert 0.0 < why["lease"] < 30.0
    broker.receive(W1, Heartbeat(running=()))
    assert workers(broker)[0]["silent"] == 0.0


def test_of_workers_with_one_name_a_session_says_which_is_drained() -> None:
    broker = ready()
    broker.join(W2, name="node/cpu-0")
    first, second = (row["session"] for row in workers(broker))

    refused = broker.ask("drain_worker", name="node/cpu-0").error

    assert "2 workers are called 'node/cpu-0'" in refused
    assert f"session {first} on node node, queue cpu-light" in refused
    assert f"session {second} on node" in refused
    assert f"(paintmq drain node/cpu-0 --session {first})" in refused
    assert not broker.heard(W1, Drain)
    assert not broker.heard(W2, Drain)
    stranger = broker.ask("drain_worker", name="node/cpu-0", session="00").error
    assert "no worker 'node/cpu-0' has the session '00'; connected: session" in stranger
    broker.ask("drain_worker", name="node/cpu-0", session=second)
    assert not broker.heard(W1, Drain)
    assert broker.heard(W2, Drain) == [Drain(grace=30.0)]


def test_a_drain_that_is_refused_tells_keys_and_silence_of_the_twins() -> None:
    broker = BrokerHarness()
    broker.greet()
    for peer, key in ((W1, "vm-1"), (W2, "vm-2")):
        broker.keys[peer] = Credentials(key=key)
        broker.join(peer, name="twin")
    broker.let_pass(11.0)
    broker.receive(W2, Heartbeat(running=()))
    broker.greet()

    refused = broker.ask("drain_worker", name="twin").error

    assert "key vm-1, silent for 11 s; session" in refused
    assert "key vm-2; name one by its session" in refused


def test_an_unknown_subject_is_answered_with_the_known_ones() -> None:
    broker = ready()

    assert "dead_list" in broker.ask("__class__").error


def test_statistics_balance() -> None:
    """I10."""
    broker = ready()
    for number in range(4):
        broker.submit(make_request(str(number)))
    broker.succeed(broker.assigned()[0])
    fail(broker, broker.assigned()[1], retryable=False)

    statistics = broker.machine.statistics(now=broker.now)

    assert statistics.unaccounted == 0
    queue = statistics.queues["cpu-light"]
    assert (queue.waiting, queue.running, queue.succeeded, queue.failed) == (1, 1, 1, 1)
    value: Any = broker.ask("statistics").value
    assert value["queues"]["cpu-light"]["succeeded"] == 1
    assert len(list(broker.machine.unfinished())) == 2


# ---- routing -----------------------------------------------------------------------------------

ROUTE: dict[str, Any] = {
    "task_type": "plugin",
    "model": "toy",
    "device": "auto",
    "options": {},
    "inputs": [],
}


def test_a_task_is_routed_without_being_stored() -> None:
    broker = ready()

    assert broker.ask("route", **ROUTE).value == {"queue": "cpu-light"}
    assert broker.machine.stored() == {}


def test_where_a_task_would_be_refused_routing_says_so() -> None:
    broker = ready()
    value: Any = broker.ask("route", **{**ROUTE, "model": "lama"}).value

    assert value["code"] == "unknown_model"
    assert value["retry_after"] is None
    assert "toy" in value["reason"]


def test_the_inputs_sizes_count_for_routing() -> None:
    spec = make_spec(inputs=(InputSpec(name="image"),))
    broker = ready(specs=[spec], limits=Limits(max_payload_bytes=100))
    image = {"name": "image", "size": 101, "width": 640, "height": 480}
    value: Any = broker.ask("route", **{**ROUTE, "inputs": [image]}).value

    assert value["code"] == "invalid_input"


@pytest.mark.parametrize(
    "wrong",
    [
        {"task_type": 3},
        {"model": None},
        {"device": "tpu"},
        {"options": []},
        {"inputs": {}},
        {"inputs": [{"name": "image"}]},
        {"inputs": ["image"]},
    ],
)
def test_a_question_for_a_route_that_makes_no_sense_is_answered_in_words(
    wrong: dict[str, Any],
) -> None:
    broker = ready()

    assert "route" in broker.ask("route", **{**ROUTE, **wrong}).error


# ---- listings ----------------------------------------------------------------------------------


def listed(broker: BrokerHarness, **chosen: Any) -> list[str]:
    answer: Any = broker.ask("tasks", **chosen).value
    return [row["id"][-1] for row in answer["tasks"]]


def test_tasks_are_listed_by_state_queue_model_and_tenant() -> None:
    broker = ready()
    for name, tenant in (("1", ""), ("2", "acme"), ("3", ""), ("4", "acme")):
        broker.submit(make_request(name, tenant=tenant))
    broker.succeed(broker.assigned()[0])

    assert listed(broker) == ["1", "2", "3", "4"]
    assert listed(broker, state="succeeded") == ["1"]
    assert listed(broker, state="queued", tenant="acme") == ["4"]
    assert listed(broker, tenant="") == ["1", "3"]
    assert listed(broker, queue="cpu-light", model="toy", tenant=None) == ["1", "2", "3", "4"]
    assert listed(broker, queue="serverless") == listed(broker, model="lama") == []


def test_a_long_listing_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MOST_ROWS", 2)
    broker = ready()
    for number in range(5):
        broker.submit(make_request(str(number)))
    answer: Any = broker.ask("tasks").value

    assert (len(answer["tasks"]), answer["more"]) == (2, 3)
    assert (listed(broker), listed(broker, newest=True)) == (["0", "1"], ["3", "4"])


def test_tasks_are_listed_by_how_their_ids_begin() -> None:
    broker = ready()
    anna, bert = f"{'a' * 12}4000800000000000000{1}", f"{'b' * 12}4000800000000000000{2}"
    for name in (anna, bert):
        broker.submit(make_request(name))

    assert listed(broker, mark="a" * 12) == ["1"]
    assert listed(broker, mark="c") == listed(broker, mark=3) == []


def test_a_state_that_does_not_exist_is_named_with_those_that_do() -> None:
    assert "known states: submitted, queued" in ready().ask("tasks", state="waiting").error


def test_an_attempt_that_nobody_claimed_yet_runs_on_no_worker() -> None:
    broker = ready()
    broker.submit()
    broker.start(broker.assigned()[0])
    again = restarted(broker)
    again.greet(ALICE)
    again.join(W2)

    assert workers(again)[0]["running"] == []


def test_of_a_task_whose_worker_is_not_connected_it_is_told_how_long_that_may_take() -> None:
    broker = ready(timers=Timers(lease=30.0))
    task = broker.submit()
    broker.start(broker.assigned()[0])
    running: Any = broker.ask("why", task_id=task.id).value
    assert "lease" not in running

    broker.take(broker.machine.peer_lost(W1, now=broker.now))
    broker.now += 10.0

    left: Any = broker.ask("why", task_id=task.id).value
    assert left["lease"] == 20.0


def test_a_listed_task_tells_how_its_last_attempt_and_how_the_task_ended() -> None:
    broker = ready()
    task = broker.submit()
    fail(broker, broker.assigned()[0], retryable=True)
    row: Any = broker.ask("why", task_id=task.id).value
    assert (row["task"]["reason"], row["task"]["ended"]) == ("boom", None)

    broker.receive(ALICE, Cancel(task.id))
    broker.let_pass(3.0)
    row = broker.ask("why", task_id=task.id).value
    assert (row["task"]["reason"], row["task"]["ended"]) == ("the task was cancelled", 3.0)
    assert "explanation" not in row


def test_faults_of_the_router_are_told() -> None:
    class Broken(PlainRouter):
        def score(self, *arguments: Any, **more: Any) -> float | None:
            raise ValueError("broken")

    broker = ready(router=Broken())
    broker.submit()
    statistics: Any = broker.ask("statistics").value

    assert statistics["router_faults"] >= 1
    assert statistics["router_fault"] == "ValueError: broken"


def test_a_task_is_asked_for_by_its_id_alone() -> None:
    for given in (7, None, ["x"]):
        assert ready().ask("why", task_id=given).error.startswith(f"no task {given!r}: ")
