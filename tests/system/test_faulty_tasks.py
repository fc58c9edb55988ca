"""Tasks that kill, stop or outlive their worker: who pays, and who does not. Both transports."""

import os
import signal
from collections.abc import Callable

import pytest
from tests.harness.command_process import private_environment, run_command
from tests.harness.trial_installation import (
    AMPLE,
    QUEUE,
    TrialInstallation,
    model_hosts,
    trial_task,
    wait_for,
    wait_until,
)
from tests.harness.written_distribution import python_path

from paintmq.task import TaskState
from paintmq.worker.machine.profile import WorkerTimers

pytestmark = pytest.mark.slow


@pytest.fixture
def trial(install: Callable[..., TrialInstallation]) -> TrialInstallation:
    return install()


def test_poison_is_dead_after_three_crashes_of_its_own_and_nobody_else_is_charged(
    trial: TrialInstallation,
) -> None:
    """I8, I9."""
    companions = [trial.client.submit(trial_task()) for _ in range(2)]
    poison = trial.client.submit(trial_task("kill", max_attempts=99))
    behind = [trial.client.submit(trial_task(model="trial-other")) for _ in range(3)]
    wait_until(behind[-1], TaskState.QUEUED)  # so that the first three make a batch
    trial.start_node("node")

    for handle in companions + behind:
        handle.result(timeout=AMPLE)
    wait_until(poison, TaskState.DEAD)

    letter = trial.dead_letter(poison)
    assert (letter["crashes"], letter["losses"], letter["undelivered"]) == (3, 0, 0)
    assert [each["outcome"] for each in letter["history"]] == ["crashed"] * 4, "shared once"
    assert all("SIGKILL" in each["error"]["message"] for each in letter["history"])
    for handle in companions + behind:
        other = trial.dead_letter(handle)
        assert (other["crashes"], other["losses"], other["failures"]) == (0, 0, 0)
        assert other["undelivered"] == 0
        assert other["attempts"] <= (2 if handle in companions else 1)
    assert trial.statistics()["crashes"] == 6, "three shared one, then poison died alone"

    shown = run_command(
        *("dead", "show", poison.id, "--connect", trial.broker.client_endpoint),
        environment=private_environment(trial.folder),
    ).stdout
    assert "3 crashes of its own, 0 leases lost, 0 never started, 0 failures" in shown
    assert shown.count("crashed after") == 4


def test_a_node_whose_model_hosts_do_not_start_costs_no_task_anything_and_says_so(
    trial: TrialInstallation,
) -> None:
    """I8, I9."""
    broken = trial.folder / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'paintmq.worker.host' in sys.orig_argv:\n"
        "    os.write(2, b'libfirst.so\\nlibmissing.so: cannot open shared object file\\n')\n"
        "    os._exit(127)\n"
    )
    path = python_path(broken, trial.folder / "plugins")
    node = trial.start_node_process("broken", PYTHONPATH=path)
    handles = [trial.client.submit(trial_task(max_attempts=1)) for _ in range(6)]
    words = "exited with status 127: libmissing.so: cannot open shared object file"
    wait_for(lambda: words in str(trial.client.ask("workers")))
    shown = run_command(
        *("why", handles[0].id, "--connect", trial.broker.client_endpoint),
        environment=private_environment(trial.folder),
    ).stdout
    assert "waiting for: a worker that runs trial on cpu: broken/cpu-0 can run nothing now" in shown
    assert words in shown
    trial.start_node("good")

    for handle in handles:
        assert handle.result(timeout=AMPLE).worker == "good/cpu-0"

    for handle in handles:
        letter = trial.dead_letter(handle)
        charged = [letter[each] for each in ("failures", "crashes", "losses", "undelivered")]
        assert charged == [0, 0, 0, 0]
    node.wait_for_line("libmissing.so: cannot open shared object file; the next one is started in")


def test_a_stopped_node_loses_its_task_and_cannot_publish_when_it_wakes(
    install: Callable[..., TrialInstallation],
) -> None:
    """I5."""
    trial = install(lease=3.0)
    zombie = trial.start_node_process("zombie")
    handle = trial.client.submit(trial_task("ignore", seconds=2.0))
    wait_until(handle, TaskState.RUNNING)
    zombie.process.send_signal(signal.SIGSTOP)  # its model host works on
    trial.start_node("healthy")

    result = handle.result(timeout=AMPLE)

    assert result.worker == "healthy/cpu-0"
    assert trial.dead_letter(handle)["losses"] == result.attempts - 1
    refused = trial.statistics()["stale_answers"]
    zombie.process.send_signal(signal.SIGCONT)
    wait_for(lambda: trial.statistics()["stale_answers"] > refused)
    again = trial.new_client().fetch(handle.id).result(timeout=AMPLE)
    assert (again.worker, again.attempts) == (result.worker, result.attempts)
    assert trial.statistics()["queues"][QUEUE]["succeeded"] == 1


def test_a_stopped_model_host_is_replaced_and_its_task_runs_again(
    trial: TrialInstallation,
) -> None:
    trial.start_node("node", worker_timers=WorkerTimers(host_silence=4.0))
    handle = trial.client.submit(trial_task("ignore", seconds=2.0))
    wait_until(handle, TaskState.RUNNING)
    (stopped,) = model_hosts()
    os.kill(stopped, signal.SIGSTOP)

    assert handle.result(timeout=AMPLE).attempts == 2

    (report,) = [each for each in trial.dead_letter(handle)["history"] if each["error"]]
    assert "without a sign of life" in report["error"]["message"]
    assert stopped not in model_hosts()
