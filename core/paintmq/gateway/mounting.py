"""The chosen APIs, made and put together: one application, with one owner of each path."""

import importlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

from attrs import evolve
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Mount, Route, Router

from paintmq.config import HttpConfig
from paintmq.errors import ConfigError, PaintMQError, said_by, shown
from paintmq.gateway.answers import answer_bug, answer_error, answer_http_error, answer_refusal
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.gateway.services import HttpServices
from paintmq.http_api import HttpApi
from paintmq.plugin.registry import PluginRoute

logger = logging.getLogger(__name__)

Factory: TypeAlias = Callable[[HttpServices], HttpApi]

BUILT_IN: Mapping[str, str] = {
    "v1": "paintmq.gateway.tasks_api:tasks_api",
}
"""Our own APIs by the names of ``[http] apis``; those of plugins are found by their hook."""

ERROR_ANSWERS: Mapping[Any, Callable[..., Any]] = {
    PaintMQError: answer_error,
    TimeoutError: answer_error,
    RefusedRequestError: answer_refusal,
    HTTPException: answer_http_error,
    Exception: answer_bug,
}


def chosen_apis(
    services: HttpServices, of_plugins: Mapping[str, Callable[[Any], HttpApi] | str]
) -> list[HttpApi]:
    """Make the APIs of ``[http] apis``, in that order.

    Raises:
        ConfigError: one is not installed, cannot be made, or serves a path of another.
    """
    for name in BUILT_IN.keys() & of_plugins.keys():
        raise ConfigError(f"HTTP API {name!r} of a plugin has the name of one that is built in")
    offered = {**of_plugins, **BUILT_IN}
    apis: list[HttpApi] = []
    for name in services.config.apis:
        if name not in offered and services.config.apis == HttpConfig().apis:
            # Nobody has asked for it: a plugin that is disabled takes its API along.
            logger.warning("http.apis: %r is left out: its plugin is not loaded", name)
            continue
        if name not in offered:
            known = ", ".join(sorted(offered))
            raise ConfigError(f"http.apis: {name!r} is not installed; there are {known}")
        options = services.config.options.get(name, {})
        apis.append(_made(name, offered[name], evolve(services, options=options)))
    for name in services.config.options.keys() - set(services.config.apis):
        raise ConfigError(f"[http.options.{name}]: http.apis does not name {name!r}")
    _check_paths(apis)
    return apis


def gateway_app(
    services: HttpServices, apis: Sequence[HttpApi], routes: Sequence[PluginRoute] = ()
) -> Starlette:
    """Return the ASGI application; it needs a guard around it."""
    app = Starlette(
        routes=[*(route for api in apis for route in api.routes), *_plugin_mounts(routes)],
        exception_handlers=ERROR_ANSWERS,
        lifespan=_lifespan_of(services, apis),
    )
    app.router.redirect_slashes = False
    return app


def _lifespan_of(
    services: HttpServices, apis: Sequence[HttpApi]
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(services.client.close)
            for api in apis:
                if api.lifespan is not None:
                    await stack.enter_async_context(api.lifespan())
            yield

    return lifespan


def _made(name: str, factory: "Callable[[Any], HttpApi] | str", services: HttpServices) -> HttpApi:
    try:
        make = _loaded(factory) if isinstance(factory, str) else factory
        api = make(services)
    except BaseException as error:  # may be a plugin's code: the operator chose it, so report it
        raise ConfigError(f"http.apis: {name!r} cannot be made: {said_by(error)}") from error
    if not isinstance(api, HttpApi):
        raise ConfigError(f"http.apis: {name!r} made {shown(api)}, which is no HttpApi")
    return api


def _loaded(text: str) -> Factory:
    module, _, attribute = text.partition(":")
    factory: Factory = getattr(importlib.import_module(module), attribute)
    return factory


def _check_paths(apis: Sequence[HttpApi]) -> None:
    holders: dict[tuple[str, str], str] = {}
    for api in apis:
        for route in api.routes:
            for method in getattr(route, "methods", None) or ("*",):
                key = (getattr(route, "path", ""), method)
                other = holders.setdefault(key, api.name)
                if other != api.name:
                    raise ConfigError(
                        f"http.apis: {other!r} and {api.name!r} both serve {method} {key[0]};"
                        " choose one of them"
                    )


def _plugin_mounts(routes: Sequence[PluginRoute]) -> list[BaseRoute]:
    """Return the routes of each plugin below a path of its own, so that none hides another's."""
    by_plugin: dict[str, list[PluginRoute]] = {}
    for each in routes:
        by_plugin.setdefault(each.plugin, []).append(each)
    mounts: list[BaseRoute] = []
    for name, own in by_plugin.items():
        try:
            inner = [Route(each.path, each.endpoint, methods=list(each.methods)) for each in own]
            below = Router(inner, redirect_slashes=False)
            mounts.append(Mount(f"/v1/plugins/{name}", app=below))
        except Exception as error:  # noqa: BLE001 -- a plugin's path may be no path for Starlette
            logger.warning("routes of plugin %s are left out: %s", name, error)
    return mounts
