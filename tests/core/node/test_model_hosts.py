"""A node's real model hosts: what tasks do to them; against a broker played by hand."""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
from attrs import evolve
from tests.harness.scripted_broker import Job, ScriptedBroker, make_job
from tests.harness.trial_node import (
    is_alive,
    model_host,
    wait_until_handed_over,
)

from paintmq.image import payload_of_array
from paintmq.node.supervisor import NodeSupervisor
from paintmq.wire.codec import _CODECS
from paintmq.wire.messages import (
    AttemptCrashed,
    AttemptFailed,
    AttemptProgressed,
    AttemptReturned,
    AttemptSucceeded,
    Draining,
    ModelLoaded,
    ModelUnloaded,
    WorkerHello,
)
from paintmq.worker.machine.profile import WorkerTimers


def test_a_task_runs_and_pixels_outside_its_mask_stay_whatever_the_model_does(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    broker.hear(WorkerHello)
    job = make_job(7)
    broker.assign(job)
    broker.hear(ModelLoaded)

    succeeded, heard = broker.hear(AttemptSucceeded, job)

    broker.record(succeeded)
    (info,) = succeeded.outputs
    assert info.shape == (8, 8, 3)
    result = np.frombuffer(heard.payloads[0], np.uint8).reshape(info.shape)
    expected = np.full((8, 8, 3), 7, np.uint8)
    expected[2:5, 2:5] = 200
    assert (result == expected).all()


@pytest.mark.parametrize(
    ("do", "code", "retryable"),
    [
        ("raise", "model_error", False),
        ("raise-retryable", "flaky", True),
        ("sys-exit", "model_error", False),
        ("memory-error", "oom", True),
        ("nothing", "invalid_output", False),
    ],
)
def test_what_a_model_raises_fails_its_task_and_the_host_works_on(
    broker: ScriptedBroker,
    make_node: Callable[..., NodeSupervisor],
    do: str,
    code: str,
    retryable: bool,
) -> None:
    make_node()
    broker.hear(WorkerHello)
    bad, good = make_job(1, do=do), make_job(2)
    broker.assign(bad)
    broker.assign(good)

    failed, _ = broker.hear(AttemptFailed, bad)
    host = model_host()
    broker.hear(AttemptSucceeded, good)

    assert (failed.error.code, failed.error.retryable) == (code, retryable)
    assert "Traceback" in failed.error.traceback
    assert model_host() == host


def test_a_result_that_no_message_can_hold_fails_its_task_and_the_node_works_on(
    broker: ScriptedBroker,
    make_node: Callable[..., NodeSupervisor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_node()
    broker.hear(WorkerHello)
    large, good = make_job(1), make_job(2)
    monkeypatch.setattr("paintmq.worker.agent.readable_messages.MAX_PAYLOADS", 0)
    monkeypatch.setattr(_CODECS[AttemptSucceeded], "max_body_bytes", 10)
    broker.assign(large)

    failed, _ = broker.hear(AttemptFailed, large)
    monkeypatch.undo()
    broker.record(failed)
    broker.assign(good)

    assert failed.error.code == "too_large"
    broker.hear(AttemptSucceeded, good)


def test_one_bad_input_in_a_batch_does_not_fail_its_neighbours(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    broker.hear(WorkerHello)
    jobs = [make_job(1), make_job(2, do="raise"), make_job(3, do=7), make_job(4)]
    broker.assign(*jobs)

    broker.hear(AttemptSucceeded, jobs[0])
    raised, _ = broker.hear(AttemptFailed, jobs[1])
    refused, _ = broker.hear(AttemptFailed, jobs[2])
    broker.hear(AttemptSucceeded, jobs[3])

    assert raised.error.code == "model_error"
    assert refused.error.code == "invalid_option"


def test_a_crash_is_reported_at_once_with_its_signal_and_the_next_task_runs(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    broker.hear(WorkerHello)
    poison, innocent = make_job(1, do="crash"), make_job(2)
    broker.assign(poison)
    broker.assign(innocent)

    crashed, _ = broker.hear(AttemptCrashed, poison)
    broker.hear(AttemptSucceeded, innocent)

    how, *words = crashed.detail.splitlines()
    assert (crashed.alone, how) == (True, "was killed by SIGSEGV")
    assert words[0] == "Fatal Python error: Segmentation fault"
    assert any("trial_models.py" in word and "in _act" in word for word in words)


def test_a_crash_in_a_batch_is_not_reported_alone(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    broker.hear(WorkerHello)
    jobs = [make_job(1), make_job(2, do="exit")]
    broker.assign(*jobs)

    for job in jobs:
        crashed, _ = broker.hear(AttemptCrashed, job)
        assert (crashed.alone, crashed.detail) == (False, "exited with status 3")


def test_a_killed_host_is_replaced(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    broker.hear(WorkerHello)
    job = make_job(1, do="ignore")
    broker.assign(job)
    broker.hear(AttemptProgressed, job)
    os.kill(model_host(), signal.SIGKILL)

    crashed, _ = broker.hear(AttemptCrashed, job)
    broker.hear(ModelUnloaded)
    again = make_job(2)
    broker.assign(again)
    broker.hear(AttemptSucceeded, again)

    assert crashed.detail == "was killed by SIGKILL"


def test_what_a_host_was_given_and_never_began_is_run_by_the_next(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor], tmp_path: Path
) -> None:
    """A task that reaches a process already lost is not to blame for its death."""
    make_node()
    broker.hear(WorkerHello)
    first, innocent = make_job(1), make_job(2)
    broker.assign(first)
    broker.record(broker.hear(AttemptSucceeded, first)[0])
    host = model_host()
    os.kill(host, signal.SIGSTOP)  # so that it dies before it sees the task, however fast we are
    broker.assign(innocent)
    wait_until_handed_over(innocent, tmp_path)
    os.kill(host, signal.SIGKILL)

    broker.hear(AttemptSucceeded, innocent)

    with pytest.raises(TimeoutError):
        broker.hear(AttemptCrashed, patience=0.0)


@pytest.mark.slow
def test_a_stopped_host_is_noticed_and_replaced(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node(worker_timers=WorkerTimers(host_silence=3.0))
    broker.hear(WorkerHello)
    job, after = make_job(1, do="stop"), make_job(2)
    broker.assign(job)

    crashed, _ = broker.hear(AttemptCrashed, job)
    broker.assign(after)
    broker.hear(AttemptSucceeded, after)

    assert "without a sign of life" in crashed.detail


@pytest.mark.slow
def test_a_model_that_holds_the_interpreter_is_not_taken_for_dead(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node(worker_timers=WorkerTimers(host_silence=3.0))
    broker.hear(WorkerHello)
    job = make_job(1, do="hold-the-interpreter", seconds=5.0)
    broker.assign(job)

    broker.hear(AttemptSucceeded, job)


def test_a_cancelled_task_that_heeds_is_given_back_and_the_host_lives(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    broker.hear(WorkerHello)
    job = make_job(1, do="heed")
    broker.assign(job)
    progressed, heard = broker.hear(AttemptProgressed, job)
    assert progressed.preview[0].shape == (8, 8, 3)
    assert len(heard.payloads[0]) == 8 * 8 * 3
    host = model_host()
    broker.abandon(job, grace=30.0)

    returned, _ = broker.hear(AttemptReturned, job)

    assert returned.cancelled
    assert model_host() == host


def test_a_cancelled_task_that_does_not_heed_is_ended_with_its_host(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    broker.hear(WorkerHello)
    job, after = make_job(1, do="ignore"), make_job(2)
    broker.assign(job)
    broker.assign(after)
    broker.hear(AttemptProgressed, job)
    broker.abandon(job, grace=0.1)

    broker.hear(AttemptReturned, job)
    broker.hear(AttemptSucceeded, after)


def test_a_task_over_its_run_limit_is_reported_as_timed_out(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    broker.hear(WorkerHello)
    job = make_job(1, do="ignore", run_limit=0.3)
    broker.assign(job)

    crashed, _ = broker.hear(AttemptCrashed, job)

    assert crashed.timed_out
    assert crashed.detail == "was killed after 0.3 s run limit"


def test_a_broken_device_ends_the_host_after_the_answer(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    broker.hear(WorkerHello)
    jobs = [make_job(1, do="cuda-error"), make_job(2)]
    broker.assign(jobs[0])
    broker.assign(jobs[1])

    failed, _ = broker.hear(AttemptFailed, jobs[0])
    broker.hear(ModelUnloaded)
    broker.hear(AttemptSucceeded, jobs[1])

    assert (failed.error.code, failed.error.retryable) == ("device_error", True)


def test_a_model_that_cannot_be_loaded_fails_its_task_with_the_reason(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    make_node()
    broker.hear(WorkerHello)
    missing, crashing = make_job(1, "trial-unloadable"), make_job(2, "trial-load-crash")
    broker.assign(missing)
    broker.assign(crashing)

    failed, _ = broker.hear(AttemptFailed, missing)
    assert (failed.error.code, failed.error.message) == (
        "weights_missing",
        "weights trial.bin are missing",
    )
    failed, _ = broker.hear(AttemptFailed, crashing)
    assert (failed.error.code, failed.error.retryable) == ("load_failed", True)


def test_scratch_folders_and_what_models_start_are_gone_afterwards(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor], tmp_path: Path
) -> None:
    node = make_node()
    broker.hear(WorkerHello)
    scratch = make_job(1, do="scratch", note=str(tmp_path / "scratch-note"))
    child = make_job(2, do="child", note=str(tmp_path / "child-note"))
    broker.assign(scratch)
    broker.assign(child)
    broker.hear(AttemptSucceeded, scratch)
    broker.hear(AttemptSucceeded, child)
    assert not Path((tmp_path / "scratch-note").read_text()).exists()

    node.stop(grace=0.0)

    left_behind = int((tmp_path / "child-note").read_text())
    with suppress(psutil.NoSuchProcess):  # killed, but the system may still be clearing it away
        psutil.Process(left_behind).wait(timeout=20)
    assert not is_alive(left_behind)


def test_a_daemon_of_a_model_keeps_nothing_of_its_host_and_ends_with_it(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor], tmp_path: Path
) -> None:
    """Neither the socket to the agent, by which its death is seen, nor the crash journal."""
    node = make_node()
    broker.hear(WorkerHello)
    job = make_job(1, do="daemon", note=str(tmp_path / "note"))
    broker.assign(job)
    broker.hear(AttemptSucceeded, job)
    while not (tmp_path / "note").read_text():
        time.sleep(0.01)
    pid, *open_files = (tmp_path / "note").read_text().splitlines()
    assert is_alive(int(pid))

    node.stop(grace=0.0)

    assert not any("socket:" in name or ".running" in name for name in open_files)
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(pid)).wait(timeout=20)
    assert not is_alive(int(pid))


def test_a_host_that_cannot_be_started_is_the_workers_trouble_and_is_tried_again(
    broker: ScriptedBroker,
    make_node: Callable[..., NodeSupervisor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_node()
    broker.hear(WorkerHello)
    executable = sys.executable
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    job, after = make_job(1), make_job(2)
    broker.assign(job)
    told, _ = broker.hear(Draining)
    assert "it cannot be started: [Errno 2]" in told.reason
    broker.hear(AttemptReturned, job)

    monkeypatch.setattr(sys, "executable", executable)
    broker.hear(WorkerHello)  # again: it has noticed by itself
    broker.assign(after)
    broker.hear(AttemptSucceeded, after)
    assert "the model host cannot be started" in caplog.text


def test_hosts_that_keep_dying_are_reported_in_full_once_and_started_ever_more_slowly(
    broker: ScriptedBroker,
    make_node: Callable[..., NodeSupervisor],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = tmp_path / "python-broken"
    broken.write_text(
        "#!/bin/sh\necho libfirst.so >&2\necho libmissing.so: not found >&2\nexit 127"
    )
    broken.chmod(0o700)
    node = make_node()
    broker.hear(WorkerHello)
    monkeypatch.setattr(sys, "executable", str(broken))
    job = make_job(1)
    broker.assign(job)
    told = [broker.hear(Draining)[0].reason for _ in range(2)]
    broker.hear(AttemptReturned, job)
    assert told[1] == (
        "its model host does not start (tried 2 times in a row, again after 2 s): it exited with"
        " status 127: libmissing.so: not found\nlibfirst.so\nlibmissing.so: not found"
    )

    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    line = "testnode/cpu-0: the model host exited with status 127: libmissing.so: not found"
    assert said[:3] == [
        f"{line}; the next one is started in 1 s",
        "testnode/cpu-0: its last words were\n  libfirst.so\n  libmissing.so: not found",
        f"{line}; the next one is started in 2 s",
    ]
    node.stop(grace=0.0)
    assert node.handed_back == (), "that was before it was stopped"


def make_large_job(number: int, *, do: str = "paint") -> tuple[Job, bytes]:
    """Return a task, and the picture that should come of it."""
    image = np.random.default_rng(number).integers(0, 256, (1500, 1000, 3), dtype=np.uint8)
    mask = np.zeros((1500, 1000), np.uint8)
    mask[700, 500] = 255
    sent = [payload_of_array("image", image), payload_of_array("mask", mask)]
    job = evolve(
        make_job(number, do=do),
        inputs=tuple(info for info, _ in sent),
        payloads=tuple(data for _, data in sent),
    )
    expected = image.copy()
    expected[700, 500] = 200
    return job, expected.tobytes()


@pytest.mark.parametrize("shared", [True, False])
def test_a_large_picture_goes_through_whole(
    broker: ScriptedBroker,
    make_node: Callable[..., NodeSupervisor],
    monkeypatch: pytest.MonkeyPatch,
    shared: bool,
) -> None:
    """Through memory that agent and host share, and where there is none over their socket."""
    if not shared:
        monkeypatch.delattr(os, "memfd_create")
    make_node()
    broker.hear(WorkerHello)
    for number in (1, 2):
        job, expected = make_large_job(number)
        broker.assign(job)
        succeeded, heard = broker.hear(AttemptSucceeded, job)
        assert bytes(heard.payloads[0]) == expected
        broker.record(succeeded)

    arenas = [path for path in open_files() if path.startswith("/memfd:paintmq-to-")]
    assert bool(arenas) == shared


def open_files() -> list[str]:
    return [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]


def test_the_memory_shared_with_a_killed_host_goes_with_it(
    broker: ScriptedBroker, make_node: Callable[..., NodeSupervisor]
) -> None:
    """I16: what is under way in it is run by the next host, which has an arena of its own."""
    make_node()
    broker.hear(WorkerHello)
    for number in (1, 2, 3):
        job, _ = make_large_job(number, do="ignore")
        broker.assign(job)
        broker.hear(AttemptProgressed, job)
        os.kill(model_host(), signal.SIGKILL)
        broker.hear(AttemptCrashed, job)
        broker.hear(ModelUnloaded)
    job, expected = make_large_job(4)
    broker.assign(job)
    _, heard = broker.hear(AttemptSucceeded, job)

    assert bytes(heard.payloads[0]) == expected
    arenas = [path for path in open_files() if path.startswith("/memfd:paintmq-to-")]
    assert len(arenas) <= 4  # of one host: a file and a mapping for either way, and what is in use
