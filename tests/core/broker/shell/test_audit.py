"""Who ordered what."""

import logging

import pytest
from tests.harness.toy_broker import toy_client, toy_config, toy_plugins

from paintmq.broker.machine import Credentials
from paintmq.broker.shell.audit import MOST_TEXT, note_order
from paintmq.broker.shell.server import BrokerServer
from paintmq.task import PeerId
from paintmq.wire.messages import Answer, Ask

PEER = PeerId(b"\x00\x01\x02\x03")


def test_an_order_leaves_a_line_and_a_question_none(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "paintmq.audit"),
        BrokerServer(toy_config(), toy_plugins()) as server,
        toy_client(server) as client,
    ):
        for subject in ("statistics", "cancel_tasks", "queues"):
            client.say(Ask(request_id=1, subject=subject, arguments={"queue": "cpu-light"}))
            client.hear(Answer)

    (line,) = [each.getMessage() for each in caplog.records if each.name == "paintmq.audit"]
    assert line.startswith("a client without a key (")
    assert line.endswith('ordered cancel_tasks {"queue": "cpu-light"}')


def test_a_line_names_the_key_and_whether_it_was_refused_and_has_an_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ask = Ask(request_id=1, subject="reload", arguments={"x": "y" * 2 * MOST_TEXT})
    with caplog.at_level(logging.INFO, "paintmq.audit"):
        note_order(ask, PEER, Credentials(key="bob", is_admin=False))

    (record,) = caplog.records
    line = record.getMessage()
    assert line.startswith("key 'bob' (00010203) was refused reload {")
    assert len(line) < MOST_TEXT + 100
