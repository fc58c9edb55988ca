"""The routes of AUTOMATIC1111's API."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psutil  # type: ignore[import-untyped]  # it ships no types
from attrs import define, field, frozen
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from paintmq.client.result import Result
from paintmq.config import Limits
from paintmq.errors import TaskCancelledError, UnknownModelError
from paintmq.gateway.apis.a1111.asked import (
    Asked,
    Enlarging,
    read_asked,
    read_enlarging,
    read_object,
    shown,
)
from paintmq.gateway.apis.a1111.plan import (
    EnlargingPlan,
    Plan,
    batch_of,
    plan_enlarging,
    plan_img2img,
    plan_txt2img,
)
from paintmq.gateway.apis.a1111.shapes import (
    EMPTY_LISTS,
    info_of,
    model_entry,
    progress_of,
    sampler_entries,
    scheduler_entries,
    upscaler_entries,
)
from paintmq.gateway.apis.cards import ModelCard, ModelCards
from paintmq.gateway.apis.faults import detailed_error, wrong
from paintmq.gateway.apis.pictures import bytes_of, png_text
from paintmq.gateway.apis.shaped import shaped
from paintmq.gateway.apis.work import Job, Jobs, PerCaller, Work
from paintmq.gateway.services import HttpServices, caller_of
from paintmq.http_api import HttpApi
from paintmq.image import encode_image
from paintmq.plugin.options import parse_options
from paintmq.task import Json

BASE = "/sdapi/v1"
_CURRENT = "sd_model_checkpoint"

Endpoint = Callable[[Request], Awaitable[Json]]


@frozen(kw_only=True)
class A1111Options:
    """``[http.options.a1111]``."""

    face_model: str = field(
        default="gfpgan", metadata={"help": "what gfpgan_visibility restores faces with"}
    )


def a1111_api(services: HttpServices) -> HttpApi:
    """Return the API ``a1111``."""
    options = parse_options(A1111Options, services.options)
    return A1111Api(Work(services), ModelCards(services.client), options).http_api()


@define(eq=False)
class A1111Api:
    """AUTOMATIC1111's API on a broker's models."""

    work: Work
    cards: ModelCards
    options: A1111Options
    chosen: PerCaller = field(factory=PerCaller, init=False)
    jobs: Jobs = field(factory=Jobs, init=False)

    def http_api(self) -> HttpApi:
        """Return the API as the gateway mounts it."""
        gets: dict[str, Endpoint] = {
            "sd-models": self.models,
            "samplers": self.samplers,
            "schedulers": self.schedulers,
            "upscalers": self.upscalers,
            "options": self.get_options,
            "progress": self.progress,
            "scripts": partial(_always, {"txt2img": [], "img2img": []}),
            "embeddings": partial(_always, {"loaded": {}, "skipped": {}}),
            "cmd-flags": partial(_always, {"api": True}),
            "memory": self.memory,
            **dict.fromkeys(EMPTY_LISTS, partial(_always, [])),
        }
        nothings = ("skip", "refresh-checkpoints", "refresh-loras", "refresh-vae",
                    "unload-checkpoint", "reload-checkpoint")  # fmt: skip
        posts: dict[str, Endpoint] = {
            "txt2img": partial(self.paint, plan_txt2img),
            "img2img": partial(self.paint, plan_img2img),
            "extra-single-image": self.enlarge_one,
            "extra-batch-images": self.enlarge_many,
            "options": self.set_options,
            "interrupt": self.interrupt,
            "png-info": self.png_info,
            **dict.fromkeys(nothings, partial(_always, None)),
        }
        return HttpApi(
            name="a1111",
            routes=[
                Route(f"{BASE}/{name}", _as_json(endpoint), methods=[method])
                for method, endpoints in (("GET", gets), ("POST", posts))
                for name, endpoint in endpoints.items()
            ],
            prefixes=("/sdapi", "/controlnet"),
            challenge="Basic",
            error_body=detailed_error,
        )

    # ---- models --------------------------------------------------------------------------------

    async def models(self, request: Request) -> Json:
        return [model_entry(name) for name in await self.cards.offered()]

    async def samplers(self, request: Request) -> Json:
        return sampler_entries([*(await self.cards.offered()).values()])

    async def schedulers(self, request: Request) -> Json:
        return scheduler_entries()

    async def upscalers(self, request: Request) -> Json:
        return upscaler_entries([*(await self.cards.offered()).values()])

    async def _current(self, request: Request) -> str:
        """Return the caller's own model, or the first that paints, or erases."""
        if chosen := self.chosen.of(caller_of(request).owner).get(_CURRENT):
            return str(chosen)
        offered = (await self.cards.offered()).values()
        kinds: Sequence[Callable[[ModelCard], bool]] = (
            lambda card: card.generates,
            lambda card: card.takes_mask,
            lambda card: True,
        )
        for fits in kinds:
            for card in offered:
                if fits(card):
                    return card.name
        raise wrong("no model is installed", status=503)

    async def get_options(self, request: Request) -> Json:
        return {
            _CURRENT: await self._current(request),
            "sd_checkpoint_hash": "",
            "sd_vae": "Automatic",
            "CLIP_stop_at_last_layers": 1,
            "samples_format": "png",
        }

    async def set_options(self, request: Request) -> Json:
        wanted = read_object(await request.body()).get(_CURRENT)
        if wanted is not None:
            card = await self.cards.get(str(wanted))
            self.chosen.of(caller_of(request).owner)[_CURRENT] = card.name
        return None

    # ---- state ---------------------------------------------------------------------------------

    async def progress(self, request: Request) -> Json:
        jobs = self.jobs.of(caller_of(request).owner)
        elapsed = asyncio.get_running_loop().time() - jobs[0].started if jobs else 0.0
        now = jobs[0].progress if jobs else None
        preview = None if now is None else now.preview
        if preview is None or request.query_params.get("skip_current_image") == "true":
            return progress_of(jobs, elapsed=elapsed, image=None)
        data = await asyncio.to_thread(encode_image, preview)
        return progress_of(jobs, elapsed=elapsed, image=_text_of(data))

    async def interrupt(self, request: Request) -> Json:
        await self.work.interrupt(self.jobs.of(caller_of(request).owner))
        return None

    async def memory(self, request: Request) -> Json:
        now = psutil.virtual_memory()
        return {"ram": {"free": now.available, "used": now.used, "total": now.total}, "cuda": {}}

    # ---- pictures ------------------------------------------------------------------------------

    async def paint(self, make_plan: Callable[[ModelCard, Asked], Plan], request: Request) -> Json:
        """Answer txt2img and img2img."""
        body = await request.body()
        asked = await asyncio.to_thread(read_asked, body)
        name = asked.model or await self._current(request)
        # Decoding takes as long as the picture is large: not in the loop.
        plan = await asyncio.to_thread(make_plan, await self.cards.get(name), asked)
        job = self._job(make_plan.__name__.removeprefix("plan_"), len(plan.tasks))
        results = await self._run(request, plan, job)
        pictures = await self.work.made(results, partial(_pictures, plan, results))
        info = info_of(
            asked, name, seed=plan.seed, size=plan.size, pictures=len(pictures), begun=job.begun
        )
        repeated = await asyncio.to_thread(shown, body)
        if asked.include_init_images:
            repeated["init_images"] = [*(asked.init_images or [])]
        images: list[Json] = [] if asked.send_images is False else [*map(_text_of, pictures)]
        return {"images": images, "parameters": repeated, "info": info}

    async def _run(self, request: Request, plan: Plan, job: Job) -> list[Result]:
        """Return the results; none if the caller interrupts the work."""
        if not plan.tasks:
            return []
        with self.jobs.running(caller_of(request).owner, job):
            try:
                return await self.work.run(request, plan.tasks, job)
            except TaskCancelledError:
                if job.interrupted:
                    return []
                raise

    async def enlarge_one(self, request: Request) -> Json:
        asked = await asyncio.to_thread(read_enlarging, await request.body())
        (picture,) = await self._enlarged(request, asked, [asked.image])
        return {"image": picture, "html_info": ""}

    async def enlarge_many(self, request: Request) -> Json:
        asked = await asyncio.to_thread(read_enlarging, await request.body())
        return {"images": await self._enlarged(request, asked, batch_of(asked)), "html_info": ""}

    async def _enlarged(
        self, request: Request, asked: Enlarging, images: Sequence[object]
    ) -> list[Json]:
        most = Limits().max_pixels
        plans = [await asyncio.to_thread(plan_enlarging, asked, each, most) for each in images]
        pixels = [plan.pixels for plan in plans]
        job = self._job("extras", 2 * len(plans))
        with self.jobs.running(caller_of(request).owner, job):
            if (asked.upscaler_1 or "None") != "None":
                card = await self._upscaler(str(asked.upscaler_1))
                tasks = [card.task({"image": p.pixels}, {"scale": p.scale}) for p in plans]
                pixels = [each.image for each in await self.work.run(request, tasks, job)]
            if strength := asked.gfpgan_visibility:
                faces = await self.cards.get(self.options.face_model)
                tasks = [faces.task({"image": each}, {"strength": strength}) for each in pixels]
                pixels = [each.image for each in await self.work.run(request, tasks, job)]
        pairs = zip(plans, pixels, strict=True)
        return [await asyncio.to_thread(_finished, plan, each) for plan, each in pairs]

    async def _upscaler(self, name: str) -> ModelCard:
        card = await self.cards.get(name)
        if not card.enlarges:
            raise UnknownModelError(f"Upscaler not found: model {name!r} enlarges nothing")
        return card

    def _job(self, name: str, tasks: int) -> Job:
        begun = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
        return Job(name, tasks, begun=begun, started=asyncio.get_running_loop().time())

    async def png_info(self, request: Request) -> Json:
        data = bytes_of(read_object(await request.body()).get("image"), "image")
        text = await asyncio.to_thread(png_text, data, "parameters")
        return {"info": text, "items": {"parameters": text} if text else {}, "parameters": {}}


def _text_of(picture: bytes) -> str:
    """Return a picture as clients take it: bare base64, as a data address breaks them."""
    return base64.b64encode(picture).decode()


def _pictures(plan: Plan, results: Sequence[Result]) -> list[bytes]:
    if not results:
        return [] if plan.untouched is None else [plan.untouched]
    made = [encode_image(each.image, icc_profile=each.icc_profile) for each in results]
    return [each for each in made for _ in range(plan.copies)]


def _finished(plan: EnlargingPlan, pixels: Any) -> str:
    return _text_of(plan.finished(pixels))


async def _always(value: Json, request: Request) -> Json:
    return value


def _as_json(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return JSONResponse(await endpoint(request))

    return shaped(answer)
