"""Serves the page's files, which hold nothing secret; what it shows comes from ``/v1``.

Beside them one route: the models, with what ``/v1/models`` does not know: whether a worker has
them.
"""

import hashlib
from pathlib import Path

from attrs import frozen
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from paintmq.gateway.apis.cards import ModelCards
from paintmq.gateway.services import HttpServices, caller_of, require_role
from paintmq.http_api import HttpApi

STATIC = Path(__file__).with_name("static")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@frozen
class _File:
    data: bytes
    media_type: str
    etag: str


def page_api(services: HttpServices) -> HttpApi:
    """Return the API ``studio``."""
    files, models = Files(), Models(ModelCards(services.client))
    routes = [
        Route("/studio/models", models.models, methods=["GET"]),
        Route("/studio/", files.index, methods=["GET"]),
        Route("/studio", files.entry, methods=["GET"]),
        Route("/studio/static/{name}", files.file, methods=["GET"]),
    ]
    prefixes = ["/studio"]
    if "iopaint" not in services.config.apis:  # whose page works at the root alone
        routes.append(Route("/", files.entry, methods=["GET"]))
        prefixes.append("/")
    return HttpApi(
        name="studio",
        routes=routes,
        prefixes=tuple(prefixes),
        public=("/studio/static/",),
        challenge="Login",
        content_security_policy=POLICY,
    )


@frozen
class Models:
    """Answers with the models, those that a worker could run first."""

    cards: ModelCards

    async def models(self, request: Request) -> Response:
        require_role(caller_of(request), "user", "admin")
        known = (await self.cards.known()).values()
        return JSONResponse(
            [
                {
                    "name": card.name,
                    "summary": card.summary,
                    "task_types": card.task_types,
                    "inputs": [dict(each) for each in card.inputs.values()],
                    "options": [dict(each) for each in card.options.values()],
                    "served": card.served,
                }
                for card in sorted(known, key=lambda card: not card.served)
            ]
        )


class Files:
    """The files, read once."""

    def __init__(self) -> None:
        self._files = {path.name: _file(path) for path in STATIC.iterdir() if path.suffix in TYPES}

    async def entry(self, request: Request) -> Response:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/studio/", 303)

    async def index(self, request: Request) -> Response:
        return _answer(request, self._files["index.html"])

    async def file(self, request: Request) -> Response:
        file = self._files.get(request.path_params["name"])
        return Response(status_code=404) if file is None else _answer(request, file)


def _file(path: Path) -> _File:
    data = path.read_bytes()
    etag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
    return _File(data, TYPES[path.suffix], etag)


def _answer(request: Request, file: _File) -> Response:
    # Asked for each time, and sent only if it has changed: an upgrade needs no reload by hand.
    headers = {"etag": file.etag, "cache-control": "private, no-cache"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.data, media_type=file.media_type, headers=headers)
