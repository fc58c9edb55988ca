"""One installation with every API, for all tests of them."""

from collections.abc import Iterator

import pytest
from tests.harness.api_site import ApiSite, api_site

pytest.importorskip("starlette", reason="needs paintmq[http]")
pytest.importorskip("uvicorn", reason="needs paintmq[http]")


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with api_site(tmp_path_factory.mktemp("apis"), ["v1", "openai", "a1111"]) as started:
        yield started
