"""Queues and settings of a real broker, changed while it works: ports, journal, restarts."""

from pathlib import Path

import pytest
from attrs import evolve
from tests.harness.free_ports import free_ports
from tests.harness.toy_broker import (
    TOY_QUEUES,
    toy_client,
    toy_config,
    toy_plugins,
    toy_task,
    toy_worker,
)

from paintmq.broker.recording.replay import replay
from paintmq.broker.shell.server import BrokerServer
from paintmq.config import Config, QueueConfig, Timers
from paintmq.errors import ConfigError, PortInUseError
from paintmq.wire.messages import Accepted, Answer, Ask, Assign, Refused, Submit, WorkerWelcome


def test_a_queue_is_added_served_and_removed_while_tasks_come(tmp_path: Path) -> None:
    record = tmp_path / "inputs"
    told: list[tuple[str, ...]] = []
    with BrokerServer(toy_config(record=str(record)), toy_plugins()) as server:
        server.follow_queues(lambda: told.append(tuple(server.queue_endpoints)))
        with toy_client(server) as client:
            server.change_queue("add", "extra", {"models": ["toy"]})
            with toy_worker(server, "extra") as worker:
                worker.hear(WorkerWelcome)
                client.say(Submit(toy_task(queue="extra")))
                client.hear(Accepted)
                worker.hear(Assign)
                waiting = toy_task(queue="extra")
                client.say(Submit(waiting))
                client.hear(Accepted)

                server.change_queue("remove", "extra")

                assert worker.hear(Refused).reason == "queue extra was removed"
                client.say(Ask(request_id=1, subject="why", arguments={"task_id": waiting.id}))
                assert '"queue": "cpu-light"' in str(client.hear(Answer).value).replace("'", '"')
    assert told == [(*TOY_QUEUES, "extra"), tuple(TOY_QUEUES)]
    assert replay(record, toy_plugins()).difference is None


def test_changes_hold_after_a_restart_and_are_undone_by_a_reset(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "journal")
    with BrokerServer(config, toy_plugins()) as server:
        server.change_queue("add", "extra", {"capacity": 3})
        server.change_queue("set", "cpu-light", {"capacity": 4})
        server.change_queue("remove", "cpu-intensive")
        server.change_queue("pause", "extra")

    with BrokerServer(config, toy_plugins()) as again:
        assert {name: queue.capacity for name, queue in again.settings.queues.items()} == {
            "cpu-light": 4,
            "extra": 3,
        }
        assert list(again.queue_endpoints) == ["cpu-light", "extra"]
        with toy_client(again) as client, toy_worker(again, "extra") as worker:
            worker.hear(WorkerWelcome)
            client.say(Submit(toy_task(queue="extra")))
            assert "its queue extra is paused" in client.hear(Accepted).waiting_for
            again.change_queue("resume", "extra")
            worker.hear(Assign)
        for name in ("cpu-light", "cpu-intensive"):
            again.change_queue("reset", name)
        assert again.settings.queues == {**TOY_QUEUES, "extra": QueueConfig(capacity=3)}
        assert set(again.queue_endpoints) == {*TOY_QUEUES, "extra"}


def test_a_port_that_is_taken_changes_nothing(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    other = evolve(toy_config(), queues={"theirs": QueueConfig(port=port)})
    config = toy_config(tmp_path / "journal")
    with BrokerServer(other, toy_plugins()), BrokerServer(config, toy_plugins()) as server:
        with pytest.raises(PortInUseError, match=f"port {port} for queue 'mine' is taken"):
            server.change_queue("add", "mine", {"port": port})
        assert server.settings.queues == TOY_QUEUES
        assert server.change_queue("add", "mine", {"port": 0}, dry_run=True) != ()
        assert server.settings.queues == TOY_QUEUES


def test_a_removed_queue_comes_back_on_the_port_that_it_had() -> None:
    (port,) = free_ports(1)
    with BrokerServer(toy_config(), toy_plugins()) as server:
        for _ in range(2):
            server.change_queue("add", "extra", {"port": port})
            with toy_worker(server, "extra") as worker:
                worker.hear(WorkerWelcome)
            server.change_queue("remove", "extra")


def test_a_reload_applies_the_whole_file_or_nothing() -> None:
    wanted: list[Config] = [toy_config()]
    with BrokerServer(toy_config(), toy_plugins(), reread=lambda: wanted[0]) as server:
        assert server.reload() == ()
        wanted[0] = evolve(
            toy_config(),
            queues={"only": QueueConfig(capacity=2)},
            timers=Timers(retry_most=99.0, lease=99.0),
        )
        foreseen = server.reload(dry_run=True)
        assert server.settings.queues == TOY_QUEUES

        assert server.reload() == foreseen

        assert {each.key: bool(each.late) for each in foreseen} == {
            "queues.cpu-light": False,
            "queues.cpu-intensive": False,
            "queues.only": False,
            "timers.lease": True,
            "timers.retry_most": False,
        }
        assert list(server.queue_endpoints) == ["only"]
        server.change_queue("add", "more", {})
        wanted[0] = evolve(wanted[0], queues={"more": QueueConfig(), "x": QueueConfig(port=0)})
        server.change_queue("set", "more", {"gpu_memory_mb": 0})
        with pytest.raises(ConfigError, match="there is no queue 'y'"):
            server.change_queue("remove", "y")
        server.reload()
        assert set(server.queue_endpoints) == {"more", "x"}


def test_what_no_longer_goes_with_the_file_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = toy_config(tmp_path / "journal")
    (port,) = free_ports(1)
    with BrokerServer(config, toy_plugins()) as server:
        server.change_queue("add", "extra", {"port": port})
    clash = evolve(config, queues={**TOY_QUEUES, "new": QueueConfig(port=port)})

    with BrokerServer(clash, toy_plugins()) as again:
        assert set(again.queue_endpoints) == {*TOY_QUEUES, "new"}

    assert "does not go with the settings any more" in caplog.text
