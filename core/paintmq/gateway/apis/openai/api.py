"""The routes of OpenAI's images API."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Any

from attrs import define, field, frozen, validators
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from paintmq.client.result import Progress
from paintmq.gateway.apis.cards import ModelCard, ModelCards
from paintmq.gateway.apis.decoding import decoding_for
from paintmq.gateway.apis.faults import ApiError, fault_of, wrong
from paintmq.gateway.apis.openai.answers import (
    LINK_SECONDS,
    USAGE,
    EventStream,
    Links,
    Tell,
    error_answer,
    error_body,
    text_of,
)
from paintmq.gateway.apis.openai.asked import Asked, read_request
from paintmq.gateway.apis.openai.plan import (
    Plan,
    pictures_of,
    plan_edit,
    plan_generation,
    plan_variation,
)
from paintmq.gateway.apis.work import Job, LeftError, Work
from paintmq.gateway.services import HttpServices, caller_of
from paintmq.http_api import HttpApi
from paintmq.image import encode_image
from paintmq.plugin.options import parse_options
from paintmq.task import Json

logger = logging.getLogger(__name__)

BASES = ("/v1", "/openai/v1")
"""Programs may set either as their base address."""
FILES = "/v1/images/files/"

Endpoint = Callable[[Request], Awaitable[ASGIApp]]


@frozen(kw_only=True)
class OpenAiOptions:
    """``[http.options.openai]``."""

    models: Mapping[str, str] = field(
        factory=dict[str, str],
        metadata={"help": "names that programs use, and the models meant: gpt-image-1 = 'sdxl'"},
    )
    size: int = field(
        default=1024,
        validator=[validators.ge(64), validators.le(4096)],
        metadata={"help": "width and height of generated pictures where none is asked for"},
    )


def openai_api(services: HttpServices) -> HttpApi:
    """Return the API ``openai``."""
    options = parse_options(OpenAiOptions, services.options)
    return OpenAiApi(Work(services), ModelCards(services.client), options).http_api()


@define(eq=False)
class OpenAiApi:
    """OpenAI's images API on a broker's models."""

    work: Work
    cards: ModelCards
    options: OpenAiOptions
    links: Links = field(factory=Links, init=False)

    def http_api(self) -> HttpApi:
        """Return the API as the gateway mounts it."""
        routes: list[Route] = [Route(f"{FILES}{{name}}", self.file, methods=["GET"])]
        for base in BASES:
            routes += [
                Route(
                    f"{base}/images/generations", self._shaped(self.generations), methods=["POST"]
                ),
                Route(f"{base}/images/edits", self._shaped(self.edits), methods=["POST"]),
                Route(f"{base}/images/variations", self._shaped(self.variations), methods=["POST"]),
                Route(f"{base}/models/{{name:path}}", self._shaped(self.model), methods=["GET"]),
            ]
        routes.append(Route("/openai/v1/models", self._shaped(self.models), methods=["GET"]))
        return HttpApi(
            name="openai",
            routes=routes,
            prefixes=("/openai", "/v1/images"),
            public=(FILES,),
            error_body=error_body,
        )

    # ---- models --------------------------------------------------------------------------------

    async def models(self, request: Request) -> ASGIApp:
        offered = await self.cards.offered()
        names = [*self.options.models, *offered]
        return JSONResponse({"object": "list", "data": [described(name) for name in names]})

    async def model(self, request: Request) -> ASGIApp:
        name = str(request.path_params["name"])
        await self._card(name)
        return JSONResponse(described(name))

    async def _card(self, name: str) -> ModelCard:
        return await self.cards.get(self.options.models.get(name, name))

    async def _card_for(self, asked: Asked, *fitting: Callable[[ModelCard], bool]) -> ModelCard:
        """Return the model that was named, or the first that fits best."""
        if asked.model:
            return await self._card(asked.model)
        offered = (await self.cards.offered()).values()
        for fits in fitting:
            for card in offered:
                if fits(card):
                    return card
        raise wrong("model: none of this service can do that", "model")

    # ---- pictures ------------------------------------------------------------------------------

    async def generations(self, request: Request) -> ASGIApp:
        asked = await read_request(request)
        card = await self._card_for(asked, lambda card: card.generates)
        plan = partial(plan_generation, card, asked, (self.options.size, self.options.size))
        return await self._answer(request, asked, plan, "image_generation")

    async def edits(self, request: Request) -> ASGIApp:
        asked = await read_request(request)
        card = await self._card_for(
            asked,
            lambda card: card.takes_mask and card.takes_words == bool(asked.prompt),
            lambda card: card.takes_mask,
        )
        return await self._answer(request, asked, partial(plan_edit, card, asked), "image_edit")

    async def variations(self, request: Request) -> ASGIApp:
        asked = await read_request(request)
        card = await self._card_for(asked, lambda card: card.takes_words and card.takes_mask)
        plan = partial(plan_variation, card, asked)
        return await self._answer(request, asked, plan, "image_variation")

    async def _answer(
        self, request: Request, asked: Asked, make_plan: Callable[[], Plan], kind: str
    ) -> ASGIApp:
        # Decoding takes as long as the picture is large: not in the loop.
        plan = await asyncio.to_thread(make_plan)
        if asked.stream:
            return EventStream(partial(self._stream, request, asked, plan, kind), _log)
        results = await self.work.run(request, plan.tasks, Job(kind, len(plan.tasks)))
        pictures = await self.work.made(results, partial(pictures_of, plan, results, asked))
        return JSONResponse(
            {
                **self._facts(asked, plan),
                "data": [self._entry(request, asked, picture) for picture in pictures],
                "usage": USAGE,
            }
        )

    async def _stream(
        self, request: Request, asked: Asked, plan: Plan, kind: str, tell: Tell
    ) -> None:
        facts = self._facts(asked, plan)
        facts["created_at"] = facts.pop("created")
        shown = 0

        async def watch(progress: Progress) -> None:
            nonlocal shown
            preview = progress.preview
            if preview is None or shown >= asked.partial_images:
                return
            picture = await asyncio.to_thread(encode_image, preview, asked.format)
            part: dict[str, Json] = {"partial_image_index": shown, "b64_json": text_of(picture)}
            shown += 1
            await tell(f"{kind}.partial_image", {**facts, **part})

        results = await self.work.run(request, plan.tasks, Job(kind, len(plan.tasks)), watch)
        for picture in await self.work.made(results, partial(pictures_of, plan, results, asked)):
            end: dict[str, Json] = {"b64_json": text_of(picture), "usage": USAGE}
            await tell(f"{kind}.completed", {**facts, **end})

    def _facts(self, asked: Asked, plan: Plan) -> dict[str, Json]:
        return {
            "created": int(datetime.now(UTC).timestamp()),
            "output_format": asked.format,
            "size": f"{plan.size[0]}x{plan.size[1]}",
            "quality": "auto",
            "background": "transparent" if asked.transparent else "opaque",
        }

    def _entry(self, request: Request, asked: Asked, picture: bytes) -> dict[str, Json]:
        if not asked.as_url:
            return {"b64_json": text_of(picture)}
        name = self.links.add(picture, asked.format)
        return {"url": str(request.url.replace(path=f"{FILES}{name}", query=""))}

    async def file(self, request: Request) -> ASGIApp:
        """Answer with a picture by its address, for which no token is needed."""
        found = self.links.get(str(request.path_params["name"]))
        gone = f"there is no such picture; they are kept for {LINK_SECONDS / 60:.0f} minutes"
        return found or error_answer(ApiError(404, gone, "not_found"))

    def _shaped(self, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint with its errors in OpenAI's shape."""

        @wraps(endpoint)
        async def shaped(request: Request) -> ASGIApp:
            try:
                with decoding_for(caller_of(request).owner):
                    return await endpoint(request)
            except LeftError:
                return error_answer(ApiError(499, "the connection was closed", "left"))
            except Exception as error:  # noqa: BLE001 -- a bug too is answered in this shape
                _log(error)
                return error_answer(error)

        return shaped


def described(name: str) -> dict[str, Any]:
    """Return a model as OpenAI's packages list it."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "paintmq"}


def _log(error: Exception) -> None:
    if fault_of(error).code == "server_error":
        logger.error("a request for pictures failed", exc_info=error)
