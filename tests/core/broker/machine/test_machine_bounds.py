"""Every table of the machine is bounded, and one entry too many is refused with a reason."""

from typing import Any

import pytest
from attrs import evolve
from tests.harness.broker_harness import ALICE, BOB, W1, W2, BrokerHarness, make_machine

from paintmq.broker.machine.sessions import MAX_INTRODUCTION, MAX_NAME, introduction_objection
from paintmq.broker.records import TaskPurged
from paintmq.broker.scheduling import estimates as estimates_module
from paintmq.broker.scheduling.estimates import Estimates
from paintmq.config import Limits
from paintmq.model import InputSpec
from paintmq.testing.example_tasks import make_hello, make_payload, make_request, make_spec
from paintmq.wire.messages import (
    Accepted,
    Cancel,
    ClientHello,
    ModelLoaded,
    ModelUnloaded,
    Refused,
    Rejected,
    ResidentModel,
    ResultReceived,
    UnknownTask,
    Welcome,
    WorkerWelcome,
)


def limited(**limits: Any) -> BrokerHarness:
    spec = make_spec(inputs=(InputSpec(name="image"),))
    broker = BrokerHarness(make_machine(limits=Limits(**limits), specs=[spec]))
    broker.greet()
    return broker


def rejection(broker: BrokerHarness) -> Rejected:
    return broker.heard(ALICE, Rejected)[-1]


# ---- who introduces itself ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "x" * (MAX_NAME + 1)}, "has 256 characters, at most 255 are allowed"),
        ({"node": "x" * (MAX_NAME + 1)}, "has 256 characters, at most 255 are allowed"),
        ({"device_name": "x" * (MAX_NAME + 1)}, "has 256 characters, at most 255 are allowed"),
        ({"models": ("x" * MAX_INTRODUCTION, "y")}, "its list of models has 65537 characters"),
        ({"unavailable": {"m": "y" * MAX_INTRODUCTION}}, "its list of models has 65540 characters"),
        (
            {"resident": (ResidentModel(model="other", memory_mb=1),)},
            "model 'other' is in memory but not among the models it can run",
        ),
        ({"credit": 0}, "a credit of 0 is not allowed"),
        ({"credit": 10**12}, "a credit of 1000000000000 is not allowed, it must be 1 to 1000"),
    ],
)
def test_a_worker_that_says_too_much_of_itself_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    """I14, I15."""
    broker = limited()

    broker.receive(W1, make_hello(**changes))

    assert words in broker.heard(W1, Refused)[0].reason
    assert broker.heard(W1, WorkerWelcome) == []
    assert broker.machine.statistics(now=broker.now).workers == 0


def test_a_client_with_an_endless_name_is_refused() -> None:
    """I14, I15."""
    broker = limited()

    broker.receive(BOB, ClientHello(name="x" * 300))

    assert "has 300 characters" in broker.heard(BOB, Refused)[0].reason
    assert broker.heard(BOB, Welcome) == []


def test_what_is_just_within_the_bounds_is_welcome() -> None:
    name = "x" * MAX_NAME
    models = ("toy", "m" * (MAX_INTRODUCTION - 3))

    assert introduction_objection(ClientHello(name=name)) == ""
    assert (
        introduction_objection(
            make_hello(
                name=name,
                models=models,
                credit=1_000,
                resident=(ResidentModel(model="toy", memory_mb=1),),
            )
        )
        == ""
    )


def test_workers_of_too_many_kinds_are_refused_and_those_of_known_kinds_are_not() -> None:
    """I14, I15."""
    broker = limited(max_worker_kinds=2)
    broker.receive(W1, make_hello(cores=1))
    broker.receive(W1, make_hello(cores=2))

    broker.receive(W2, make_hello("node/cpu-1", cores=3))
    assert "knows 2 kinds of workers" in broker.heard(W2, Refused)[0].reason

    broker.receive(W2, make_hello("node/cpu-1", cores=1))
    assert len(broker.heard(W2, WorkerWelcome)) == 1


@pytest.mark.parametrize(
    "message",
    [
        ModelLoaded(model="other", seconds=1.0, memory_mb=1),
        ModelUnloaded(model="other", error="no"),
    ],
)
def test_a_worker_speaks_only_of_models_it_announced(message: ModelLoaded | ModelUnloaded) -> None:
    """I14: names of models are not a table that a worker may fill."""
    broker = limited()
    broker.join(W1)

    broker.receive(W1, message)

    assert "did not announce 'other'" in broker.heard(W1, Refused)[0].reason
    broker.receive(W1, evolve(message, model="toy"))
    assert len(broker.heard(W1, Refused)) == 1


def test_averages_are_begun_for_so_many_devices_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I14."""
    monkeypatch.setattr(estimates_module, "MOST_KEPT", 40)
    estimates = Estimates()

    for number in range(40):
        estimates.loaded("toy", "cpu", f"device {number}", 4.0)
    estimates.loaded("other", "cpu", "device", 7.0)

    spec = make_spec(load_seconds=1.0)
    assert estimates.load_seconds(spec, "cpu", "device 5") == 4.0
    assert estimates.least_load_seconds(make_spec("other")) == 7.0
    assert estimates.load_seconds(make_spec("other", load_seconds=1.0), "cpu", "device") == 1.0


# ---- what is submitted -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "x" * 300},
        {"model": "x" * 300},
        {"task_type": "x" * 300},
        {"queue": "x" * 300},
        {"inputs": (make_payload("x" * 300),)},
        {"inputs": (make_payload(digest="0" * 300),)},
        {"inputs": (make_payload(dtype="u" * 300),)},
    ],
)
def test_an_endless_name_in_a_task_is_refused(changes: dict[str, Any]) -> None:
    """I15."""
    broker = limited()

    broker.submit(make_request(**changes))

    assert rejection(broker).code == "invalid_task"
    assert "a name in the task has 300 characters, at most 255" in rejection(broker).reason


def test_options_that_are_too_large_are_refused() -> None:
    """I15."""
    broker = limited(max_options_bytes=100)

    broker.submit(make_request("1", options={"words": "x" * 100}))

    assert rejection(broker).code == "invalid_option"
    assert "at most 100 are allowed (limits.max_options_bytes)" in rejection(broker).reason


def test_tasks_that_ended_and_that_nobody_confirms_fill_the_broker_no_further() -> None:
    """I14, I15: submitting and cancelling for ever costs a bounded amount of memory."""
    broker = limited(max_kept_tasks=2)
    for name in ("1", "2"):
        request = broker.submit(make_request(name))
        broker.receive(ALICE, Cancel(request.id))

    broker.submit(make_request("3"))

    assert rejection(broker).code == "queue_full"
    assert rejection(broker).retry_after
    assert "keeps 2 tasks, most of them ended" in rejection(broker).reason


def test_what_was_confirmed_first_makes_room_for_new_tasks() -> None:
    broker = limited(max_kept_tasks=2)
    requests = [broker.submit(make_request(name)) for name in ("1", "2")]
    for request in requests:
        broker.receive(ALICE, Cancel(request.id))
        broker.receive(ALICE, ResultReceived(request.id))

    third = broker.submit(make_request("3"))

    assert broker.heard(ALICE, Accepted)[-1].task_id == third.id
    assert [r.task_id for r in broker.records if isinstance(r, TaskPurged)] == [requests[0].id]
    assert list(broker.machine.stored()) == [requests[1].id, third.id]


def test_a_disk_that_is_too_slow_refuses_new_tasks_until_it_has_caught_up() -> None:
    """I15, I19."""
    broker = limited()

    broker.machine.set_disk_busy(busy=True)
    broker.submit(make_request("1"))
    assert (rejection(broker).code, rejection(broker).retry_after) == ("disk_busy", 1.0)

    broker.machine.set_disk_busy(busy=False)
    broker.submit(make_request("1"))
    assert len(broker.heard(ALICE, Accepted)) == 1
    assert broker.heard(ALICE, UnknownTask) == []
