"""Plugins written to a folder and installed there, for the time of one test."""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.trial_plugins import Install
from tests.harness.written_distribution import write_distribution


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a plugin of one module; returns the module's name."""
    numbers = itertools.count()
    modules: list[str] = []

    def install(
        name: str, source: str, *, distribution: str = "", version: str = "1.0", target: str = ""
    ) -> str:
        # A module is imported once in a process, so each test's has a name of its own.
        module = f"paintmq_test_{tmp_path.name.replace('-', '_')}_{next(numbers)}"
        modules.append(module)
        write_distribution(
            tmp_path / module,
            distribution or f"paintmq-{name}",
            entry_points={name: module + target},
            files={f"{module}.py": source},
            version=version,
        )
        monkeypatch.syspath_prepend(tmp_path / module)
        return module

    yield install
    for module in modules:
        sys.modules.pop(module, None)
