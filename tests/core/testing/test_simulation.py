"""The simulated cluster: nothing is lost or doubled, and the judge does not sleep."""

import pytest

from paintmq.testing.simulation.__main__ import main
from paintmq.testing.simulation.cluster import Scale, SimulatedCluster
from paintmq.testing.simulation.mutants import MUTANTS, Mutant
from paintmq.testing.simulation.world import Weather


def test_one_seed_is_one_history() -> None:
    histories = []
    for _ in range(2):
        cluster = SimulatedCluster(7, scale=Scale(hours=0.2), digested=True)
        cluster.run()
        assert cluster.digest is not None
        histories.append(cluster.digest.hexdigest())

    assert histories[0] == histories[1]


def test_in_fair_weather_every_good_task_succeeds() -> None:
    cluster = SimulatedCluster(1, scale=Scale(hours=0.5), weather=Weather())
    counts = cluster.run()

    assert counts.tasks == 60
    assert counts.faults == 0
    assert counts.endings["succeeded"] > 45


@pytest.mark.slow
def test_no_promise_is_broken_in_foul_weather(capsys: pytest.CaptureFixture[str]) -> None:
    """I1 to I20, by the oracle. The gate runs many more seeds: see ``.ci/run``."""
    assert main(["--seeds", "20", "--processes", "1"]) == 0

    assert "20 simulated hours" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_rule_is_noticed(mutant: Mutant) -> None:
    assert mutant.is_caught(), f"the simulation does not mind a broker that {mutant.name}"
