"""The architecture as a test, tested: each contract is seen to fail when it is broken."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

BREACHES = {
    "core": ("core/paintmq/plugin/catalog.py", "import paintmq_plugins.opencv"),
    "independent": ("plugins/paintmq_plugins/opencv.py", "import paintmq_routers.least_loaded"),
    "plugins": ("plugins/paintmq_plugins/opencv.py", "import paintmq.broker.machine"),
    "routers": (
        "routers/paintmq_routers/least_loaded.py",
        "import paintmq.broker.scheduling.scheduler",
    ),
    "pure": ("core/paintmq/broker/machine/lifecycle.py", "import time"),
    "zmq": ("core/paintmq/queue_manager.py", "import zmq"),
    "sqlite": ("core/paintmq/broker/machine/history.py", "import sqlite3"),
    "broker": ("core/paintmq/broker/machine/tasks.py", "import paintmq.broker.shell.clock"),
    "worker": ("core/paintmq/worker/channel/framing.py", "import paintmq.worker.machine.batches"),
    "agent": ("core/paintmq/worker/machine/profile.py", "import numpy"),
    "payloads": ("core/paintmq/broker/connections/peers.py", "import PIL"),
    "layers": ("core/paintmq/wire/codec.py", "import paintmq.broker.records"),
}


def lint(folder: Path, contract: str) -> "subprocess.CompletedProcess[str]":
    sources = os.pathsep.join(str(folder / name) for name in ("core", "plugins", "routers"))
    tool = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [tool, "--no-cache", "--contract", contract],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": sources},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("contract", BREACHES)
def test_a_contract_fails_when_it_is_broken_and_only_then(tmp_path: Path, contract: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("core", "plugins", "routers"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    sound = lint(tmp_path, contract)

    file, line = BREACHES[contract]
    with (tmp_path / file).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    broken = lint(tmp_path, contract)

    assert sound.returncode == 0, sound.stdout
    assert broken.returncode == 1
    assert "1 broken" in broken.stdout


def test_every_contract_is_tried() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]

    assert {each["id"] for each in contracts} == set(BREACHES)
