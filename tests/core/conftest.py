"""Fixtures of the tests of the embedded manager."""

from collections.abc import Iterator

import pytest
from tests.harness.trial_manager import Models, Routers, left_behind

from paintmq.plugin.manager import PluginManager


@pytest.fixture
def plugins() -> PluginManager:
    manager = PluginManager()
    manager.register(Models(), "models")
    manager.register(Routers(), "router")
    return manager


@pytest.fixture
def nothing_left() -> Iterator[None]:
    before = left_behind()
    yield
    assert left_behind() == before
