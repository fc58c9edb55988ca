"""How much memory the process takes, and how often the system is asked."""

import pytest

from paintmq.process import memory
from paintmq.process.memory import AGE, MemoryGauge


def test_the_system_is_not_asked_more_often_than_the_answer_is_worth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([100, 200])
    monkeypatch.setattr(memory, "resident_mb", lambda *, without_shared: next(answers))
    gauge = MemoryGauge()

    read = [gauge.resident_mb(now=now) for now in (5.0, 5.0, 5.0 + AGE / 2, 5.0 + AGE)]

    assert read == [100, 100, 100, 200]
