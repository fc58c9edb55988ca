"""A durable client: what it submitted survives it, and its outcome is seen once."""

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.harness.client_port import ScriptedBroker

from paintmq import AsyncClient, Client, Task, TaskType
from paintmq.client.journal import ClientJournal, journal_for
from paintmq.errors import InvalidTaskError, StoreError, TaskRejectedError
from paintmq.task import TaskState
from paintmq.wire.messages import Finished, Query, Rejected, ResultReceived, Submit


def make_task(number: int = 0) -> Task:
    return Task(TaskType.INPAINT, {"model": "opencv"}, {"image": bytes([number]) * 1000})


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "lock")


def done(task_id: str) -> Finished:
    return Finished(task_id=task_id, state=TaskState.SUCCEEDED)  # type: ignore[arg-type]  # a TaskId


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "client"


def test_what_was_kept_is_read_again_in_the_order_of_submission(folder: Path) -> None:
    journal = ClientJournal(folder)
    assert journal.open() == []
    tasks = [make_task(number).prepare() for number in range(3)]
    for task in tasks:
        journal.keep(task)
    journal.drop(tasks[1].request.id)
    journal.close()

    again = ClientJournal(folder)
    assert sorted(again.open(), key=lambda t: t.request.id) == sorted(
        [tasks[0], tasks[2]], key=lambda t: t.request.id
    )
    again.close()


def test_what_is_kept_is_its_owners_alone_in_whatever_folder(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    journal = ClientJournal(folder)
    journal.open()
    journal.keep(make_task(0).prepare())
    journal.close()

    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_folder_belongs_to_one_client_at_a_time(folder: Path) -> None:
    first, second = ClientJournal(folder), ClientJournal(folder)
    first.open()

    with pytest.raises(StoreError, match="another client uses the journal"):
        second.open()

    first.close()
    second.open()
    second.close()


@pytest.mark.parametrize("length", [0, 5, 11, 60, -1])
def test_a_file_that_was_cut_is_put_aside_and_the_rest_is_read(
    folder: Path, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    journal = ClientJournal(folder)
    journal.open()
    whole, cut = make_task(1).prepare(), make_task(2).prepare()
    journal.keep(whole)
    journal.keep(cut)
    journal.close()
    path = folder / f"{cut.request.id}.task"
    path.write_bytes(path.read_bytes()[:length])

    again = ClientJournal(folder)
    with caplog.at_level(logging.WARNING):
        assert again.open() == [whole]
    again.close()
    assert path.with_suffix(".damaged").exists()
    assert "damaged" in caplog.text


def test_a_draft_of_a_client_that_died_while_writing_is_removed(folder: Path) -> None:
    folder.mkdir()
    (folder / "x.draft").write_bytes(b"half")
    journal = ClientJournal(folder)

    assert journal.open() == []
    journal.close()
    assert written(folder) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match="file/client"):
        ClientJournal(tmp_path / "file" / "client").open()


def test_durable_names_a_folder_or_takes_the_platforms(tmp_path: Path) -> None:
    assert journal_for(False) is None
    chosen, default = journal_for(tmp_path), journal_for(True)
    assert chosen is not None
    assert default is not None
    assert chosen.folder == tmp_path
    assert default.folder.parts[-2:] == ("paintmq", "client")


# ---- with a client -----------------------------------------------------------------------------


def test_a_task_is_on_disk_until_its_outcome_is_taken(broker: ScriptedBroker, folder: Path) -> None:
    broker.when(Submit, lambda m: [done(m.task.id)])
    with Client(broker.endpoint, durable=folder) as client:
        handle = client.submit(make_task())
        for _ in handle.updates(30):
            pass
        assert written(folder) == [f"{handle.id}.task"]
        assert broker.of(ResultReceived) == []

        handle.result(30)
        assert written(folder) == []
        assert broker.wait_for(ResultReceived) == [ResultReceived(handle.id)]
        handle.result(30)

    assert len(broker.of(ResultReceived)) == 1


def test_a_refusal_is_an_outcome_too(broker: ScriptedBroker, folder: Path) -> None:
    broker.when(Submit, lambda m: [Rejected(task_id=m.task.id, code="unknown_model", reason="")])
    with Client(broker.endpoint, durable=folder) as client:
        handle = client.submit(make_task())
        with pytest.raises(TaskRejectedError):
            handle.result(30)

        assert written(folder) == []


def test_what_a_closed_client_left_is_submitted_again_by_the_next(
    broker: ScriptedBroker, folder: Path
) -> None:
    with Client(broker.endpoint, durable=folder) as client:
        first = client.submit(make_task(3))
        broker.wait_for(Submit)
    broker.when(Submit, lambda m: [done(m.task.id)])

    with Client(broker.endpoint, durable=folder) as client:
        (handle,) = client.recovered
        assert handle.id == first.id
        assert handle.result(30).task_id == first.id
        assert broker.payloads[first.id] == (bytes([3]) * 1000,)

    with Client(broker.endpoint, durable=folder) as client:
        assert client.recovered == ()


CLIENT = """
import sys
from paintmq import AsyncClient, Client, Task, TaskType

client = Client(sys.argv[1], durable=sys.argv[2])
handle = client.submit(Task(TaskType.INPAINT, {"model": "opencv"}, {"image": b"picture"}))
print(handle.id, flush=True)
handle.result()
"""


@pytest.mark.slow
def test_what_a_killed_client_left_is_submitted_again_by_the_next(
    broker: ScriptedBroker, folder: Path
) -> None:
    arguments = [sys.executable, "-c", CLIENT, broker.endpoint, str(folder)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        task_id = process.stdout.readline().strip()
        os.kill(process.pid, signal.SIGKILL)
    broker.when(Submit, lambda m: [done(m.task.id)])

    with Client(broker.endpoint, durable=folder) as client:
        (handle,) = client.recovered
        assert handle.result(30).task_id == task_id

    assert broker.payloads[handle.id] == (b"picture",)


@pytest.mark.slow
def test_a_client_that_was_made_before_a_fork_says_so_in_the_child(
    broker: ScriptedBroker,
) -> None:
    code = """
import os, sys
from paintmq import AsyncClient, Client, Task, TaskType

client = Client(sys.argv[1])
client.connect(30)
handle = client.submit(Task(TaskType.INPAINT, {"model": "opencv"}))
child = os.fork()
if child == 0:
    for use in (lambda: client.ask("version"), handle.result, handle.cancel, handle.updates):
        try:
            list(use())
            os._exit(4)
        except RuntimeError as error:
            if "before the process forked" not in str(error):
                os._exit(3)
    os._exit(0)
client.close()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    finished = subprocess.run([sys.executable, "-c", code, broker.endpoint], check=False)

    assert finished.returncode == 0


def test_an_array_that_is_reused_does_not_spoil_what_is_on_disk(
    broker: ScriptedBroker, folder: Path
) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with Client(broker.endpoint, durable=folder) as client:
        client.submit(Task(TaskType.INPAINT, {"model": "opencv"}, {"image": image}))
        image[:] = 9

    journal = ClientJournal(folder)
    (prepared,) = journal.open()
    journal.close()
    assert set(prepared.payloads[0]) == {0}


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_a_task_that_cannot_be_written_down_takes_no_room(
    broker: ScriptedBroker, folder: Path, kind: str
) -> None:
    task = Task(TaskType.INPAINT, {"model": "opencv"})
    if kind == "blocking":
        with Client(broker.endpoint, durable=folder) as client:
            shutil.rmtree(folder)
            with pytest.raises(StoreError, match="cannot be written"):
                client.submit(task)
            assert client._session.window.tasks == 0
        return

    async def run() -> None:
        async with AsyncClient(broker.endpoint, durable=folder) as client:
            shutil.rmtree(folder)
            with pytest.raises(StoreError, match="cannot be written"):
                await client.submit(task)
            assert client._session.window.tasks == 0

    asyncio.run(run())


KILLED_IN_RESULT = """
import os, sys
from paintmq import Client, Task, TaskType
from paintmq.client.followed_task import FollowedTask

outcome = FollowedTask.outcome

def killed(self):
    outcome(self)
    os.kill(os.getpid(), 9)  # the file is gone, and the program has seen nothing

client = Client(sys.argv[1], durable=sys.argv[2])
first, second = (client.submit(Task(TaskType.INPAINT, {"model": "opencv"})) for _ in range(2))
first.result(30)
FollowedTask.outcome = killed
print(first.id, second.id, flush=True)
second.result(30)
"""


@pytest.mark.slow
def test_an_outcome_that_was_taken_but_not_seen_is_found_again(
    broker: "ScriptedBroker", folder: Path
) -> None:
    """Regression: killed inside ``result()``, a durable client neither saw nor recovered it."""
    broker.when(Submit, lambda m: [done(m.task.id)])
    broker.when(Query, lambda m: [done(task_id) for task_id in m.task_ids])
    arguments = [sys.executable, "-c", KILLED_IN_RESULT, broker.endpoint, str(folder)]
    killed = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=False)
    _, second = killed.stdout.split()

    assert killed.returncode == -signal.SIGKILL
    assert written(folder) == []
    with Client(broker.endpoint, durable=folder) as client:
        (handle,) = client.recovered  # the first was seen: the program came back for the second
        assert handle.id == second
        handle.result(30)
    with Client(broker.endpoint, durable=folder) as client:
        assert client.recovered == ()


ENDS_IN_ORDER = """
import sys
from paintmq import Client, Task, TaskType

client = Client(sys.argv[1], durable=sys.argv[2])
client.submit(Task(TaskType.INPAINT, {"model": "opencv"})).result(30)
"""


@pytest.mark.slow
def test_a_program_that_ends_in_good_order_has_seen_what_it_took(
    broker: "ScriptedBroker", folder: Path
) -> None:
    broker.when(Submit, lambda m: [done(m.task.id)])
    subprocess.run([sys.executable, "-c", ENDS_IN_ORDER, broker.endpoint, str(folder)], check=True)

    with Client(broker.endpoint, durable=folder) as client:
        assert client.recovered == ()


def test_a_task_submitted_twice_with_other_contents_leaves_the_first_on_disk(
    broker: "ScriptedBroker", folder: Path
) -> None:
    """Regression: the second was written over the first before it was refused."""
    task_id = "1" * 32
    with Client(broker.endpoint, durable=folder) as client:
        client.submit(Task(TaskType.INPAINT, {"model": "opencv"}, id=task_id))  # type: ignore[arg-type]  # a TaskId
        with pytest.raises(InvalidTaskError, match="other contents"):
            client.submit(Task(TaskType.INPAINT, {"model": "other"}, id=task_id))  # type: ignore[arg-type]  # a TaskId

    journal = ClientJournal(folder)
    (prepared,) = journal.open()
    journal.close()
    assert prepared.request.model == "opencv"
