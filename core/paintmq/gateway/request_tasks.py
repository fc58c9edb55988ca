"""The tasks that a request brings, read once: what comes in is held in one copy."""

import asyncio

from starlette.datastructures import UploadFile
from starlette.requests import Request

from paintmq.errors import InvalidTaskError
from paintmq.gateway.media_type import media_type
from paintmq.gateway.submission import (
    TaskFields,
    fields_of_batch,
    fields_of_json,
    fields_of_texts,
    is_batch,
    is_json,
)

FORM = "multipart/form-data"
MAX_FORM_FIELDS = 300
MAX_FIELD_BYTES = 256 * 1024


async def fields_of_request(request: Request) -> list[TaskFields] | TaskFields:
    """Return what the request says of its task, or of each of its tasks.

    Raises:
        InvalidTaskError: it describes none.
    """
    declared = media_type(request.headers.get("content-type", ""))
    if declared == FORM:
        fields: list[TaskFields] | TaskFields = await _fields_of_form(request)
    else:
        body = bytearray()
        async for piece in request.stream():
            body += piece
        query = request.query_params.multi_items()
        if not is_json(body, declared):
            # In a thread: what it makes of a large body would hold up the loop.
            fields = await asyncio.to_thread(
                fields_of_texts, query, {"image": bytes(body)}, where="query"
            )
        elif query:
            raise InvalidTaskError("beside a JSON body there is no query: write it into the body")
        else:
            read = fields_of_batch if is_batch(body) else fields_of_json
            fields = await asyncio.to_thread(read, body)
    if key := request.headers.get("idempotency-key"):
        if isinstance(fields, list):
            raise InvalidTaskError("a batch has an idempotency_key for each task, and no header")
        fields.idempotency_key = key
    return fields


async def _fields_of_form(request: Request) -> TaskFields:
    texts: list[tuple[str, str]] = list(request.query_params.multi_items())
    files: dict[str, bytes] = {}
    # Larger files are on disk until here: one at a time comes into memory, and stays once.
    async with request.form(
        max_files=64, max_fields=MAX_FORM_FIELDS, max_part_size=MAX_FIELD_BYTES
    ) as form:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                texts.append((name, str(value)))
            elif name in files:
                raise InvalidTaskError(f"the form has two files {name!r}")
            else:
                files[name] = await value.read()
    return fields_of_texts(texts, files, where="form")
