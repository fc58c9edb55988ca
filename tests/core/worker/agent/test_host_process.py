import os
import re
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from paintmq.process.cgroups import oom_kills
from paintmq.worker.agent import host_process
from paintmq.worker.agent.host_process import HostProcess, sweep_scratch
from paintmq.worker.channel.messages import Configure, HostMessage, HostReady, Shutdown
from paintmq.worker.host.serve import OOM_SCORE


@pytest.fixture
def host() -> Iterator[HostProcess]:
    host = HostProcess.start("test/cpu-0", environment={"COLOUR": "red"}, max_payload_bytes=100)
    yield host
    host.close()
    assert not Path(host.scratch).exists()
    assert host.exit_description() is not None


def hear(host: HostProcess) -> list[HostMessage]:
    """Wait until the host says something other than that it lives."""
    while not host.at_end:
        select.select([host.socket], [], [], 30)
        messages = [delivery.message for delivery in host.read()]
        if HostReady() in messages:
            return messages
    return []


def configure(host: HostProcess) -> None:
    host.send(
        Configure(
            worker="test/cpu-0",
            device="cpu",
            scratch=host.scratch,
            plugins={"disable": (), "allow": (), "settings": {}},
        )
    )


def test_a_host_starts_and_leaves_when_it_is_told_to(host: HostProcess) -> None:
    configure(host)
    assert HostReady() in hear(host)
    assert host.exit_description() is None
    assert not host.is_stopped()
    host.send(Shutdown())
    hear(host)

    assert host.exit_description() == "exited with status 0"


def test_a_host_is_killed_for_memory_before_its_node_and_leaves_no_core(host: HostProcess) -> None:
    select.select([host.socket], [], [], 30)  # it beats once it has set itself up
    process = Path(f"/proc/{host.process.pid}")

    assert (process / "oom_score_adj").read_text().strip() == str(OOM_SCORE)
    assert re.search(r"Max core file size +0 +0 ", (process / "limits").read_text())


def test_a_host_gets_the_variables_of_its_device(host: HostProcess) -> None:
    # It has spoken, so it is past the exec that gives it its own variables.
    select.select([host.socket], [], [], 30)
    environment = Path(f"/proc/{host.process.pid}/environ").read_bytes()

    assert b"COLOUR=red" in environment.split(b"\0")


def test_a_killed_host_is_described_by_its_signal(host: HostProcess) -> None:
    host.process.send_signal(signal.SIGTERM)
    host.process.wait()

    assert host.exit_description() == "was killed by SIGTERM"


def test_a_host_killed_for_memory_is_told_apart(
    host: HostProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.kill()
    host.process.wait()
    assert host.exit_description() == "was killed by SIGKILL"

    before = oom_kills()
    monkeypatch.setattr(host_process, "oom_kills", lambda: before + 1)

    assert host.exit_description() == "was killed by SIGKILL for using too much memory"


def test_a_host_that_closes_its_socket_and_stays_is_made_to_leave(host: HostProcess) -> None:
    os.kill(host.process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, host.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert host.is_stopped()
    host.at_end = True

    assert host.exit_description() == "was killed by SIGKILL"


def test_sending_to_a_host_that_is_gone_is_harmless(host: HostProcess) -> None:
    host.kill()
    host.process.wait()
    hear(host)

    host.send(Shutdown())

    assert not host.wants_to_write


def test_of_what_a_host_prints_little_is_kept_and_the_end_of_it_whatever_it_is() -> None:
    host = HostProcess.start("test/cpu-0", environment={}, max_payload_bytes=100)
    select.select([host.socket], [], [], 30)  # it has set itself up, and may print
    with Path(f"/proc/{host.process.pid}/fd/2").open("wb", buffering=0) as printed:
        for _ in range(100):
            printed.write(3000 * b"x")
            host.read_stderr()
        assert [len(each.begun) for each in host._output._partial.values()] == [2000]
        printed.write(b"\none\n\n" + 2000 * b"\r 7%|=>  |" + b"\r 8%|=>  |\r\n")
        host.read_stderr()
        assert host.last_lines[1:] == ("one", " 8%|=>  |"), "and nothing of what was overwritten"
        printed.write(b"\rpart\rno end \xff of a line")

    host.close()

    assert host.last_lines[-1] == "no end \ufffd of a line"


def test_a_host_that_prints_nothing_more_is_told_from_one_that_pauses(host: HostProcess) -> None:
    select.select([host.socket], [], [], 30)
    assert not host.read_stderr()
    assert not host.stderr_closed

    host.kill()
    host.process.wait()
    while host.read_stderr():
        pass

    assert host.stderr_closed


def test_scratch_folders_of_killed_nodes_are_swept_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ours = tmp_path / f"paintmq-host-{os.getpid()}-x"
    dead = tmp_path / f"paintmq-host-{2**22 + 1}-x"
    other = tmp_path / "paintmq-host-name-x"
    for folder in (ours, dead, other):
        folder.mkdir()

    sweep_scratch()

    assert sorted(tmp_path.iterdir()) == sorted([ours, other])
