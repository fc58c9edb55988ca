"""Cancels over both transports: each gets its answer, and nobody else's work is touched."""

from collections.abc import Callable

import pytest
from tests.harness.trial_installation import (
    AMPLE,
    TrialInstallation,
    model_hosts,
    trial_task,
    wait_for,
    wait_until,
)

from paintmq.client.client import Client
from paintmq.errors import TaskCancelledError
from paintmq.identifiers import new_task_id
from paintmq.task import TaskState

pytestmark = pytest.mark.slow


@pytest.fixture
def trial(install: Callable[..., TrialInstallation]) -> TrialInstallation:
    """A node whose models have all the time they want to heed a cancel."""
    trial = install(cancel_grace=AMPLE)
    trial.start_node("node")
    return trial


def test_a_cancel_is_answered_by_where_the_task_stands(trial: TrialInstallation) -> None:
    """I7."""
    done = trial.client.submit(trial_task())
    done.result(timeout=AMPLE)
    running = trial.client.submit(trial_task("heed"))
    wait_until(running, TaskState.RUNNING)
    (host,) = model_hosts()
    waiting = [trial.client.submit(trial_task()) for _ in range(4)]

    assert waiting[-1].cancel(timeout=AMPLE) == "cancelled"
    assert running.cancel(timeout=AMPLE) == "cancelled"
    assert trial.client.cancel(done.id, timeout=AMPLE) == "too_late"
    assert trial.client.cancel(new_task_id(), timeout=AMPLE) == "unknown"

    with pytest.raises(TaskCancelledError):
        running.result(timeout=AMPLE)
    for handle in waiting[:-1]:
        assert handle.result(timeout=AMPLE).attempts == 1
    assert model_hosts() == [host], "it heeded the cancel, so its process lives"


@pytest.mark.parametrize("do", ["ignore", "hold-the-interpreter", "swallow"])
def test_a_model_that_does_not_heed_loses_its_process_and_nobody_else_anything(
    install: Callable[..., TrialInstallation], do: str
) -> None:
    trial = install(cancel_grace=0.5)
    trial.start_node("node")
    warm = trial.client.submit(trial_task())
    warm.result(timeout=AMPLE)
    begun = trial.folder / "begun"
    stubborn = trial.client.submit(trial_task(do, note=str(begun)))
    wait_for(begun.exists)
    (host,) = model_hosts()
    ahead, behind = (trial.client.submit(trial_task()) for _ in range(2))

    assert stubborn.cancel(timeout=AMPLE) == "cancelled"

    assert stubborn.state is TaskState.CANCELLED, "the answer does not wait for the worker"
    for handle in (ahead, behind):
        assert handle.result(timeout=AMPLE).attempts == 1
    assert host not in model_hosts()
    assert trial.statistics()["crashes"] == 0


def test_a_batch_goes_on_without_the_task_that_is_cancelled(
    install: Callable[..., TrialInstallation],
) -> None:
    trial = install(cancel_grace=0.5)
    trial.start_node("node")
    first = trial.client.submit(trial_task("heed"))
    wait_until(first, TaskState.RUNNING)
    batch = [trial.client.submit(trial_task("ignore", seconds=1.0)) for _ in range(3)]
    wait_until(batch[-1], TaskState.QUEUED)
    first.cancel(timeout=AMPLE)
    wait_until(batch[0], TaskState.RUNNING)

    assert batch[0].cancel(timeout=AMPLE) == "cancelled"

    for handle in batch[1:]:
        assert handle.result(timeout=AMPLE).attempts == 1
    assert trial.statistics()["crashes"] == 0


def test_a_cancel_does_not_wait_for_a_model_that_loads_nor_waste_it(
    trial: TrialInstallation,
) -> None:
    cancelled = trial.client.submit(trial_task(model="trial-load-slow"))
    wait_until(cancelled, TaskState.LOADING)

    assert cancelled.cancel(timeout=AMPLE) == "cancelled"

    after = trial.client.submit(trial_task(model="trial-load-slow"))
    states = [progress.state for progress in after.updates(timeout=AMPLE)]
    assert states[-1] is TaskState.SUCCEEDED
    assert trial.dead_letter(after)["attempts"] == 1


def test_a_client_that_is_gone_takes_along_what_it_asked_to_be_cancelled(
    trial: TrialInstallation,
) -> None:
    with Client(trial.broker.client_endpoint) as leaves:
        goes = leaves.submit(trial_task("heed", cancel_on_disconnect=True))
        stays = leaves.submit(trial_task(model="trial-other"))
        wait_until(goes, TaskState.RUNNING)
        wait_for(lambda: stays.queue)

    wait_until(trial.client.fetch(goes.id), TaskState.CANCELLED)
    assert trial.client.fetch(stays.id).result(timeout=AMPLE).attempts == 1
