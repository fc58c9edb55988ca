"""Pictures in shared memory between real processes, and what those may do to each other."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.harness.trial_installation import AMPLE, TrialInstallation, wait_for

from paintmq import Client, Task
from paintmq.errors import TaskFailedError
from paintmq.shared_memory.client_arena import ClientArena
from paintmq.shared_memory.ranges import Place, place_of
from paintmq.shared_memory.reference import PAGE

pytestmark = pytest.mark.slow

Install = Callable[..., TrialInstallation]
SIDE = 300

KILLED = """\
import os, signal, sys
import numpy as np
from paintmq import Client, Task
client = Client(sys.argv[1])
client.connect()
pictures = {"image": np.zeros((300, 300, 3), np.uint8), "mask": np.full((300, 300), 255, np.uint8)}
handles = [client.submit(Task("inpaint", {"model": "trial"}, pictures)) for _ in range(20)]
print(handles[-1].accepted(30), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def task(**options: Any) -> Task:
    picture = np.full((SIDE, SIDE, 3), 7, np.uint8)
    inputs = {"image": picture, "mask": np.full((SIDE, SIDE), 255, np.uint8)}
    return Task("inpaint", {"model": "trial", **options}, inputs)


def place_under(array: "NDArray[Any]") -> Place | None:
    """Return the place in an arena that an array lies in; None if it is in none."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return place_of(base)


def arena_of(client: Client) -> ClientArena:
    """Return a client's arena, once its broker has told it of one."""
    client.connect()
    found: list[ClientArena] = []

    def is_told() -> bool:
        arena = client._get_session()._loop.arena()
        if arena is not None and arena._inputs is not None:
            found.append(arena)
        return bool(found)

    wait_for(is_told)
    return found[0]


def succeeded(installation: TrialInstallation) -> int:
    return sum(each.succeeded for each in installation.client.statistics().queues.values())


def test_a_result_lies_where_the_model_host_has_put_it(install: Install) -> None:
    installation = install()
    installation.start_node("one")
    arena_of(installation.client)

    results = [installation.client.submit(task()).result(AMPLE) for _ in range(3)]

    assert all((result.image == 200).all() for result in results)
    assert place_under(results[-1].image) is not None


def test_a_client_that_writes_after_submitting_spoils_its_own_task_alone(
    install: Install, tmp_path: Path
) -> None:
    installation = install()
    installation.start_node("one")
    hostile, note = installation.client, tmp_path / "begun"
    with Client(installation.broker.client_endpoint) as honest:
        arena, other = arena_of(hostile), arena_of(honest)
        assert arena._inputs is not None
        assert other._inputs is not None
        assert arena._inputs.file.arena != other._inputs.file.arena
        spoilt = hostile.submit(task(do="heed", seconds=2.0, note=str(note)))
        fine = honest.submit(task())
        wait_for(note.exists)
        arena._inputs.file.whole()[PAGE : 2 * PAGE] = bytes(PAGE)

        with pytest.raises(TaskFailedError, match="written to anew"):
            spoilt.result(AMPLE)
        assert (fine.result(AMPLE).image == 200).all()
    assert (hostile.submit(task()).result(AMPLE).image == 200).all()


def test_a_client_that_is_killed_leaves_no_file_and_its_tasks_end(install: Install) -> None:
    installation = install()
    shared = set(Path("/dev/shm").iterdir())

    killed = subprocess.run(
        [sys.executable, "-c", KILLED, installation.broker.client_endpoint],
        capture_output=True,
        text=True,
        check=False,
    )
    installation.start_node("one")
    wait_for(lambda: succeeded(installation) == 20)

    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, "")
    assert (installation.client.submit(task()).result(AMPLE).image == 200).all()
    assert set(Path("/dev/shm").iterdir()) <= shared
