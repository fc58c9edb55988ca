"""IOPaint's REST routes and socket.io events, so that its own web page works on a broker's models.

This is the plugin's manifest; the API is ``api.py``. The page itself is IOPaint's (Apache-2.0)
and comes from its wheel: none of it is in this project.
"""

from paintmq.hookspecs import RegisterHttpApi


def paintmq_register_http_apis(register: RegisterHttpApi) -> None:
    register("iopaint", "paintmq.gateway.apis.iopaint.api:iopaint_api")
