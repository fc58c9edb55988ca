"""Brokers that stand by for each other: a short form of ``tests/benchmarks/failover.py``."""

import pytest
from tests.benchmarks import failover
from tests.harness.postgres import MISSING, binaries

pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)  # six take-overs, and a busy machine
@pytest.mark.skipif(binaries() is None, reason=MISSING)
def test_no_task_is_lost_or_ends_twice_while_leaders_are_killed_and_paused() -> None:
    takeovers = failover.run(6, tasks_a_second=5.0, say=lambda line: None)

    assert [each.fault for each in takeovers] == 3 * ["kill", "pause"]
