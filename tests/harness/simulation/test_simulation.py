"""The simulated cluster: nothing is lost or doubled, and the judge does not sleep."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paintmq.broker.machine import Step
from paintmq.broker.records import TaskPurged
from paintmq.task import TaskId
from paintmq.testing.plain_router import PlainRouter
from paintmq.wire.messages import ResultReceived
from tests.harness.simulation import shrink
from tests.harness.simulation.__main__ import main
from tests.harness.simulation.cluster import Scale, SimulatedCluster
from tests.harness.simulation.counts import Counts
from tests.harness.simulation.hostile import changed_no_task
from tests.harness.simulation.mutants import MUTANTS, Mutant
from tests.harness.simulation.oracle import judged_run
from tests.harness.simulation.shrink import calmest_weather, in_words
from tests.harness.simulation.world import Weather

ONE_HISTORY = """
from tests.harness.simulation.cluster import SimulatedCluster
from tests.harness.simulation.oracle import judged_run
cluster = SimulatedCluster(7, hours=0.1, digested=True)
judged_run(cluster)
print(cluster.digest.hexdigest())
"""


@pytest.mark.slow
def test_one_seed_is_one_history_however_python_hashes() -> None:
    """Whatever iterates a set of strings differs between two hash seeds."""
    histories = {
        subprocess.run(
            [sys.executable, "-c", ONE_HISTORY],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(histories) == 1
    assert len(histories.pop().strip()) == 64


def test_a_trace_tells_what_happened_in_words() -> None:
    lines: list[str] = []
    weather = Weather(broker_kills=30.0)
    cluster = SimulatedCluster(7, scale=Scale(hours=0.1), weather=weather, trace=lines.append)
    judged_run(cluster)

    assert any("FAULT broker killed for" in line for line in lines)
    assert any("client-0 -> broker Submit(task=TaskRequest(id=" in line for line in lines)


def test_a_seed_that_fails_is_shown_with_the_command_that_replays_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(cluster: SimulatedCluster) -> Counts:
        cluster.broker.start()
        cluster.clients[0].start()
        raise AssertionError("I3: planted")

    monkeypatch.setattr(SimulatedCluster, "run", fail)
    status = main(["--seeds", "1", "--first", "5", "--processes", "1", "--hours", "0.5"])
    said = capsys.readouterr().out

    assert status == 1
    assert "client-0 -> broker ClientHello" in said
    assert "AssertionError: I3: planted" in said
    assert "replay: python -m tests.harness.simulation --trace 5 --hours 0.5" in said
    assert "or --shrink 5" in said
    assert "1 of 1 seeds failed [5]" in said


def test_a_long_run_can_be_made_in_blocks_whose_sums_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sums = tmp_path / "sums.jsonl"
    for first in ("4", "5"):
        block = ["--first", first, "--seeds", "1", "--hours", "0.02", "--json", str(sums)]
        assert main([*block, "--processes", "1"]) == 0
    fourth, fifth = (json.loads(line) for line in sums.read_text().splitlines())

    assert (fourth["first"], fourth["seeds"], fourth["failed"]) == (4, 1, [])
    assert (fifth["first"], fifth["hours"]) == (5, 0.02)
    assert fifth["tasks"] == sum(fifth["endings"].values()) > 0
    assert f"{fifth['messages']} messages" in capsys.readouterr().out


def test_a_router_that_is_not_installed_is_named_before_anything_is_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--seeds", "1", "--processes", "1", "--routers", "least-laoded"])

    assert "'least-laoded' is not installed" in capsys.readouterr().err


def test_in_fair_weather_every_good_task_succeeds() -> None:
    cluster = SimulatedCluster(1, scale=Scale(hours=0.5), weather=Weather())
    counts = judged_run(cluster)

    assert counts.tasks == 60
    assert counts.faults.total() == 0
    assert counts.endings["succeeded"] > 45


def test_a_failing_seed_is_shrunk_to_the_faults_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(cluster: SimulatedCluster) -> Counts:
        assert not (cluster.weather.broker_kills and cluster.weather.duplication), "planted"
        return Counts()

    monkeypatch.setattr(shrink, "judged_run", run)
    found = (calmest_weather(seed, hours=0.5, routers=(PlainRouter,)) for seed in range(60))
    needed = next(weather for weather in found if weather is not None)

    assert needed == Weather(broker_kills=8.0, duplication=needed.duplication)
    assert in_words(needed) == f"duplication={needed.duplication}, broker_kills=8.0"


def test_a_sound_seed_cannot_be_shrunk(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--shrink", "3", "--hours", "0.05"]) == 0

    assert capsys.readouterr().out == "seed 3 does not fail\n"


def test_a_full_disk_purges_what_was_confirmed_and_no_peer_does() -> None:
    """Seed 1631: the judge took the disk's purges for those of a hostile worker."""
    confirmed, other = TaskId("1" * 32), TaskId("2" * 32)
    message = ResultReceived(other)
    step = Step((TaskPurged(confirmed),), ())

    changed_no_task(message, step, {confirmed})
    with pytest.raises(AssertionError, match="I24"):
        changed_no_task(message, step)  # there is room on the disk
    with pytest.raises(AssertionError, match="I24"):
        changed_no_task(message, step, {other})


@pytest.mark.slow
def test_no_promise_is_broken_in_foul_weather(capsys: pytest.CaptureFixture[str]) -> None:
    """I1 to I20, by the oracle. The gate runs many more seeds: see ``.ci/run``."""
    assert main(["--seeds", "20", "--processes", "1"]) == 0

    assert "20 simulated hours" in capsys.readouterr().out


@pytest.mark.slow
def test_no_promise_is_broken_under_the_routers_people_use(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They replace each other while the broker runs."""
    routers = "least-loaded,priority-first,model-affinity"
    assert main(["--seeds", "12", "--processes", "1", "--routers", routers]) == 0

    assert "router replaced" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_rule_is_noticed(mutant: Mutant) -> None:
    assert re.search(mutant.seen_as, mutant.caught_as()), f"not caught: a broker that {mutant.name}"
