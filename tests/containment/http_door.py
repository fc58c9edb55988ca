"""The gateway's routes, with odd bodies, queries, paths and content types."""

import json
from urllib.parse import quote

from hypothesis import strategies as st

from paintmq.image import encode_image
from tests.containment.case import Case
from tests.containment.client_door import picture
from tests.containment.site import HarmError, Site
from tests.containment.strategies import cases as odd_fields

FIELDS = (
    *("model", "task_type", "device", "priority", "deadline", "run_limit", "max_attempts"),
    *("idempotency_key", "options", "inputs", "tenant", "unknown", "option", "input"),
)
QUERY = (*FIELDS[:8], "option.salt", "option", "unknown", "wait", "output")
JSON = (
    *(
        "null",
        "true",
        "0",
        "-1",
        "9223372036854775808",
        "1e300",
        "1e15",
        "-1e400",
        "NaN",
        "1" * 5000,
    ),
    *('""', '"x"', '"\\ud800"', '"\\u0000"', "[]", "{}", "[1,2,3]", '{"a":1}', '{"a":{"b":[1]}}'),
    *("text:200", "text:40000", "text:200000", "deep:900", "deep:100000", "many:300", "many:2000"),
)
"""What a field of a body is; after a colon how long, deep or many."""
TEXTS = (
    *("", "0", "-1", "nan", "inf", "1e300", "9" * 400, "true", "null", "[1]", '{"a":1}', "\ud800"),
    *("\0", "a\nb", "../../etc/passwd", "http://localhost/", "text:5000", "text:60000", "é"),
)


def cases() -> st.SearchStrategy[Case]:
    """Odd requests for every route."""
    bodies = odd_fields("http", "body", dict.fromkeys(FIELDS, st.sampled_from(JSON)))
    queries = odd_fields("http", "query", dict.fromkeys(QUERY, st.sampled_from(TEXTS)))
    whole = odd_fields("http", "whole", {"body": st.sampled_from((*JSON, "bytes", "deep:900"))})
    paths = odd_fields(
        "http",
        "path",
        {
            "id": st.sampled_from((*TEXTS, "0" * 32, "f" * 32, "0" * 31, "F" * 32)),
            "method": st.sampled_from(("GET", "DELETE", "POST", "PUT", "HEAD", "PATCH", "odd")),
            "result": st.sampled_from(TEXTS),
        },
    )
    kinds = odd_fields("http", "kind", {"kind": st.sampled_from(KINDS)})
    return st.one_of(bodies, bodies, bodies, queries, queries, whole, paths, kinds)


KINDS = (
    *("", "image/png", "Image/PNG", "application/json;charset=utf-16", "Application/JSON", "*/*"),
    *("text/plain", "multipart/form-data", "image/" + "x" * 3000, "application/x-msgpack"),
)


def act(site: Site, case: Case) -> None:
    """Send it; any answer will do that does not say that the gateway is at fault."""
    odd = case.odd()
    status, answer = _ACTS[case.call](site, odd)
    if status >= 500:
        raise HarmError(f"answered by {status}: {answer[:300]!r}")
    if status == 202 and case.call != "path":
        task_id = json.loads(answer)["id"]
        site.gateway.ask("DELETE", f"/v1/tasks/{task_id}")


def json_of(recipe: str) -> str:
    """Return the JSON that a recipe stands for."""
    kind, _, count = recipe.partition(":")
    if not count.isdigit():
        return recipe
    match kind:
        case "text":
            return '"' + "x" * int(count) + '"'
        case "deep":
            return "[" * int(count) + "]" * int(count)
        case "many":
            return json.dumps({f"key{number}": number for number in range(int(count))})
        case _:
            return recipe


def text_of(recipe: str) -> str:
    kind, _, count = recipe.partition(":")
    return "x" * int(count) if kind == "text" else recipe


def _body(site: Site, odd: dict[str, str]) -> tuple[int, bytes]:
    fields = {"model": '"honest"', **{name: json_of(recipe) for name, recipe in odd.items()}}
    if "option" in fields:
        fields["options"] = '{"salt": ' + fields.pop("option") + "}"
    if "input" in fields:
        fields["inputs"] = '{"image": ' + fields.pop("input") + "}"
    body = "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}"
    return site.gateway.ask("POST", "/v1/tasks", body.encode())


def _whole(site: Site, odd: dict[str, str]) -> tuple[int, bytes]:
    recipe = odd["body"]
    body = bytes(range(256)) if recipe == "bytes" else json_of(recipe).encode()
    return site.gateway.ask("POST", "/v1/tasks", body)


def _query(site: Site, odd: dict[str, str]) -> tuple[int, bytes]:
    given = {"model": "honest", **odd}
    query = "&".join(f"{name}={_quoted(text_of(text))}" for name, text in given.items())
    file = encode_image(picture(), ".png")
    return site.gateway.ask("POST", f"/v1/tasks?{query}", file, "image/png")


def _path(site: Site, odd: dict[str, str]) -> tuple[int, bytes]:
    path = f"/v1/tasks/{_quoted(text_of(odd.get('id', '0' * 32)))}"
    if "result" in odd:
        text = _quoted(text_of(odd["result"]))
        path += f"/result?wait={text}&output={text}"
    return site.gateway.ask(odd.get("method", "GET"), path)


def _kind(site: Site, odd: dict[str, str]) -> tuple[int, bytes]:
    body = b'{"model": "honest"}'
    return site.gateway.ask("POST", "/v1/tasks?model=honest", body, odd["kind"])


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


_ACTS = {"body": _body, "whole": _whole, "query": _query, "path": _path, "kind": _kind}
