"""Routes about files: what a picture says of itself, and the folders that the operator opened."""

import asyncio
from typing import Any

from attrs import frozen
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from paintmq.gateway.apis.faults import wrong
from paintmq.gateway.apis.iopaint.folders import PictureFolder
from paintmq.gateway.apis.pictures import png_text
from paintmq.gateway.services import caller_of
from paintmq.image import format_of

_NEGATIVE = "Negative prompt: "
_MOST_SIDE = 2_048
"""Of a thumbnail."""


@frozen
class FileRoutes:
    """The handlers of these routes; a folder that is not open is empty."""

    inputs: PictureFolder | None
    outputs: PictureFolder | None
    most: int

    def endpoints(self) -> tuple[tuple[str, str, Any], ...]:
        """Return method, name and handler of each route."""
        return (
            ("POST", "gen-info", self.gen_info),
            ("GET", "inputimage", self.input_image),
            ("POST", "save_image", self.save_image),
            ("GET", "medias", self.medias),
            ("GET", "media_file", self.media_file),
            ("GET", "media_thumbnail_file", self.thumbnail),
        )

    async def gen_info(self, request: Request) -> Response:
        """Tell from which words a picture was made, where it says so itself."""
        _, data = await _uploaded(request)
        text = await asyncio.to_thread(png_text, data, "parameters")
        prompt, _, rest = text.partition(_NEGATIVE)
        return JSONResponse(
            {"prompt": prompt.strip(), "negative_prompt": rest.partition("\n")[0].strip()}
        )

    async def input_image(self, request: Request) -> Response:
        return JSONResponse(None)  # nobody starts this service with a picture

    async def save_image(self, request: Request) -> Response:
        if self.outputs is None:
            raise wrong("the operator has opened no folder to save to", status=404)
        name, data = await _uploaded(request)
        await asyncio.to_thread(_own(self.outputs, request).save, name, data)
        return JSONResponse(None)

    async def medias(self, request: Request) -> Response:
        folder = self._folder(request)
        return JSONResponse(await asyncio.to_thread(folder.listed, self.most))

    async def media_file(self, request: Request) -> Response:
        name = request.query_params.get("filename", "")
        data = await asyncio.to_thread(self._folder(request).read, name)
        kind = format_of(data)
        if kind is None:
            raise wrong(f"{name[:80]!r} is no picture", "filename", status=404)
        return Response(data, media_type=f"image/{kind}")

    async def thumbnail(self, request: Request) -> Response:
        query = request.query_params
        sides = [_side(query.get(name, "")) for name in ("width", "height")]
        folder, name = self._folder(request), query.get("filename", "")
        data = await asyncio.to_thread(folder.thumbnail, name, *sides)
        return Response(data, media_type="image/jpeg")

    def _folder(self, request: Request) -> PictureFolder:
        tab = request.query_params.get("tab", "")
        outputs = None if self.outputs is None else _own(self.outputs, request)
        folder = {"input": self.inputs, "output": outputs}.get(tab)
        if folder is None:
            raise wrong(f"the operator has opened no folder {tab[:40]!r}", "tab", status=404)
        return folder


def _own(folder: PictureFolder, request: Request) -> PictureFolder:
    return folder.of_user(caller_of(request).name)


def _side(text: str) -> int:
    """Return a side of a thumbnail's box; 0 and nothing mean that it does not matter."""
    side = int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0
    return min(side or _MOST_SIDE, _MOST_SIDE)


async def _uploaded(request: Request) -> tuple[str, bytes]:
    async with request.form(max_files=1, max_fields=8) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise wrong("send the picture as the form's file", "file", status=422)
        return file.filename or "", await file.read()
