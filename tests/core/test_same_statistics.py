"""Whoever asks for statistics, in whichever way, is told the same."""

import asyncio
import json
from typing import Any

import pytest
from attrs import asdict
from tests.harness.trial_manager import make_task, wait_for_acceptance

from paintmq import AsyncClient, Client
from paintmq.cli.app import run_command_line
from paintmq.plugin.manager import PluginManager
from paintmq.statistics import BrokerStatistics
from paintmq.testing.embedded_manager import embedded_manager

MOVING = {"updated_at", "oldest_wait", "throughput_1m", "throughput_5m", "throughput_15m"}
"""What differs from one moment to the next."""


def settled(queues: Any) -> dict[str, dict[str, Any]]:
    """Return queues as JSON has them, without what moves."""
    return {
        name: {key: value for key, value in each.items() if key not in MOVING}
        for name, each in json.loads(json.dumps(queues)).items()
    }


def of(statistics: BrokerStatistics) -> dict[str, dict[str, Any]]:
    return settled({name: asdict(queue) for name, queue in statistics.queues.items()})


def test_every_way_of_asking_gives_the_same(
    plugins: PluginManager, capsys: pytest.CaptureFixture[str]
) -> None:
    with embedded_manager(workers=0, plugins=plugins) as manager:
        wait_for_acceptance(manager.submit(make_task()))
        manager.submit(make_task()).cancel()
        with Client(manager.endpoint) as client:
            by_client = client.statistics()

        async def ask() -> BrokerStatistics:
            async with AsyncClient(manager.endpoint) as client:
                return await client.statistics()

        by_async_client = asyncio.run(ask())
        assert run_command_line(["status", "--connect", manager.endpoint, "--json"]) == 0
        by_command = json.loads(capsys.readouterr().out)["statistics"]
        stats = manager.get_queue_stats()
        one = {name: manager.get_queue_stats(name) for name in stats}

    assert of(by_client) == of(by_async_client) == settled(by_command["queues"])
    ports = {name: each["port"] for name, each in of(by_client).items()}
    assert settled(stats) == settled(one)
    assert {name: {**each, "port": ports[name]} for name, each in settled(stats).items()} == of(
        by_client
    )
    waiting = [each for each in stats.values() if each["waiting"]]
    assert [each["accepted"] - each["cancelled"] for each in waiting] == [1]
