"""Until when a key is good, and for which queues."""

from datetime import UTC, datetime

import pytest

from paintmq.transport.key_terms import SOON, KeyTerms, parse_expiry

DAY = 86_400.0
NOON = datetime(2027, 3, 1, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("12h", "2027-03-02 00:00:00 UTC"),
        ("90d", "2027-05-30 12:00:00 UTC"),
        ("4w", "2027-03-29 12:00:00 UTC"),
        ("2027-03-01", "2027-03-02 00:00:00 UTC"),  # the last day it is good
        ("2027-12-31", "2028-01-01 00:00:00 UTC"),
        ("2027-03-01T18:30", "2027-03-01 18:30:00 UTC"),
        ("2027-03-01T18:30:05+02:00", "2027-03-01 16:30:05 UTC"),
    ],
)
def test_an_end_is_a_span_a_date_or_a_moment(text: str, end: str) -> None:
    assert KeyTerms(not_after=parse_expiry(text, now=NOON)).end == end


@pytest.mark.parametrize("text", ["2027-02-28", "2027-03-01T12:00", "1999-12-31"])
def test_an_end_that_is_past_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"{text} is past"):
        parse_expiry(text, now=NOON)


@pytest.mark.parametrize(
    "text", ["", "soon", "90", "0d", "-1d", "1.5d", "9999999d", "2027-02-30", "90 d", "10y"]
)
def test_an_end_that_is_no_time_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match="is no time: use 90d, 12h, 4w or a date"):
        parse_expiry(text, now=NOON)


def test_a_key_is_good_until_the_moment_it_expires_and_then_no_more() -> None:
    terms = KeyTerms(not_after=NOON)

    assert not terms.has_expired(NOON - 0.001)
    assert terms.has_expired(NOON)


def test_an_end_comes_soon_two_weeks_before() -> None:
    terms = KeyTerms(not_after=NOON)

    assert [terms.expires_soon(NOON - before) for before in (SOON + 1, SOON, 0, -DAY)] == [
        *(False, True, True, True)
    ]


def test_a_key_without_terms_is_good_for_ever_and_says_nothing_of_it() -> None:
    terms = KeyTerms()

    assert not terms.has_expired(NOON * 100)
    assert not terms.expires_soon(NOON * 100)
    assert (terms.end, terms.to_json()) == ("", {})


@pytest.mark.parametrize(
    "terms",
    [
        KeyTerms(),
        KeyTerms(not_after=NOON),
        KeyTerms(queues=("gpu-low", "cpu-light")),
        KeyTerms(not_after=NOON, queues=("gpu-low",)),
    ],
)
def test_terms_are_read_as_they_were_written(terms: KeyTerms) -> None:
    assert KeyTerms.from_json(terms.to_json()) == terms


@pytest.mark.parametrize(
    "damage",
    [
        {"not_after": 1.5},
        {"not_after": "tomorrow"},
        {"queues": []},
        {"queues": "gpu-low"},
        {"queues": [""]},
        {"queues": [5]},
    ],
)
def test_terms_that_make_no_sense_are_refused(damage: dict[str, object]) -> None:
    """Never read as none: then the key would be good for everything."""
    with pytest.raises(ValueError, match=r"not_after|queues|no time"):
        KeyTerms.from_json(damage)
