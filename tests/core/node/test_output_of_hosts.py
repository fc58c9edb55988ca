"""What model hosts print, close and fork: none of it touches results; against a scripted broker."""

from collections import Counter
from collections.abc import Callable

import pytest
from tests.harness.scripted_broker import ScriptedBroker, make_job

from paintmq.node.supervisor import NodeSupervisor
from paintmq.wire.messages import AttemptCrashed, AttemptFailed, AttemptSucceeded, WorkerHello
from paintmq.worker.agent.host_process import HostProcess


def test_a_child_that_a_model_forks_does_not_answer_for_it(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    broker.hear(WorkerHello)
    forking, after = make_job(1, do="fork"), make_job(2)
    broker.assign(forking)
    broker.assign(after)

    broker.hear(AttemptSucceeded, forking)
    broker.hear(AttemptSucceeded, after)
    assert not [heard for heard in broker.heard if isinstance(heard.message, AttemptFailed)]


def test_whatever_a_model_prints_its_results_are_not_touched_by_it(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    broker.hear(WorkerHello)
    printing, dying = make_job(1, do="print"), make_job(2, do="kill")
    broker.assign(printing)
    broker.assign(dying)

    succeeded, _ = broker.hear(AttemptSucceeded, printing)

    assert succeeded.outputs[0].shape == (8, 8, 3)
    crashed, _ = broker.hear(AttemptCrashed, dying)
    assert crashed.detail == "was killed by SIGKILL", "what another task printed is not its own"


def test_a_host_that_closes_its_output_is_not_listened_to_without_end(
    broker: ScriptedBroker,
    make_node: Callable[..., NodeSupervisor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = Counter[bool]()
    read_stderr = HostProcess.read_stderr

    def count(host: HostProcess) -> bool:
        heard[host.stderr_closed] += 1
        return read_stderr(host)

    monkeypatch.setattr(HostProcess, "read_stderr", count)
    make_node()
    broker.hear(WorkerHello)
    job = make_job(1, do="mute", seconds=0.3)
    broker.assign(job)

    broker.hear(AttemptSucceeded, job)

    assert heard[True] <= 2, "once more when it ends, and when it is gone"
