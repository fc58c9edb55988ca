"""APIs of the gateway: chosen, made, and each in charge of its own paths."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from paintmq.config import HttpConfig
from paintmq.errors import ConfigError, PluginError
from paintmq.plugin.manager import PluginManager

pytest.importorskip("starlette", reason="needs paintmq[http]")

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.harness.gateway_callers import callers_of, origins_of

from paintmq.gateway.callers_tasks import CallersTasks
from paintmq.gateway.guard import Guard, GuardLimits
from paintmq.gateway.identity import TaskIds
from paintmq.gateway.mounting import chosen_apis, gateway_app
from paintmq.gateway.services import HttpServices, caller_of
from paintmq.http_api import HttpApi
from paintmq.task import Json


class ClosingClient:
    closed = False
    trouble = ""

    async def close(self) -> None:
        self.closed = True


def services(**config: Any) -> HttpServices:
    tasks = CallersTasks(cast("Any", ClosingClient()), TaskIds(b"s"))
    return HttpServices(tasks=tasks, config=HttpConfig(**config))


async def whoami(request: Request) -> JSONResponse:
    caller = caller_of(request)
    return JSONResponse({"name": caller.name, "role": caller.role})


def odd_shape(status: int, code: str, message: str) -> Json:
    return {"error": {"type": code, "message": message}}


def an_api(services: HttpServices, **changes: Any) -> HttpApi:
    fields: dict[str, Any] = {
        "name": "odd",
        "prefixes": ("/odd",),
        "public": ("/odd/open", "/odd/files/"),
        "routes": [Route("/odd/who", whoami), Route("/odd/open", whoami)],
        "error_body": odd_shape,
        "challenge": "Basic",
        "content_security_policy": "default-src 'none'",
    }
    return HttpApi(**(fields | changes))


def guarded(site: HttpServices, apis: list[HttpApi]) -> Guard:
    limits = GuardLimits(body=100, bodies=100, requests=2)
    app = gateway_app(site, apis)
    return Guard(app, callers_of("t" * 20), origins_of("here"), limits, apis)


def ask(guard: Guard, path: str, **headers: str) -> tuple[int, dict[str, str], Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    given = [(k.encode(), v.encode()) for k, v in ({"host": "here"} | headers).items()]
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": given,
    }
    asyncio.run(guard(scope, receive, send))
    found = {bytes(k).decode(): bytes(v).decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], found, json.loads(sent[1]["body"])


def test_a_plugins_api_is_found_by_its_hook_and_served_at_its_paths() -> None:
    manager = PluginManager()
    manager.register(
        SimpleNamespace(paintmq_register_http_apis=lambda register: register("odd", an_api)),
        "odd-plugin",
    )
    site = services(apis=("odd",))
    guard = guarded(site, chosen_apis(site, manager.http_apis))

    status, headers, body = ask(guard, "/odd/who", authorization="Bearer " + "t" * 20)

    assert (status, body) == (200, {"name": "operator", "role": "admin"})
    assert headers["content-security-policy"] == "default-src 'none'"


def test_an_api_gets_its_own_options() -> None:
    seen: list[Any] = []

    def make(services: HttpServices) -> HttpApi:
        seen.append(services.options)
        return an_api(services)

    chosen_apis(services(apis=("odd",), options={"odd": {"aliases": {"a": "b"}}}), {"odd": make})

    assert seen == [{"aliases": {"a": "b"}}]


def test_a_refusal_has_the_shape_of_the_api_it_concerns() -> None:
    site = services(apis=("odd", "v1"))
    guard = guarded(site, chosen_apis(site, {"odd": an_api}))

    status, headers, body = ask(guard, "/odd/who")
    assert (status, body["error"]["type"]) == (401, "token")
    assert headers["www-authenticate"].startswith("Basic")

    status, headers, body = ask(guard, "/v1/models")
    assert (status, body["code"]) == (401, "token")
    assert headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/odd/open/more", "/odd/filesystem", "/odd/ope", "/odd/open/"])
def test_what_is_near_a_public_path_is_not_public(path: str) -> None:
    site = services(apis=("odd",))

    assert ask(guarded(site, chosen_apis(site, {"odd": an_api})), path)[0] == 401


def test_who_shows_no_token_has_no_name_and_may_submit_nothing() -> None:
    site = services(apis=("odd",))
    guard = guarded(site, chosen_apis(site, {"odd": an_api}))

    assert ask(guard, "/odd/open")[2] == {"name": "", "role": "metrics"}
    assert ask(guard, "/odd/open", host="elsewhere")[0] == 403


@pytest.mark.parametrize(
    ("apis", "offered", "said"),
    [
        (("nothing",), {}, "'nothing' is not installed; there are"),
        (("odd", "twin"), {"odd": an_api, "twin": lambda s: an_api(s, name="twin")}, "both serve"),
        (("odd",), {"odd": lambda _: 3}, "no HttpApi"),
        (("odd",), {"odd": "paintmq.gateway:nothing"}, "cannot be made"),
        (("v1",), {"v1": an_api}, "built in"),
    ],
)
def test_apis_that_cannot_be_served_stop_the_start(
    apis: tuple[str, ...], offered: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        chosen_apis(services(apis=apis), offered)


def test_of_the_default_apis_those_are_served_that_are_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With `plugins.allow` set to some plugin, `paintmq http` would not have started any more."""
    assert [api.name for api in chosen_apis(services(), {})] == ["v1"]
    assert "its plugin is not loaded" in caplog.text


def test_options_of_an_api_that_is_not_served_are_an_error() -> None:
    with pytest.raises(ConfigError, match="does not name 'odd'"):
        chosen_apis(services(apis=("v1",), options={"odd": {}}), {"odd": an_api})


@pytest.mark.parametrize("factory", [3, "no colon", "a:b:c"])
def test_a_factory_that_is_none_sets_the_plugin_aside(factory: object) -> None:
    plugin = SimpleNamespace(paintmq_register_http_apis=lambda register: register("odd", factory))
    with pytest.raises(PluginError, match="HTTP API"):
        PluginManager().register(plugin, "bad")


def test_an_api_is_opened_before_the_first_request_and_closed_at_the_end() -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def open_for_a_while() -> AsyncIterator[None]:
        steps.append("opened")
        yield
        steps.append("closed")

    site = services(apis=("odd",))
    app = gateway_app(site, [an_api(site, lifespan=open_for_a_while)])

    async def live() -> None:
        async with app.router.lifespan_context(app):
            steps.append("serving")

    asyncio.run(live())

    assert steps == ["opened", "serving", "closed"]
    assert cast("Any", site.client).closed
