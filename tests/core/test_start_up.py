"""What starting costs, counted in modules: seconds would depend on the machine."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from paintmq.plugin_manager import HEAVY_MODULES
from paintmq.testing.manifest_budget import measure_manifest

NOT_AT_THE_START = (*HEAVY_MODULES, "PIL", "numpy", "zmq", "psutil", "pynvml", "sqlite3")

IMPORT_BUDGET = 20
"""Modules that ``import paintmq`` may add to a bare interpreter."""
HELP_BUDGET = 450
"""Modules that ``paintmq --help`` may import; typer and rich take most of them."""

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
OUR_MANIFESTS = sorted({*PROJECT["project"]["entry-points"]["paintmq"].values()})

REPORT = "\nimport json, sys; print('modules', json.dumps(sorted(sys.modules)))"


def modules_after(script: str) -> list[str]:
    """Return what a fresh interpreter has imported once the script is done."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", script + REPORT],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    modules: list[str] = json.loads(done.stdout.splitlines()[-1].removeprefix("modules "))
    return modules


def test_importing_paintmq_costs_next_to_nothing() -> None:
    added = set(modules_after("import paintmq")) - set(modules_after("pass"))

    assert len(added) <= IMPORT_BUDGET, sorted(added)


def test_the_help_of_the_command_imports_nothing_it_does_not_show() -> None:
    modules = modules_after("from paintmq.cli.app import run_command_line as run\nrun(['--help'])")

    assert [name for name in NOT_AT_THE_START if name in modules] == []
    assert len(modules) <= HELP_BUDGET


def test_finding_all_plugins_imports_nothing_heavy() -> None:
    modules = modules_after(
        "from paintmq.plugin_manager import PluginManager\nPluginManager.installed().catalog()"
    )

    assert [name for name in HEAVY_MODULES if name in modules] == []
    assert "numpy" not in modules


@pytest.mark.parametrize("manifest", OUR_MANIFESTS)
def test_every_manifest_of_ours_is_light(manifest: str) -> None:
    cost = measure_manifest(manifest)

    assert cost.fault == ""
