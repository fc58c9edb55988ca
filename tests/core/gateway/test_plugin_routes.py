"""Routes that plugins add."""

import pytest

from paintmq.plugin.registry import PluginRoute

pytest.importorskip("starlette", reason="needs paintmq[http]")

from tests.harness.gateway_callers import callers_of, origins_of
from tests.harness.scripted_gateway import (
    ID,
    ScriptedClient,
    Site,
    app_for,
)

from paintmq.gateway.guard import Guard, GuardLimits


def test_two_plugins_may_use_one_path(client: ScriptedClient) -> None:
    from starlette.responses import PlainTextResponse

    def plugin(name: str) -> PluginRoute:
        async def endpoint(request: object) -> PlainTextResponse:
            return PlainTextResponse(name)

        return PluginRoute(name, "/hello", endpoint, ("GET",))

    site = Site(client, [plugin("one"), plugin("two")])

    assert site.ask("GET", "/v1/plugins/two/hello") == (200, b"two")
    assert site.ask("GET", "/v1/plugins/one/hello") == (200, b"one")
    assert site.ask("GET", "/v1/plugins/one/hello/")[0] == 404


def test_a_plugins_route_that_cannot_be_served_harms_no_other(
    client: ScriptedClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def endpoint(request: object) -> None:
        pass

    site = Site(client, [PluginRoute("bad", "/{one}/{one}", endpoint, ("GET",))])

    assert site.ask("GET", "/v1/models")[0] == 200
    assert site.ask("GET", "/v1/plugins/bad/x")[0] == 404
    assert "routes of plugin bad are left out" in caplog.text


def test_no_route_is_reached_without_the_token(client: ScriptedClient) -> None:
    async def endpoint(request: object) -> None:
        raise AssertionError("it was reached")

    app = app_for(client, [PluginRoute("x", "/y", endpoint, ("GET",))])
    guard = Guard(
        app,
        callers_of("the-token"),
        origins_of("localhost"),
        GuardLimits(body=1, bodies=1, requests=1),
    )
    site = Site(client)
    site._app = guard
    paths = [str(route.path) for route in app.routes] + ["/v1/plugins/x/y"]

    assert len(paths) > 8
    for path in paths:
        for method in ("GET", "POST", "DELETE", "HEAD"):
            assert site.ask(method, path.replace("{id}", ID))[0] == 401, path
    assert client.submitted == client.fetched == []
