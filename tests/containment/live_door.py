"""``/v1/ws``, with odd messages: each harms at most the connection it came by."""

import json
from contextlib import suppress

from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.containment.api_door import base64_of, quoted
from tests.containment.case import Case
from tests.containment.http_door import FIELDS, JSON, TEXTS, json_of, text_of
from tests.containment.site import HarmError, Site
from tests.containment.strategies import cases as odd_fields

SUBJECTS = ("drain_worker", "dead_requeue", "dead_drop", "statistics", "workers", "stop", "backup")
REQUEST = ("ref", "subscribe", "unsubscribe", "previews", "resume", "submit", "cancel", "control")
ARGUMENTS = ("name", "grace", "session", "task_id", "self", "subject", "timeout", "odd", "")
_ABNORMAL = 1006
_SECONDS = 3.0


def cases() -> st.SearchStrategy[Case]:
    """Odd messages, and odd fields of those that submit, resume and order."""
    values = st.sampled_from((*JSON, '["x"]', '"tasks"', '"service"', '{"feed": "x"}'))
    arguments = odd_fields("live", "control", dict.fromkeys(ARGUMENTS, values))
    orders = st.tuples(arguments, st.sampled_from(SUBJECTS)).map(
        lambda odd: odd[0].with_argument("subject-of", odd[1])
    )
    return st.one_of(
        odd_fields("live", "request", dict.fromkeys(REQUEST, values)),
        odd_fields("live", "submit", dict.fromkeys(FIELDS[:-2], values)),
        odd_fields("live", "resume", dict.fromkeys(("feed", "number"), values)),
        orders,
        odd_fields("live", "message", {"text": st.sampled_from((*JSON, "bytes", ""))}),
        odd_fields("live", "follow", {"text": st.sampled_from(("bytes", "x", "text:200"))}),
        odd_fields("live", "path", {"task": st.sampled_from(TEXTS)}),
    )


def act(site: Site, case: Case) -> None:
    """Say it; what closes the connection must say why."""
    odd = case.odd()
    try:
        match case.call:
            case "path":
                with site.gateway.socket(f"/v1/ws?task={quoted(odd['task'])}"):
                    pass
            case "follow":
                _follow(site, odd["text"])
            case _:
                with site.gateway.socket("/v1/ws") as socket:
                    socket.recv(_SECONDS)  # its greeting
                    socket.send(_message(case.call, odd))
                    _hear(socket)
    except InvalidStatus as refusal:
        if refusal.response.status_code >= 500:
            raise HarmError(f"answered by {refusal.response.status_code}") from refusal
    except ConnectionClosed as closed:
        if closed.rcvd is None or closed.rcvd.code in (_ABNORMAL, 1011):
            raise HarmError(f"the connection was dropped: {closed}") from closed


def _hear(socket: ClientConnection) -> None:
    with suppress(TimeoutError):  # an order may take its time
        socket.recv(_SECONDS)


def _follow(site: Site, text: str) -> None:
    """Talk to a connection that is to listen alone."""
    task = {
        "model": "odd-model",
        "options": {"where": "wait"},
        "inputs": {"image": base64_of("picture:8x8x3")},
    }
    _, answer = site.gateway.ask("POST", "/v1/tasks", json.dumps(task).encode())
    task_id = json.loads(answer)["id"]
    with site.gateway.socket(f"/v1/tasks/{task_id}/ws") as socket:
        socket.send(b"\0\xff" if text == "bytes" else text_of(text))
        site.gateway.ask("DELETE", f"/v1/tasks/{task_id}")
        for message in socket:
            if json.loads(message)["state"] == "cancelled":
                return
    raise HarmError("it was not told the end of the task")


def _message(call: str, odd: dict[str, str]) -> str | bytes:
    if call == "message":
        return b"\0\xff" if odd["text"] == "bytes" else json_of(odd["text"])
    subject = odd.pop("subject-of", "")
    said = _object(odd)
    match call:
        case "submit":
            return '{"submit": ' + _object({"model": '"honest"', **odd}) + "}"
        case "resume":
            return '{"resume": ' + said + "}"
        case "control":
            return '{"control": {"subject": "' + subject + '", "arguments": ' + said + "}}"
        case _:
            return said


def _object(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": {json_of(recipe)}' for name, recipe in fields.items()) + "}"
