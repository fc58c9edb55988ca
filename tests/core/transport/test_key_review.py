"""What an operator is told of keys."""

from paintmq.transport.key_files import Allowed
from paintmq.transport.key_review import Concern, review
from paintmq.transport.key_terms import SOON, KeyTerms

NOW = 1_800_000_000.0
END = "2027-01-15 08:00:00 UTC"


def concerns(*, now: float = NOW, **terms: object) -> list[Concern]:
    key = Allowed(name="alice", role="client", public="p", terms=KeyTerms(**terms))  # type: ignore[arg-type]
    return list(review([key], queues=("gpu-low", "cpu-light"), now=now))


def test_there_is_nothing_to_say_of_a_key_that_is_as_it_should_be() -> None:
    assert concerns() == []
    assert concerns(not_after=NOW + SOON + 1, queues=("gpu-low",)) == []


def test_a_key_that_ends_soon_is_noted_and_one_that_has_is_a_problem() -> None:
    (soon,) = concerns(not_after=NOW, now=NOW - 1)
    (ended,) = concerns(not_after=NOW)

    assert soon.verdict == "note"
    assert soon.text.startswith(f"key 'alice' expires on {END}: add another in time")
    assert ended.verdict == "problem"
    assert ended.text.startswith(f"key 'alice' expired on {END}: revoke it")


def test_a_queue_that_there_is_not_is_named_with_those_there_are() -> None:
    (wrong,) = concerns(queues=("gpu-low", "gpu-lwo"))

    assert wrong == Concern(
        "problem",
        "key 'alice' is for the unknown queue 'gpu-lwo'; there are gpu-low, cpu-light",
    )
