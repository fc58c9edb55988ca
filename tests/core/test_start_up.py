"""What starting costs: in modules, and in processor time of the best of some attempts.

Another process can make an attempt slower, never quicker: a busy machine only needs more of them.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from paintmq.plugin.manager import HEAVY_MODULES
from paintmq.testing.manifest_budget import measure_manifest

NOT_AT_THE_START = (*HEAVY_MODULES, "PIL", "numpy", "zmq", "psutil", "pynvml", "sqlite3")

IMPORT_BUDGET = 15
"""Modules that ``import paintmq`` may add to a bare interpreter."""
HELP_BUDGET = 400
"""Modules that ``paintmq --help`` may import; typer and rich take most of them."""

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
OUR_MANIFESTS = sorted({*PROJECT["project"]["entry-points"]["paintmq"].values()})

IMPORT_SECONDS = 0.1
HELP_SECONDS = 0.6
"""Processor time, the interpreter's start included: several times what was measured."""
ATTEMPTS = 6

REPORT = """
import json, sys, time
spent = time.process_time()
print("cost", json.dumps([spent, sorted(sys.modules)]))
"""
SHOW_HELP = "from paintmq.cli.app import run_command_line as run\nrun(['--help'])"


def cost_of(script: str) -> tuple[float, list[str]]:
    """Return what a fresh interpreter has spent and imported once the script is done."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", script + REPORT],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    seconds, modules = json.loads(done.stdout.splitlines()[-1].removeprefix("cost "))
    return seconds, modules


def modules_after(script: str) -> list[str]:
    return cost_of(script)[1]


def least_seconds(script: str, *, budget: float) -> float:
    """Return the processor time of the first attempt within the budget, else of the best."""
    attempts: list[float] = []
    while len(attempts) < ATTEMPTS and min(attempts, default=budget + 1) > budget:
        attempts.append(cost_of(script)[0])
    return min(attempts)


def test_importing_paintmq_costs_next_to_nothing() -> None:
    added = set(modules_after("import paintmq")) - set(modules_after("pass"))

    assert len(added) <= IMPORT_BUDGET, sorted(added)


def test_the_help_of_the_command_imports_nothing_it_does_not_show() -> None:
    modules = modules_after(SHOW_HELP)

    assert [name for name in NOT_AT_THE_START if name in modules] == []
    assert len(modules) <= HELP_BUDGET


def test_a_client_imports_neither_numpy_nor_an_event_loop() -> None:
    modules = modules_after("from paintmq.client.session import Session")

    assert [name for name in ("numpy", "PIL", "asyncio", "ssl", "sqlite3") if name in modules] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "budget"), [("import paintmq", IMPORT_SECONDS), (SHOW_HELP, HELP_SECONDS)]
)
def test_starting_takes_no_more_processor_time_than_it_may(script: str, budget: float) -> None:
    assert least_seconds(script, budget=budget) <= budget


@pytest.mark.slow
def test_what_takes_too_long_is_noticed() -> None:
    busy = "import time\nwhile time.process_time() < 0.05: pass"

    assert least_seconds(busy, budget=0.04) > 0.04


def test_finding_all_plugins_imports_nothing_heavy() -> None:
    modules = modules_after(
        "from paintmq.plugin.manager import PluginManager\nPluginManager.installed().catalog()"
    )

    assert [name for name in HEAVY_MODULES if name in modules] == []
    assert "numpy" not in modules


@pytest.mark.parametrize("manifest", OUR_MANIFESTS)
def test_every_manifest_of_ours_is_light(manifest: str) -> None:
    cost = measure_manifest(manifest)

    assert cost.fault == ""
