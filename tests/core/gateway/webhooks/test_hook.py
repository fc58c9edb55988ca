"""How often a webhook is tried, and what its file holds."""

import random

import pytest

from paintmq.gateway.webhooks.hook import (
    LONGEST_PAUSE,
    MAX_ATTEMPTS,
    PAUSES,
    SPREAD,
    Attempt,
    Hook,
    hook_of,
)

HOOK = Hook(task="a" * 32, owner="a" * 12, name="anna", url="https://h.example/")
REFUSED = Attempt(error="it answers 500")


def test_it_is_tried_a_fixed_number_of_times_with_growing_pauses() -> None:
    hook, now, pauses = HOOK.ended("{}", now=100.0), 100.0, []
    while not hook.is_over:
        hook = hook.after(REFUSED, now=now, rng=random.Random(1))
        if not hook.is_over:
            pauses.append(hook.next_at - now)
            now = hook.next_at

    assert (hook.state, hook.attempts, hook.error) == ("failed", MAX_ATTEMPTS, "it answers 500")
    assert len(pauses) == len(PAUSES)
    for pause, meant in zip(pauses, PAUSES, strict=True):
        assert abs(pause - meant) <= meant * SPREAD
    assert hook.told()["next_at"] is None


def test_success_ends_it_and_its_error_is_gone() -> None:
    once = HOOK.ended("{}", now=0.0).after(REFUSED, now=0.0, rng=random.Random(1))

    hook = once.after(Attempt(), now=9.0, rng=random.Random(1))

    assert hook.told() == {
        "url": HOOK.url, "state": "delivered", "attempts": 2, "next_at": None, "error": None
    }  # fmt: skip


def test_a_receiver_may_ask_for_a_longer_pause_but_not_for_any() -> None:
    hook = HOOK.ended("{}", now=0.0)

    def pause(seconds: float) -> float:
        attempt = Attempt(error="it answers 429", retry_after=seconds)
        return hook.after(attempt, now=0.0, rng=random.Random(1)).next_at

    assert pause(60.0) == 60.0
    assert pause(1e9) == LONGEST_PAUSE
    assert pause(0.0) >= PAUSES[0] * (1 - SPREAD)


def test_a_final_refusal_is_the_last_attempt() -> None:
    gone = Attempt(error="it answers 410", is_final=True)

    assert HOOK.ended("{}", now=0.0).after(gone, now=0.0, rng=random.Random(1)).state == "failed"


def test_what_is_written_is_what_is_read() -> None:
    hook = HOOK.ended('{"a":1}', now=5.5).after(REFUSED, now=6.0, rng=random.Random(2))

    assert hook_of(hook.to_json()) == hook


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"version": 2, "task": "a"}', b'{"version": 1}', b"\xff",
     b'{"version": 1, "task": "a", "more": 1}', b'{"version": 1, "task": "a"}'],
)  # fmt: skip
def test_a_file_that_is_no_webhooks_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"webhook's file|Expecting|codec"):
        hook_of(data)
