"""Jobs on their way through a session: kept coming, shown in one bar, written as they end."""

import queue
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from attrs import define, field

from paintmq.cli.failures import BAD_INPUT, FAILED, SIGNALLED, exit_status, note, report
from paintmq.cli.result_files import write_result
from paintmq.cli.signals import StopFlag
from paintmq.errors import PaintMQError, RejectedError, TaskRejectedError, UnknownModelError

if TYPE_CHECKING:
    from paintmq.cli.image_jobs import ImageJob
    from paintmq.cli.preview_files import PreviewFolder
    from paintmq.cli.run_session import Session
    from paintmq.client import Result, TaskHandle
    from paintmq.client.task import Task

_AT_A_TIME = 16
"""Tasks under way at once: enough to keep workers busy, few enough to bound memory."""

_REFRESH = 0.1
"""Seconds between two looks at how far the tasks are."""

_HOPELESS = ("unknown_model", "invalid_option", "no_queue_fits", "not_allowed", "no_worker")
"""Refusals that every further image would meet as well."""


@define
class ImageRun:
    """The jobs of one command. ``through`` may be called once."""

    jobs: Sequence["ImageJob"]
    make_task: "Callable[[ImageJob], Task]"
    model: str
    quiet: bool = False
    previews: "PreviewFolder | None" = None
    stop: StopFlag = field(factory=StopFlag)
    """Looked at between two steps."""
    _under_way: "dict[str, tuple[TaskHandle, ImageJob]]" = field(factory=dict, init=False)
    _results: "list[Result]" = field(factory=list, init=False)
    _failures: list[PaintMQError] = field(factory=list, init=False)

    def through(self, session: "Session") -> int:
        """Work off all jobs and return the command's exit status.

        A signal to stop cancels the tasks under way, and no others.

        Raises:
            PaintMQError: a refusal that holds for all jobs alike.
        """
        started = monotonic()
        with self._progress_bar() as show:
            self._work_off(session, show)
        left = len(self.jobs) - len(self._results) - len(self._failures)
        if self.stop.arrived is not None and left:
            self._cancel_all()
            note(f"interrupted: {len(self._results)} of {len(self.jobs)} images are done")
            return SIGNALLED + self.stop.arrived
        if not self.quiet and self._results:
            print(self._summary(monotonic() - started))
        if not self._failures:
            return 0
        statuses = {exit_status(error) for error in self._failures}
        return BAD_INPUT if statuses == {BAD_INPUT} and not self._results else FAILED

    def _work_off(self, session: "Session", show: Callable[[], None]) -> None:
        waiting = deque(self.jobs)
        ended: queue.SimpleQueue[TaskHandle] = queue.SimpleQueue()
        while waiting or self._under_way:
            while waiting and len(self._under_way) < _AT_A_TIME and self.stop.arrived is None:
                self._submit(waiting.popleft(), session, ended)
            if self.stop.arrived is not None:
                return
            show()
            self._save_previews()
            try:
                handle = ended.get(timeout=_REFRESH)
            except queue.Empty:
                continue
            self._finish(handle)
            show()

    def _save_previews(self) -> None:
        if self.previews is not None:
            for handle, job in self._under_way.values():
                self.previews.look(handle, job.output.stem)

    def _submit(
        self, job: "ImageJob", session: "Session", ended: "queue.SimpleQueue[TaskHandle]"
    ) -> None:
        try:
            handle = session.submit(self.make_task(job))
        except PaintMQError as error:
            self._fail(job, error)
        else:
            self._under_way[handle.id] = (handle, job)
            handle.add_done_callback(ended.put)

    def _finish(self, handle: "TaskHandle") -> None:
        _, job = self._under_way.pop(handle.id)
        try:
            result = handle.result(timeout=0)
            write_result(result, job.output)
        except PaintMQError as error:
            self._fail(job, error)
        else:
            self._results.append(result)
            if result.note:
                note(f"{job.image}: {result.note}")

    def _fail(self, job: "ImageJob", error: PaintMQError) -> None:
        code = error.code if isinstance(error, RejectedError | TaskRejectedError) else ""
        if isinstance(error, UnknownModelError) or code in _HOPELESS:
            self._cancel_all()
            raise error
        report(f"{job.image}: {error}")
        self._failures.append(error)

    def _cancel_all(self) -> None:
        for handle, _ in self._under_way.values():
            handle.cancel()

    def _progress_bar(self) -> Any:
        from paintmq.cli.run_progress import progress_bar

        return progress_bar(
            self.model, len(self.jobs), self._completed, self._stage, visible=not self.quiet
        )

    def _completed(self) -> float:
        """Return how many images are done, those under way in part."""
        done = float(len(self._results) + len(self._failures))
        for handle, _ in self._under_way.values():
            progress = handle.progress()
            if progress.total:
                done += progress.step / progress.total
        return done

    def _stage(self) -> str:
        """Return what the furthest of the tasks under way is at, in a word."""
        states = {handle.state.value for handle, _ in self._under_way.values()}
        order = ("running", "loading", "leased", "queued", "submitted")
        return next((state for state in order if state in states), "")

    def _summary(self, seconds: float) -> str:
        results = self._results
        if len(self.jobs) == 1:
            (result,) = results
            return (
                f"{self.jobs[0].output}: queue {result.queue}, worker {result.worker},"
                f" waited {result.waited:.2f} s, ran {result.ran:.2f} s"
            )
        folders = sorted({str(job.output.parent) for job in self.jobs})
        queues = ", ".join(sorted({result.queue for result in results}))
        workers = len({result.worker for result in results})
        failed = f"; {len(self._failures)} failed" if self._failures else ""
        return (
            f"{len(results)} images in {', '.join(folders)}: queue {queues}, {workers}"
            f" worker{'s' * (workers > 1)}, {seconds:.1f} s in all{failed}"
        )
