"""Statistics balance, and survive the trip through JSON."""

import json

from cattrs import structure, unstructure

from paintmq.statistics import (
    BrokerStatistics,
    GpuMetrics,
    QueueStatistics,
    SystemMetrics,
)


def test_every_accepted_task_stands_in_exactly_one_place() -> None:
    queue = QueueStatistics(
        name="a",
        port=1,
        waiting=1,
        running=2,
        succeeded=3,
        failed=4,
        cancelled=5,
        expired=6,
        dead=7,
        rejected=100,
    )

    assert queue.ended == 25
    assert queue.accepted == 28
    assert BrokerStatistics(queues={"a": queue}, accepted=28).unaccounted == 0
    assert BrokerStatistics(queues={"a": queue}, accepted=29).unaccounted == 1


def test_totals_are_over_all_queues() -> None:
    queues = {name: QueueStatistics(name=name, port=0, waiting=2) for name in "abc"}

    assert BrokerStatistics(queues=queues).total("waiting") == 6


def test_statistics_survive_json() -> None:
    gpu = GpuMetrics(name="gpu", memory_used_mb=1, memory_total_mb=2, utilisation=0.5)
    system = SystemMetrics(
        cpu=0.5,
        load=1.0,
        memory_used_mb=1,
        memory_total_mb=2,
        process_memory_mb=3,
        process_threads=4,
        gpus=(gpu,),
    )
    statistics = BrokerStatistics(
        queues={"a": QueueStatistics(name="a", port=5555, expected_work=1.5)},
        accepted=3,
        system=system,
    )

    assert structure(json.loads(json.dumps(unstructure(statistics))), BrokerStatistics) == (
        statistics
    )
