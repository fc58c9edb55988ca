"""Whatever a model raises, returns or reports, each attempt ends in a message that can be read."""

import logging
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from tests.harness.odd_values import EXCEPTIONS, VALUES, Hostile, raising
from tests.harness.worker_bench import key_of

from paintmq.config import Limits
from paintmq.errors import InvalidInputError, ModelError
from paintmq.image import payload_of_array
from paintmq.model import Device, InputSpec, Model, ModelSpec, Outputs, Request, RunContext
from paintmq.task import Buffer
from paintmq.units import MIB
from paintmq.weights import WeightFolder
from paintmq.wire.codec import decode, encode
from paintmq.wire.messages import AttemptFailed
from paintmq.worker.channel.framing import FrameReader
from paintmq.worker.channel.framing import encode as frame
from paintmq.worker.channel.messages import (
    AttemptsEnded,
    BatchProgressed,
    BatchSplit,
    FromHost,
    HostLoaded,
    HostLoadFailed,
    HostUnloaded,
    Outcome,
    Run,
    RunItem,
)
from paintmq.worker.host.model_runner import HostSetup, ModelRunner
from paintmq.worker.host.run_context import MAX_PREVIEW

SPEC = ModelSpec(
    name="odd",
    implementation="tests.core.worker.host.test_odd_models:Odd",
    task_types=("plugin",),
    inputs=(InputSpec(name="image"),),
    max_batch=8,
)


class Odd(Model):
    """Does what a test tells it to; otherwise it returns its input."""

    on_load: Callable[..., Any] = staticmethod(lambda: None)
    on_run: Callable[..., Any] = staticmethod(
        lambda batch, context: [{"image": each.inputs["image"]} for each in batch]
    )
    memory: Any = 5

    def load(self, device: Device) -> None:
        self.on_load()

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        outputs: Sequence[Outputs] = self.on_run(batch, context)
        return outputs

    def unload(self) -> None:
        self.on_load()

    def resident_mb(self) -> int:
        memory: int = self.memory
        return memory


class Agent:
    """Reads what a host says by the bytes, as the agent at the other end does."""

    def __init__(self) -> None:
        self.messages: list[FromHost] = []
        self.payloads: list[bytes] = []
        self._reader = FrameReader(300 * MIB)

    def __call__(self, message: FromHost, payloads: Sequence[Buffer]) -> None:
        for piece in frame(message, payloads):
            while piece.nbytes:
                space = self._reader.space()
                count = min(space.nbytes, piece.nbytes)
                space[:count] = piece[:count]
                piece = piece[count:]
                for delivery in self._reader.received(count):
                    self.messages.append(delivery.message)
                    self.payloads += [bytes(payload) for payload in delivery.payloads]

    def outcomes(self) -> list[Outcome]:
        ended = [each for each in self.messages if isinstance(each, AttemptsEnded)]
        return [outcome for message in ended for outcome in message.outcomes]


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> type[Odd]:
    kind = type("Odd", (Odd,), {})
    monkeypatch.setattr("paintmq.worker.host.model_runner._class_of", lambda spec: kind)
    return kind


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def runner(agent: Agent, tmp_path: Path) -> ModelRunner:
    setup = HostSetup(
        specs={"odd": SPEC},
        device=Device(kind="cpu"),
        weights=WeightFolder(),
        limits=Limits(),
        scratch=tmp_path,
    )
    return ModelRunner(setup, agent)


def run(runner: ModelRunner, *values: int) -> None:
    """Run a batch of pictures of these grey values, numbered from 1."""
    items, payloads = [], []
    for number, value in enumerate(values, start=1):
        info, data = payload_of_array("image", np.full((2, 2, 3), value, np.uint8))
        task_id, fence = key_of(number)
        item = RunItem(task_id=task_id, fence=fence, task_type="plugin", options={}, inputs=(info,))
        items.append(item)
        payloads.append(data)
    runner.run(Run(batch=1, model="odd", items=tuple(items)), payloads)


def failure(agent: Agent) -> AttemptFailed:
    """Return how the only attempt failed, as the broker reads it."""
    (outcome,) = agent.outcomes()
    assert outcome.ending == "failed"
    assert outcome.error is not None
    failed = AttemptFailed(task_id=outcome.task_id, fence=outcome.fence, error=outcome.error)
    assert decode(encode(failed)) == failed
    assert failed.error.message
    return failed


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_whatever_run_raises_the_attempt_ends_and_the_next_one_runs(
    odd: type[Odd], agent: Agent, runner: ModelRunner, name: str
) -> None:
    runner.load("odd")
    fine, odd.on_run = odd.on_run, staticmethod(raising(EXCEPTIONS[name]))
    run(runner, 7)
    assert failure(agent).error.code in ("model_error", "oom", "invalid_task")
    agent.messages.clear()

    odd.on_run = staticmethod(fine)
    run(runner, 7)

    assert [outcome.ending for outcome in agent.outcomes()] == ["succeeded"]


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_whatever_loading_and_unloading_raise_is_reported(
    odd: type[Odd], agent: Agent, runner: ModelRunner, name: str
) -> None:
    runner.load("odd")
    odd.on_load = staticmethod(raising(EXCEPTIONS[name]))
    runner.unload("odd")
    runner.load("odd")

    loaded, unloaded, failed = agent.messages
    assert isinstance(loaded, HostLoaded)
    assert unloaded == HostUnloaded("odd")
    assert isinstance(failed, HostLoadFailed)
    assert failed.error.message.encode("utf-8")


@pytest.mark.parametrize("name", VALUES)
def test_memory_that_is_no_number_fails_the_load(
    odd: type[Odd], agent: Agent, runner: ModelRunner, name: str
) -> None:
    odd.memory = VALUES[name]
    runner.load("odd")

    (failed,) = agent.messages
    assert isinstance(failed, HostLoadFailed)


@pytest.mark.parametrize("name", VALUES)
def test_whatever_run_returns_the_attempt_ends(
    odd: type[Odd], agent: Agent, runner: ModelRunner, name: str
) -> None:
    runner.load("odd")
    value = VALUES[name]
    fine = {"an output of it": name == "bytes", "an output of its name": True}
    for how, returned in {
        "it": value,
        "a list of it": [value],
        "an output of it": [{"image": value}],
        "an output of its name": [{name: b""}],
    }.items():
        agent.messages.clear()
        odd.on_run = staticmethod(lambda batch, context, returned=returned: returned)
        run(runner, 7)

        (outcome,) = agent.outcomes()
        assert (outcome.ending == "succeeded") == fine.get(how, False), how
        if outcome.error is not None:
            failure(agent)


CODES = {
    "out_of_ink": "out_of_ink",
    "long": "c" * 100_000,
    "two words": "two words",
    **VALUES,
}


@pytest.mark.parametrize("name", CODES)
def test_codes_of_a_model_are_short_names(
    odd: type[Odd], agent: Agent, runner: ModelRunner, name: str
) -> None:
    code = CODES[name]
    told = {"out_of_ink": "out_of_ink", "digits": "64", "odd text": "seven"}.get(name)
    error = ModelError("no ink", code=code, retryable=Hostile())
    odd.on_run = staticmethod(raising(error))
    runner.load("odd")
    run(runner, 7)

    assert failure(agent).error.code == (told or "model_error")
    assert not failure(agent).error.retryable


def test_long_and_odd_texts_of_errors_are_cut_and_made_readable(
    odd: type[Odd], agent: Agent, runner: ModelRunner
) -> None:
    odd.on_run = staticmethod(raising(InvalidInputError("\ud800" * 100_000)))
    runner.load("odd")
    run(runner, 7)

    error = failure(agent).error
    assert error.code == "invalid_input"
    assert error.message.startswith("\\ud800\\ud800")
    assert len(error.message) < 20_000


STEPS = {**VALUES, "large": 10**30, "of numpy": np.int64(3), "a fraction": 2.5}


@pytest.mark.parametrize("name", STEPS)
def test_steps_that_are_no_numbers_count_as_unknown_and_the_attempt_goes_on(
    odd: type[Odd],
    agent: Agent,
    runner: ModelRunner,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    value = STEPS[name]
    monkeypatch.setattr("paintmq.worker.host.run_context.PROGRESS_INTERVAL", 0.0)

    def report(batch: Sequence[Request], context: RunContext) -> Any:
        context.progress(value, value)
        context.progress(1, value, value)
        return [{"image": batch[0].inputs["image"]}]

    odd.on_run = staticmethod(report)
    runner.load("odd")
    with caplog.at_level(logging.WARNING):
        run(runner, 7)

    first, second = [each for each in agent.messages if isinstance(each, BatchProgressed)]
    assert first.step == first.total == second.total
    assert (second.step, second.preview) == (1, ())
    assert first.step == (3 if name in ("of numpy", "a fraction") else 0)
    assert len(caplog.records) == 1, "the model's author is told once"
    assert [outcome.ending for outcome in agent.outcomes()] == ["succeeded"]


@pytest.mark.parametrize(
    ("preview", "is_sent"),
    [
        (np.zeros((2, 2, 3), np.uint8), True),
        (np.zeros((2, 2), np.uint8), True),
        (np.zeros((4, 4, 3), np.uint8)[::2, ::-1], True),
        (np.zeros((2, 2, 3), np.float32), False),
        (np.zeros((0, 2, 3), np.uint8), False),
        (np.zeros(7, np.uint8), False),
        (np.broadcast_to(np.uint8(1), (MAX_PREVIEW, 2)), False),
    ],
    ids=range(7),
)
def test_only_previews_that_are_small_pictures_are_sent(
    odd: type[Odd],
    agent: Agent,
    runner: ModelRunner,
    monkeypatch: pytest.MonkeyPatch,
    preview: Any,
    is_sent: bool,
) -> None:
    monkeypatch.setattr("paintmq.worker.host.run_context.PROGRESS_INTERVAL", 0.0)

    def report(batch: Sequence[Request], context: RunContext) -> Any:
        context.progress(1, 2, preview)
        return [{"image": batch[0].inputs["image"]}]

    odd.on_run = staticmethod(report)
    runner.load("odd")
    run(runner, 7)

    (progressed,) = [each for each in agent.messages if isinstance(each, BatchProgressed)]
    assert bool(progressed.preview) == is_sent


def test_a_model_with_one_buffer_for_all_sends_each_task_its_own_picture(
    odd: type[Odd], agent: Agent, runner: ModelRunner
) -> None:
    """I22: the batch is run again one by one, and each result is sent before the next is made."""
    buffer = np.zeros((2, 2, 3), np.uint8)

    def paint(batch: Sequence[Request], context: RunContext) -> Any:
        outputs = []
        for each in batch:
            buffer[...] = each.inputs["image"] + 1
            outputs.append({"image": buffer})
        return outputs

    odd.on_run = staticmethod(paint)
    runner.load("odd")
    run(runner, 10, 20, 30)

    assert [outcome.ending for outcome in agent.outcomes()] == ["succeeded"] * 3
    assert [set(payload) for payload in agent.payloads] == [{11}, {21}, {31}]
    assert BatchSplit(1) in agent.messages


def test_results_that_are_parts_of_one_array_are_sent_as_one_batch(
    odd: type[Odd], agent: Agent, runner: ModelRunner
) -> None:
    def paint(batch: Sequence[Request], context: RunContext) -> Any:
        stacked = np.stack([each.inputs["image"] for each in batch])
        return ({"image": image} for image in 255 - stacked)

    odd.on_run = staticmethod(paint)
    runner.load("odd")
    run(runner, 10, 20, 30)

    assert [set(payload) for payload in agent.payloads] == [{245}, {235}, {225}]
    assert BatchSplit(1) not in agent.messages


def test_the_ends_of_a_large_batch_come_in_messages_that_can_be_read(
    odd: type[Odd], agent: Agent, runner: ModelRunner
) -> None:
    """Each fails with a long traceback, or has many outputs with long names."""
    kinds = cycle([None, {f"{n:03}{'ü' * 97}": b"x" for n in range(150)}])
    odd.on_run = staticmethod(lambda batch, context: [next(kinds) for _ in batch])
    runner.load("odd")
    run(runner, *[7] * 600)

    endings = [outcome.ending for outcome in agent.outcomes()]
    assert endings == ["failed", "succeeded"] * 300
    assert [int(outcome.task_id, 16) for outcome in agent.outcomes()] == list(range(1, 601))
    assert len(agent.payloads) == 300 * 150


def test_a_spec_whose_model_is_not_there_says_what_is(agent: Agent, tmp_path: Path) -> None:
    spec = evolve(SPEC, implementation="tests.core.worker.host.test_odd_models:Od")
    setup = HostSetup(
        specs={"odd": spec},
        device=Device(kind="cpu"),
        weights=WeightFolder(),
        limits=Limits(),
        scratch=tmp_path,
    )
    ModelRunner(setup, agent).load("odd")

    (failed,) = agent.messages
    assert isinstance(failed, HostLoadFailed)
    assert failed.error.code == "model_unavailable"
    assert failed.error.message == (
        "module tests.core.worker.host.test_odd_models has no class Od; did you mean 'Odd'?"
    )
