"""Queues for admins: seen, paused, drained, opened again, and emptied."""

from functools import partial

from attrs import define
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from paintmq.gateway.control_questions import asked
from paintmq.gateway.services import HttpServices, caller_of, require_role

STATES = ("pause", "resume", "drain")
MOST_ROUNDS = 50
"""Orders of one purge; each cancels as many as a broker cancels at once."""


@define
class QueueRoutes:
    """The handlers."""

    services: HttpServices

    def routes(self) -> list[Route]:
        return [
            Route("/v1/queues", self.queues, methods=["GET"]),
            *(
                Route(f"/v1/queues/{action}", partial(self.change, action), methods=["POST"])
                for action in STATES
            ),
            Route("/v1/queues/purge", self.purge, methods=["POST"]),
        ]

    async def queues(self, request: Request) -> Response:
        """Tell each queue's state and settings."""
        require_role(caller_of(request), "admin")
        return JSONResponse({"queues": await asked(self.services.client, "queues")})

    async def change(self, action: str, request: Request) -> Response:
        """Pause, drain or open a queue, as ``paintmq queues`` does."""
        require_role(caller_of(request), "admin")
        name = request.query_params.get("name", "")
        await asked(self.services.client, "change_queue", action=action, name=name)
        queues = await asked(self.services.client, "queues")
        return JSONResponse({"name": name, "state": queues[name]["state"]})

    async def purge(self, request: Request) -> Response:
        """Cancel what waits in a queue; what runs goes on."""
        require_role(caller_of(request), "admin")
        name, cancelled, more = request.query_params.get("name", ""), 0, 1
        for _ in range(MOST_ROUNDS):
            answer = await asked(self.services.client, "cancel_tasks", queue=name)
            cancelled, more = cancelled + answer["cancelled"], answer["more"]
            if not more:
                break
        return JSONResponse({"name": name, "cancelled": cancelled, "more": more})
