"""What must hold at the end of a run, judged from outside by the log, the clients and the truth.

The invariants I1 to I22 are those of ``core/README.md``.
"""

from paintmq.broker.records import (
    BrokerBooted,
    SettingsChanged,
    TaskAccepted,
    TaskChanged,
    TaskPurged,
)
from paintmq.task import Fence, TaskId, TaskState
from paintmq.task_status import TaskStatus
from tests.harness.simulation.cluster import SimulatedCluster
from tests.harness.simulation.counts import Counts
from tests.harness.simulation.host import Nature, output_of
from tests.harness.simulation.hostile import LIMITED, LIMITED_TO

NOTICED_WITHIN = 120.0
"""Seconds after which every worker has heard of a broker that was started again."""


def judged_run(cluster: SimulatedCluster) -> Counts:
    """Run the cluster to its quiet end, check every promise, and return what was counted.

    Raises:
        AssertionError: a promise was broken; the cluster's ``last_lines`` tell what came before.
    """
    counts = cluster.run()
    judge(cluster)
    return counts


def judge(cluster: SimulatedCluster) -> None:
    """Raise AssertionError naming the first promise that was broken."""
    endings = read_log(cluster)
    machine = cluster.broker.machine
    assert machine is not None
    machine.check_invariants()
    assert machine.statistics(now=cluster.broker.now).unaccounted == 0, "I10: does not add up"
    cluster.broker.check_store()
    clients_heard_the_truth(cluster, endings)
    the_dead_deserved_it(cluster, endings)
    no_task_paid_for_a_worker(endings)
    if cluster.scale.keys:
        tasks_were_their_owners(cluster)
    no_worker_is_deaf(cluster)


def read_log(cluster: SimulatedCluster) -> dict[TaskId, list[TaskStatus]]:
    """Return how each task ended, having checked that each did so once and in order.

    A task has more than one ending if it was requeued when dead, or if the disk damaged it.
    """
    endings: dict[TaskId, list[TaskStatus]] = {}
    ended: dict[TaskId, None] = {}
    damaged = cluster.store.damaged
    fences: dict[TaskId, Fence] = {}
    accepted: dict[TaskId, None] = {}
    for record in cluster.store.log:
        match record:
            case TaskAccepted(request, _):
                assert request.id not in accepted, f"I3: {request.id} accepted twice"
                accepted[request.id] = None
            case TaskChanged(task_id, event, status):
                assert task_id in accepted, f"{task_id} changed before it was accepted"
                if event == "lease":
                    before = fences.get(task_id, Fence(0, 0))
                    assert status.attempt > before.attempt, f"I6: {task_id} fences do not grow"
                    fences[task_id] = status.fence
                if event == "revive":
                    assert endings[task_id][-1].state is TaskState.DEAD, f"I3: {task_id} revived"
                    del ended[task_id]
                if event == "finish":
                    assert task_id not in ended or task_id in damaged, f"I3: {task_id} ended twice"
                    ended[task_id] = None
                    endings.setdefault(task_id, []).append(status)
                    if status.state is TaskState.SUCCEEDED:
                        assert status.fence == fences[task_id], f"I5: {task_id} by an old fence"
            case TaskPurged(task_id) if cluster.faults.counts["clock set"]:
                # A clock that was set ahead makes what has ended be forgotten at once, also while
                # a copy of its submission is still under way: to the broker that is a new task.
                for known in (accepted, ended, fences):
                    known.pop(task_id, None)
            case BrokerBooted() | TaskPurged() | SettingsChanged():
                pass
    for task_id in accepted:
        assert task_id in ended, f"I1: {task_id} never ended"
    return endings


def clients_heard_the_truth(
    cluster: SimulatedCluster, endings: dict[TaskId, list[TaskStatus]]
) -> None:
    """Each client got one ending a task: a durable one, with its own output."""
    lied_to = cluster.weather.lying_disk
    for client in cluster.clients:
        memory = client.memory
        assert lied_to or memory.alarms == 0, f"I2: {client.name} was promised what was forgotten"
        for task_id in memory.accepted:
            assert task_id in memory.endings, f"I1: {client.name} waits for {task_id} for ever"
        for task_id, heard in memory.endings.items():
            assert len(heard) == 1, f"I4: {client.name} heard {len(heard)} endings of {task_id}"
            (finished,) = heard
            if not lied_to:
                assert task_id in endings, f"I2: {task_id} was told to have ended"
                same = [each for each in endings[task_id] if each.state is finished.state]
                assert same, f"I4: {task_id} ended otherwise"
                assert finished.outputs in [each.outputs for each in same], f"I20: {task_id}"
            if finished.state is TaskState.SUCCEEDED:
                assert finished.outputs == (output_of(task_id),), f"I22: {task_id} mixed up"
        for task_id, answer in memory.cancelled.items():
            if answer == "cancelled" and not lied_to:
                states = [each.state for each in endings[task_id]]
                assert TaskState.CANCELLED in states, f"I7: {task_id} was {states}"


def the_dead_deserved_it(
    cluster: SimulatedCluster, endings: dict[TaskId, list[TaskStatus]]
) -> None:
    """Only a task that ran alone in the process that died is charged with a crash."""
    truth, limits = cluster.truth, cluster.broker.limits
    each_ending = [(task_id, status) for task_id, ends in endings.items() for status in ends]
    for task_id, status in each_ending:
        nature = truth.behaviours[task_id].nature
        if status.crashes and not cluster.weather.lying_disk:
            assert status.crashes <= truth.crashes_alone[task_id], (
                f"I8: {task_id} is charged {status.crashes} crashes, "
                f"had {truth.crashes_alone[task_id]}"
            )
        if status.state is TaskState.DEAD:
            assert (
                status.crashes >= limits.crashes
                or status.losses >= limits.losses
                or status.undelivered >= limits.undelivered
                or (status.failures and nature in (Nature.FLAKY, Nature.ENDLESS))
                or status.failures >= 3
            ), f"I8: {task_id} is dead for no reason: {status}"
            if status.crashes >= limits.crashes:
                assert truth.starts[task_id] > 0, f"I9: {task_id} never started, dead of crashes"
        if nature is Nature.POISON:
            most = len(endings[task_id]) * (34 if cluster.weather.lying_disk else 14)
            assert truth.starts[task_id] <= most, f"I8: {task_id} started too often"
            assert status.state is not TaskState.SUCCEEDED, f"{task_id} cannot have succeeded"
        if nature is Nature.BROKEN:
            assert status.state is not TaskState.SUCCEEDED, f"{task_id} cannot have succeeded"


def no_worker_is_deaf(cluster: SimulatedCluster) -> None:
    """What a session holds belongs to the broker that made it: no worker keeps a dead one's pipes.

    Others run its tasks meanwhile, so that no ending may be missing yet.
    """
    cluster.agenda.run(cluster.agenda.now + NOTICED_WITHIN)
    incarnation = cluster.broker.starts
    for node in cluster.nodes:
        if node.machine is not None:
            assert node.pipes_of in (0, incarnation), f"I1: {node.name} is deaf and mute"


def no_task_paid_for_a_worker(endings: dict[TaskId, list[TaskStatus]]) -> None:
    """A worker's faults are not charged to the tasks that it was given.

    A task whose history was cut is skipped: its charges cannot be recounted.
    """
    for task_id, ends in endings.items():
        reports = ends[-1].history
        codes = [report.error.code for report in reports if report.error is not None]
        assert "host_failed" not in codes, f"I9: {task_id} failed of a host that did not start"
        unstarted = [
            report
            for report in reports
            if report.outcome == "undelivered"
            or (report.outcome == "handed_back" and "model host" not in str(report.error))
        ]
        if len(reports) == ends[-1].attempt:
            counted = ends[-1].undelivered
            assert counted <= len(unstarted), f"I9: {task_id} paid for workers in trouble"


def tasks_were_their_owners(cluster: SimulatedCluster) -> None:
    """Each task has the owner that submitted it, ran under its workers' own keys, and only its
    owner let the result go. What the hostile programs do is judged when they do it.
    """
    memories = {client.name: client.memory for client in cluster.clients}
    for record in cluster.store.log:
        match record:
            case TaskAccepted(request, status):
                is_its = request.id in memories[status.owner].submitted
                assert is_its, f"I24: {request.id} was given to {status.owner}"
                stayed_where_its_owner_may_be(request.id, status)
            case TaskChanged(task_id, event, status):
                stayed_where_its_owner_may_be(task_id, status)
                assert status.worker_key == status.worker, f"I24: {task_id} ran on another key"
                if event == "acknowledge":
                    owner = memories[status.owner]
                    # A client confirms also the ending of a task of which a copy of its submission
                    # was refused before another copy was accepted.
                    heard = task_id in owner.endings or task_id in owner.refused
                    assert heard, f"I24: {task_id} was let go by another than {status.owner}"
            case BrokerBooted() | TaskPurged() | SettingsChanged():
                pass


def stayed_where_its_owner_may_be(task_id: TaskId, status: TaskStatus) -> None:
    """Raise AssertionError if the task is in a queue that its owner's key is not for."""
    is_limited = status.owner == LIMITED
    assert not is_limited or status.queue in LIMITED_TO, f"I24: {task_id} is in {status.queue}"
