"""``/metrics`` of the HTTP gateway, for Prometheus."""

from typing import Any

from paintmq.errors import ConfigError
from paintmq.http_api import HttpApi
from paintmq_plugins.prometheus import MISSING, render


def metrics_api(services: Any) -> HttpApi:
    """Return the API ``metrics`` of ``[http] apis``.

    Raises:
        ConfigError: ``prometheus_client`` is not installed.
    """
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    try:
        import prometheus_client  # noqa: F401 -- found out now, not at the first scrape
    except ImportError as error:
        raise ConfigError(f"http.apis: 'metrics': {MISSING}") from error

    async def metrics(request: Request) -> Response:
        role = request.state.caller.role
        if role not in ("metrics", "admin"):
            text = f"/metrics takes a token of the role metrics or admin, not {role}"
            return JSONResponse({"code": "role", "message": text}, status_code=403)
        content, kind = render(await services.client.statistics())
        return Response(content, media_type=kind)

    return HttpApi(name="metrics", routes=[Route("/metrics", metrics)], prefixes=("/metrics",))
