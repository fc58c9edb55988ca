"""Messages of a WebSocket's client."""

import json

import pytest

from paintmq.gateway.live.requests import live_request


def test_a_message_says_what_it_wants() -> None:
    asked = live_request('{"ref": 7, "subscribe": ["a"], "previews": true, "cancel": "b"}')

    assert (asked.ref, asked.subscribe, asked.previews, asked.cancel) == (7, ["a"], True, "b")
    submit = live_request('{"submit": {"model": "x", "inputs": {"image": "AAAA"}}}').submit
    assert submit is not None
    assert submit.inputs == {"image": b"\0\0\0"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"shutdown": true}',
        '{"subscribe": 3}',
        '{"submit": {"modle": "x"}}',
        '{"resume": {"feed": "x"}}',
        "[" * 5_000,
        '{"ref":' * 5_000,
        json.dumps({"subscribe": ["x"] * 1_001}),
    ],
)
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        live_request(text)
