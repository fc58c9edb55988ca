"""AUTOMATIC1111's API, ``/sdapi/v1``, as its clients speak it: a translation into tasks.

This is the plugin's manifest; the API is ``api.py``.
"""

from paintmq.hookspecs import RegisterHttpApi


def paintmq_register_http_apis(register: RegisterHttpApi) -> None:
    register("a1111", "paintmq.gateway.apis.a1111.api:a1111_api")
