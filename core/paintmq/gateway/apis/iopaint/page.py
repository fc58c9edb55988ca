"""IOPaint's built page, from its wheel: read without importing any of its code."""

from importlib.util import find_spec
from pathlib import Path
from zipfile import BadZipFile, ZipFile
from zipfile import Path as ZipPath

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response

from paintmq.errors import ConfigError

POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline';"
    " connect-src 'self' blob:; base-uri 'none'; frame-ancestors 'none'"
)
"""The page shows pictures from blob: and sets inline styles."""
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
    ".woff2": "font/woff2",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
MISSING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>IOPaint's page</title>
<body style="font-family: system-ui; max-width: 36rem; margin: 15vh auto">
<h1>IOPaint's page is not installed</h1>
<p>Its API works. The page is part of IOPaint's wheel; this installs it without its libraries:</p>
<pre>pip install --no-deps iopaint</pre></body></html>"""


@frozen
class Page:
    """The files of the page; without them a page that says how to get them."""

    root: "Path | ZipPath | None"

    async def index(self, request: Request) -> Response:
        if (data := self._read("index.html")) is None:
            return self._answer(MISSING.encode(), ".html")
        return self._answer(data, ".html")

    async def asset(self, request: Request) -> Response:
        return self._file(f"assets/{request.path_params['name']}")

    async def icon(self, request: Request) -> Response:
        return self._file("favicon.ico")

    def _file(self, name: str) -> Response:
        data = self._read(name)
        if data is None:
            return Response(status_code=404)
        answer = self._answer(data, name[name.rindex(".") :])
        # The names change with what is in them.
        answer.headers["cache-control"] = "private, max-age=86400"
        return answer

    def _answer(self, data: bytes, suffix: str) -> Response:
        headers = {"content-security-policy": POLICY}
        return Response(data, media_type=_TYPES.get(suffix), headers=headers)

    def _read(self, name: str) -> bytes | None:
        """Return a file of the page; of others there are none, whatever a name says."""
        parts = name.split("/")
        allowed = all(part and not part.startswith(".") and "\\" not in part for part in parts)
        if self.root is None or not allowed or Path(name).suffix not in _TYPES:
            return None
        file = self.root
        for part in parts:
            file = file / part
        return file.read_bytes() if file.is_file() else None


def find_page(where: str) -> Page:
    """Return the page in a wheel or a folder; without either, the installed one.

    Raises:
        ConfigError: there is none where the operator says.
    """
    if not where:
        spec = find_spec("iopaint")  # finds the package, and runs nothing of it
        places = spec.submodule_search_locations if spec is not None else None
        roots = [Path(place) / "web_app" for place in places or ()]
        return Page(next((root for root in roots if (root / "index.html").is_file()), None))
    path = Path(where).expanduser()
    try:
        if path.is_dir():
            root: Path | ZipPath = path / "web_app" if (path / "web_app").is_dir() else path
        else:
            root = ZipPath(ZipFile(path), "iopaint/web_app/")
        if (root / "index.html").is_file():
            return Page(root)
    except (OSError, BadZipFile) as error:
        raise ConfigError(f"http.options.iopaint.page = {where!r}: {error}") from error
    raise ConfigError(f"http.options.iopaint.page = {where!r}: there is no index.html in it")
