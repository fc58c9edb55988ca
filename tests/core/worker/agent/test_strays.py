"""What models leave running is found by its environment, and nothing else is touched."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from paintmq.interpreter import HOST_VARIABLE
from paintmq.worker.agent.strays import kill_strays, new_mark, sweep_strays

_DEAD_NODE = f"{os.getpid()}:0.00:abc"
"""Of an earlier process that had our number."""


@contextmanager
def sleeper(mark: str | None) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process of a session of its own, as a daemon has."""
    environment = {**os.environ, **({HOST_VARIABLE: mark} if mark is not None else {})}
    command = [sys.executable, "-c", "print(flush=True); import time; time.sleep(600)"]
    with subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_what_a_host_has_started_is_killed_and_nothing_of_another_host() -> None:
    mark, other = new_mark(), new_mark()
    with sleeper(mark) as stray, sleeper(other) as neighbour, sleeper(None) as stranger:
        kill_strays(mark)

        assert stray.wait(30) == -signal.SIGKILL
        assert neighbour.poll() is None
        assert stranger.poll() is None


def test_what_a_dead_nodes_hosts_have_started_is_swept_even_if_it_is_stopped() -> None:
    with ExitStack() as stack:
        marks = (_DEAD_NODE, "nonsense", "99999999:")
        dead = [stack.enter_context(sleeper(mark)) for mark in marks]
        ours = stack.enter_context(sleeper(new_mark()))
        dead[0].send_signal(signal.SIGSTOP)
        with suppress(ChildProcessError):  # a node that starts beside this test sweeps too
            os.waitid(os.P_PID, dead[0].pid, os.WSTOPPED)

        sweep_strays()

        assert [process.wait(30) for process in dead] == [-signal.SIGKILL] * 3
        assert ours.poll() is None


def test_a_host_does_not_kill_the_process_that_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node may run inside a host's environment: that of a test, say."""
    monkeypatch.setenv(HOST_VARIABLE, _DEAD_NODE)

    sweep_strays()
    kill_strays(_DEAD_NODE)
