"""A stranger's store, chosen by its scheme in the settings file: a broker lives by it."""

import json
from pathlib import Path

import numpy as np
import pytest

from paintmq import Client, Task, TaskState
from paintmq.testing.command_process import CommandProcess, private_environment, run_command
from paintmq.testing.trial_models import write_trial_distribution
from paintmq.testing.written_distribution import write_distribution

pytestmark = pytest.mark.slow

# A store of its own would talk to a database; this one passes everything on and keeps a diary.
STORE = """
from pathlib import Path
from paintmq.broker.stores import Store

class Shelf(Store):
    keeps_payloads = True

    def __init__(self, address):
        from paintmq.broker.stores.sqlite import SqliteStore
        self.folder = Path(address.partition(":")[2])
        self.inner = SqliteStore(self.folder / "inner", durability="full", accept_data_loss=False)

    def open(self, wake):
        return self.inner.open(wake)

    def append(self, entry):
        with open(self.folder / "diary", "a") as diary:
            print(type(entry.record).__name__, file=diary)
        self.inner.append(entry)

    def fetch(self, key):
        self.inner.fetch(key)

    def collect(self):
        return self.inner.collect()

    def close(self):
        self.inner.close()

def paintmq_register_stores(register):
    register("shelf", Shelf)
"""


def test_a_broker_is_killed_and_goes_on_from_a_strangers_store(tmp_path: Path) -> None:
    plugins = write_trial_distribution(tmp_path / "plugins")
    write_distribution(
        plugins,
        "paintmq-shelf",
        entry_points={"shelf": "paintmq_shelf"},
        files={"paintmq_shelf.py": STORE},
    )
    folder = tmp_path / "shelf"
    folder.mkdir()
    file = tmp_path / "settings.toml"
    file.write_text(f'[broker]\njournal = "shelf:{folder}"\n', encoding="utf-8")
    environment = private_environment(tmp_path, plugins=plugins, PAINTMQ_BROKER__PORT="0")
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

    diary = (folder / "diary").read_text("utf-8").split()
    assert diary.count("TaskAccepted") == 1
    assert "TaskChanged" in diary
    listed = run_command("plugins", "--json", environment=environment)
    (shelf,) = [p for p in json.loads(listed.stdout)["plugins"] if p["name"] == "shelf"]
    assert shelf["provides"] == ["store shelf"]


def test_a_store_nobody_provides_is_refused_in_a_line(tmp_path: Path) -> None:
    environment = private_environment(tmp_path, PAINTMQ_BROKER__JOURNAL="rediss://host/1")

    ended = run_command("broker", environment=environment)

    assert ended.returncode == 2
    assert "no plugin provides a store 'rediss' (provided: none)" in ended.stderr
