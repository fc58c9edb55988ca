"""Broker and nodes as processes of their own: started, drained, killed and replaced by commands."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.harness.command_process import CommandProcess, private_environment, run_command
from tests.harness.trial_models import write_trial_distribution
from tests.harness.written_distribution import write_distribution

from paintmq import Client, Task, TaskState, TaskType
from paintmq.client import TaskHandle

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Settings of a broker on free ports, and models that do as they are told."""
    plugins = write_trial_distribution(tmp_path / "plugins")
    return private_environment(
        tmp_path,
        plugins=plugins,
        PAINTMQ_BROKER__PORT="0",
        PAINTMQ_TIMERS__DRAIN_GRACE="20",
        PAINTMQ_LOG="info",
    )


def trial(seconds: float, do: str = "ignore") -> Task:
    """Return a task that takes so long."""
    return Task(
        task_type=TaskType.INPAINT,
        config={"model": "trial", "do": do, "seconds": seconds},
        inputs={"image": np.zeros((8, 8, 3), np.uint8), "mask": np.full((8, 8), 255, np.uint8)},
    )


def wait_until(handle: TaskHandle, state: TaskState) -> None:
    for progress in handle.updates(timeout=40):
        if progress.state is state:
            return
    raise AssertionError(f"{handle} was never {state}")


def endpoint_of(service: CommandProcess) -> str:
    return service.wait_for_line(r"broker for clients at (\S+)")[1]


@pytest.fixture
def up(environment: dict[str, str]) -> Iterator[CommandProcess]:
    with CommandProcess(["up"], environment) as service:
        yield service


def test_sigterm_lets_running_work_finish_and_says_what_is_left(up: CommandProcess) -> None:
    with Client(endpoint_of(up)) as client:
        running = client.submit(trial(2.0))
        wait_until(running, TaskState.RUNNING)
        waiting = [client.submit(trial(30.0)) for _ in range(3)]
        for handle in waiting:
            wait_until(handle, TaskState.QUEUED)

        up.process.send_signal(signal.SIGTERM)

        assert running.result(timeout=30).attempts == 1
        assert up.wait() == 0
    said = "".join(up.said)
    assert "stopping: running tasks are finished or handed back" in said
    assert "stopped; 3 waiting in cpu-light: kept in the journal" in said


def test_a_node_says_which_tasks_it_handed_back_and_another_runs_them(
    environment: dict[str, str],
) -> None:
    hasty = environment | {"PAINTMQ_TIMERS__DRAIN_GRACE": "0.2"}
    with CommandProcess(["broker"], environment) as broker:
        endpoint = endpoint_of(broker)
        with CommandProcess(["node", "--connect", endpoint, "--name", "one"], hasty) as node:
            node.wait_for_line("workers of this machine serve")
            with Client(endpoint) as client:
                handle = client.submit(trial(60.0))
                wait_until(handle, TaskState.RUNNING)

                node.process.send_signal(signal.SIGTERM)

                node.wait_for_line(f"handed back 1 unfinished: {handle.id}")
                assert node.wait() == 0
                with CommandProcess(["node", "--connect", endpoint, "--name", "two"], hasty):
                    workers = (progress.worker for progress in handle.updates(timeout=40))
                    assert "two/cpu-0" in workers
                    handle.cancel()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_wait(up: CommandProcess, number: signal.Signals) -> None:
    with Client(endpoint_of(up)) as client:
        wait_until(client.submit(trial(60.0)), TaskState.RUNNING)

        up.process.send_signal(number)
        up.wait_for_line("again to stop at once")
        up.process.send_signal(number)

        assert up.wait() == -number


def test_sighup_reads_the_settings_again_and_refuses_bad_ones(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    file = tmp_path / "paintmq.toml"
    file.write_text("")
    with CommandProcess(["up", "--config", file], environment) as up:
        endpoint_of(up)

        file.write_text("[router]\nname = 'priority-first'\n")
        up.process.send_signal(signal.SIGHUP)
        up.wait_for_line("settings read again: router priority-first")
        file.write_text("[router]\nnmae = 'x'\n")
        up.process.send_signal(signal.SIGHUP)
        up.wait_for_line("router.nmae: unknown key; did you mean 'router.name'?")
        up.wait_for_line("the settings stay as they were")

        up.process.send_signal(signal.SIGINT)
        assert up.wait() == 0


def test_a_node_that_is_killed_is_replaced_by_another_and_its_task_completes(
    environment: dict[str, str],
) -> None:
    quick = environment | {"PAINTMQ_TIMERS__LEASE": "2", "PAINTMQ_TIMERS__HEARTBEAT": "0.5"}
    with CommandProcess(["broker"], quick) as broker:
        endpoint = endpoint_of(broker)
        with CommandProcess(["node", "--connect", endpoint, "--name", "one"], quick) as first:
            first.wait_for_line("workers of this machine serve")
            with Client(endpoint) as client:
                handle = client.submit(trial(1.5))
                wait_until(handle, TaskState.RUNNING)
                first.process.kill()
                first.wait()

                with CommandProcess(["node", "--connect", endpoint, "--name", "two"], quick):
                    result = handle.result(timeout=50)

                assert (result.worker, result.attempts) == ("two/cpu-0", 2)
                statistics: Any = client.ask("statistics")
                assert statistics["queues"]["cpu-light"]["succeeded"] == 1


def test_a_node_waits_for_its_broker_and_can_be_stopped_meanwhile(
    environment: dict[str, str],
) -> None:
    with CommandProcess(["node", "--connect", "tcp://127.0.0.1:1"], environment) as node:
        node.wait_for_line("waiting for a broker at tcp://127.0.0.1:1")

        node.process.send_signal(signal.SIGTERM)

        assert node.wait() == 0


def test_a_node_waits_for_a_broker_that_is_there_and_does_not_answer(
    environment: dict[str, str],
) -> None:
    """As one that is busy, or stopped; and for one that was killed after that."""
    with CommandProcess(["broker"], environment) as broker:
        endpoint = endpoint_of(broker)
        broker.process.send_signal(signal.SIGSTOP)
        with CommandProcess(["node", "--connect", endpoint], environment) as node:
            node.wait_for_line(f"waiting for a broker at {endpoint}: .*does not answer")

            broker.process.send_signal(signal.SIGCONT)

            node.wait_for_line("workers of this machine serve")


def test_a_broker_that_is_killed_goes_on_where_it_was_and_its_client_notices_nothing(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    with CommandProcess(["broker"], environment) as broker:
        endpoint = endpoint_of(broker)
        port = endpoint.rpartition(":")[2]
        client = Client(endpoint)
        with client:
            handle = client.submit(trial(0.0, do="paint"))
            wait_until(handle, TaskState.QUEUED)
            broker.process.kill()
            broker.wait()

            again = environment | {"PAINTMQ_BROKER__PORT": port}
            with CommandProcess(["up"], again) as up:
                up.wait_for_line(r"journal .+ \(full\), with 1 unfinished tasks")
                assert handle.result(timeout=50).attempts == 1


def test_dead_tasks_are_listed_shown_requeued_and_dropped(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    once = environment | {"PAINTMQ_LIMITS__CRASHES": "1"}
    with CommandProcess(["up"], once) as up:
        endpoint = endpoint_of(up)
        with Client(endpoint) as client:
            handle = client.submit(trial(0.0, do="crash"))
            wait_until(handle, TaskState.DEAD)

        def dead(*arguments: str) -> str:
            done = run_command("dead", *arguments, "--connect", endpoint, environment=environment)
            assert (done.returncode, done.stderr) == (0, ""), done
            return done.stdout

        assert handle.id in dead("list")
        shown = dead("show", handle.id)
        assert "crashed after" in shown
        assert "SIGSEGV" in shown
        assert dead("requeue", handle.id).startswith(f"{handle.id}: waits in cpu-light")
        with Client(endpoint) as client:
            wait_until(client.fetch(handle.id), TaskState.DEAD)
        assert dead("drop", handle.id) == f"{handle.id}: dropped\n"
        none_left = run_command("dead", "list", "--connect", endpoint, environment=environment)
        assert none_left.stderr == "no dead tasks\n"


def test_plugins_of_a_broker_see_events_and_statistics_though_another_hangs(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    write_distribution(
        tmp_path / "plugins",
        "paintmq-watchers",
        entry_points={"hangs": "hangs_of_test", "watches": "watches_of_test"},
        files={
            "hangs_of_test.py": "import threading; threading.Event().wait()",
            "watches_of_test.py": """
            def paintmq_events(batch):
                print("seen:", *[event["event"] for event in batch], flush=True)

            def paintmq_statistics(sample):
                print("sampled:", sample.accepted, flush=True)
            """,
        },
    )
    quick = {"PAINTMQ_PLUGINS__LOAD_LIMIT": "3", "PAINTMQ_MONITORING__METRICS_INTERVAL": "0.1"}
    with CommandProcess(["broker"], environment | quick) as broker:
        broker.wait_for_line(r"plugin hangs .* is set aside: it has not finished after 3 seconds")
        with Client(endpoint_of(broker)) as client:
            client.submit(trial(0.0))
            broker.wait_for_line(r"seen: .*\baccept\b")
            broker.wait_for_line("sampled: 1")

        broker.process.send_signal(signal.SIGTERM)

        assert broker.wait() == 0


FAILING_STORE = """
    from paintmq.broker.stores.memory import MemoryStore
    from paintmq.errors import StoreError
    from paintmq.storing import TaskAccepted


    class FailingStore(MemoryStore):
        def append(self, entry):
            super().append(entry)
            if isinstance(entry.record, TaskAccepted):
                self.collect = self.fail

        def fail(self):
            raise StoreError("the disk is gone")


    def paintmq_register_stores(register):
        register("failing", lambda rest: FailingStore())
"""


@pytest.mark.parametrize("command", ["broker", "up"])
def test_a_service_whose_journal_fails_ends_by_itself_with_status_1(
    environment: dict[str, str], tmp_path: Path, command: str
) -> None:
    """I25: an init system starts it again only if its process ends."""
    write_distribution(
        tmp_path / "plugins",
        "paintmq-failing",
        entry_points={"failing": "paintmq_failing"},
        files={"paintmq_failing.py": FAILING_STORE},
    )
    with (
        CommandProcess([command], environment | {"PAINTMQ_BROKER__JOURNAL": "failing:"}) as service,
        Client(endpoint_of(service)) as client,
    ):
        client.submit(trial(0.0))

        assert service.wait() == 1
    said = "".join(service.said)
    assert "error: the broker had stopped by itself: the disk is gone" in said


def test_nodes_that_are_stopped_are_called_silent_long_before_they_are_given_up(
    environment: dict[str, str],
) -> None:
    timers = {"PAINTMQ_TIMERS__HEARTBEAT": "0.5", "PAINTMQ_TIMERS__LEASE": "300"}
    with CommandProcess(["broker"], environment | timers) as broker:
        endpoint = endpoint_of(broker)
        arguments = ["node", "--connect", endpoint, "--name"]
        with (
            CommandProcess([*arguments, "one"], environment) as one,
            CommandProcess([*arguments, "two"], environment) as two,
        ):
            wait_for_status(endpoint, environment, BOTH.format("idle"))
            for node in (one, two):
                node.process.send_signal(signal.SIGSTOP)

            said = wait_for_status(endpoint, environment, BOTH.format("silent"))

            assert re.search(r"two/cpu-0 has been silent for \d+\.\d s: it or its machine is", said)
            for node in (one, two):
                node.process.send_signal(signal.SIGCONT)
            wait_for_status(endpoint, environment, BOTH.format("idle"))


BOTH = "/cpu-0 +cpu-light .* {0}(.|\n)*/cpu-0 +cpu-light .* {0}"


def wait_for_status(endpoint: str, environment: dict[str, str], pattern: str) -> str:
    """Return what `paintmq status` says once it matches."""
    ends = time.monotonic() + 40.0
    while True:
        said = run_command("status", "--connect", endpoint, environment=environment).stdout
        if re.search(pattern, said):
            return said
        assert time.monotonic() < ends, f"never like {pattern!r}:\n{said}"


SLEEPING_MODEL = """
    import time

    from paintmq.model import ModelSpec


    def needs(job):
        time.sleep(1000.0)


    def paintmq_register_models(register):
        register(ModelSpec(
            name="sleeper", implementation="paintmq_sleeper:none", inputs=(), needs=needs
        ))
"""


@pytest.mark.parametrize("command", ["broker", "up"])
def test_a_service_whose_plugin_does_not_return_ends_by_itself_with_status_1(
    environment: dict[str, str], tmp_path: Path, command: str
) -> None:
    """I25: it can do nothing for anybody; started again, it can."""
    write_distribution(
        tmp_path / "plugins",
        "paintmq-sleeper",
        entry_points={"sleeper": "paintmq_sleeper"},
        files={"paintmq_sleeper.py": SLEEPING_MODEL},
    )
    with (
        CommandProcess([command], environment | {"PAINTMQ_PLUGINS__CALL_LIMIT": "0.5"}) as service,
        Client(endpoint_of(service)) as client,
    ):
        client.submit(Task(TaskType.PLUGIN, {"model": "sleeper"}))

        assert service.wait() == 1
    said = "".join(service.said)
    assert "paintmq_sleeper.needs (the model's functions) does not return" in said
    assert "time.sleep(1000.0)" in said
