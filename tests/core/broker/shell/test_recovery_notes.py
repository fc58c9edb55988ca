"""What is said of a journal that a broker starts on."""

import pytest

from paintmq.broker.records import Recovered
from paintmq.broker.shell.recovery_notes import log_recovery
from paintmq.task import TaskId

NOW = 1_800_000_000.0
DAY = 86_400.0


def said(caplog: pytest.LogCaptureFixture, **journal: object) -> list[str]:
    log_recovery(Recovered(tasks=(), durable_sequence=1, **journal), now=NOW)  # type: ignore[arg-type]
    return caplog.messages


@pytest.mark.parametrize("newest", [0.0, NOW, NOW - DAY, NOW + 60])
def test_nothing_is_said_of_a_journal_that_is_as_it_was_left(
    newest: float, caplog: pytest.LogCaptureFixture
) -> None:
    assert said(caplog, last_time=newest) == []


def test_a_clock_far_ahead_of_the_journal_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    (warning,) = said(caplog, last_time=NOW - 3650 * DAY)

    assert "newest record is 3650 days old: if the clock of this machine is wrong" in warning


def test_a_clock_behind_the_journal_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    (warning,) = said(caplog, last_time=NOW + 3600)

    assert "newest record is 3600 s ahead of the clock" in warning


def test_what_is_wrong_with_the_journal_is_said(caplog: pytest.LogCaptureFixture) -> None:
    damaged = (TaskId("1"), TaskId("2"))

    assert said(caplog, last_time=NOW, notes=("the log lacks 3 records",), damaged=damaged) == [
        "the log lacks 3 records",
        "2 tasks in the journal are damaged",
    ]
