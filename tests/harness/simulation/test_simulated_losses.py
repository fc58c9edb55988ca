"""I16: losing a process changes no other task's outcome, only its timing."""

import random
from collections.abc import Callable

import pytest

from paintmq.task import TaskId, TaskRequest, TaskState
from tests.harness.simulation import host
from tests.harness.simulation.cluster import Scale, SimulatedCluster
from tests.harness.simulation.faults import BROKER
from tests.harness.simulation.host import Behaviour, Nature
from tests.harness.simulation.oracle import judged_run
from tests.harness.simulation.world import EPOCH, Weather

TASKS = 30
STAYS, LEAVES = 0, 1
"""Two clients; the second is the one that may be lost, and its tasks end with it."""

Fault = Callable[[SimulatedCluster], None]

FAULTS: dict[str, Fault] = {
    "a node is killed": lambda cluster: cluster.nodes[0].kill(30.0),
    "a model host is killed": lambda cluster: cluster.nodes[0].kill_host(),
    "a node is frozen": lambda cluster: cluster.nodes[0].freeze(120.0),
    "a node is cut off": lambda cluster: cluster.network.cut(
        cluster.nodes[0].name, BROKER, 90.0, both_ways=True
    ),
    "a client is killed": lambda cluster: cluster.clients[LEAVES].kill(300.0),
    "the broker is frozen": lambda cluster: cluster.broker.freeze(60.0),
    "the broker is killed": lambda cluster: restart(cluster),
}


def restart(cluster: SimulatedCluster) -> None:
    cluster.broker.kill()
    cluster.agenda.after(20.0, cluster.broker.start)


def outcomes(fault: Fault | None) -> dict[TaskId, TaskState]:
    """Return what the client that stays was told of each task; the fault strikes at full load."""
    cluster = SimulatedCluster(16, scale=Scale(hours=0.1, tasks=0), weather=Weather())
    rng = random.Random(16)  # not the cluster's: these tasks are the same in every run
    for number in range(TASKS):
        nature = {7: Nature.BROKEN, 13: Nature.POISON}.get(number, Nature.GOOD)
        owner = LEAVES if number % 3 == 0 else STAYS
        task_id = TaskId(f"{number:012x}7{number:019x}")
        cluster.truth.behaviours[task_id] = Behaviour(nature, rng.uniform(2.0, 12.0))
        request = TaskRequest(
            id=task_id,
            task_type="inpaint",
            model=rng.choice(["single", "batched"]),
            inputs=(host.input_of(task_id),),
            priority=rng.choice([0, 5]),
            cancel_on_disconnect=owner == LEAVES,
        )
        client = cluster.clients[owner]
        cluster.agenda.at(
            EPOCH + rng.uniform(1.0, 20.0),
            lambda client=client, request=request: client.submit(request),
        )
    if fault is not None:
        cluster.agenda.at(EPOCH + 25.0, lambda: fault(cluster))
    judged_run(cluster)
    memory = cluster.clients[STAYS].memory
    return {task_id: heard[0].state for task_id, heard in memory.endings.items()}


@pytest.fixture
def no_load_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose load fails is drawn in the order of events, which a fault changes."""
    monkeypatch.setattr(host, "LOADS_THAT_FAIL", 0.0)


@pytest.mark.usefixtures("no_load_fails")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_losing_a_process_changes_no_other_tasks_outcome(fault: Fault) -> None:
    """I16: the same tasks end the same way with the fault and without it."""
    expected = outcomes(None)
    assert set(expected.values()) == {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.DEAD}

    assert outcomes(fault) == expected
