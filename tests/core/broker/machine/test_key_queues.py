"""Keys for some queues alone: where their clients may submit, what their workers may run."""

from typing import Any

import pytest
from tests.harness.broker_harness import (
    ALICE,
    W1,
    W2,
    BrokerHarness,
    make_machine,
    ready,
    rejection,
    restarted,
    workers,
)
from tests.harness.scheduler_harness import (
    make_scheduler,
    make_task,
    make_worker,
    numbers,
    picks,
    session,
)

from paintmq.broker.machine import Credentials
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.config import DEFAULT_QUEUE_CONFIGS, QueueConfig
from paintmq.model import Needs
from paintmq.task import PeerId, TaskRequest
from paintmq.testing.example_tasks import make_hello, make_request, make_spec
from paintmq.wire.messages import Accepted, Answer, Ask, Refused, Submit, ToBroker, WorkerWelcome

EITHER: dict[str, Any] = {"specs": [make_spec(devices=("cpu", "cuda"))]}
"""A model that default queues of both kinds can hold."""


def receive(broker: BrokerHarness, peer: PeerId, message: ToBroker, *queues: str) -> None:
    """Take in a message of a peer whose key is for these queues alone."""
    credentials = Credentials(queues=queues)
    broker.take(broker.machine.receive(peer, message, now=broker.now, credentials=credentials))


def submit(broker: BrokerHarness, *queues: str, **changes: Any) -> TaskRequest:
    request = make_request(**changes)
    receive(broker, ALICE, Submit(request), *queues)
    return request


# ---- clients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("queue", ["cpu-light", "serverless", "gpu-low"])
def test_a_task_goes_to_a_queue_that_its_clients_key_is_for(queue: str) -> None:
    broker = ready(**EITHER)
    request = submit(broker, queue)

    assert broker.status(request).queue == queue
    assert broker.heard(ALICE, Accepted)[-1].queue == queue


def test_without_limits_a_task_goes_where_the_router_has_it() -> None:
    broker = ready(**EITHER)

    assert broker.status(broker.submit()).queue not in ("serverless", "gpu-low")


def test_a_task_that_only_other_queues_could_hold_is_refused_and_both_are_named() -> None:
    broker = ready(
        specs=[make_spec(devices=("cuda",), needs=lambda job: Needs(gpu_memory_mb=9000))]
    )
    request = submit(broker, "gpu-low", "cpu-light")

    assert rejection(broker).code == "no_queue_fits"
    assert rejection(broker).reason == (
        "none of the queues that your key allows can hold this task: "
        "gpu-low: needs 9000 MB GPU memory, has 4096; cpu-light: runs cpu tasks, needs cuda; "
        "with another key, gpu-high, gpu-medium could"
    )
    assert request.id not in broker.machine.stored()


def test_a_queue_that_there_is_not_holds_nothing() -> None:
    broker = ready()
    submit(broker, "nightly")

    assert "nightly: no such queue" in rejection(broker).reason


def test_a_queue_that_the_client_chose_must_be_one_its_key_is_for() -> None:
    broker = ready(**EITHER)
    submit(broker, "gpu-low", "cpu-light", name="1", queue="serverless")
    assert rejection(broker).code == "not_allowed"
    assert rejection(broker).reason == (
        "your key allows gpu-low and cpu-light, not queue serverless"
    )

    request = submit(broker, "gpu-low", "cpu-light", name="2", queue="gpu-low")
    assert broker.status(request).queue == "gpu-low"


def test_a_question_where_a_task_would_go_is_answered_for_the_key() -> None:
    broker = ready(**EITHER)
    arguments: dict[str, Any] = {
        "task_type": "plugin",
        "model": "toy",
        "device": "auto",
        "options": {},
        "inputs": [],
    }
    receive(broker, ALICE, Ask(request_id=1, subject="route", arguments=arguments), "serverless")

    assert broker.heard(ALICE, Answer)[-1].value == {"queue": "serverless"}


def test_a_full_queue_is_full_for_those_who_may_use_no_other() -> None:
    queues = {**DEFAULT_QUEUE_CONFIGS, "cpu-light": QueueConfig(effort="light", capacity=1)}
    broker = BrokerHarness(make_machine(queues=queues))
    broker.greet()
    for name in ("1", "2"):
        submit(broker, "cpu-light", name=name)

    assert rejection(broker).code == "queue_full"


# ---- workers -----------------------------------------------------------------------------------


def test_a_worker_is_given_only_tasks_of_queues_that_its_key_is_for() -> None:
    broker = BrokerHarness(make_machine())
    broker.greet()
    receive(broker, W1, make_hello(queue="serverless"), "serverless")
    other = broker.submit(make_request("1", queue="cpu-light"))
    own = broker.submit(make_request("2", queue="serverless"))

    assert [item.task.id for item in broker.assigned(W1)] == [own.id]
    assert not broker.assigned(W2)
    broker.join(W2)
    assert [item.task.id for item in broker.assigned(W2)] == [other.id]


def test_a_worker_at_home_in_a_queue_that_its_key_is_not_for_is_refused() -> None:
    broker = BrokerHarness(make_machine())
    receive(broker, W1, make_hello(queue="cpu-light"), "serverless", "gpu-low")

    assert broker.heard(W1, Refused)[-1].reason == (
        "your key allows serverless and gpu-low, not queue cpu-light"
    )
    assert not broker.heard(W1, WorkerWelcome)


def test_a_worker_that_says_hello_again_is_held_to_what_its_key_is_for_now() -> None:
    broker = ready()
    receive(broker, W1, make_hello(queue="cpu-light"), "cpu-light")
    request = broker.submit(make_request(queue="serverless"))

    assert not broker.assigned(W1)
    assert workers(broker)[0]["serves"] == ["cpu-light"]
    broker.receive(W1, make_hello(queue="cpu-light"))
    assert [item.task.id for item in broker.assigned(W1)] == [request.id]
    assert workers(broker)[0]["serves"] is None


def test_what_it_had_begun_a_worker_may_end_whatever_its_key_is_for_now() -> None:
    broker = ready()
    request = broker.submit(make_request(queue="serverless"))
    (item,) = broker.assigned(W1)
    broker.start(item)
    hello = make_hello(queue="cpu-light", running=((item.task.id, item.fence),))
    receive(broker, W1, hello, "cpu-light")
    broker.succeed(item)

    assert broker.status(request).state == "succeeded"


def test_what_keeps_a_task_waiting_is_said_in_words() -> None:
    broker = BrokerHarness(make_machine())
    broker.greet()
    receive(broker, W1, make_hello(queue="cpu-light"), "cpu-light")
    request = broker.submit(make_request(queue="serverless"))

    why: Any = broker.ask("why", task_id=request.id).value
    assert "node/cpu-0 has a key for cpu-light alone" in why["waiting_for"]
    assert why["explanation"]["workers"][0]["reason"] == "has a key for cpu-light alone"
    assert why["explanation"]["unblocked_by"] == "a worker with a key for serverless to connect"


def test_strict_admission_counts_no_worker_whose_key_is_for_other_queues() -> None:
    broker = BrokerHarness(make_machine(admission="strict"))
    broker.greet()
    receive(broker, W1, make_hello(queue="cpu-light"), "cpu-light")
    broker.submit(make_request("1", queue="serverless"))
    assert rejection(broker).code == "no_worker"
    assert "has a key for cpu-light alone" in rejection(broker).reason

    assert broker.status(broker.submit(make_request("2"))).queue == "cpu-light"


def test_a_task_goes_to_a_queue_that_a_connected_worker_may_serve() -> None:
    """I21: no task waits behind a label while a worker that could run it is kept to another."""
    broker = BrokerHarness(make_machine())
    broker.greet()
    receive(broker, W1, make_hello(queue="serverless"), "serverless")

    assert broker.status(broker.submit()).queue == "serverless"
    assert len(broker.assigned(W1)) == 1


def test_a_restarted_broker_lets_tasks_wait_where_they_were() -> None:
    broker = BrokerHarness(make_machine(**EITHER))
    broker.greet()
    request = submit(broker, "serverless")
    again = restarted(broker, **EITHER)

    assert again.status(request).queue == "serverless"


# ---- the engine --------------------------------------------------------------------------------


def limited_workers(*names: str, queues: tuple[str, ...]) -> Scheduler:
    scheduler = make_scheduler()
    for name in names:
        scheduler.worker_joined(session(name), make_worker(name), now=0.0, queues=queues)
    return scheduler


def test_waiting_tasks_are_sorted_by_queue_only_where_workers_tell_queues_apart() -> None:
    scheduler = make_scheduler()
    for number, queue in enumerate(("a", "b", "a", "b")):
        scheduler.add(make_task(number, queue=queue, at=float(number)), now=0.0)
    scheduler.worker_joined(session("one"), make_worker("one"), now=0.0, queues=("c",))
    assert picks(scheduler) == []

    scheduler.worker_joined(session("two"), make_worker("two"), now=0.0, queues=("b",))
    assert numbers(picks(scheduler)) == [1]
    scheduler.worker_joined(session("all"), make_worker("all"), now=0.0, queues=("b", "a"))
    assert numbers(picks(scheduler)) == [0]
    scheduler.released(session("two"), make_task(1).request.id, ran=1.0, now=1.0)
    assert numbers(picks(scheduler)) == [3]


def test_a_kind_of_worker_is_also_what_its_key_is_for() -> None:
    scheduler = limited_workers("one", queues=("a", "b"))

    assert scheduler.knows_kind(make_worker("two"), ("b", "a"))
    assert not scheduler.knows_kind(make_worker("two"), ("a",))
    assert not scheduler.knows_kind(make_worker("two"))


def test_the_queue_chosen_is_one_that_a_worker_may_serve_from_wherever_it_is_at_home() -> None:
    """I21."""
    scheduler = make_scheduler()
    worker = make_worker("one", queue="home")
    scheduler.worker_joined(session("one"), worker, now=0.0, queues=("home", "b"))

    assert scheduler.choose_queue(make_task(1).checked, ["a", "b"], now=0.0) == "b"


def test_a_queue_is_chosen_although_no_worker_may_serve_any() -> None:
    scheduler = limited_workers("one", queues=("a",))

    assert scheduler.choose_queue(make_task(1).checked, ["b", "c"], now=0.0) in ("b", "c")
