"""Models that do what a bad or odd model may do, on order: for tests of workers.

Installed by ``write_trial_distribution`` as a third party would, so that model hosts find it.
"""

import ctypes
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from attrs import frozen

from paintmq.errors import Cancelled, ModelError, WeightsMissingError
from paintmq.hookspecs import RegisterModel
from paintmq.model import Device, InputSpec, Model, ModelSpec, Outputs, Request, RunContext
from tests.harness.written_distribution import write_distribution

SLOW_LOAD = 3.0
"""Seconds that ``trial-load-slow`` takes to load."""


@frozen(kw_only=True)
class TrialOptions:
    """What a trial model is to do."""

    do: str = "paint"
    """One of the branches of ``Trial._act``."""
    seconds: float = 60.0
    note: str = ""
    """A file to write to; made when the task begins, even if there is nothing to write."""


class Trial(Model):
    """Fills the whole picture, mask or not; unless it is told to do something worse."""

    def load(self, device: Device) -> None:
        if self.spec.name == "trial-unloadable":
            raise WeightsMissingError("weights trial.bin are missing")
        if self.spec.name == "trial-load-crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.spec.name == "trial-load-slow":
            time.sleep(SLOW_LOAD)
        self.device = device

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        return [self._act(request, context) for request in batch]

    def _act(self, request: Request, context: RunContext) -> Outputs:
        options: TrialOptions = request.options
        until = time.monotonic() + options.seconds
        if options.note:
            Path(options.note).touch()
        match options.do:
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
                time.sleep(60)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "raise":
                raise ValueError("the trial model was told to raise")
            case "raise-retryable":
                raise ModelError("try again", code="flaky", retryable=True)
            case "sys-exit":
                sys.exit("enough")
            case "memory-error":
                raise MemoryError("no room")
            case "cuda-error":
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            case "heed":
                while time.monotonic() < until:
                    context.progress(1, 2, request.inputs["image"])
                    context.raise_if_cancelled()
                    time.sleep(0.005)
            case "ignore":
                while time.monotonic() < until:
                    context.progress(1, 2)
                    time.sleep(0.005)
            case "swallow":
                while time.monotonic() < until:
                    context.progress(1, 2)
                    with suppress(Cancelled):
                        context.raise_if_cancelled()
                    time.sleep(0.005)
            case "silence":
                time.sleep(options.seconds)
            case "hold-the-interpreter":
                _spin_in_c(options.seconds)
            case "scratch":
                Path(options.note).write_text(str(context.scratch), encoding="utf-8")
                (context.scratch / "file").write_bytes(b"x")
            case "fork":
                if (child := os.fork()) == 0:
                    sys.exit("the child of a fork is done")
                os.waitpid(child, 0)
            case "mute":
                os.close(1)
                os.close(2)
                time.sleep(options.seconds)
            case "print":
                os.write(1, 20_000 * b"\r 7%|=>      |" + b"\xff\x00 no end of a line")
            case "speak":
                _speak(context)
            case "child":
                _leave_a_child_behind(options.note)
            case "daemon":
                _leave_a_daemon_behind(options.note)
            case "nothing":
                return {}
            case _:
                pass
        filled = np.full_like(request.inputs["image"], 200)
        return {"image": filled}


def _speak(context: RunContext) -> None:
    """Say something in each of the ways that there are."""
    print("printed")  # noqa: T201 -- as models do
    print("to stderr", file=sys.stderr)  # noqa: T201
    context.logger.warning("logged")
    warnings.warn("warned", stacklevel=1)
    ctypes.CDLL(None).puts(b"put by C")
    os.write(2, b"written to the descriptor\n")
    print("without an end of line", end="")  # noqa: T201


def _spin_in_c(seconds: float) -> None:
    """Keep the interpreter's lock, as a badly written extension does."""
    until = time.monotonic() + seconds
    sys.setswitchinterval(1e6)
    try:
        while time.monotonic() < until:
            pass
    finally:
        sys.setswitchinterval(0.005)


def _leave_a_daemon_behind(note: str) -> None:
    """Fork twice and begin a session, as daemons do: it is in no process group of its host's."""
    if os.fork():
        os.wait()
        return
    os.setsid()
    if not os.fork():
        open_files = [str(each.resolve()) for each in Path("/proc/self/fd").iterdir()]
        draft = Path(f"{note}.draft")
        draft.write_text("\n".join([str(os.getpid()), *open_files]), encoding="utf-8")
        draft.rename(note)
        time.sleep(600)
    os._exit(0)


def _leave_a_child_behind(note: str) -> None:
    import subprocess

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(note).write_text(str(child.pid), encoding="utf-8")


def paintmq_register_models(register: RegisterModel) -> None:
    inputs = (InputSpec(name="image"), InputSpec(name="mask", kind="mask"))
    for name in (
        "trial",
        "trial-other",
        "trial-unloadable",
        "trial-load-crash",
        "trial-load-slow",
    ):
        register(
            ModelSpec(
                name=name,
                implementation="tests.harness.trial_models:Trial",
                options=TrialOptions,
                inputs=inputs,
                max_batch=8,
                batch_key=lambda job: "one",
                stall_limit=30.0,
            )
        )
    register(
        ModelSpec(
            name="trial-needy",
            implementation="tests.harness.trial_models:Trial",
            requires=("a_module_nobody_has",),
            extra="paintmq[needy]",
        )
    )


def write_trial_distribution(folder: Path) -> Path:
    """Install these models into a folder; put it on ``sys.path`` for them to be found."""
    return write_distribution(
        folder, "trial-models", entry_points={"trial": "tests.harness.trial_models"}, files={}
    )
