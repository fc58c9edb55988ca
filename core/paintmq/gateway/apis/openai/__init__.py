"""OpenAI's images API, as its Python and Node packages speak it: a translation into tasks.

This is the plugin's manifest; the API is ``api.py``.
"""

from paintmq.hookspecs import RegisterHttpApi


def paintmq_register_http_apis(register: RegisterHttpApi) -> None:
    register("openai", "paintmq.gateway.apis.openai.api:openai_api")
