"""The example of a stranger's store, chosen by its scheme in the settings: a broker lives by it."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.harness.command_process import CommandProcess, private_environment, run_command
from tests.harness.trial_models import write_trial_distribution
from tests.harness.written_distribution import python_path, write_distribution

from paintmq import Client, Task, TaskState

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).parents[2] / "examples" / "third_party_store" / "src"


def test_a_broker_is_killed_and_goes_on_from_a_strangers_store(tmp_path: Path) -> None:
    plugins = write_trial_distribution(tmp_path / "plugins")
    write_distribution(
        plugins, "paintmq-diary", entry_points={"diary": "paintmq_diary.manifest"}, files={}
    )
    folder = tmp_path / "kept here"
    file = tmp_path / "settings.toml"
    file.write_text(f'[broker]\njournal = "diary:{folder}"\n', encoding="utf-8")
    environment = private_environment(
        tmp_path, PAINTMQ_BROKER__PORT="0", PYTHONPATH=python_path(plugins, SOURCE)
    )
    task = Task(
        "inpaint",
        {"model": "trial"},
        {"image": np.zeros((8, 8, 3), np.uint8), "mask": np.full((8, 8), 255, np.uint8)},
    )
    with CommandProcess(["broker", "--config", file], environment) as broker:
        with Client(broker.wait_for_line(r"broker for clients at (\S+)")[1]) as client:
            handle = client.submit(task)
            for progress in handle.updates(timeout=40):
                if progress.state is TaskState.QUEUED:
                    break
        broker.process.kill()
        broker.wait()

    with (
        CommandProcess(["up", "--config", file], environment) as up,
        Client(up.wait_for_line(r"broker for clients at (\S+)")[1]) as client,
    ):
        assert client.fetch(handle.id).result(timeout=60).image.max() > 0

    lines = (folder / "diary.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line.split(" ", 2)[2])["record"] for line in lines]
    assert records.count("TaskAccepted") == 1
    assert records.count("BrokerBooted") == 2
    assert not list(folder.glob("payloads/*-in-*")), "inputs are not needed after the end"
    listed = run_command("plugins", "--json", environment=environment)
    (diary,) = [p for p in json.loads(listed.stdout)["plugins"] if p["name"] == "diary"]
    assert diary["provides"] == ["store diary"]


def test_a_store_nobody_provides_is_refused_in_a_line(tmp_path: Path) -> None:
    environment = private_environment(tmp_path, PAINTMQ_BROKER__JOURNAL="rediss://host/1")

    ended = run_command("broker", environment=environment)

    assert ended.returncode == 2
    assert "no plugin provides a store 'rediss' (provided: postgres, postgresql)" in ended.stderr
