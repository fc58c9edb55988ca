"""The routes of IOPaint's API, below ``/api/v1``, and its page at the root."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from attrs import define, field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from paintmq.client.result import Progress, Result
from paintmq.errors import ConfigError, UnknownModelError
from paintmq.gateway.apis.cards import ModelCard, ModelCards
from paintmq.gateway.apis.faults import detailed_error, wrong
from paintmq.gateway.apis.iopaint.events import PATH, Events, make_events
from paintmq.gateway.apis.iopaint.file_routes import FileRoutes
from paintmq.gateway.apis.iopaint.folders import opened
from paintmq.gateway.apis.iopaint.page import find_page
from paintmq.gateway.apis.iopaint.painting import painting_of, read_asked
from paintmq.gateway.apis.iopaint.plugins import (
    adjusted,
    foreground_mask,
    read_adjustment,
    read_plugin_request,
)
from paintmq.gateway.apis.iopaint.settings import (
    IOPaintOptions,
    model_info,
    samplers_of,
)
from paintmq.gateway.apis.shaped import object_in, shaped
from paintmq.gateway.apis.work import Job, PerCaller, Work
from paintmq.gateway.services import HttpServices, caller_of
from paintmq.http_api import HttpApi
from paintmq.image import encode_image
from paintmq.plugin.options import parse_options
from paintmq.task import Json

BASE = "/api/v1"
_CURRENT = "model"


def iopaint_api(services: HttpServices) -> HttpApi:
    """Return the API ``iopaint``."""
    options = parse_options(IOPaintOptions, services.options)
    try:
        events = make_events()
    except ImportError as error:
        raise ConfigError(f"{error}: pip install 'paintmq[iopaint-ui]'") from error
    work, cards = Work(services), ModelCards(services.client)
    return IOPaintApi(work, cards, options, events).http_api()


@define(eq=False)
class IOPaintApi:
    """IOPaint's API on a broker's models."""

    work: Work
    cards: ModelCards
    options: IOPaintOptions
    events: Events
    chosen: PerCaller = field(factory=PerCaller, init=False)
    """Of each caller: the current model, and by plugin the model that does its work."""

    def http_api(self) -> HttpApi:
        """Return the API as the gateway mounts it."""
        page = find_page(self.options.page)
        files = FileRoutes(
            opened(self.options.input_folder, "input_folder"),
            opened(self.options.output_folder, "output_folder"),
            self.options.most_files,
        )
        endpoints: tuple[tuple[str, str, Any], ...] = (
            ("GET", "server-config", self.server_config),
            ("GET", "model", self.model),
            ("POST", "model", self.switch_model),
            ("GET", "samplers", self.samplers),
            ("POST", "inpaint", self.inpaint),
            ("POST", "run_plugin_gen_image", self.plugin_image),
            ("POST", "run_plugin_gen_mask", self.plugin_mask),
            ("POST", "switch_plugin_model", self.switch_plugin_model),
            ("POST", "adjust_mask", self.adjust_mask),
            *files.endpoints(),
        )
        return HttpApi(
            name="iopaint",
            routes=[
                *(
                    Route(f"{BASE}/{name}", shaped(endpoint), methods=[method])
                    for method, name, endpoint in endpoints
                ),
                Route(PATH, self.events, methods=["GET", "POST"]),
                WebSocketRoute(PATH, self.events),
                Route("/", page.index, methods=["GET"]),
                Route("/assets/{name}", page.asset, methods=["GET"]),
                Route("/favicon.ico", page.icon, methods=["GET"]),
            ],
            prefixes=(BASE, "/socket.io", "/assets", "/favicon.ico", "/"),
            public=("/assets/", "/favicon.ico", PATH),  # the sockets check by themselves
            challenge="Login",
            error_body=detailed_error,
        )

    # ---- models --------------------------------------------------------------------------------

    async def _models(self) -> Mapping[str, ModelCard]:
        """Return the models to paint with, by the names that the page knows."""
        names = self.options.names
        return {
            names.get(card.name, card.name): card
            for card in (await self.cards.offered()).values()
            if card.takes_picture and card.takes_mask
        }

    async def _current(self, request: Request) -> tuple[str, ModelCard]:
        """Return the caller's own model, or the first."""
        models = await self._models()
        name = str(self.chosen.of(caller_of(request).owner).get(_CURRENT))
        if name not in models:
            if not models:
                raise wrong("no model of this service fills a mask", status=503)
            name = next(iter(models))
        return name, models[name]

    async def model(self, request: Request) -> Response:
        name, card = await self._current(request)
        return JSONResponse(model_info(card, name))

    async def switch_model(self, request: Request) -> Response:
        name = str(object_in(await request.body()).get("name"))
        models = await self._models()
        if name not in models:
            raise UnknownModelError(f"there is no model {name!r}; there are {', '.join(models)}")
        self.chosen.of(caller_of(request).owner)[_CURRENT] = name
        return JSONResponse(model_info(models[name], name))

    async def samplers(self, request: Request) -> Response:
        return JSONResponse(samplers_of((await self._models()).values()))

    async def server_config(self, request: Request) -> Response:
        models, plugins = await self._models(), await self._plugins()
        plugin_models: dict[str, Json] = {}
        for name, key in (
            ("RemoveBG", "removeBGModel"),
            ("RealESRGAN", "realesrganModel"),
            ("InteractiveSeg", "interactiveSegModel"),
        ):
            cards = plugins.get(name, [])
            chosen = self._chosen_of(request, name, cards)
            plugin_models[key] = "" if chosen is None else chosen.name
            plugin_models[f"{key}s"] = [card.name for card in cards]
        described: list[Json] = [
            {
                "name": name,
                "support_gen_image": True,
                "support_gen_mask": "output" in cards[0].options,
            }
            for name, cards in plugins.items()
        ]
        return JSONResponse(
            {
                "plugins": described,
                "modelInfos": [model_info(card, name) for name, card in models.items()],
                **plugin_models,
                "enableFileManager": bool(self.options.input_folder),
                "enableAutoSaving": bool(self.options.output_folder),
                "enableControlnet": False,
                "controlnetMethod": None,
                "disableModelSwitch": False,
                "isDesktop": False,
                "samplers": samplers_of(models.values()),
            }
        )

    # ---- painting ------------------------------------------------------------------------------

    async def inpaint(self, request: Request) -> Response:
        owner = caller_of(request).owner
        name, card = await self._current(request)
        try:
            asked = await asyncio.to_thread(read_asked, await request.body())
            # Decoding takes as long as the picture is large: not in the loop.
            painting = await asyncio.to_thread(painting_of, card, asked)
            result: Result | None = None
            if painting.task is not None:
                watch = partial(self._watched, owner, asked.sd_steps)
                (result,) = await self.work.run(request, [painting.task], Job(name, 1), watch)
            results = [] if result is None else [result]
            data = await self.work.made(results, partial(painting.finished, result))
        finally:
            await self.events.finished(owner)
        headers = {"x-seed": str(painting.seed)}
        return Response(data, media_type=f"image/{painting.format}", headers=headers)

    async def _watched(self, owner: str, steps: int, progress: Progress) -> None:
        await self.events.progressed(owner, progress, steps)

    # ---- plugins -------------------------------------------------------------------------------

    async def _plugins(self) -> dict[str, list[ModelCard]]:
        """Return the page's plugins for which there is a model, each with its models."""
        offered = await self.cards.offered()
        found = {
            name: [offered[each] for each in names if each in offered]
            for name, names in self.options.plugins.items()
        }
        return {name: cards for name, cards in found.items() if cards}

    def _chosen_of(self, request: Request, plugin: str, cards: list[ModelCard]) -> ModelCard | None:
        chosen = self.chosen.of(caller_of(request).owner).get(f"plugin {plugin}")
        fitting = [card for card in cards if card.name == chosen] or cards
        return fitting[0] if fitting else None

    async def _plugin_card(self, request: Request, plugin: str) -> ModelCard:
        plugins = await self._plugins()
        card = self._chosen_of(request, plugin, plugins.get(plugin, []))
        if card is None:
            have = ", ".join(plugins) or "none"
            raise wrong(f"there is no plugin {plugin!r}; there are {have}", "name", status=422)
        return card

    async def plugin_image(self, request: Request) -> Response:
        asked = await asyncio.to_thread(read_plugin_request, await request.body())
        card = await self._plugin_card(request, asked.name)
        options: dict[str, Json] = {"scale": asked.scale} if card.enlarges else {}
        task = card.task({"image": asked.data}, options)
        (result,) = await self.work.run(request, [task], Job(asked.name, 1))
        data = await self.work.made([result], partial(_png_of, result))
        return Response(data, media_type="image/png")

    async def plugin_mask(self, request: Request) -> Response:
        asked = await asyncio.to_thread(read_plugin_request, await request.body())
        card = await self._plugin_card(request, asked.name)
        if "output" not in card.options:
            raise wrong(f"plugin {asked.name} makes no masks", "name", status=422)
        task = card.task({"image": asked.data}, {"output": "mask"})
        (result,) = await self.work.run(request, [task], Job(asked.name, 1))
        data = await self.work.made([result], partial(_mask_of, result))
        return Response(data, media_type="image/png")

    async def switch_plugin_model(self, request: Request) -> Response:
        asked = object_in(await request.body())
        plugin, model = str(asked.get("plugin_name")), str(asked.get("model_name"))
        cards = (await self._plugins()).get(plugin, [])
        if model not in {card.name for card in cards}:
            raise UnknownModelError(f"plugin {plugin!r} has no model {model!r}")
        self.chosen.of(caller_of(request).owner)[f"plugin {plugin}"] = model
        return JSONResponse(None)

    async def adjust_mask(self, request: Request) -> Response:
        asked = await asyncio.to_thread(read_adjustment, await request.body())
        data = await asyncio.to_thread(adjusted, asked)
        return Response(data, media_type="image/png")


def _png_of(result: Result) -> bytes:
    return encode_image(result.image, "png", icc_profile=result.icc_profile)


def _mask_of(result: Result) -> bytes:
    return foreground_mask(result.image)
