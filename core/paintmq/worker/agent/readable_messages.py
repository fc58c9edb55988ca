"""What a worker tells the broker, made sure to be readable there.

Names, texts and numbers in a worker's messages come from models. The broker drops what it cannot
read, and the session with it; the worker would say it again after each reconnect, for ever, and
take no other task. So an ending that cannot be read is replaced by one that can.
"""

from collections.abc import Sequence

from attrs import evolve

from paintmq.errors import WireError
from paintmq.task import Buffer, TaskError
from paintmq.wire.body_schema import MAX_ERROR_TEXT, MAX_TEXT
from paintmq.wire.codec import decode, encode
from paintmq.wire.link import Link
from paintmq.wire.messages import (
    AttemptCrashed,
    AttemptFailed,
    AttemptProgressed,
    AttemptSucceeded,
    Draining,
    FromWorker,
    ModelUnloaded,
    payloads_of,
)
from paintmq.wire.outlines import KnownOutlines, outline_of
from paintmq.wire.transfer import MAX_PAYLOADS


def send_readable(
    link: Link, message: FromWorker, payloads: Sequence[Buffer], known: KnownOutlines
) -> None:
    """Queue the message, if the broker can read it: tried out unless others like it could be read.

    Raises:
        WireError: it cannot.
        ValueError: the payloads are not those that the message describes.
    """
    outline = outline_of(message)
    is_known = known.has(outline)
    link.send(message, payloads, check=not is_known)
    if not is_known:
        known.add(outline)


def as_readable(message: FromWorker, payloads: Sequence[Buffer] = ()) -> FromWorker | None:
    """Return the message, or what can be told instead, without payloads; None: nothing can."""
    objection = objection_to(message, payloads)
    if not objection:
        return message
    instead = _instead_of(message, objection)
    return None if instead is None or objection_to(instead) else instead


def objection_to(message: FromWorker, payloads: Sequence[Buffer] = ()) -> str:
    """Return why the broker could not read the message; empty if it can."""
    infos = payloads_of(message)
    if len(infos) > MAX_PAYLOADS:
        return f"{len(infos)} payloads are too many: {MAX_PAYLOADS} at most"
    if [info.size for info in infos] != [memoryview(payload).nbytes for payload in payloads]:
        return "its payloads are not those that it describes"
    try:
        # The encoder alone checks no types, ranges and lengths.
        decode(encode(message))
    except WireError as error:
        return _clean(str(error))
    return ""


def _instead_of(message: FromWorker, objection: str) -> FromWorker | None:
    match message:
        case AttemptSucceeded(task_id=task_id, fence=fence, outputs=outputs):
            error = TaskError(
                code="too_large" if len(outputs) > MAX_PAYLOADS else "model_error",
                message=f"what the model returned cannot be sent: {objection}",
            )
            return AttemptFailed(task_id=task_id, fence=fence, error=error)
        case AttemptFailed(task_id=task_id, fence=fence, error=error):
            said = TaskError(
                code="model_error",
                message=f"the error of the model cannot be sent as it is: {_clean(error.message)}",
                retryable=error.retryable is True,
                traceback=_clean(error.traceback),
            )
            return AttemptFailed(task_id=task_id, fence=fence, error=said)
        case AttemptCrashed(detail=detail):
            return evolve(message, detail=_clean(detail))
        case AttemptProgressed(preview=preview) if preview:
            return evolve(message, preview=())
        case ModelUnloaded(error=text):
            return evolve(message, error=_clean(text))
        case Draining(reason=reason):
            return Draining(_clean(reason))
        case _:
            return None


def _clean(text: object) -> str:
    """Return the text without what no message can hold: lone surrogates, and too much of it."""
    readable = str(text).encode(errors="replace").decode()
    return readable if len(readable) <= MAX_TEXT else readable[:MAX_ERROR_TEXT] + " …"
