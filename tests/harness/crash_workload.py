"""A broker in a process of its own that a crash point may kill, and what its clients were promised.

``python -m tests.harness.crash_workload JOURNAL LEDGER`` runs the whole path of a few tasks over
real sockets and the real store. Every promise is written to the ledger as soon as a peer reads it.
"""

import json
import os
import sys
import time
from pathlib import Path

from attrs import evolve

from paintmq.broker.shell.server import BrokerServer
from paintmq.broker.stores import upkeep
from paintmq.broker.stores.failpoints import VARIABLE
from paintmq.task import TaskId, TaskRequest
from paintmq.testing.example_tasks import PATIENCE, describe
from paintmq.wire.messages import (
    Accepted,
    Assign,
    AttemptRecorded,
    AttemptStarted,
    AttemptSucceeded,
    Finished,
    ResultReceived,
    Submit,
    Welcome,
    WorkerGoodbye,
)
from tests.harness.toy_broker import (
    picture_task,
    toy_client,
    toy_config,
    toy_plugins,
    toy_worker,
)
from tests.harness.wire_peer import WirePeer

SIZES = (100, 400_000, 70_000, 2_000_000)
"""Bytes of the inputs: in a row, or in a file; in one message, or in a transfer."""


def content(number: int, *, result: bool) -> bytes:
    """Return what the numbered task takes, or gives."""
    word = f"{'out' if result else 'in'} {number} ".encode()
    return (word * (SIZES[number % len(SIZES)] // len(word) + 1))[: SIZES[number % len(SIZES)]]


class Ledger:
    """What was promised; survives the process as every line is written at once."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, event: str, request: TaskRequest, number: int) -> None:
        line = json.dumps({"event": event, "task": request.id, "number": number})
        os.write(self._file, f"{line}\n".encode())

    def close(self) -> None:
        os.close(self._file)


def run(server: BrokerServer, ledger: Ledger) -> None:
    """Bring four tasks to their end and leave four waiting."""
    with toy_client(server) as client, toy_worker(server) as worker:
        client.hear(Welcome)
        for number in range(4):
            request = submit(client, ledger, number)
            # A task that an earlier run left behind may have its turn before.
            while work(worker) != request.id:
                pass
            client.hear(Finished)
            ledger.note("finished", request, number)
            if number % 2:
                # Forgotten at once, so nothing of it is to be found from then on.
                ledger.note("received", request, number)
                client.say(ResultReceived(request.id))
        worker.say(WorkerGoodbye())
        for number in range(4, 8):
            submit(client, ledger, number)


def submit(client: WirePeer, ledger: Ledger, number: int) -> TaskRequest:
    data = content(number, result=False)
    request = evolve(picture_task(data), priority=number)  # says what the result is to be
    ledger.note("submitted", request, number)
    client.say(Submit(request), [data])
    client.hear(Accepted)
    ledger.note("accepted", request, number)
    return request


def work(worker: WirePeer) -> TaskId:
    """Do the next task."""
    assignment = worker.hear(Assign).assignments[0]
    task_id, fence = assignment.task.id, assignment.fence
    worker.say(AttemptStarted(task_id=task_id, fence=fence))
    result = content(assignment.task.priority, result=True)
    worker.say(
        AttemptSucceeded(
            task_id=task_id, fence=fence, outputs=(describe("image", result),), ran=0.1
        ),
        [result],
    )
    worker.hear(AttemptRecorded)
    return task_id


def leave_orphan(journal: Path) -> None:
    """Put a payload file there that no task names, as old as the sweep wants it."""
    orphan = journal / "blobs" / "00" / ("0" * 64)
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"left behind")
    os.utime(orphan, (0, 0))


def wait_for_upkeep(journal: Path) -> None:
    """Let the store come to what it does in idle moments; the last of it sets space aside."""
    ends = time.monotonic() + PATIENCE
    while not (journal / "ballast").exists() and time.monotonic() < ends:
        time.sleep(0.005)


def main() -> None:
    journal, ledger = Path(sys.argv[1]), Ledger(Path(sys.argv[2]))
    leave_orphan(journal)
    if os.environ.get(VARIABLE, "").startswith("prune"):
        upkeep.LOG_KEPT_SECONDS = 0.0  # else the log is kept, for who looks at it afterwards
    config = toy_config(journal, durability="full")
    # A task is forgotten as soon as its client has the result, its records with it.
    config = evolve(config, timers=evolve(config.timers, result_kept=0.0))
    with BrokerServer(config, toy_plugins()) as server:
        run(server, ledger)
        wait_for_upkeep(journal)
        server.stop(grace=0)
    ledger.close()


if __name__ == "__main__":
    main()
