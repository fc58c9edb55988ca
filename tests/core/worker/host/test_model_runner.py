"""ModelRunner in this process: what it answers for each attempt."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from tests.harness.worker_bench import key_of

from paintmq.config import Limits
from paintmq.image import payload_of_array
from paintmq.model import Device, InputSpec, Model, ModelSpec, Outputs, Request, RunContext
from paintmq.task import Buffer
from paintmq.weights import WeightFolder
from paintmq.worker.channel.batch_mark import BatchMark, marked_batch
from paintmq.worker.channel.messages import (
    AttemptsEnded,
    BatchBegun,
    BatchSplit,
    FromHost,
    HostLoaded,
    HostLoadFailed,
    HostUnloaded,
    MarkPlace,
    Run,
    RunItem,
)
from paintmq.worker.host.model_runner import HostSetup, ModelRunner
from paintmq.worker.host.run_context import CancelFlags, HostRunContext

SPEC = ModelSpec(
    name="alpha",
    implementation=f"{__name__}:Picky",
    task_types=("plugin",),
    inputs=(InputSpec(name="image"),),
    max_batch=8,
)


class Picky(Model):
    """Fails for batches with a black picture; is cancelled by a white one."""

    def load(self, device: Device) -> None:
        self.calls: list[int] = []

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        means = [request.inputs["image"].mean() for request in batch]
        if 0 in means:
            raise ValueError("black")
        if 1 in means:
            raise MemoryError("too many")
        if 2 in means:
            raise RuntimeError("CUDA error: sticky")
        if 3 in means:
            return []
        context.raise_if_cancelled()
        return [{"image": 255 - request.inputs["image"]} for request in batch]

    def unload(self) -> None:
        raise ValueError("unload() must not matter")


class NoModel:
    def __init__(self, *arguments: object) -> None:
        pass


class Recorder:
    """Collects what a runner sends."""

    def __init__(self) -> None:
        self.messages: list[FromHost] = []
        self.payloads: list[bytes] = []

    def __call__(self, message: FromHost, payloads: Sequence[Buffer]) -> None:
        self.messages.append(message)
        self.payloads += [bytes(payload) for payload in payloads]

    def endings(self) -> list[tuple[int, str]]:
        return [
            (int(outcome.task_id, 16), outcome.error.code if outcome.error else outcome.ending)
            for message in self.messages
            if isinstance(message, AttemptsEnded)
            for outcome in message.outcomes
        ]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this_module())
    return Recorder()


def _this_module() -> Any:
    """Return a module with this test's classes: pytest does not register the test itself."""
    import types

    module = types.ModuleType(__name__)
    vars(module).update(Picky=Picky, NoModel=NoModel)
    return module


def make_runner(sent: Recorder, tmp_path: Path, **changes: Any) -> ModelRunner:
    spec = evolve(SPEC, **changes)
    setup = HostSetup(
        specs={spec.name: spec},
        device=Device(kind="cpu"),
        weights=WeightFolder(),
        limits=Limits(),
        scratch=tmp_path,
    )
    return ModelRunner(setup, sent)


def run(runner: ModelRunner, *values: int) -> None:
    """Run a batch of pictures of these grey values, numbered from 1."""
    items, payloads = [], []
    for number, value in enumerate(values, start=1):
        info, data = payload_of_array("image", np.full((2, 2, 3), value, np.uint8))
        task_id, fence = key_of(number)
        item = RunItem(task_id=task_id, fence=fence, task_type="plugin", options={}, inputs=(info,))
        items.append(item)
        payloads.append(data)
    runner.run(Run(batch=1, model="alpha", items=tuple(items)), payloads)


def test_a_batch_is_answered_in_order_with_its_own_outputs(sent: Recorder, tmp_path: Path) -> None:
    runner = make_runner(sent, tmp_path)
    runner.load("alpha")
    run(runner, 10, 20, 30)

    assert isinstance(sent.messages[0], HostLoaded)
    assert sent.endings() == [(1, "succeeded"), (2, "succeeded"), (3, "succeeded")]
    assert [payload[0] for payload in sent.payloads] == [245, 235, 225]


def test_a_batch_that_cannot_be_marked_is_announced_before_it_is_touched(
    sent: Recorder, tmp_path: Path
) -> None:
    (tmp_path / "mark").touch()
    runner = make_runner(sent, tmp_path)
    runner.load("alpha")
    run(runner, 10)
    runner._mark = BatchMark.at(MarkPlace(str(tmp_path / "mark"), "run"))
    run(runner, 10)
    runner._mark = BatchMark.at(MarkPlace("/dev/full", "run"))
    run(runner, 10)

    begun = [type(each) is BatchBegun for each in sent.messages[1:]]
    assert begun == [True, False, False, True, False]


def test_a_batch_is_marked_then_touched_and_not_marked_once_it_is_over(
    sent: Recorder, tmp_path: Path
) -> None:
    """What dies with the host in between, and nothing else, is found by its successor."""
    file = tmp_path / "mark"
    file.touch()
    runner = make_runner(sent, tmp_path)
    runner._mark = BatchMark.at(MarkPlace(str(file), "run"))
    marked: list[tuple[type, int]] = []

    def send(message: FromHost, payloads: Sequence[Buffer]) -> None:
        marked.append((type(message), marked_batch(file.read_bytes(), "run")))

    runner._send = send
    runner.load("alpha")
    run(runner, 10, 0)

    assert marked == [
        (HostLoaded, 0),
        (BatchSplit, 1),
        (AttemptsEnded, 1),
        (AttemptsEnded, 0),
    ]


def test_a_failing_batch_is_split_so_that_neighbours_succeed(
    sent: Recorder, tmp_path: Path
) -> None:
    runner = make_runner(sent, tmp_path)
    runner.load("alpha")
    run(runner, 10, 0, 30)

    assert BatchSplit(1) in sent.messages
    assert sent.endings() == [(1, "succeeded"), (2, "model_error"), (3, "succeeded")]


def test_a_batch_too_large_for_memory_is_tried_one_by_one(sent: Recorder, tmp_path: Path) -> None:
    runner = make_runner(sent, tmp_path)
    runner.load("alpha")
    run(runner, 10, 1)

    assert sent.endings() == [(1, "succeeded"), (2, "oom")]


def test_after_a_sticky_device_error_nothing_more_is_tried(sent: Recorder, tmp_path: Path) -> None:
    runner = make_runner(sent, tmp_path)
    runner.load("alpha")
    run(runner, 2, 10)

    assert sent.endings() == [(1, "device_error"), (2, "device_error")]
    assert "CUDA error" in runner.broken


def test_a_device_that_breaks_amid_single_runs_fails_the_rest(
    sent: Recorder, tmp_path: Path
) -> None:
    runner = make_runner(sent, tmp_path)
    runner.load("alpha")
    run(runner, 0, 2, 10)

    assert sent.endings() == [(1, "model_error"), (2, "device_error"), (3, "device_error")]


def test_a_wrong_number_of_results_is_the_models_fault(sent: Recorder, tmp_path: Path) -> None:
    runner = make_runner(sent, tmp_path)
    runner.load("alpha")
    run(runner, 3)

    assert sent.endings() == [(1, "model_error")]


def test_what_was_cancelled_before_it_began_is_not_run(sent: Recorder, tmp_path: Path) -> None:
    runner = make_runner(sent, tmp_path)
    runner.load("alpha")
    runner.flags.set(key_of(2))
    run(runner, 10, 20)

    assert sent.endings() == [(2, "cancelled"), (1, "succeeded")]
    assert not runner.flags.is_set(key_of(2))


def test_what_is_cancelled_amid_single_runs_is_not_run(
    sent: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = make_runner(sent, tmp_path)
    runner.load("alpha")
    original = sent.__call__

    def cancel_at_split(message: FromHost, payloads: Sequence[Buffer]) -> None:
        if isinstance(message, BatchSplit):
            runner.flags.set(key_of(2))
        original(message, payloads)

    runner._send = cancel_at_split
    run(runner, 0, 20)

    assert sent.endings() == [(1, "model_error"), (2, "cancelled")]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"implementation": "no_such_module:Model"}, "model_unavailable"),
        ({"implementation": f"{__name__}:NoModel"}, "model_error"),
        ({"implementation": f"{__name__}:Nothing"}, "model_unavailable"),
    ],
)
def test_a_model_that_cannot_be_made_is_reported(
    sent: Recorder, tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    make_runner(sent, tmp_path, **changes, extra="paintmq[x]").load("alpha")

    (failed,) = sent.messages
    assert isinstance(failed, HostLoadFailed)
    assert failed.error.code == code


def test_a_model_nobody_knows_is_reported(sent: Recorder, tmp_path: Path) -> None:
    make_runner(sent, tmp_path).load("omega")

    (failed,) = sent.messages
    assert isinstance(failed, HostLoadFailed)
    assert failed.error.code == "model_unavailable"


def test_unloading_always_succeeds(sent: Recorder, tmp_path: Path) -> None:
    runner = make_runner(sent, tmp_path)
    runner.load("alpha")
    runner.unload_all()
    runner.unload("alpha")

    assert sent.messages[1:] == [HostUnloaded("alpha"), HostUnloaded("alpha")]


# ---- the context -----------------------------------------------------------------------------


def make_context(
    tmp_path: Path, flags: CancelFlags
) -> tuple[HostRunContext, list[tuple[Any, ...]]]:
    reports: list[tuple[Any, ...]] = []

    def report(*report: Any) -> None:
        reports.append(report)

    keys = [key_of(1), key_of(2)]
    return HostRunContext(keys, flags, report, tmp_path, logging.getLogger("test")), reports


def test_progress_is_thinned_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("paintmq.worker.host.run_context.time.monotonic", lambda: now[0])
    context, reports = make_context(tmp_path, CancelFlags())
    preview = np.zeros((1, 1, 3), np.uint8)
    for step in range(1, 201):
        now[0] += 0.01
        context.progress(step, 200, preview)

    assert 15 <= len(reports) <= 20
    assert 3 <= sum(report[2] is not None for report in reports) <= 4


def test_a_cancel_of_some_is_told_apart_from_a_cancel_of_all(tmp_path: Path) -> None:
    from paintmq.errors import Cancelled

    flags = CancelFlags()
    context, _ = make_context(tmp_path, flags)
    flags.set(key_of(2))
    context.raise_if_cancelled()
    assert (context.is_cancelled(0), context.is_cancelled(1)) == (False, True)
    flags.set(key_of(1))

    with pytest.raises(Cancelled):
        context.raise_if_cancelled()


def test_the_scratch_folder_is_made_when_asked_for_and_removed(tmp_path: Path) -> None:
    context, _ = make_context(tmp_path, CancelFlags())
    with context:
        assert list(tmp_path.iterdir()) == []
        (context.scratch / "file").write_text("x")
        assert context.scratch == context.scratch

    assert list(tmp_path.iterdir()) == []
