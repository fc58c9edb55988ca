"""How commands log: as lines for people, or as JSON for programs."""

import json
import logging

import pytest

from paintmq.cli.failures import CommandError
from paintmq.cli.log_setup import log_to_stderr, logging_restored

TASK = "01a22dcc4a297458aec3ecc46db2627d"


@pytest.fixture(autouse=True)
def level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAINTMQ_LOG", "info")
    monkeypatch.delenv("PAINTMQ_LOG_FORMAT", raising=False)


def test_each_line_of_json_has_time_level_and_the_task_it_is_about(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAINTMQ_LOG_FORMAT", "json")
    logger = logging.getLogger("paintmq.somewhere")
    with logging_restored():
        log_to_stderr()
        logger.info("two lines\nof task %s, with ümlauts", TASK)
        logger.info("nothing of a task", extra={"task_id": "other"})
        try:
            raise ValueError("boom")  # noqa: TRY301 -- what is logged is a raised exception
        except ValueError:
            logger.exception("failed")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    assert len(lines) == 3
    assert lines[0]["task_id"] == TASK
    assert lines[0]["message"] == f"two lines\nof task {TASK}, with ümlauts"
    assert (lines[0]["level"], lines[0]["logger"]) == ("info", "paintmq.somewhere")
    assert lines[0]["time"].endswith("+00:00")
    assert lines[1]["task_id"] == "other"
    assert "task_id" not in lines[2]
    assert "ValueError: boom" in lines[2]["error"]


def test_a_line_of_several_tasks_names_them_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAINTMQ_LOG_FORMAT", "json")
    other = TASK[::-1]
    with logging_restored():
        log_to_stderr()
        logging.getLogger("paintmq.somewhere").info("%s, %s and %s again", TASK, other, TASK)
    line = json.loads(capsys.readouterr().err)

    assert (line["task_id"], line["task_ids"]) == (TASK, [TASK, other])


def test_lines_are_for_people_unless_asked_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_restored():
        log_to_stderr()
        logging.getLogger("paintmq.somewhere").info("hello")

    assert capsys.readouterr().err.endswith("I paintmq.somewhere: hello\n")


def test_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAINTMQ_LOG_FORMAT", "xml")
    with logging_restored(), pytest.raises(CommandError, match="json or text"):
        log_to_stderr()
