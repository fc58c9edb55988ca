"""Jobs on their way through a session: kept coming, shown in one bar, written as they end.

Rule 1: what is wrong with one picture ends that picture alone; what would meet every other as well
(missing weights, a full disk) ends the run at once.
Rule 2: memory does not grow with the number of pictures: inputs are read when their turn comes, and
of a result only where it was made is kept.
"""

import queue
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from paintmq.cli.existing_files import Existing, is_there, objection_to_target
from paintmq.cli.failures import (
    BAD_INPUT,
    FAILED,
    SIGNALLED,
    CommandError,
    exit_status,
    note,
    report,
)
from paintmq.cli.job_inputs import InputReader, LoadedJob
from paintmq.cli.picture_files import STANDARD_STREAM, is_stream
from paintmq.cli.result_files import ResultWriter, UnwrittenError, import_encoders
from paintmq.cli.run_summary import RunSummary
from paintmq.cli.shown_names import shown
from paintmq.cli.signals import StopFlag
from paintmq.errors import (
    PaintMQError,
    RejectedError,
    TaskCancelledError,
    TaskNotCompletedError,
    TaskUnknownError,
    UnknownModelError,
)

if TYPE_CHECKING:
    from paintmq.cli.image_jobs import ImageJob, Plan
    from paintmq.cli.preview_files import PreviewFolder
    from paintmq.cli.run_session import Session
    from paintmq.client import Result, TaskHandle
    from paintmq.client.task import Task

_AT_A_TIME = 16
"""Tasks under way at once: enough to keep workers busy, few enough to bound memory."""

_REFRESH = 0.1
"""Seconds between two looks at how far the tasks are."""

_HOPELESS = (
    *("unknown_model", "invalid_option", "invalid_task", "not_allowed"),
    *("load_failed", "model_unavailable"),
    *("weights_missing", "weights_untrusted", "weights_unreadable", "weights_unsuitable"),
    *("download_failed", "download_damaged", "download_refused"),
)
"""Errors that every further picture would meet as well."""


@frozen
class _UnderWay:
    handle: "TaskHandle"
    loaded: LoadedJob


@define
class ImageRun:
    """The jobs of one command: ``first`` may be called once, then ``through`` once."""

    plan: "Plan"
    make_task: "Callable[[LoadedJob], Task]"
    reader: InputReader
    writer: ResultWriter
    model: str
    quiet: bool = False
    existing: Existing = "replace"
    strict: bool = False
    shared: Mapping[str, Path] = field(factory=dict[str, Path])
    """Inputs that are one file for all pictures."""
    previews: "PreviewFolder | None" = None
    stop: StopFlag = field(factory=StopFlag)
    """Looked at between two steps."""
    summary: RunSummary = field(factory=RunSummary, init=False)
    _waiting: Iterator[LoadedJob] = field(init=False)
    _under_way: dict[str, _UnderWay] = field(factory=dict[str, _UnderWay], init=False)
    _again: list[LoadedJob] = field(factory=list[LoadedJob], init=False)
    """What was cancelled because this process was suspended."""
    _suspended: set[str] = field(factory=set[str], init=False)
    """Tasks that were under way while this process was suspended."""
    _suspensions: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._waiting = self._loaded_jobs()

    def first(self) -> "Task | None":
        """Report what the plan left out, and return the first task there is to do, if there is one.

        It is still the first that ``through`` submits.
        """
        for text in self.plan.notes:
            if not self.quiet:
                note(text)
        for fault in self.plan.faults:
            self._fail(shown(fault.name), fault.reason, BAD_INPUT)
        loaded = next(self._waiting, None)
        if loaded is None:
            return None
        self._again.append(loaded)
        return self.make_task(loaded)

    def through(self, session: "Session") -> int:
        """Work off all jobs and return the command's exit status.

        A signal to stop cancels the tasks under way, and no others.

        Raises:
            PaintMQError: a refusal that holds for all jobs alike, before any was done.
        """
        started = monotonic()
        try:
            with self._progress_bar() as show:
                self._work_off(session, show)
        except (PaintMQError, TimeoutError) as error:
            self._cancel_all()
            if not self.summary.done:
                raise
            report(str(error))
            note(f"ended: {self._how_far()}{self._how_to_go_on()}")
            return FAILED
        if self.stop.arrived is not None and self._left():
            self._cancel_all()
            note(f"interrupted: {self._how_far()}{self._how_to_go_on()}")
            return SIGNALLED + self.stop.arrived
        return self.finish(monotonic() - started)

    def finish(self, seconds: float = 0.0) -> int:
        """Print the summary and return the exit status of a run that came to its end."""
        if not self.quiet and (text := self.summary.text(self.plan, seconds)):
            self._print(text)
        if not self.summary.failed:
            return 0
        any_good = self.summary.done or self.summary.there_already
        return FAILED if any_good or not self.summary.only_bad_input else BAD_INPUT

    def _work_off(self, session: "Session", show: Callable[[], None]) -> None:
        ended: queue.SimpleQueue[TaskHandle] = queue.SimpleQueue()
        exhausted = is_ready = False
        while not exhausted or self._under_way or self._again:
            while len(self._under_way) < _AT_A_TIME and self.stop.arrived is None:
                loaded = self._again.pop() if self._again else next(self._waiting, None)
                if loaded is None:
                    exhausted = True
                    break
                self._submit(loaded, session, ended)
                show()
            if self.stop.arrived is not None:
                return
            show()
            self._save_previews()
            if not self._under_way:
                continue
            if not is_ready:
                import_encoders()  # while the first task is under way
                is_ready = True
            try:
                handle = ended.get(timeout=_REFRESH)
            except queue.Empty:
                continue
            self._finish(handle, session)
            show()

    def _loaded_jobs(self) -> Iterator[LoadedJob]:
        """Give the jobs that can be done, each read when it is asked for."""
        for job in self.plan.jobs:
            if self._is_to_do(job):
                try:
                    yield self.reader.load(job, shared=self.shared)
                except PaintMQError as error:
                    self._fail(shown(job.image), str(error), exit_status(error))

    def _is_to_do(self, job: "ImageJob") -> bool:
        """Look at what is at the result's place."""
        reason = objection_to_target(job, self.existing)
        if reason is None:
            self.summary.there_already += 1
        elif reason:
            self._fail(shown(job.image), reason, BAD_INPUT)
        return reason == ""

    def _save_previews(self) -> None:
        if self.previews is not None:
            try:
                for each in self._under_way.values():
                    self.previews.look(each.handle, each.loaded.job.output)
            except UnwrittenError as error:  # a preview is worth no result
                note(f"no more previews: {error}")
                self.previews = None

    def _submit(
        self, loaded: LoadedJob, session: "Session", ended: "queue.SimpleQueue[TaskHandle]"
    ) -> None:
        try:
            handle = session.submit(self.make_task(loaded))
        except PaintMQError as error:
            self._fail_task(loaded, error, session)
        else:
            self._under_way[handle.id] = _UnderWay(handle, loaded)
            handle.add_done_callback(ended.put)

    def _finish(self, handle: "TaskHandle", session: "Session") -> None:
        self._note_suspension()
        loaded = self._under_way.pop(handle.id).loaded
        try:
            result = handle.result(timeout=0)
        except (TaskCancelledError, TaskUnknownError) as error:
            # A broker takes a client that was suspended for one that has left.
            if handle.id in self._suspended:
                self._again.append(loaded)
            else:
                self._fail_task(loaded, error, session)
        except PaintMQError as error:
            self._fail_task(loaded, error, session)
        else:
            self._write(loaded, result)

    def _write(self, loaded: LoadedJob, result: "Result") -> None:
        job = loaded.job
        is_replaced = not is_stream(job.output) and is_there(job.output)
        try:
            written = self.writer.write(result, job.output, job.format, like=loaded.inputs["image"])
        except UnwrittenError as error:
            if error.is_of_all:
                raise
            self._fail(shown(job.image), str(error), FAILED)
            return
        except PaintMQError as error:
            self._fail(shown(job.image), f"its result cannot be written: {error}", FAILED)
            return
        self.summary.count(result, written.paths[-1], is_replaced=is_replaced)
        for text in (*filter(None, [result.note]), *written.notes):
            note(f"{shown(job.image)}: {text}")

    def _note_suspension(self) -> None:
        if self.stop.suspensions != self._suspensions:
            self._suspensions = self.stop.suspensions
            self._suspended.update(self._under_way)

    def _fail_task(self, loaded: LoadedJob, error: PaintMQError, session: "Session") -> None:
        if _is_of_all(error):
            raise error
        if _code(error) == "no_worker" and not session.ask("workers"):
            raise CommandError("; ".join(filter(None, [str(error), session.trouble()])))
        text = _with_remedy(error)
        self._fail(shown(loaded.job.image), text, exit_status(error))

    def _fail(self, name: str, reason: str, status: int) -> None:
        report(f"{name}: {reason}")
        self.summary.failed += 1
        self.summary.only_bad_input &= status == BAD_INPUT
        if self.strict and self.summary.failed == 1:
            raise CommandError("the rest was not done: --strict")

    def _cancel_all(self) -> None:
        for each in self._under_way.values():
            each.handle.cancel()

    def _left(self) -> int:
        return self.plan.total - self.summary.ended

    def _how_far(self) -> str:
        return (
            f"{self.summary.done + self.summary.there_already} of {self.plan.total} images are done"
        )

    def _how_to_go_on(self) -> str:
        return "; the same command with --skip-existing goes on" if self.plan.total > 1 else ""

    def _print(self, text: str) -> None:
        to_stdout = any(job.output == STANDARD_STREAM for job in self.plan.jobs)
        note(text) if to_stdout else print(text)

    def _progress_bar(self) -> Any:
        from paintmq.cli.run_progress import progress_bar

        return progress_bar(
            self.model, self.plan.total, self._completed, self._stage, visible=not self.quiet
        )

    def _completed(self) -> float:
        """Return how many images are done, those under way in part."""
        done = float(self.summary.ended)
        for each in self._under_way.values():
            progress = each.handle.progress()
            if progress.total:
                done += progress.step / progress.total
        return done

    def _stage(self) -> str:
        """Return what the furthest of the tasks under way is at, in a word."""
        states = {each.handle.state.value for each in self._under_way.values()}
        order = ("running", "loading", "leased", "queued", "submitted")
        return next((state for state in order if state in states), "")


def _code(error: PaintMQError) -> str:
    known = isinstance(error, RejectedError | TaskNotCompletedError)
    return str(getattr(error, "code", "")) if known else ""


def _is_of_all(error: PaintMQError) -> bool:
    return isinstance(error, UnknownModelError) or _code(error) in _HOPELESS


def _with_remedy(error: PaintMQError) -> str:
    """Return the error's text, with the option that may help where the text cannot know it."""
    if _code(error) == "timed_out" and "--run-limit" not in str(error):
        return f"{error}; --run-limit SECONDS allows more"
    return str(error)
