"""What is refused, in words and with a remedy, before anything is stored."""

import pytest
from attrs import evolve
from tests.harness.broker_harness import ALICE, BrokerHarness, make_machine, ready, rejection

from paintmq.config import Limits, QueueConfig
from paintmq.model import InputSpec, Job, Needs
from paintmq.task import TaskState
from paintmq.testing.example_tasks import describe, make_payload, make_request, make_spec
from paintmq.wire.messages import (
    Accepted,
    Finished,
)


def test_an_unknown_model_is_refused_and_nothing_is_stored() -> None:
    broker = ready()
    broker.submit(make_request(model="nonesuch"))

    assert rejection(broker).code == "unknown_model"
    assert "toy" in rejection(broker).reason
    assert broker.machine.stored() == {}


def test_a_task_no_queue_could_hold_is_refused_with_the_reason_per_queue() -> None:
    spec = make_spec(devices=("cuda",), needs=lambda job: Needs(gpu_memory_mb=200_000))
    broker = ready(specs=[spec])
    broker.submit()

    assert rejection(broker).code == "no_queue_fits"
    assert "gpu-low: needs 200000 MB GPU memory, has 4096" in rejection(broker).reason


def test_a_queue_the_client_chose_must_exist_and_fit() -> None:
    broker = ready()
    broker.submit(make_request("1", queue="gpu-hihg"))
    assert rejection(broker).code == "invalid_task"
    assert "gpu-high" in rejection(broker).reason

    broker.submit(make_request("2", queue="gpu-high"))
    assert rejection(broker).code == "no_queue_fits"
    assert "cpu-light" in rejection(broker).reason


def test_a_full_queue_refuses_and_says_how_long_to_wait() -> None:
    """I15."""
    broker = BrokerHarness(make_machine(queues={"cpu-light": QueueConfig(capacity=2)}))
    broker.greet()
    for number in range(3):
        broker.submit(make_request(str(number)))

    assert rejection(broker).code == "queue_full"
    assert rejection(broker).retry_after == 1.0
    assert len(broker.heard(ALICE, Accepted)) == 2
    assert broker.machine.statistics(now=broker.now).rejected == 1


@pytest.mark.parametrize(("seconds", "wait"), [(0.01, 1.0), (7.0, 7.0), (4000.0, 60.0)])
def test_a_full_queue_asks_to_wait_for_one_task_and_not_for_all_of_them(
    seconds: float, wait: float
) -> None:
    spec = make_spec(run_seconds=lambda job: seconds)
    queues = {"cpu-light": QueueConfig(capacity=50)}
    broker = BrokerHarness(make_machine(specs=[spec], queues=queues))
    broker.greet()
    for number in range(51):
        broker.submit(make_request(str(number)))

    assert rejection(broker).retry_after == pytest.approx(wait)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(max_payload_bytes=9), "invalid_input"),
        (Limits(max_task_bytes=9), "invalid_input"),
        (Limits(max_bytes_in_flight=9), "bytes_full"),
        (Limits(max_tasks=1), "queue_full"),
    ],
)
def test_every_limit_refuses_in_words(limits: Limits, code: str) -> None:
    """I15."""
    spec = make_spec(inputs=(InputSpec(name="image"),))
    broker = BrokerHarness(make_machine(limits=limits, specs=[spec]))
    broker.greet()
    if code == "queue_full":
        broker.submit(make_request("1"))
    broker.submit(make_request("2", inputs=(make_payload(size=10),)))

    assert rejection(broker).code == code


@pytest.mark.parametrize(
    ("limits", "sides", "reason"),
    [
        (Limits(max_pixels=99), (10, 10), "has 10 x 10 pixels, at most 99 (limits.max_pixels)"),
        (Limits(max_side=9), (10, 1), "9 along a side (limits.max_side)"),
        (
            Limits(max_payload_bytes=1199),
            (10, 10),
            "the result would have 1,200 bytes, at most 1,199",
        ),
        (Limits(max_pixels=100, max_side=10, max_payload_bytes=1200), (10, 10), ""),
    ],
)
def test_work_that_cannot_succeed_is_refused_before_it_waits(
    limits: Limits, sides: tuple[int, int], reason: str
) -> None:
    """I15: by the sizes that the client tells, and that the model's spec foretells."""
    image = evolve(make_payload(size=10), width=sides[0], height=sides[1])
    spec = make_spec(
        inputs=(InputSpec(name="image"),), result_bytes=lambda job: job.pixels * 2**2 * 3
    )
    broker = BrokerHarness(make_machine(limits=limits, specs=[spec]))
    broker.greet()
    broker.submit(make_request(inputs=(image,)))

    if reason:
        assert rejection(broker).code == "invalid_input"
        assert reason in rejection(broker).reason
    else:
        assert broker.heard(ALICE, Accepted)


def test_a_strict_task_is_refused_when_no_connected_worker_can_run_it() -> None:
    broker = BrokerHarness()
    broker.greet()
    broker.submit(make_request(strict=True))
    assert rejection(broker).code == "no_worker"

    broker.join()
    broker.submit(make_request(strict=True))
    assert len(broker.assigned()) == 1


def test_a_full_disk_and_a_drain_refuse_new_tasks_alone() -> None:
    broker = ready()
    broker.submit(make_request("1"))
    broker.machine.set_disk_full(full=True)
    broker.submit(make_request("2"))
    assert rejection(broker).code == "disk_full"

    broker.machine.set_disk_full(full=False)
    broker.machine.set_draining()
    broker.submit(make_request("3"))
    assert rejection(broker).code == "draining"
    broker.succeed(broker.assigned()[0])
    assert broker.heard(ALICE, Finished)[-1].state is TaskState.SUCCEEDED
    assert broker.machine.is_idle()


def test_a_task_nobody_can_run_yet_waits_and_says_for_what() -> None:
    broker = BrokerHarness()
    broker.greet()
    broker.submit()

    (accepted,) = broker.heard(ALICE, Accepted)
    assert accepted.waiting_for != ""
    broker.join()
    assert len(broker.assigned()) == 1


def test_what_passed_once_is_looked_at_again_under_other_limits() -> None:
    broker = ready(specs=[make_spec(inputs=(InputSpec(name="image"),))])
    inputs = (describe("image", b"four"),)
    broker.submit(make_request("1", inputs=inputs))
    assert broker.heard(ALICE, Accepted)

    broker.machine._admission._limits = Limits(max_payload_bytes=3)
    broker.submit(make_request("2", inputs=inputs))

    assert rejection(broker).code == "invalid_input"


def test_what_passed_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paintmq.broker.machine.admission.REMEMBERED", 3)
    broker = ready()
    for number in range(9):
        broker.submit(make_request(f"{number:x}", tenant=f"tenant {number}"))

    assert len(broker.machine._admission._found) <= 3
    assert len(broker.heard(ALICE, Accepted)) == 9


def test_where_estimates_look_at_digests_no_task_passes_for_another() -> None:
    asked: list[str] = []

    def batch_key(job: Job) -> str:
        asked.append(job.inputs[0].digest)
        return job.inputs[0].digest

    spec = make_spec(inputs=(InputSpec(name="image"),), max_batch=4, batch_key=batch_key)
    broker = ready(specs=[spec])
    for number, content in enumerate((b"one", b"two", b"one")):
        broker.submit(make_request(str(number), inputs=(describe("image", content),)))

    assert len(broker.heard(ALICE, Accepted)) == 3
    assert len(set(asked)) == 2
