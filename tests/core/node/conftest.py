"""A broker played by hand, and nodes that leave nothing behind."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.harness.scripted_broker import ScriptedBroker
from tests.harness.trial_models import write_trial_distribution
from tests.harness.trial_node import child_processes, make_trial_node
from zmq.utils.garbage import GarbageCollectorThread

from paintmq.node.supervisor import NodeSupervisor
from paintmq.worker.agent.known_broker import KnownBroker
from paintmq.worker.machine.profile import WorkerTimers


@pytest.fixture
def broker() -> Iterator[ScriptedBroker]:
    with ScriptedBroker() as broker:
        yield broker


@pytest.fixture
def make_node(
    broker: ScriptedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., NodeSupervisor]]:
    """Make nodes that are stopped in the end, and check that nothing of them is left."""
    threads, children = own_threads(), child_processes()
    monkeypatch.syspath_prepend(str(write_trial_distribution(tmp_path / "site")))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    nodes: list[NodeSupervisor] = []

    def make(
        *,
        worker_timers: WorkerTimers | None = None,
        known: KnownBroker | None = None,
        **workers: object,
    ) -> NodeSupervisor:
        node = make_trial_node(broker, worker_timers=worker_timers, known=known, **workers)
        nodes.append(node)
        node.start()
        return node

    yield make

    for node in nodes:
        node.stop(grace=0.0)
    assert own_threads() == threads
    assert child_processes() == children
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not (tmp_path / "paintmq").exists()


def own_threads() -> set[threading.Thread]:
    """Return all threads but the one pyzmq keeps for buffers it sends without copying."""
    return {each for each in threading.enumerate() if not isinstance(each, GarbageCollectorThread)}
