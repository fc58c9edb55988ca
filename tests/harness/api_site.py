"""A broker, its workers and a gateway with APIs, as processes, for clients that others wrote."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from PIL import Image

from paintmq.gateway.token_file import TokenFile
from paintmq.gateway.tokens import Token
from tests.harness.command_process import CommandProcess, private_environment
from tests.harness.written_distribution import write_distribution

Pixels = NDArray[np.uint8]


@frozen
class ApiAnswer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@frozen
class ApiSite:
    """A gateway that runs, and the operator's token."""

    port: int
    token: str
    tokens: Path | None = None
    """The file of the tokens of ``paintmq http tokens``."""

    def user(self, name: str) -> "ApiSite":
        """Return the same gateway for a new user."""
        assert self.tokens is not None
        secret = TokenFile(self.tokens).add(Token(name=name, hash=""))
        return ApiSite(self.port, secret, self.tokens)

    @property
    def address(self) -> str:
        return f"http://localhost:{self.port}"

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> ApiAnswer:
        """Send a request with the token; a body that is not of bytes goes as JSON."""
        sent = {"authorization": f"Bearer {self.token}", "host": f"localhost:{self.port}"}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent["content-type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=50)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return ApiAnswer(answer.status, told, answer.read())
        finally:
            connection.close()


@contextmanager
def api_site(folder: Path, apis: Sequence[str], toml: str = "") -> Iterator[ApiSite]:
    """Start all of it, with the models of this project and ``words``; stop it at the end.

    ``toml`` are further settings, as in ``paintmq.toml``.
    """
    plugins = write_distribution(
        folder / "plugins",
        "words-model",
        entry_points={"words": "tests.harness.words_model"},
        files={},
    )
    environment = private_environment(
        folder,
        plugins=plugins,
        PAINTMQ_BROKER__PORT="0",
        PAINTMQ_HTTP__PORT="0",
        PAINTMQ_HTTP__APIS=json.dumps([*apis]),
    )
    settings = folder / "paintmq.toml"
    settings.write_text(toml, encoding="utf-8")
    with CommandProcess(["up", "--config", settings], environment) as up:
        endpoint = up.wait_for_line(r"broker for clients at (\S+)")[1]
        arguments = ["http", "--connect", endpoint, "--config", settings]
        with CommandProcess(arguments, environment) as gateway:
            token = gateway.wait_for_line(r"token, kept in \S+: (\S+)")[1]
            port = int(gateway.wait_for_line(r"serving http://127\.0\.0\.1:(\d+)")[1])
            yield ApiSite(port, token, folder / "paintmq" / "http-tokens.json")


def file_of(pixels: Pixels, format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format)
    return stream.getvalue()


def pixels_in(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)
