"""Brokers that stand by for each other: a short form of ``tests/benchmarks/failover.py``."""

import pytest
from tests.benchmarks import failover
from tests.harness.postgres import MISSING, binaries

pytestmark = pytest.mark.slow


@pytest.mark.timeout(240)
@pytest.mark.skipif(binaries() is None, reason=MISSING)
def test_no_task_is_lost_or_ends_twice_while_leaders_are_killed_and_paused() -> None:
    said: list[str] = []

    takeovers = failover.run(6, tasks_a_second=5.0, say=said.append)

    assert [each.fault for each in takeovers] == 3 * ["kill", "pause"]
    assert any("6 leaders" in line or "7 leaders" in line for line in said)
