"""The page for foreign implementers says what the code does."""

import re
from pathlib import Path

import attrs
import pytest
from tests.harness.broker_harness import ready

from paintmq.broker.shell.server_control import ADMIN_SUBJECTS
from paintmq.statistics import GpuMetrics, SystemMetrics
from paintmq.task import Fence, PayloadInfo, TaskError, TaskId, TaskRequest, TaskState
from paintmq.wire import codec, transfer
from paintmq.wire import messages as m
from paintmq.wire.codec import decode
from paintmq.wire.frames import KIND_OF
from paintmq.wire.transfer import WINDOW

PAGE = (Path(__file__).parents[3] / "core" / "PROTOCOL.md").read_text()
MAPS = (
    TaskRequest,
    PayloadInfo,
    Fence,
    TaskError,
    m.Assignment,
    m.ResidentModel,
    m.LogLine,
    SystemMetrics,
    GpuMetrics,
)
ROW = r"\| 0x{kind:02X} \| {name} \| (T?F?) \| (.*) \|"


def fields(text: str) -> list[str]:
    """Return the names a row gives to the fields of a body."""
    return re.findall(r"(?:^|; )`(\w+)`", text)


@pytest.mark.parametrize("cls", KIND_OF, ids=lambda cls: cls.__name__)
def test_every_message_is_described_with_its_fields(cls: type[m.Message]) -> None:
    row = re.search(ROW.format(kind=KIND_OF[cls], name=cls.__name__), PAGE)
    assert row is not None

    names = [field.name for field in attrs.fields(cls)]
    carried = "T" * ("task_id" in names or cls is m.Submit) + "F" * ("fence" in names)
    body = [name for name in names if name not in {"task_id", "fence"}]
    assert (row[1], fields(row[2])) == (carried, body)


@pytest.mark.parametrize("cls", MAPS, ids=lambda cls: cls.__name__)
def test_every_map_inside_a_body_is_described(cls: type) -> None:
    row = re.search(rf"\| {cls.__name__} \| (.*) \|", PAGE)
    assert row is not None

    names = Fence._fields if cls is Fence else [field.name for field in attrs.fields(cls)]
    assert fields(row[1]) == list(names)


def test_every_subject_of_a_question_is_described() -> None:
    refusal = ready().ask("weather").error
    machines = refusal.partition("known subjects: ")[2].split(", ")
    questions = PAGE.partition("**Questions.**")[2].partition("**Sending")[0]
    first_column = re.findall(r"^\| (`.*?`) \| ", questions, re.MULTILINE)

    named = {name for cell in first_column for name in re.findall(r"`(\w+)`", cell)}
    shells = {
        "endpoints",
        "events",
        "history",
        "logs",
        "models",
        "queues",
        "story",
        "turns",
        "version",
    }
    assert named == {*machines, *ADMIN_SUBJECTS, *shells}


def test_every_state_is_named() -> None:
    assert all(f"`{state}`" in PAGE for state in TaskState)


def test_the_limits_are_those_of_the_code() -> None:
    assert f"pieces* of {transfer.PIECE_BYTES:,} bytes" in PAGE
    assert f"together at most {transfer.BURST_BYTES:,} bytes" in PAGE
    assert f"at most {transfer.INLINE_BYTES:,} bytes" in PAGE
    assert f"At most {transfer.MAX_PAYLOADS:,} payloads" in PAGE
    assert f"**{WINDOW} bursts**" in PAGE
    large = "Submit, Query, Ask, Answer, Finished, Heartbeat, WorkerHello and Assign at most 1 MiB"
    assert large in PAGE
    assert {cls.__name__ for cls in codec.LARGE} == set(re.findall(r"[A-Z]\w+", large)) - {"MiB"}


def test_the_messages_in_bytes_are_what_they_are_said_to_be() -> None:
    blocks = re.findall(r"```\n((?:[0-9a-f]{2}[ \n])+)```", PAGE)

    assert [decode(bytes.fromhex(block)) for block in blocks] == [
        m.AttemptRecorded(task_id=TaskId("0123456789abcdef" * 2), fence=Fence(5, 2)),
        m.Preload("lama"),
    ]
