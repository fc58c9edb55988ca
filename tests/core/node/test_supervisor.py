"""A node: starting, leaving, dying; against a broker played by hand."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
from tests.harness.scripted_broker import ScriptedBroker, make_job
from tests.harness.trial_node import (
    ONE_CORE,
    QUEUES,
    child_processes,
    is_alive,
    wait_until_handed_over,
)
from tests.harness.written_distribution import python_path

from paintmq.config import Config, PluginsConfig, QueueConfig, WorkersConfig
from paintmq.errors import ConfigError, PaintMQError
from paintmq.node.directions import Directions
from paintmq.node.supervisor import NodeSupervisor
from paintmq.plugin.manager import PluginManager
from paintmq.wire.messages import (
    AttemptCrashed,
    AttemptProgressed,
    AttemptReturned,
    AttemptStarted,
    AttemptSucceeded,
    Drain,
    Draining,
    Heartbeat,
    ModelLoaded,
    ModelUnloaded,
    Preload,
    WhoAreYou,
    WorkerGoodbye,
    WorkerHello,
)
from paintmq.worker.agent.known_broker import KnownBroker
from paintmq.worker.machine.profile import WorkerTimers


def test_a_worker_says_hello_with_what_it_can_run_and_starts_no_process(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()

    hello, _ = broker.hear(WorkerHello)

    assert (hello.name, hello.queue, hello.device) == ("testnode/cpu-0", "cpu", "cpu")
    assert "trial" in hello.models
    assert hello.unavailable["trial-needy"] == (
        "it needs a_module_nobody_has; install paintmq[needy]"
    )
    assert child_processes() == set()


def test_a_worker_says_hello_before_its_loop_first_waits(
    broker: ScriptedBroker,
    make_node: Callable[..., NodeSupervisor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("paintmq.node.supervisor.LONGEST_WAIT", 3600.0)

    make_node(worker_timers=WorkerTimers(welcome_first=3600.0, welcome_most=3600.0))

    broker.hear(WorkerHello)


def test_a_worker_that_a_restarted_broker_does_not_know_says_everything_again(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    broker.hear(WorkerHello)
    done, running = make_job(1), make_job(2, do="heed")
    broker.assign(done)
    broker.hear(AttemptSucceeded, done)
    broker.assign(running)
    broker.hear(AttemptProgressed, running)
    broker.say(WhoAreYou())

    hello, _ = broker.hear(WorkerHello)
    again, heard = broker.hear(AttemptSucceeded, done)

    assert set(hello.running) == {done.key, running.key}
    assert len(heard.payloads[0]) == again.outputs[0].size
    broker.abandon(running, grace=30.0)
    broker.hear(AttemptReturned, running)


@pytest.mark.slow
def test_a_silent_broker_makes_the_worker_connect_afresh(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    _, first = broker.hear(WorkerHello)
    broker.silent = True
    broker.hear(Heartbeat)

    hello, second = broker.hear(WorkerHello)

    assert second.peer != first.peer
    assert hello.replaces == first.peer


def test_a_drained_worker_finishes_and_leaves_and_the_node_ends_with_its_last_worker(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    node = make_node()
    broker.hear(WorkerHello)
    running, waiting = make_job(1, do="heed", seconds=0.5), make_job(2, "trial-other")
    broker.assign(running)
    broker.hear(AttemptProgressed, running)
    broker.assign(waiting)
    broker.say(Drain(30.0))
    broker.hear(Draining)
    returned, _ = broker.hear(AttemptReturned, waiting)
    assert not returned.cancelled
    succeeded, _ = broker.hear(AttemptSucceeded, running)
    broker.record(succeeded)

    broker.hear(WorkerGoodbye)

    node.stop()
    assert node.workers == ()


def test_stopping_hands_back_what_does_not_finish_in_time(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    node = make_node()
    broker.hear(WorkerHello)
    job = make_job(1, do="ignore")
    broker.assign(job)
    broker.hear(AttemptProgressed, job)

    node.stop(grace=0.1)

    returned, _ = broker.hear(AttemptReturned, job)
    assert not returned.cancelled
    broker.hear(WorkerGoodbye)
    assert node.handed_back == (job.key[0],)


def test_a_node_starts_again_after_it_was_stopped(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    node = make_node()
    broker.hear(WorkerHello)
    with pytest.raises(PaintMQError, match="testnode runs already"):
        node.start()
    node.stop(grace=0.0)
    node.stop(grace=0.0)

    node.start()

    broker.hear(WorkerHello)


def test_a_preload_makes_the_first_task_start_warm(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    broker.hear(WorkerHello)
    broker.say(Preload("trial"))
    broker.hear(ModelLoaded)
    job = make_job(1, do="heed", seconds=0.3)
    broker.assign(job)

    started, _ = broker.hear(AttemptStarted, job)

    assert not started.loading
    broker.hear(AttemptSucceeded, job)


def test_an_idle_host_gives_its_memory_back_and_comes_again(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node(idle_exit=0.2)
    broker.hear(WorkerHello)
    for number in (1, 2):
        job = make_job(number)
        broker.assign(job)
        succeeded, _ = broker.hear(AttemptSucceeded, job)
        broker.record(succeeded)

        broker.hear(ModelUnloaded)
        psutil.wait_procs(psutil.Process().children(), timeout=20)


def test_pinned_models_are_loaded_without_being_asked_for(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node(pinned=("trial-other",))

    loaded, _ = broker.hear(ModelLoaded)

    assert (loaded.model, loaded.pinned) == ("trial-other", True)


def test_a_plugin_registered_by_hand_runs_in_the_host_too(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    from tests.harness import trial_models

    plugins = PluginManager()
    plugins.register(trial_models, "by-hand")
    node = NodeSupervisor(
        Config(queues=QUEUES, plugins=PluginsConfig(allow=()), workers=WorkersConfig(count=1)),
        plugins,
        queue_endpoints={"cpu": broker.endpoint},
        context=broker.context,
        name="other",
        capabilities=ONE_CORE,
    )
    node.start()
    try:
        broker.hear(WorkerHello)
        job = make_job(1)
        broker.assign(job)
        broker.hear(AttemptSucceeded, job)
    finally:
        node.stop(grace=0.0)


NODE_SCRIPT = """
import sys
from paintmq.config import Config, PluginsConfig, QueueConfig, WorkersConfig
from paintmq.node.capabilities import Capabilities
from paintmq.node.supervisor import NodeSupervisor
from paintmq.plugin.manager import PluginManager

plugins = PluginsConfig(allow=("trial",))
NodeSupervisor(
    Config(queues={"cpu": QueueConfig()}, plugins=plugins, workers=WorkersConfig(count=1)),
    PluginManager.installed(plugins),
    queue_endpoints={"cpu": sys.argv[1]},
    name="testnode",
    capabilities=Capabilities(cores=1, memory_mb=4096),
).run()
"""


@pytest.mark.slow
def test_a_killed_node_takes_its_host_along_and_its_successor_reports_what_ran(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor], tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": python_path(tmp_path / "site")}
    node = subprocess.Popen([sys.executable, "-c", NODE_SCRIPT, broker.endpoint], env=environment)
    try:
        broker.hear(WorkerHello)
        job, waiting = make_job(1, do="ignore"), make_job(2)
        broker.assign(job)
        broker.assign(waiting)
        broker.hear(AttemptProgressed, job)
        (host,) = psutil.Process(node.pid).children()
    finally:
        node.kill()
        node.wait()
    psutil.wait_procs([host], timeout=20)
    assert not is_alive(host.pid)

    make_node()
    hello, _ = broker.hear(WorkerHello)
    crashed, _ = broker.hear(AttemptCrashed, job)

    assert hello.running == (job.key,)
    assert (crashed.alone, crashed.detail) == (True, "its node died while it ran")
    with pytest.raises(TimeoutError):
        broker.hear(AttemptCrashed, waiting, patience=0.0)


@pytest.mark.slow
def test_a_killed_node_does_not_blame_what_its_host_had_not_begun(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor], tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": python_path(tmp_path / "site")}
    node = subprocess.Popen([sys.executable, "-c", NODE_SCRIPT, broker.endpoint], env=environment)
    try:
        broker.hear(WorkerHello)
        first, innocent = make_job(1), make_job(2)
        broker.assign(first)
        broker.record(broker.hear(AttemptSucceeded, first)[0])
        (host,) = psutil.Process(node.pid).children()
        host.suspend()
        broker.assign(innocent)
        wait_until_handed_over(innocent, tmp_path)
    finally:
        node.kill()
        node.wait()
    psutil.wait_procs([host], timeout=20)

    make_node()
    hello, _ = broker.hear(WorkerHello)

    assert hello.running == ()
    with pytest.raises(TimeoutError):
        broker.hear(AttemptCrashed, patience=0.0)


def test_a_node_without_a_queue_for_its_device_says_so() -> None:
    node = NodeSupervisor(
        Config(queues={"gpu": QueueConfig(device="cuda")}),
        PluginManager(),
        queue_endpoints={"gpu": "tcp://127.0.0.1:1"},
        capabilities=ONE_CORE,
    )

    with pytest.raises(ConfigError, match="no queue is for cpu workers"):
        node.start()


PATIENT = WorkerTimers(beats_missed=1000)
"""Waits as long as it takes for its node to be told whose broker it is."""


def at(broker: ScriptedBroker, incarnation: int) -> Directions:
    return Directions(endpoints={"cpu": broker.endpoint}, queues={}, incarnation=incarnation)


def test_a_worker_runs_what_a_restarted_broker_gave_it_before_it_knew_that_it_is_its_own(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    known = KnownBroker(incarnation=2)  # the scripted broker is number 1
    node = make_node(known=known, worker_timers=PATIENT)
    broker.hear(WorkerHello)
    at_once, later = make_job(1), make_job(2)
    broker.assign(at_once)
    assert known.wait_for_doubt(30)
    assert known.take_doubt() == f"another broker answers at {broker.endpoint}"
    broker.assign(later)
    beat, _ = broker.hear(Heartbeat)
    assert beat.running == ()  # nothing of a broker that may be anybody's is begun
    assert child_processes() == set()

    known.incarnation = 1
    node.follow(at(broker, 1))

    broker.hear(AttemptSucceeded, at_once)
    broker.hear(AttemptSucceeded, later)
    assert WorkerHello not in {type(heard.message) for heard in broker.heard}


def test_a_worker_asks_again_where_it_was_sent_to_a_broker_that_is_another_again(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    known = KnownBroker(incarnation=2)
    node = make_node(known=known, worker_timers=PATIENT)
    broker.hear(WorkerHello)
    broker.assign(make_job(1))
    assert known.wait_for_doubt(30)
    known.take_doubt()

    known.incarnation = 3
    node.follow(at(broker, 3))

    assert known.wait_for_doubt(30)
    assert known.take_doubt() == f"another broker answers at {broker.endpoint}"
    assert child_processes() == set()
    known.incarnation = 1
    node.follow(at(broker, 1))
    broker.hear(AttemptSucceeded, make_job(1))


def test_a_worker_stays_away_from_another_broker_and_comes_back_when_it_is_known(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    known = KnownBroker(incarnation=2)
    node = make_node(known=known, worker_timers=WorkerTimers(beats_missed=1))
    _, first = broker.hear(WorkerHello)
    assert known.wait_for_doubt(30)
    until = time.monotonic() + 30.0
    while known.take_doubt() != "the broker is silent":
        assert known.wait_for_doubt(until - time.monotonic())

    known.incarnation = 1
    node.follow(at(broker, 1))

    hello, _ = broker.hear(WorkerHello)
    assert hello.replaces == first.peer
    job = make_job(1)
    broker.assign(job)
    broker.hear(AttemptSucceeded, job)


def test_a_worker_leaves_another_broker_with_a_goodbye_once_it_knows_where_its_own_is(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    """Whatever the other one gave it meanwhile goes to others at once."""
    known = KnownBroker(incarnation=2)
    node = make_node(known=known, worker_timers=PATIENT)
    broker.hear(WorkerHello)
    broker.assign(make_job(1))
    assert known.wait_for_doubt(30)

    with ScriptedBroker(incarnation=2) as own:
        node.follow(at(own, 2))

        broker.hear(WorkerGoodbye)
        own.hear(WorkerHello)
        own.assign(make_job(2))
        own.hear(AttemptSucceeded, make_job(2))


def test_a_worker_takes_what_it_runs_along_to_another_queue(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    node = make_node()
    _, first = broker.hear(WorkerHello)
    running = make_job(1, do="heed")
    broker.assign(running)
    broker.hear(AttemptProgressed, running)

    queues = {"other": QueueConfig(effort="intensive")}
    node.follow(Directions(endpoints={"other": broker.endpoint}, queues=queues))

    hello, _ = broker.hear(WorkerHello)
    assert (hello.queue, hello.replaces, hello.running) == ("other", first.peer, (running.key,))
    assert node.homes == {"other": broker.endpoint}
    broker.abandon(running, grace=30.0)
    broker.hear(AttemptReturned, running)


def test_a_worker_stays_where_it_is_when_no_queue_is_left_for_it(
    broker: ScriptedBroker,
    make_node: Callable[..., NodeSupervisor],
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = make_node()
    broker.hear(WorkerHello)

    node.follow(Directions(endpoints={}, queues={"gpu": QueueConfig(device="cuda")}))

    job = make_job(1)
    broker.assign(job)
    broker.hear(AttemptSucceeded, job)
    assert node.homes == {"cpu": broker.endpoint}
    assert "testnode/cpu-0 stays where it is: no queue is for cpu workers" in caplog.text
