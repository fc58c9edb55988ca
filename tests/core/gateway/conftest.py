"""A gateway with a scripted broker, for tests of its routes."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.harness.scripted_gateway import ScriptedClient, Site


@pytest.fixture
def client() -> "ScriptedClient":
    from tests.harness.scripted_gateway import ScriptedClient  # needs paintmq[http]

    return ScriptedClient()


@pytest.fixture
def site(client: "ScriptedClient") -> "Site":
    from tests.harness.scripted_gateway import Site

    return Site(client)
