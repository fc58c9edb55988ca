"""Our own page: *Studio*, to paint in a browser, and *Service*, to look after the service.

Static files, served as they are: plain modules without a build step. Everything the page does, it
does by ``/v1``, with the cookie of a sign-in. This is the plugin's manifest.
"""

from paintmq.hookspecs import RegisterHttpApi


def paintmq_register_http_apis(register: RegisterHttpApi) -> None:
    register("studio", "paintmq.gateway.page.api:page_api")
