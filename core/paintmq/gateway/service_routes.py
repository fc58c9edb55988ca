"""What concerns the whole service: health, models, figures; for admins workers and dead letters."""

from importlib.metadata import version
from typing import Any, cast

from attrs import define
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from paintmq.errors import InvalidTaskError
from paintmq.gateway.control_questions import asked
from paintmq.gateway.openapi import document, page_of
from paintmq.gateway.services import HttpServices, caller_of, require_role
from paintmq.gateway.task_listing import listed

HEALTH_WITHIN = 2.0
"""Seconds for the broker to answer a question after its health."""


@define
class ServiceRoutes:
    """The handlers."""

    services: HttpServices

    def routes(self) -> list[Route]:
        return [
            Route("/v1/health", self.health, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/statistics", self.statistics, methods=["GET"]),
            Route("/v1/workers", self.workers, methods=["GET"]),
            Route("/v1/workers/drain", self.drain, methods=["POST"]),
            Route("/v1/workers/cordon", self.cordon, methods=["POST"]),
            Route("/v1/workers/uncordon", self.uncordon, methods=["POST"]),
            Route("/v1/version", self.version, methods=["GET"]),
            Route("/v1/dead", self.dead, methods=["GET"]),
            Route("/v1/dead/{id}", self.dead_letter, methods=["GET"]),
            Route("/v1/dead/{id}", self.drop, methods=["DELETE"]),
            Route("/v1/dead/{id}/requeue", self.requeue, methods=["POST"]),
            Route("/v1/openapi.json", self.openapi, methods=["GET"]),
            Route("/v1/docs", self.docs, methods=["GET"]),
        ]

    async def health(self, request: Request) -> Response:
        """Say whether the broker answers, and if not since when."""
        self.services.tasks.check_broker()
        await self.services.client.ask("version", timeout=HEALTH_WITHIN)
        return JSONResponse({"ok": True})

    async def models(self, request: Request) -> Response:
        require_role(caller_of(request), "user", "admin")
        return JSONResponse(await self.services.client.ask("models"))

    async def statistics(self, request: Request) -> Response:
        require_role(caller_of(request), "admin", "metrics")
        return JSONResponse(await self.services.client.ask("statistics"))

    async def workers(self, request: Request) -> Response:
        require_role(caller_of(request), "admin")
        return JSONResponse({"workers": await self.services.client.ask("workers")})

    async def drain(self, request: Request) -> Response:
        """Let a worker finish what it has, and give it nothing more."""
        require_role(caller_of(request), "admin")
        query = request.query_params
        try:
            grace = float(query.get("grace", "30"))
        except ValueError:
            raise InvalidTaskError("grace must be a number of seconds") from None
        name = query.get("name", "")
        answer = await asked(self.services.client, "drain_worker", name=name, grace=grace)
        return JSONResponse({"drained": answer})

    async def cordon(self, request: Request) -> Response:
        """Give a worker, or all of a node, nothing more; it stays."""
        return await self._order(request, "cordon")

    async def uncordon(self, request: Request) -> Response:
        """End ``cordon``."""
        return await self._order(request, "uncordon")

    async def _order(self, request: Request, order: str) -> Response:
        require_role(caller_of(request), "admin")
        name = request.query_params.get("name", "")
        answer = await asked(self.services.client, order, name=name)
        return JSONResponse({f"{order}ed": answer})

    async def version(self, request: Request) -> Response:
        """Tell what runs here: the gateway's version, and what its broker says of itself."""
        require_role(caller_of(request), "user", "admin")
        told = await asked(self.services.client, "version", timeout=HEALTH_WITHIN)
        return JSONResponse(
            {"gateway": version("paintmq"), "broker": told["paintmq"], "protocol": told["protocol"]}
        )

    async def dead(self, request: Request) -> Response:
        """List the tasks that were given up, the newest last: an admin's of all, a user's own."""
        rows = await self.services.tasks.rows(caller_of(request), state="dead")
        return JSONResponse({"tasks": listed(rows)})

    async def dead_letter(self, request: Request) -> Response:
        task_id = self.services.tasks.checked_id(caller_of(request), request.path_params["id"])
        shown = cast(
            "dict[str, Any]", await asked(self.services.client, "dead_show", task_id=task_id)
        )
        told = listed([shown])[0]
        told |= {name: shown[name] for name in ("options", "error", "history")}
        return JSONResponse(told)

    async def requeue(self, request: Request) -> Response:
        """Give a dead task all of its attempts anew."""
        return await self._change_dead(request, "dead_requeue")

    async def drop(self, request: Request) -> Response:
        """Forget a dead task and its inputs."""
        return await self._change_dead(request, "dead_drop")

    async def _change_dead(self, request: Request, subject: str) -> Response:
        require_role(caller_of(request), "admin")
        task_id = self.services.tasks.checked_id(caller_of(request), request.path_params["id"])
        row = cast("dict[str, Any]", await asked(self.services.client, subject, task_id=task_id))
        return JSONResponse(listed([row])[0])

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(document(str(request.scope.get("root_path", ""))))

    async def docs(self, request: Request) -> Response:
        return HTMLResponse(page_of(document(str(request.scope.get("root_path", "")))))
